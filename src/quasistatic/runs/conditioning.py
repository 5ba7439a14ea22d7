"""Posteriors of a trained run given observations in files."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quasistatic.io.observations import read_mask, read_observed
from quasistatic.io.pixels import write_pixels
from quasistatic.errors import InputError, as_input_error
from quasistatic.posterior.observations import GaussianMeasurement, KnownEntries, Observation
from quasistatic.storage.files import strict
from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning
from quasistatic.recipes.base import seeded
from quasistatic.runs.pixels import as_integers, background, has_pictures, n_values, pixels, to_data
from quasistatic.runs.run import Run
from quasistatic.storage.atomic import new_folder, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["condition", "masked_observation", "noisy_observation"]

MAX_SAMPLES = 4  # in a row of the picture
MAX_ROWS = 8  # observations in the picture


def noisy_observation(run: Run, path: Path, noise_std: float) -> tuple[Observation, Tensor]:
    """Read an observation with Gaussian noise on every entry.

    Parameters
    ----------
    run : Run
    path : Path
        File or folder of observations.
    noise_std : float
        Standard deviation of the noise, in data units.

    Returns
    -------
    Observation
        In data units.
    Tensor
        The observed rows.
    """
    if not (math.isfinite(noise_std) and noise_std > 0):
        raise InputError(f"--noise-std must be positive and finite, got {noise_std}")
    rows = _rows(run, path)
    if rows.isnan().any():
        raise InputError(f"{path} holds nan: for entries that were not observed use inpaint with a mask")
    return GaussianMeasurement(rows, noise_std), rows


def masked_observation(run: Run, path: Path, mask: Path | None) -> tuple[Observation, Tensor]:
    """Read an observation with some entries known exactly.

    Parameters
    ----------
    run : Run
    path : Path
        File or folder of observations.
    mask : Path, optional
        File of the known entries; without it these are the entries that are not nan.

    Returns
    -------
    Observation
        In data units.
    Tensor
        The observed rows, nan where an entry is not known.
    """
    rows = _rows(run, path, whole=True)
    if mask is None and not rows.isnan().any():
        raise InputError(f"every entry of {path} is known: give a --mask, or nan for what is missing")
    known = ~rows.isnan() if mask is None else torch.as_tensor(read_mask(mask, run.model.event_shape, len(rows)).copy())
    if (known & rows.isnan()).any():
        raise InputError(f"{path} holds nan at an entry that the mask marks as known")
    if not known.any():
        raise InputError("the mask leaves no entry known: use quasistatic sample instead")
    nan = torch.tensor(float("nan"), dtype=rows.dtype)
    return KnownEntries(known, rows.nan_to_num(nan=0.0)), torch.where(known, rows, nan)


def condition(
    run: Run,
    observation: Observation,
    observed: Tensor,
    out: Path,
    *,
    n_particles: int = 200,
    n_steps: int | None = None,
    seed: int = 0,
    n_draws: int = 16,
    names: list[str] | None = None,
) -> dict[str, Any]:
    """Sample a posterior and write it into a folder.

    The folder holds ``posterior.npz``, ``answer.json`` and ``picture.png``. The samples are kept if a picture cannot be
    drawn.

    Parameters
    ----------
    run : Run
    observation : Observation
        In data units.
    observed : Tensor
        The observed rows.
    out : Path
        The folder.
    n_particles : int
        Particles of each observation.
    n_steps : int, optional
        Use a subset of the steps of the chain.
    seed : int
    n_draws : int
        Samples of equal weight of each observation.
    names : list of str, optional
        One name for each observation; every sample and every mean is then written as a PNG file in ``pictures/``.

    Returns
    -------
    dict
        The contents of ``answer.json``.
    """
    for name, value in (("--particles", n_particles), ("--draws", n_draws)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    generator = seeded(seed)
    with warnings.catch_warnings(record=True) as caught, as_input_error():
        warnings.simplefilter("always", PosteriorWarning)
        with torch.autocast(run.model.process.beta.device.type, torch.bfloat16, run.recipe.train.amp):
            p = run.model.posterior(observation, n_particles, n_steps=n_steps, generator=generator)
    samples = p.resample(n_draws, generator=generator)
    answer = {
        "recipe": run.name, "n": len(observed), "particles": n_particles, "n_steps": n_steps or run.model.process.n_steps,
        "seed": seed, "unit": "nats", "log_evidence": p.log_evidence.tolist(),
        "log_evidence_error": p.log_evidence_error.tolist(), "ess": p.ess.tolist(), "ancestors": p.n_ancestors.tolist(),
        "warnings": [str(w.message) for w in caught if issubclass(w.category, PosteriorWarning)],
        "folder": str(out), "files": ["answer.json", "picture.png", "posterior.npz"] + ["pictures"] * (names is not None),
    }  # fmt: skip
    _write(run, p, observed, samples, answer, out, names)
    return answer


def _write(
    run: Run,
    p: PosteriorSamples,
    observed: Tensor,
    samples: Tensor,
    answer: dict[str, Any],
    out: Path,
    names: list[str] | None,
) -> None:
    """Write samples, answer and pictures, the samples even if the pictures fail."""
    from quasistatic.plots import save_figure

    failure: BaseException | None = None
    try:
        with new_folder(out) as folder:
            arrays = {
                "observed": observed.numpy(), "samples": as_integers(run, samples), "mean": p.mean.numpy(),
                "std": p.std.numpy(), "log_evidence": p.log_evidence.numpy(), "ess": p.ess.numpy(),
            }  # fmt: skip
            with open(folder / "posterior.npz", "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            _write_answer(folder, answer)
            try:
                if names is not None:
                    _write_pictures(run, folder / "pictures", names, samples, p.mean)
                save_figure(_picture(run, p, observed, samples), folder / "picture.png")
            except BaseException as error:  # sampling took long: the samples are kept whatever happens
                failure = error
                answer["files"] = sorted(name for name in answer["files"] if (folder / name).exists())
                _write_answer(folder, answer)
            _clear(out, {entry.name for entry in folder.iterdir()})
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    if isinstance(failure, OSError):
        kept = "the samples are in posterior.npz there"
        raise InputError(f"cannot draw into {out}: {failure.strerror or failure}; {kept}") from failure
    if failure is not None:
        raise failure


def _write_answer(folder: Path, answer: dict[str, Any]) -> None:
    write_text(folder / "answer.json", json.dumps(strict(answer), indent=1, allow_nan=False))


def _write_pictures(run: Run, folder: Path, names: list[str], samples: Tensor, mean: Tensor) -> None:
    """Write each sample and each mean as a PNG file."""
    folder.mkdir()
    width = len(str(samples.shape[1]))
    for name, draws, middle in zip(names, samples, mean, strict=True):
        for k, picture in enumerate(pixels(run, draws), start=1):
            write_pixels(folder / f"{name}-sample-{k:0{width}d}.png", picture)
        write_pixels(folder / f"{name}-mean.png", pixels(run, middle[None])[0])


def _clear(out: Path, kept: set[str]) -> None:
    """Remove files of an earlier answer, except those that are written again."""
    if not (out / "answer.json").is_file():
        return
    for name in {"picture.png", "pictures"} - kept:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)


def _rows(run: Run, path: Path, whole: bool = False) -> Tensor:
    """Read rows of a file in data units.

    8-bit pictures are converted.
    """
    read = read_observed(path, run.model.event_shape, background(run.recipe))
    rows, top = torch.as_tensor(read.rows), n_values(run.model)
    if read.pictures:
        rows = to_data(run, rows, whole=whole)
    if whole and top is not None and not (rows.isnan() | ((rows == rows.round()) & (rows >= 0) & (rows < top))).all():
        raise InputError(f"{path} must hold whole numbers from 0 to {top - 1}, as in the training data of this model")
    return rows


def _picture(run: Run, p: PosteriorSamples, observed: Tensor, samples: Tensor) -> Figure:
    from quasistatic.plots import posterior_images, posterior_intervals, posterior_points

    event, few = run.model.event_shape, slice(0, MAX_ROWS)
    observed, samples, mean, std = observed[few], samples[few, :MAX_SAMPLES], p.mean[few], p.std[few]
    if has_pictures(run.recipe):
        splits = run.splits if run.recipe.scaled_by_data else None

        def show(x: Tensor) -> NDArray[Any]:
            return np.asarray(run.recipe.shown(x, splits))

        drawn = show(samples.reshape(-1, *event))
        # in the units of the picture, whether it is drawn light on dark or dark on light
        deviation = np.abs(show(std) - show(torch.zeros_like(std)))
        return posterior_images(show(observed), drawn.reshape(*samples.shape[:2], *drawn.shape[1:]), show(mean), deviation)
    if event == (2,):
        prior = run.model.sample(1500, generator=seeded(0)).numpy()
        return posterior_points(list(observed.numpy()), [x.numpy() for x in p.x[few]], prior)
    observed, low, middle, high = (x.flatten(1) for x in (observed, p.quantile(0.05)[few], mean, p.quantile(0.95)[few]))
    names = [str(i + 1) for i in range(math.prod(event))]
    return posterior_intervals(observed.numpy(), low.numpy(), middle.numpy(), high.numpy(), names)
