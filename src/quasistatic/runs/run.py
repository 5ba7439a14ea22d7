"""Run folders: train a recipe into one, and take a trained one up again.

A folder holds ``config.yaml`` (all settings, resolved), ``metrics.jsonl``, ``checkpoint/``, and what later commands
add: ``result.json``, ``figures/`` and ``report.html``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

import quasistatic
from quasistatic.checks import real_number, require_memory, whole_number
from quasistatic.errors import InputError
from quasistatic.estimate import Estimate
from quasistatic.storage.files import (
    Check,
    Optional,
    a_name,
    a_number,
    a_record,
    a_text,
    a_whole,
    read_json,
    read_log,
    read_yaml,
    refuse_links,
    strict,
)
from quasistatic.model import DiffusionModel, load
from quasistatic.recipes.base import Recipe, Splits, seeded
from quasistatic.runs.blocks import blocks
from quasistatic.runs.evaluation import evaluate
from quasistatic.runs.settings import make_recipe, to_plain
from quasistatic.runs.verdict import warnings_of
from quasistatic.plots import save_figure
from quasistatic.storage.atomic import write_text
from quasistatic.schedules import respaced
from quasistatic.train import Engine, Scalars, fit
from quasistatic.train.engine import find_device
from quasistatic.storage.lock import sole_writer
from quasistatic.train.trainer import save_best
from quasistatic.train.workers import workers

__all__ = [
    "Run",
    "best_line",
    "draw_samples",
    "evaluate_run",
    "open_run",
    "own_names",
    "read_best",
    "read_config",
    "read_metrics",
    "read_result",
    "sentences",
    "train_run",
    "writing",
]  # fmt: skip

_NUMBER = Optional(a_number, required=True)  # null where it was not finite
_PAIR = {"value": _NUMBER, "standard_error": _NUMBER, "n": Optional(a_whole())}
_CONFIG: dict[str, Check | Optional] = {"recipe": a_text, "seed": a_whole(), "fingerprint": Optional(a_text)}
_LINE: dict[str, Check | Optional] = {
    "update": a_whole(), "seconds": Optional(a_number), "cpu_seconds": Optional(a_number), "validation": _NUMBER,
    "validation_se": _NUMBER, "unit": a_text, "waited": Optional(a_whole()),
}  # fmt: skip
_FINISHED: dict[str, Check | Optional] = {
    "recipe": a_text, "seed": a_whole(), "seconds": a_number, "cpu_seconds": Optional(a_number),
    "n_parameters": Optional(a_whole()), "versions": Optional(a_record()), "validation_null": Optional(a_number),
}  # fmt: skip
_RESULT: dict[str, Check | Optional] = {
    "recipe": a_text, "split": a_text, "n": a_whole(1), "unit": a_text, "n_steps": a_whole(1), "first_step": a_text,
    "bound": _NUMBER, "standard_error": _NUMBER, "null": _NUMBER, "null_standard_error": _NUMBER, "gain": _NUMBER,
    "gain_standard_error": _NUMBER, "truth": Optional(a_number), "distance": Optional(a_number), "limit": Optional(a_number),
    "paper": Optional(a_number), "fixed_first_step": Optional(a_record(_PAIR)), "distance_paired": Optional(a_record(_PAIR)),
    "baseline": Optional(a_record({**_PAIR, "name": a_text, "lead_paired": Optional(a_record(_PAIR))})),
    "log_prob": Optional(a_record({**_PAIR, "n_trajectories": a_whole(1), "distance_paired": Optional(a_record(_PAIR))})),
    "converted": Optional(a_record()), "samples": Optional(a_record()),
}  # fmt: skip
_OWN = (
    "config.yaml", "metrics.jsonl", "checkpoint", "figures", "report.html", "estimator", "estimator-of.json", "members",
    "tensorboard",
)  # fmt: skip

FINISHED = "best-finished"  # the best model, on the steps placed for it


@dataclass(frozen=True)
class Run:
    """A trained recipe, taken up from its folder."""

    folder: Path
    name: str
    seed: int
    recipe: Recipe
    model: DiffusionModel
    fingerprint: str | None = None
    """Of the file the model was trained on, where it is the user's own."""

    @cached_property
    def splits(self) -> Splits:
        """The rows, read when they are first asked for; refused if they are not those of the training.

        Raises
        ------
        InputError
            If the data is gone, or has changed: its rows would be parted otherwise, and training rows be tested on.
        """
        if self.fingerprint is not None and self.recipe.fingerprint() != self.fingerprint:
            raise InputError(f"the data of {self.folder} has changed since then: train on it into a new --out")
        return self.recipe.splits(self.seed)


