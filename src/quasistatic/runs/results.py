"""The result of an evaluation, and its JSON file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quasistatic.estimate import Estimate
from quasistatic.storage.files import read_json, strict
from quasistatic.storage.schema import Check, Optional, a_list, a_number, a_record, a_text, a_whole

__all__ = ["Evaluation", "pair"]

_NUMBER = Optional(a_number, required=True)  # null where it was not finite
_PAIR = {"value": _NUMBER, "standard_error": _NUMBER, "n": Optional(a_whole())}
_SCHEMA: dict[str, Check | Optional] = {
    "recipe": a_text, "split": a_text, "n": a_whole(1), "unit": a_text, "n_steps": a_whole(1), "first_step": a_text,
    "bound": _NUMBER, "standard_error": _NUMBER, "null": _NUMBER, "null_standard_error": _NUMBER, "gain": _NUMBER,
    "gain_standard_error": _NUMBER, "truth": Optional(a_number), "distance": Optional(a_number), "limit": Optional(a_number),
    "paper": Optional(a_number), "fixed_first_step": Optional(a_record(_PAIR)), "distance_paired": Optional(a_record(_PAIR)),
    "baseline": Optional(a_record({**_PAIR, "name": a_text, "lead_paired": Optional(a_record(_PAIR))})),
    "log_prob": Optional(a_record({**_PAIR, "n_trajectories": a_whole(1), "distance_paired": Optional(a_record(_PAIR))})),
    "converted": Optional(a_record()), "samples": Optional(a_record()), "channels": Optional(a_whole(1)),
    "warnings": Optional(a_list(a_text)),
}  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """Measured log likelihoods of one model on one split.

    All values are in ``unit``; higher is better. A difference over the same rows has the standard error of the paired
    difference.

    Attributes
    ----------
    recipe, split, unit : str
    n_steps : int
        Steps T of the chain.
    first_step : {"learned", "fixed"}
        Convention of the bound.
    bound : Estimate
        Lower bound of the mean log likelihood of the rows.
    terms : dict of str to float
        Parts of the mean over rows: terminal, transitions, data.
    null, gain : Estimate
        Log likelihood of the null model, and the bound minus it.
    direct : Estimate or None
        Plain mean of the bound, where ``bound`` uses an exact kernel as a control variate.
    fixed_first_step : Estimate or None
        The bound under the paper's fixed first step.
    log_prob, log_prob_distance : Estimate or None
        Importance-weighted log likelihood, and the truth minus it.
    n_trajectories : int
        Trajectories of ``log_prob`` for each row.
    truth : float or None
        Mean true log likelihood; ``distance`` is the truth minus the bound, ``distance_paired`` the same over these rows.
    baseline, lead : Estimate or None
        Log likelihood of the model named ``baseline_name``, and the bound minus it.
    converted : dict of str to Estimate
        The bound in other conventions.
    limit, fixed_first_step_limit : float or None
        Best bound of this family of kernels.
    training : dict
        The manifest of the training: seconds, parameters, versions.
    """

    recipe: str
    split: str
    unit: str
    n_steps: int
    first_step: str
    bound: Estimate
    null: Estimate
    gain: Estimate
    terms: dict[str, float] = field(default_factory=dict)
    n_timesteps: int = 0
    direct: Estimate | None = None
    fixed_first_step: Estimate | None = None
    method: str = ""
    limit: float | None = None
    fixed_first_step_limit: float | None = None
    converted: dict[str, Estimate] = field(default_factory=dict)
    channels: int = 1
    truth: float | None = None
    distance: float | None = None
    distance_paired: Estimate | None = None
    log_prob: Estimate | None = None
    log_prob_distance: Estimate | None = None
    n_trajectories: int = 0
    paper: float | None = None
    baseline: Estimate | None = None
    baseline_name: str = ""
    lead: Estimate | None = None
    samples: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seed: int = 0
    seconds: float = 0.0
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of evaluated rows."""
        return self.bound.n

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without the fields that do not apply."""
        plain: dict[str, Any] = {
            "recipe": self.recipe, "split": self.split, "n": self.n, "unit": self.unit, "n_steps": self.n_steps,
            "first_step": self.first_step, "bound": self.bound.value, "standard_error": self.bound.standard_error,
            "terms": self.terms, "null": self.null.value, "null_standard_error": self.null.standard_error,
            "gain": self.gain.value, "gain_standard_error": self.gain.standard_error,
        }  # fmt: skip
        for name in ("direct", "fixed_first_step", "distance_paired"):
            if (estimate := getattr(self, name)) is not None:
                plain[name] = pair(estimate)
        for name in ("limit", "fixed_first_step_limit", "truth", "distance", "paper"):
            if (value := getattr(self, name)) is not None:
                plain[name] = value
        for name in ("n_timesteps", "method", "samples", "warnings"):
            if value := getattr(self, name):
                plain[name] = list(value) if name == "warnings" else value
        if self.converted:
            plain["converted"] = {unit: pair(estimate) | {"unit": unit} for unit, estimate in self.converted.items()}
            plain["channels"] = self.channels
        if self.log_prob is not None:
            plain["log_prob"] = {"n_trajectories": self.n_trajectories} | pair(self.log_prob)
            if self.log_prob_distance is not None:
                plain["log_prob"]["distance_paired"] = pair(self.log_prob_distance)
        if self.baseline is not None:
            plain["baseline"] = {"name": self.baseline_name} | pair(self.baseline)
            if self.lead is not None:
                plain["baseline"]["lead_paired"] = pair(self.lead)
        plain |= {"seed": self.seed, "evaluation_seconds": self.seconds}
        return strict(plain | {k: v for k, v in self.training.items() if k not in plain})

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Evaluation:
        """Build an evaluation from the data of :meth:`to_json`."""
        unit, n = plain["unit"], plain["n"]

        def estimate(record: dict[str, Any] | None, of_unit: str = unit) -> Estimate | None:
            if record is None:
                return None
            value, error = _number(record["value"]), _number(record["standard_error"])
            return Estimate(value, error, record.get("n") or n, of_unit)

        def headline(key: str, error: str) -> Estimate:
            return Estimate(_number(plain[key]), _number(plain[error]), n, unit)

        log_prob, baseline = plain.get("log_prob") or {}, plain.get("baseline") or {}
        own = ("terms", "n_timesteps", "method", "limit", "fixed_first_step_limit", "truth", "distance", "paper", "samples",
               "channels", "seed")  # fmt: skip
        return cls(
            recipe=plain["recipe"], split=plain["split"], unit=unit, n_steps=plain["n_steps"],
            first_step=plain["first_step"], bound=headline("bound", "standard_error"),
            null=headline("null", "null_standard_error"), gain=headline("gain", "gain_standard_error"),
            direct=estimate(plain.get("direct")), fixed_first_step=estimate(plain.get("fixed_first_step")),
            distance_paired=estimate(plain.get("distance_paired")),
            converted={of: e for of, record in (plain.get("converted") or {}).items() if (e := estimate(record, of))},
            log_prob=estimate(log_prob or None), log_prob_distance=estimate(log_prob.get("distance_paired")),
            n_trajectories=log_prob.get("n_trajectories", 0), baseline=estimate(baseline or None),
            baseline_name=baseline.get("name", ""), lead=estimate(baseline.get("lead_paired")),
            warnings=tuple(plain.get("warnings") or ()), seconds=plain.get("evaluation_seconds") or 0.0,
            training={k: plain[k] for k in _OF_TRAINING if k in plain},
            **{k: plain[k] for k in own if plain.get(k) is not None},
        )  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """Read the JSON file of an evaluation.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        return cls.from_json(read_json(path, _SCHEMA))


_OF_TRAINING = ("seconds", "finish_seconds", "cpu_seconds", "n_parameters", "validation_null", "versions")


def pair(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as plain data: value, standard error and n."""
    return {"value": estimate.value, "standard_error": estimate.standard_error, "n": estimate.n}


def _number(value: float | None) -> float:
    """Return a number, nan where JSON holds null."""
    return math.nan if value is None else value
