"""What a trained run makes of observations: denoise and inpaint, with weights, evidence and a picture."""

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
from quasistatic.errors import InputError
from quasistatic.posterior.observations import Observation, GaussianMeasurement, KnownEntries
from quasistatic.storage.files import strict
from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning
from quasistatic.recipes.base import seeded
from quasistatic.runs.pixels import as_integers, background, has_pictures, n_values, pixels, to_data
from quasistatic.runs.run import Run, sentences
from quasistatic.storage.atomic import new_folder, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["condition", "seen_through_mask", "seen_through_noise"]

SHOWN = 4  # samples in a line of the picture
LINES = 8  # observations in it


def seen_through_noise(run: Run, path: Path, noise_std: float) -> tuple[Observation, Tensor]:
    """Evidence of a file whose every entry has noise of this deviation, in data units, and its rows."""
    if not (math.isfinite(noise_std) and noise_std > 0):
        raise InputError(f"--noise-std must be positive and finite, got {noise_std}")
    rows = _rows(run, path)
    if rows.isnan().any():
        raise InputError(f"{path} holds nan: entries that were not seen go with inpaint and a mask")
    return GaussianMeasurement(rows, noise_std), rows


def seen_through_mask(run: Run, path: Path, mask: Path | None) -> tuple[Observation, Tensor]:
    """Evidence of a file of which the entries in a mask (without one, those that are not nan) are exact; others are nan."""
    rows = _rows(run, path, whole=True)
    if mask is None and not rows.isnan().any():
        raise InputError(f"every entry of {path} is known: give a --mask, or nan for what is missing")
    known = ~rows.isnan() if mask is None else torch.as_tensor(read_mask(mask, run.model.event_shape, len(rows)).copy())
    if (known & rows.isnan()).any():
        raise InputError(f"{path} holds nan at an entry that the mask calls known")
    if not known.any():
        raise InputError("the mask leaves no entry known: then take quasistatic sample")
    nan = torch.tensor(float("nan"), dtype=rows.dtype)
    return KnownEntries(known, rows.nan_to_num(nan=0.0)), torch.where(known, rows, nan)