def train_run(
    name: str,
    folder: Path,
    *,
    settings: dict[str, Any] | None = None,
    preset: str | None = None,
    seed: int = 0,
    quiet: bool = False,
    time_budget: float = math.inf,
    engine: Engine | None = None,
    tensorboard: bool = False,
    announce: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train a recipe into a folder, or go on with what the same call began there, on whatever device.

    After ``time_budget`` seconds of training it stops at a checkpoint, and the answer says ``stopped_at``. With
    ``tensorboard`` the numbers of its log go to ``folder/tensorboard``, too. ``announce`` is called with the recipe's note
    on its data, if there is one, before training.

    Raises
    ------
    InputError
        If the settings or the data are at fault, or the folder holds a run of other ones.
    """
    whole_number("seed", seed, 0)
    real_number("time_budget", time_budget, above=0.0, infinite=True)
    recipe = make_recipe(name, settings or {}, preset=preset)
    if announce is not None and (note := recipe.note()):
        announce(note)
    scalars = Scalars(folder / "tensorboard") if tensorboard else None
    engine = engine or Engine()
    device = find_device(engine.device)
    config = {"recipe": name, "seed": seed, **to_plain(recipe)}
    if (fingerprint := recipe.fingerprint()) is not None:
        config["fingerprint"] = fingerprint
    done = folder / "checkpoint" / "finished.json"
    with workers(device) as team:
        own_names(folder)
        _refuse_another(folder, config)
        if done.exists():
            return read_json(done, _FINISHED)
        with sentences(), torch.random.fork_rng(devices=[]):
            splits = recipe.splits(seed)
            training = recipe.training(splits)
            torch.manual_seed(seed)
            model = recipe.build(splits).to(device)
        team.wait()  # all have looked: from here on there is a configuration to find
        if team.first:
            _claim(folder, config)
        model = fit(
            model, splits.train if splits.source is None else splits.source, splits.validation, training,
            folder=folder, seed=seed, unit=recipe.unit, quiet=quiet,
            augment=recipe.augment(splits), engine=engine, time_budget=time_budget,
            on_evaluation=_look(recipe, model, splits, folder, quiet, scalars) if team.first else None,
            place_steps=lambda model, generator: recipe.place_steps(model, splits, generator) or model.process,
        )  # fmt: skip
        trained = time.perf_counter()
        last = read_metrics(folder)[-1]
        tired = 0 < training.patience <= (last.get("waited") or 0)
        if (step := last["update"]) < training.n_updates and not tired:
            return {"recipe": name, "seed": seed, "stopped_at": step, "steps": training.n_updates}
        # a run that was stopped right here has placed its steps already, and once more would move them
        if read_best(folder) != FINISHED:
            placed = recipe.place_steps(model, splits, seeded(seed + 3))
            model = model if placed is None else model.on(placed)
            team.wait()
            if team.first:
                with writing(folder):
                    save_best(model, folder, FINISHED, {"finished": True})
        if team.first:
            told = {
                "recipe": name,
                "seed": seed,
                "seconds": last.get("seconds") or 0.0,
                "finish_seconds": round(time.perf_counter() - trained, 1),
                "cpu_seconds": last.get("cpu_seconds") or 0.0,
                "n_parameters": sum(p.numel() for p in model.parameters()),
                "validation_null": _null(recipe, model, splits, seed),
                "versions": versions(),
            }
            with writing(folder):
                write_text(done, json.dumps(strict(told), indent=1))
        team.wait()
        return read_json(done, _FINISHED)


def _null(recipe: Recipe, model: DiffusionModel, splits: Splits, seed: int) -> float:
    """Log likelihood of validation rows under the null model, in the recipe's unit."""
    null = recipe.null_log_prob(model, splits.validation, seeded(seed)).cpu()
    return Estimate.of(null, recipe.unit, model.event_shape).value


def _look(
    recipe: Recipe, model: DiffusionModel, splits: Splits, folder: Path, quiet: bool, scalars: Scalars | None
) -> Callable[[dict[str, Any]], None]:
    """At evaluations, draw what the model makes beside its other figures, and pass the numbers on."""

    def look(told: dict[str, Any]) -> None:
        with writing(folder):
            if scalars is not None:
                scalars(told)
            if not quiet and (figure := recipe.sheet(model, splits, told["update"])) is not None:
                save_figure(figure, folder / "figures" / f"samples-{told['update']:08d}.png")

    return look


def _refuse_another(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a folder in which another configuration has begun to train."""
    if (folder / "config.yaml").exists() and (folder / "checkpoint").exists():
        there = _known_by_now(read_config(folder))
        changed = sorted(k for k in {*there, *config} if there.get(k) != config.get(k))
        if "fingerprint" in changed and changed == ["fingerprint"]:
            raise InputError(f"{folder} holds a run on this file as it was before it changed; give a new --out")
        if changed:
            raise InputError(
                f"{folder} holds a run with another {', '.join(changed)}; give a new --out, or the same settings to go on"
            )


def _known_by_now(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the defaults of settings that were not known when it was written."""
    kept = {name: config[name] for name in ("recipe", "seed", "fingerprint") if name in config}
    try:
        recipe = make_recipe(config["recipe"], {name: value for name, value in config.items() if name not in kept})
    except InputError:  # of a recipe or setting that is gone
        return config
    return kept | to_plain(recipe)


def _claim(folder: Path, config: dict[str, Any]) -> None:
    """Write the configuration before anything else; one that never came to a checkpoint gives way."""
    if not (folder / "checkpoint").exists():
        with sole_writer(folder), writing(folder):
            write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))


