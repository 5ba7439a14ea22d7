"""The trained swiss roll, measured with noise and partly known, beside the paper's rules and others' methods."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from posteriors.common import Measured, say, seed, trained
from quasistatic.datasets.swiss_roll import swiss_roll_frame
from quasistatic.distributions import Gaussian, MultivariateGaussian
from quasistatic.model import DiffusionModel
from quasistatic.plots import sliced_wasserstein
from quasistatic.posterior.observations import GaussianMeasurement, KnownEntries, Observation
from quasistatic.posterior.result import PosteriorWarning

NOISE, N, SETS = 0.02, 4000, 6
NODES = 200_001


class Problem(NamedTuple):
    """What was seen, and the posterior by quadrature along the spiral."""

    observation: Observation
    log_evidence: float
    draw: Callable[[int, int], np.ndarray]  # type: ignore[type-arg]


def spiral() -> tuple[np.ndarray, float]:  # type: ignore[type-arg]
    """Nodes of the curve in canonical units, uniform in t, and the deviation around it."""
    mean, scale = swiss_roll_frame(NOISE)
    t = np.linspace(1.5 * math.pi, 4.5 * math.pi, NODES)
    return (np.stack([t * np.cos(t), t * np.sin(t)], 1) - mean) / scale, NOISE / scale


def on_curve(turns: float) -> np.ndarray:  # type: ignore[type-arg]
    """A point of the curve, ``turns`` half turns out."""
    mean, scale = swiss_roll_frame(NOISE)
    t = turns * math.pi
    return (np.array([t * math.cos(t), t * math.sin(t)]) - mean) / scale


def measured(y: np.ndarray, s: float) -> Problem:  # type: ignore[type-arg]
    """x seen as y with noise s."""
    nodes, sd = spiral()
    total = sd**2 + s**2
    log_w = -0.5 * ((nodes - y) ** 2).sum(1) / total - math.log(2 * math.pi * total)
    top = log_w.max()
    weight = np.exp(log_w - top)
    gain, within = sd**2 / total, sd * s / math.sqrt(total)

    def draw(n: int, of_seed: int) -> np.ndarray:  # type: ignore[type-arg]
        rng = np.random.default_rng(of_seed)
        at = nodes[rng.choice(len(nodes), n, p=weight / weight.sum())]
        return np.asarray(at + gain * (y - at) + within * rng.standard_normal((n, 2)))

    return Problem(GaussianMeasurement(torch.tensor(y), s), top + math.log(weight.mean()), draw)


def known(v: float) -> Problem:
    """The first coordinate is known."""
    nodes, sd = spiral()
    log_w = -0.5 * ((nodes[:, 0] - v) / sd) ** 2 - 0.5 * math.log(2 * math.pi * sd**2)
    weight = np.exp(log_w - log_w.max())

    def draw(n: int, of_seed: int) -> np.ndarray:  # type: ignore[type-arg]
        rng = np.random.default_rng(of_seed)
        at = nodes[rng.choice(len(nodes), n, p=weight / weight.sum()), 1]
        return np.stack([np.full(n, v), at + sd * rng.standard_normal(n)], 1)

    mask = torch.tensor([True, False])
    return Problem(KnownEntries(mask, torch.tensor([v, 0.0])), log_w.max() + math.log(weight.mean()), draw)


def problems() -> dict[str, Problem]:
    on = on_curve(3.0)
    off = on + 0.5 * (on_curve(5.0) - on)  # half-way to the next arm
    seen = {f"{name}, s = {s}": measured(y, s) for name, y in (("on", on), ("off", off)) for s in (0.5, 0.15)}
    return seen | {"first coordinate known": known(0.2)}


Drawn = tuple[Tensor, Tensor | None, float | None]  # samples, weights, log evidence


def ours(model: DiffusionModel, p: Problem, of_seed: int, twist: str, weights: bool) -> Drawn:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        got = model.posterior(p.observation, N, twist=twist, weighted=weights, generator=seed(of_seed))
    return got.x, got.weights if weights else None, got.log_evidence.item() if weights else None


def replacement(model: DiffusionModel, p: Problem, of_seed: int, back: int = 10) -> Drawn:
    """Overwrite what is known with its noisy version at every step, and walk every step ``back`` times (RePaint)."""
    assert isinstance(p.observation, KnownEntries)
    q, generator = model.process, seed(of_seed)
    mask, v = p.observation.mask, p.observation.values.double().expand(N, 2)
    x = q.stationary((N, 2), torch.float64).sample(generator)
    with torch.no_grad():
        for t in range(q.n_steps, 0, -1):
            for again in range(back if t > 1 else 1):
                x = torch.where(mask, q.marginal(v, t).sample(generator), x)
                x = model.kernel(x, t).sample(generator)
                x = torch.where(mask, q.marginal(v, t - 1).sample(generator) if t > 1 else v, x)
                if again + 1 < back and t > 1:
                    x = q.step(x, t).sample(generator)
    return x, None, None


def azula_twisted(model: DiffusionModel, p: Problem, of_seed: int) -> Drawn:
    """azula's twisted sampler on the mean of the same denoiser, at the same steps."""
    azula = {name: importlib.import_module(f"azula.{name}") for name in ("denoise", "noise", "guidance")}
    assert isinstance(p.observation, GaussianMeasurement)
    y, s, q = p.observation.y, float(p.observation.std), model.process
    signal, noise = q.alpha_bar.sqrt(), q.noise_bar.sqrt()

    class Schedule(azula["noise"].Schedule):  # type: ignore[misc,name-defined]
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            step = (t * q.n_steps).round().long()
            return signal[step], noise[step]

    class Denoiser(azula["denoise"].Denoiser):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.schedule = Schedule()

        def forward(self, x_t: Tensor, t: Tensor) -> Any:
            step = int((t * q.n_steps).round())
            data = model.kernel.denoise(x_t, step)
            assert isinstance(data, Gaussian | MultivariateGaussian)
            return azula["denoise"].DiracPosterior(data.mean)

    def twist(x_hat: Tensor, ratio: Tensor) -> Tensor:
        var = s**2 + ratio**2 / (1.0 + ratio**2)  # of x_0 given x_t, for data of unit variance
        return -0.5 * (x_hat - y) ** 2 / var - 0.5 * torch.log(2 * math.pi * var)

    torch.manual_seed(of_seed)
    sampler = azula["guidance"].TDSSampler(Denoiser(), twist, steps=q.n_steps)
    return sampler(torch.randn(N, 2, dtype=torch.float64)).detach(), None, None