def condition(
    run: Run,
    observation: Observation,
    seen: Tensor,
    out: Path,
    *,
    n_particles: int = 200,
    n_steps: int | None = None,
    seed: int = 0,
    draws: int = 16,
    names: list[str] | None = None,
) -> dict[str, Any]:
    """Sample the posterior and write a folder with ``posterior.npz``, ``answer.json`` and ``picture.png``.

    With ``names``, one for each observation, ``pictures/`` holds each sample and each mean as a PNG file. The samples are
    kept if a picture cannot be drawn.
    """
    for name, value in (("--particles", n_particles), ("--draws", draws)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    generator = seeded(seed)
    with warnings.catch_warnings(record=True) as caught, sentences():
        warnings.simplefilter("always", PosteriorWarning)
        with torch.autocast(run.model.process.beta.device.type, torch.bfloat16, run.recipe.train.amp):
            p = run.model.posterior(observation, n_particles, n_steps=n_steps, generator=generator)
    complaints = [str(w.message) for w in caught if issubclass(w.category, PosteriorWarning)]
    samples = p.resample(draws, generator=generator)
    files = ["answer.json", "picture.png", "posterior.npz"] + ["pictures"] * (names is not None)
    answer = {
        "recipe": run.name, "n": len(seen), "particles": n_particles, "n_steps": n_steps or run.model.process.n_steps,
        "seed": seed, "unit": "nats", "log_evidence": p.log_evidence.tolist(),
        "log_evidence_error": p.log_evidence_error.tolist(), "ess": p.ess.tolist(), "lines": p.n_ancestors.tolist(),
        "warnings": complaints, "folder": str(out), "files": files,
    }  # fmt: skip
    from quasistatic.plots import save_figure

    undrawn: BaseException | None = None
    try:
        with new_folder(out) as folder:
            arrays = {
                "seen": seen.numpy(), "samples": as_integers(run, samples), "mean": p.mean.numpy(), "std": p.std.numpy(),
                "log_evidence": p.log_evidence.numpy(), "ess": p.ess.numpy(),
            }  # fmt: skip
            with open(folder / "posterior.npz", "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            _write_answer(folder, answer)
            try:  # the samples took long: they are kept whatever happens to their pictures
                if names is not None:
                    _write_pictures(run, folder / "pictures", names, samples, p.mean)
                save_figure(_picture(run, p, seen, samples), folder / "picture.png")
            except BaseException as error:
                undrawn = error
                answer["files"] = sorted(name for name in files if (folder / name).exists())
                _write_answer(folder, answer)
            _clear(out, {entry.name for entry in folder.iterdir()})
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    if isinstance(undrawn, OSError):
        kept = "the samples are in posterior.npz there"
        raise InputError(f"cannot draw into {out}: {undrawn.strerror or undrawn}; {kept}") from undrawn
    if undrawn is not None:
        raise undrawn
    return answer


def _write_answer(folder: Path, answer: dict[str, Any]) -> None:
    write_text(folder / "answer.json", json.dumps(strict(answer), indent=1, allow_nan=False))


def _write_pictures(run: Run, folder: Path, names: list[str], samples: Tensor, mean: Tensor) -> None:
    """Write each sample, and the mean, of each observation as a PNG file."""
    folder.mkdir()
    width = len(str(samples.shape[1]))
    for name, draws, middle in zip(names, samples, mean, strict=True):
        for k, picture in enumerate(pixels(run, draws), start=1):
            write_pixels(folder / f"{name}-sample-{k:0{width}d}.png", picture)
        write_pixels(folder / f"{name}-mean.png", pixels(run, middle[None])[0])


def _clear(out: Path, kept: set[str]) -> None:
    """Remove what an earlier answer left in its folder, but for the names that are written anew."""
    if not (out / "answer.json").is_file():
        return
    for name in {"picture.png", "pictures"} - kept:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)


def _rows(run: Run, path: Path, whole: bool = False) -> Tensor:
    """Rows of a file in the model's data units; 8-bit pictures are converted to them."""
    read = read_observed(path, run.model.event_shape, background(run.recipe))
    rows, top = torch.as_tensor(read.rows), n_values(run.model)
    if read.pictures:
        rows = to_data(run, rows, whole=whole)
    if whole and top is not None and not (rows.isnan() | ((rows == rows.round()) & (rows >= 0) & (rows < top))).all():
        raise InputError(f"{path} must hold whole numbers from 0 to {top - 1}, which is what this model knows")
    return rows


def _picture(run: Run, p: PosteriorSamples, seen: Tensor, samples: Tensor) -> Figure:
    from quasistatic.plots import posterior_images, posterior_intervals, posterior_points

    event, few = run.model.event_shape, slice(0, LINES)
    seen, samples, mean, std = seen[few], samples[few, :SHOWN], p.mean[few], p.std[few]
    if has_pictures(run.recipe):
        splits = run.splits if run.recipe.scaled_by_data else None

        def show(x: Tensor) -> NDArray[Any]:
            return np.asarray(run.recipe.shown(x, splits))

        drawn = show(samples.reshape(-1, *event))
        # the spread in the units of the picture, whether it is drawn light on dark or dark on light
        spread = np.abs(show(std) - show(torch.zeros_like(std)))
        return posterior_images(show(seen), drawn.reshape(*samples.shape[:2], *drawn.shape[1:]), show(mean), spread)
    if event == (2,):
        prior = run.model.sample(1500, generator=seeded(0)).numpy()
        return posterior_points(list(seen.numpy()), [x.numpy() for x in p.x[few]], prior)
    seen, low, middle, high = (x.flatten(1) for x in (seen, p.quantile(0.05)[few], mean, p.quantile(0.95)[few]))
    names = [str(i + 1) for i in range(math.prod(event))]
    return posterior_intervals(seen.numpy(), low.numpy(), middle.numpy(), high.numpy(), names)
