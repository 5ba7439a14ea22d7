"""What a trained run makes of observations: denoise and inpaint, with weights, evidence and a picture."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from quasistatic.data.observations import read_mask, read_observed
from quasistatic.data.transforms import Chain, Dequantise, Levels, Transform
from quasistatic.errors import InputError
from quasistatic.evidence import Evidence, GaussianMeasurement, KnownEntries
from quasistatic.files import strict
from quasistatic.forward import BinomialDiffusion, CategoricalDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.posterior import Posterior, PosteriorWarning
from quasistatic.recipes.base import seeded
from quasistatic.recipes.run import Run, sentences
from quasistatic.saving import new_folder, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["condition", "seen_through_mask", "seen_through_noise"]

SHOWN = 4  # samples in a line of the picture
LINES = 8  # observations in it


def seen_through_noise(model: DiffusionModel, path: Path, noise_std: float) -> tuple[Evidence, Tensor]:
    """Evidence of a file whose every entry has noise of this deviation, in data units, and its rows."""
    if not (math.isfinite(noise_std) and noise_std > 0):
        raise InputError(f"--noise-std must be positive and finite, got {noise_std}")
    rows = _rows(model, path)
    if rows.isnan().any():
        raise InputError(f"{path} holds nan: entries that were not seen go with inpaint and a mask")
    return GaussianMeasurement(rows, noise_std), rows


def seen_through_mask(model: DiffusionModel, path: Path, mask: Path | None) -> tuple[Evidence, Tensor]:
    """Evidence of a file of which the entries in a mask (without one, those that are not nan) are exact; others are nan."""
    rows = _rows(model, path, whole=True)
    if mask is None and not rows.isnan().any():
        raise InputError(f"every entry of {path} is known: give a --mask, or nan for what is missing")
    known = ~rows.isnan() if mask is None else torch.as_tensor(read_mask(mask, model.event_shape, len(rows)).copy())
    if (known & rows.isnan()).any():
        raise InputError(f"{path} holds nan at an entry that the mask calls known")
    if not known.any():
        raise InputError("the mask leaves no entry known: then take quasistatic sample")
    nan = torch.tensor(float("nan"), dtype=rows.dtype)
    return KnownEntries(known, rows.nan_to_num(nan=0.0)), torch.where(known, rows, nan)


def condition(
    run: Run,
    evidence: Evidence,
    seen: Tensor,
    out: Path,
    *,
    n_particles: int = 200,
    n_steps: int | None = None,
    seed: int = 0,
    draws: int = 16,
) -> dict[str, Any]:
    """Sample the posterior and write a folder with ``posterior.npz``, ``answer.json`` and ``picture.png``."""
    for name, value in (("--particles", n_particles), ("--draws", draws)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    generator = seeded(seed)
    with warnings.catch_warnings(record=True) as caught, sentences():
        warnings.simplefilter("always", PosteriorWarning)
        with torch.autocast(run.model.diffusion.beta.device.type, torch.bfloat16, run.recipe.train.amp):
            p = run.model.posterior(evidence, n_particles, n_steps=n_steps, generator=generator)
    complaints = [str(w.message) for w in caught if issubclass(w.category, PosteriorWarning)]
    samples = p.resample(draws, generator=generator)
    answer = {
        "recipe": run.name, "n": len(seen), "particles": n_particles, "n_steps": n_steps or run.model.diffusion.n_steps,
        "seed": seed, "unit": "nats", "log_evidence": p.log_evidence.tolist(),
        "log_evidence_error": p.log_evidence_error.tolist(), "ess": p.ess.tolist(), "lines": p.n_founders.tolist(),
        "warnings": complaints, "folder": str(out),
        "files": ["answer.json", "picture.png", "posterior.npz"],
    }  # fmt: skip
    from quasistatic.report import save_figure

    try:
        with new_folder(out) as folder:
            arrays = {
                "seen": seen, "samples": samples, "mean": p.mean, "std": p.std, "log_evidence": p.log_evidence, "ess": p.ess,
            }  # fmt: skip
            with open(folder / "posterior.npz", "wb") as file:
                np.savez(file, **{name: value.numpy() for name, value in arrays.items()})  # type: ignore[arg-type]
            write_text(folder / "answer.json", json.dumps(strict(answer), indent=1, allow_nan=False))
            save_figure(_picture(run, p, seen, samples), folder / "picture.png")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    return answer


def _rows(model: DiffusionModel, path: Path, whole: bool = False) -> Tensor:
    """Rows of a file in the model's data units; 8-bit pictures are spread over its levels."""
    read = read_observed(path, model.event_shape)
    rows, top = torch.as_tensor(read.rows), _levels(model)
    if read.pictures and top is not None and top != 256:
        rows = rows * ((top - 1) / 255.0)
        rows = rows.round() if whole else rows
    if whole and top is not None and not (rows.isnan() | ((rows == rows.round()) & (rows >= 0) & (rows < top))).all():
        raise InputError(f"{path} must hold whole numbers from 0 to {top - 1}, which is what this model knows")
    return rows


def _levels(model: DiffusionModel) -> int | None:
    """How many values an entry can have; None for real numbers."""
    if isinstance(model.diffusion, BinomialDiffusion):
        return 2
    if isinstance(model.diffusion, CategoricalDiffusion):
        return model.diffusion.n_classes

    def find(part: Transform) -> int | None:
        if isinstance(part, Dequantise | Levels):
            return part.levels
        parts = list(part.parts) if isinstance(part, Chain) else []
        return next((n for n in map(find, parts) if n is not None), None)  # type: ignore[arg-type]

    return find(model.transform)


def _picture(run: Run, p: Posterior, seen: Tensor, samples: Tensor) -> Figure:
    from quasistatic.report import posterior_images, posterior_intervals, posterior_points

    event, few = run.model.event_shape, slice(0, LINES)
    seen, samples, mean, std = seen[few], samples[few, :SHOWN], p.mean[few], p.std[few]
    pictures = getattr(run.recipe, "shown", None)
    if pictures is None and event == (64,) and run.name == "digits":
        pictures = lambda x: (x / 16.0).view(-1, 8, 8).numpy()  # noqa: E731
    if pictures is not None:
        drawn = pictures(samples.reshape(-1, *event))
        # the spread in the units of the picture, whether it is drawn light on dark or dark on light
        spread = np.abs(pictures(std) - pictures(torch.zeros_like(std)))
        return posterior_images(pictures(seen), drawn.reshape(*samples.shape[:2], *drawn.shape[1:]), pictures(mean), spread)
    if event == (2,):
        prior = run.model.sample(1500, generator=seeded(0)).numpy()
        return posterior_points(list(seen.numpy()), [x.numpy() for x in p.x[few]], prior)
    seen, low, middle, high = (x.flatten(1) for x in (seen, p.quantile(0.05)[few], mean, p.quantile(0.95)[few]))
    names = [str(i + 1) for i in range(math.prod(event))]
    return posterior_intervals(seen.numpy(), low.numpy(), middle.numpy(), high.numpy(), names)