def methods(p: Problem) -> dict[str, Callable[[DiffusionModel, Problem, int], Drawn]]:
    def by(twist: str, weights: bool) -> Callable[[DiffusionModel, Problem, int], Drawn]:
        return lambda model, p, of_seed: ours(model, p, of_seed, twist, weights)

    listed: dict[str, Callable[[DiffusionModel, Problem, int], Drawn]] = {
        "lookahead, weights": by("lookahead", True),
        "lookahead, no weights": by("lookahead", False),
        "constant, no weights (paper)": by("constant", False),
    }
    if isinstance(p.observation, KnownEntries):
        return listed | {"replacement, 10 times (RePaint-like)": replacement}
    listed |= {"power, no weights (paper)": by("power", False), "power, weights": by("power", True)}
    try:
        importlib.import_module("azula")
    except ImportError:
        say("azula is not installed here: its twisted sampler is left out")
        return listed
    return listed | {"twisted, azula": azula_twisted}


def measure(runs: Path, of_seed: int) -> dict[str, Measured]:
    model = trained(runs, "swiss-roll")
    details: dict[str, Any] = {"noise": NOISE, "n_steps": model.process.n_steps, "n_particles": N, "runs": SETS}
    for name, p in problems().items():
        exact = [p.draw(N, 1000 * of_seed + k) for k in range(2 * SETS)]
        floor = [sliced_wasserstein(a, b) for a, b in zip(exact[::2], exact[1::2], strict=True)]
        told: dict[str, Any] = {"log_evidence": p.log_evidence, "floor": _mean(floor)}
        for method, draw in methods(p).items():
            distance, log_z = [], []
            for k in range(SETS):
                x, w, z = draw(model, p, 100 * of_seed + k)
                distance.append(sliced_wasserstein(x.numpy(), exact[k], None if w is None else w.numpy()))
                log_z += [] if z is None else [z - p.log_evidence]
            told[method] = {"w1": _mean(distance), "over_floor": float(np.mean(distance) / np.mean(floor))}
            if log_z:
                told[method]["log_evidence_off"] = _mean(log_z)
        details[name] = told
        by_method = {m: v["over_floor"] for m, v in told.items() if isinstance(v, dict) and "over_floor" in v}
        say(f"{name}: " + ", ".join(f"{m} {ratio:.2f}" for m, ratio in by_method.items()))

    def worst(method: str, names: list[str]) -> Measured:
        at = max(names, key=lambda name: details[name][method]["over_floor"])
        w1, floor = details[at][method]["w1"], details[at]["floor"]
        ratio = w1["value"] / floor["value"]
        error = ratio * math.hypot(w1["standard_error"] / w1["value"], floor["standard_error"] / floor["value"])
        return Measured(ratio, error, N, {"worst_at": at, **details})

    seen = [name for name in details if isinstance(details[name], dict) and "s =" in name]
    off = {name: details[name]["lookahead, weights"]["log_evidence_off"] for name in seen}
    at = max(seen, key=lambda name: abs(off[name]["value"]))
    return {
        "posterior-swiss-roll": worst("lookahead, weights", seen),
        "posterior-swiss-roll-constant": worst("constant, no weights (paper)", seen),
        "posterior-swiss-roll-power": worst("power, no weights (paper)", seen),
        "posterior-swiss-roll-evidence": Measured(
            abs(off[at]["value"]), off[at]["standard_error"], N, {"worst_at": at, "log_evidence_off": off}
        ),
    }


def _mean(values: list[float]) -> dict[str, float]:
    return {"value": float(np.mean(values)), "standard_error": float(np.std(values, ddof=1) / len(values) ** 0.5)}