def read_config(folder: Path) -> dict[str, Any]:
    """Read the resolved settings of a run folder, with its recipe and seed."""
    return read_yaml(folder / "config.yaml", _CONFIG)


def read_best(folder: Path) -> str:
    """Read the name of the folder of the best model."""
    return read_json(folder / "checkpoint" / "best.json", {"folder": a_name})["folder"]


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the log of a training, a record for each evaluation."""
    return read_log(folder / "metrics.jsonl", _LINE)


def best_line(folder: Path) -> dict[str, Any]:
    """Read the record of the evaluation with the highest validation bound."""
    return max(read_metrics(folder), key=lambda line: -math.inf if line["validation"] is None else line["validation"])


def read_result(path: Path) -> dict[str, Any]:
    """Read what an evaluation measured."""
    return read_json(path, _RESULT)


def own_names(folder: Path, *others: str) -> None:
    """Refuse links among what the commands write into a run folder, and among ``others`` of its entries."""
    refuse_links(folder, *_OWN, *others)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Within the block, a disk that is full or may not be written to is told with the folder it concerns."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write the run folder {folder}: {error.strerror or error}") from error


@contextmanager
def sentences() -> Iterator[None]:
    """Within the block, a value refused further down is the user's, and so is the sentence that says so."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error


def open_run(folder: Path) -> Run:
    """Take up a run folder: its recipe, best model and data.

    Raises
    ------
    InputError
        If it is not a run folder, has no model yet, or is damaged.
    """
    if "\0" in str(folder) or not os.path.lexists(folder / "config.yaml"):
        raise InputError(f"{folder} is not a run folder: it holds no config.yaml")
    config = read_config(folder)
    name, seed, fingerprint = config.pop("recipe"), config.pop("seed"), config.pop("fingerprint", None)
    recipe = make_recipe(name, config)
    if os.path.lexists(folder / "checkpoint" / "best.json"):
        read_best(folder)  # for its own sentence, if it is damaged
    return Run(folder, name, seed, recipe, load(folder), fingerprint)


def evaluate_run(
    run: Run,
    *,
    split: str = "test",
    n_trajectories: int | None = None,
    n_steps: int | None = None,
    n_samples: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a run and keep the answer in its folder; processes that ``torchrun`` started share the rows.

    Raises
    ------
    InputError
        If the split has no rows, the model cannot be cut to ``n_steps``, or samples of this recipe cannot be checked.
    """
    model, here = run.model, find_device(device)
    if n_steps is not None:
        with sentences():
            model = model.on(model.process.with_beta(respaced(model.process.beta[1:], n_steps)))
    if run.recipe.exact_kernel(model) is not None:  # it is known on the CPU
        here = find_device("cpu")
    started = time.perf_counter()
    with workers(here) as team, _lent(model, here):
        measured = evaluate(
            run.recipe, model, run.splits, split=split, n_trajectories=n_trajectories, n_samples=n_samples, team=team
        )
        result = _told(run, measured, time.perf_counter() - started)
        own_names(run.folder)
        suffix = "" if split == "test" and n_steps is None else f"-{split}" + (f"-{n_steps}" if n_steps else "")
        if team.first:
            with writing(run.folder):
                write_text(run.folder / f"result{suffix}.json", json.dumps(result, indent=1, allow_nan=False))
        team.wait()
    return result


def _told(run: Run, measured: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Set what was measured beside what is known of the training."""
    result = {"recipe": run.name} | measured
    if warned := warnings_of(result, read_metrics(run.folder)):
        result["warnings"] = warned
    result |= {"seed": run.seed, "evaluation_seconds": round(seconds, 1)}
    done = run.folder / "checkpoint" / "finished.json"
    if done.exists():
        result |= {k: v for k, v in read_json(done, _FINISHED).items() if k not in result}
    return strict(result)


def draw_samples(run: Run, n: int, *, seed: int = 0, n_steps: int | None = None, device: str = "auto") -> Tensor:
    """Draw n samples of a run in data units, (n, *event_shape), block by block, so that memory does not grow with n."""
    whole_number("the number of samples", n, 1)
    event = math.prod(run.model.event_shape)
    require_memory(f"{n} samples of {event} numbers", 24.0 * n * event, "draw fewer at once, with other seeds")
    with _lent(run.model, find_device(device)) as model:
        drawn = [
            model.sample(rows.stop - rows.start, generator=generator, n_steps=n_steps).cpu()
            for rows, generator in blocks(n, model.event_shape, seed)
        ]
    return torch.cat(drawn)


@contextmanager
def _lent(model: DiffusionModel, device: torch.device) -> Iterator[DiffusionModel]:
    """Within the block, a run's model is on a device; figures and reports have it on the CPU."""
    try:
        yield model.to(device)
    finally:
        model.to("cpu")


def versions() -> dict[str, str]:
    """What a number was computed with."""
    return {
        "quasistatic": quasistatic.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
