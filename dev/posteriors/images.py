"""Images: denoise at a signal-to-noise ratio of one, and fill in half of each, beside classical methods.

Pictures go beside the run, ``RUN/posterior-denoise.png`` and ``RUN/posterior-inpaint.png``: look at them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posteriors.common import Measured, say, seed
from quasistatic.errors import InputError
from quasistatic.plots import posterior_images, save_figure
from quasistatic.posterior.observations import GaussianMeasurement, KnownEntries, Observation
from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning
from quasistatic.runs.run import Run, open_run

N_IMAGES, N_PARTICLES, N_STEPS, SHOWN = 16, 32, 50, 4
PEAK = {"mnist-binary": 1.0, "cifar10": 255.0}


def measure(runs: Path, of_seed: int) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    for name in PEAK:
        folder = runs / name / "seed-0" if (runs / name / "seed-0").exists() else runs / name
        if not (folder / "checkpoint" / "best.json").exists():
            say(f"there is no trained {name} in {runs}: left out")
            continue
        found |= of_run(open_run(folder), name, of_seed)
    return found


def of_run(run: Run, name: str, of_seed: int) -> dict[str, Measured]:
    x = run.splits.test[:N_IMAGES].double()
    s = x.std().item()
    noisy = x + s * torch.randn(x.shape, generator=seed(40 + of_seed), dtype=x.dtype)
    known = torch.zeros(x.shape[1:], dtype=torch.bool)
    known[:, : x.shape[2] // 2] = True
    holes = torch.where(known, x, torch.nan)
    tasks: dict[str, tuple[Observation, Tensor, Tensor, Tensor]] = {
        "denoise": (GaussianMeasurement(noisy, s), noisy, non_local_means(noisy, s, PEAK[name]), torch.ones_like(known)),
        "inpaint": (KnownEntries(known, x), holes, biharmonic(x, known, PEAK[name]), ~known),
    }
    rows = {}
    for task, (observation, seen, classical, where) in tasks.items():
        weighted, complaints = sampled(run, observation, of_seed, True)
        free, _ = sampled(run, observation, of_seed, False)
        psnr = {
            "posterior mean": decibels(weighted.mean, x, where, PEAK[name]),
            "the same without weights": decibels(free.mean, x, where, PEAK[name]),
            "classical": decibels(classical, x, where, PEAK[name]),
            "one sample": decibels(weighted.resample(1, generator=seed(0))[:, 0], x, where, PEAK[name]),
        }
        if task == "denoise":
            psnr["seen"] = decibels(seen, x, where, PEAK[name])
        gain = psnr["posterior mean"] - psnr["classical"]
        details: dict[str, Any] = {
            "psnr_db": {k: {"value": v.mean().item(), "standard_error": _error(v)} for k, v in psnr.items()},
            "noise_std": s, "n_images": len(x), "n_particles": N_PARTICLES, "n_steps": N_STEPS,
            "classical": "non-local means" if task == "denoise" else "biharmonic",
            "ess": weighted.ess.tolist(), "lines": weighted.n_ancestors.tolist(), "warnings": complaints,
            "log_evidence": weighted.log_evidence.tolist(), "n_resampled": weighted.n_resampled.tolist(),
        }  # fmt: skip
        say(f"{name}, {task}: {details['psnr_db']}")
        save_figure(picture(run, seen, weighted), run.folder / f"posterior-{task}.png")
        short = name.split("-")[0]
        rows[f"posterior-{short}-{task}"] = Measured(gain.mean().item(), _error(gain), len(x), details)
    return rows


def sampled(run: Run, observation: Observation, of_seed: int, weights: bool) -> tuple[PosteriorSamples, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PosteriorWarning)
        with torch.autocast("cpu", torch.bfloat16, run.recipe.train.amp):
            p = run.model.posterior(
                observation, N_PARTICLES, n_steps=N_STEPS, weighted=weights, generator=seed(of_seed), chunk=256
            )
    return p, [str(w.message) for w in caught if issubclass(w.category, PosteriorWarning)]


def decibels(made: Tensor, x: Tensor, where: Tensor, peak: float) -> Tensor:
    """Peak signal-to-noise ratio of each image over some pixels, (n,)."""
    square = ((made - x).square() * where).flatten(1).sum(1) / where.sum()
    return 10.0 * torch.log10(peak**2 / square)


def picture(run: Run, seen: Tensor, p: PosteriorSamples) -> Any:
    def shown(x: Tensor) -> Any:
        return run.recipe.shown(x, run.splits)  # type: ignore[attr-defined]

    n, event = min(8, len(seen)), seen.shape[1:]
    draws = shown(p.resample(SHOWN, generator=seed(1))[:n].reshape(-1, *event))
    twist = np.abs(shown(p.std[:n]) - shown(torch.zeros_like(p.std[:n])))
    return posterior_images(shown(seen[:n]), draws.reshape(n, SHOWN, *draws.shape[1:]), shown(p.mean[:n]), twist)


def non_local_means(y: Tensor, s: float, peak: float) -> Tensor:
    how = {"patch_size": 5, "patch_distance": 6, "h": 0.8 * s / peak, "sigma": s / peak, "fast_mode": True}
    return _each(y, peak, lambda image, axis: _restoration().denoise_nl_means(image, channel_axis=axis, **how))


def biharmonic(x: Tensor, known: Tensor, peak: float) -> Tensor:
    mask = ~known[0].numpy()
    return _each(x, peak, lambda image, axis: _restoration().inpaint_biharmonic(image, mask, channel_axis=axis))


def _each(x: Tensor, peak: float, method: Callable[[Any, int | None], Any]) -> Tensor:
    """A method for images from 0 to 1, colours last; grey ones without an axis for them, where it would blur over it."""
    grey = x.shape[1] == 1
    images = (x[:, 0] if grey else x.movedim(1, -1)).numpy() / peak
    made = torch.as_tensor(np.stack([method(image, None if grey else -1) for image in images])).clamp(0, 1)
    return peak * (made.unsqueeze(1) if grey else made.movedim(-1, 1))


def _restoration() -> Any:
    try:
        from skimage import restoration
    except ImportError:
        raise InputError("the classical methods need scikit-image: install quasistatic[peers]") from None
    return restoration


def _error(values: Tensor) -> float:
    return (values.std() / len(values) ** 0.5).item()
