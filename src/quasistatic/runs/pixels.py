"""Conversion between rows of a run and 8-bit pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from quasistatic.io.image_folders import ENDINGS, image_files
from quasistatic.io.pixels import write_pixels
from quasistatic.transforms import Dequantise, Levels
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe
from quasistatic.runs.run import Run
from quasistatic.storage.atomic import new_folder

__all__ = [
    "as_integers", "background", "has_pictures", "is_picture", "n_values", "names_of", "pixels", "to_data", "write_samples",
]  # fmt: skip


def has_pictures(recipe: Recipe) -> bool:
    """Return whether rows of a recipe are pictures."""
    return type(recipe).to_grey is not Recipe.to_grey


def background(recipe: Recipe) -> str:
    """Return the colour behind transparent pixels."""
    return recipe.background_colour()


def n_values(model: DiffusionModel) -> int | None:
    """Return the number of values of an entry, None for real numbers."""
    match model.process:
        case BernoulliDiffusion():
            return 2
        case CategoricalDiffusion(n_classes=n_classes):
            return n_classes
    levels = [part.levels for part in model.transform.modules() if isinstance(part, Dequantise | Levels)]
    return levels[0] if levels else None


def as_integers(run: Run, x: Tensor) -> NDArray[Any]:
    """Convert draws to an array, of type uint8 for pictures."""
    top = n_values(run.model) if has_pictures(run.recipe) else None
    return x.numpy() if top is None or top > 256 else x.numpy().astype(np.uint8)


def pixels(run: Run, x: Tensor) -> NDArray[np.uint8]:
    r"""Convert rows (n, \*event) to 8-bit pictures (n, channels, height, width)."""
    splits = run.splits if run.recipe.scaled_by_data else None
    grey = run.recipe.to_grey(x.double(), splits)
    if grey is None:
        raise InputError(f"rows of {run.name} are not pictures")
    return grey.round().clamp(0, 255).numpy().astype(np.uint8)


def write_samples(run: Run, x: Tensor, out: Path) -> None:
    """Write rows as a PNG file or a folder of them."""
    drawn = pixels(run, x)
    try:
        if out.suffix:
            out.parent.mkdir(parents=True, exist_ok=True)
            write_pixels(out, drawn[0])
            return
        width = len(str(len(drawn) - 1))
        with new_folder(out) as folder:
            for i, picture in enumerate(drawn):
                write_pixels(folder / f"{i:0{width}d}.png", picture)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error


def is_picture(path: Path) -> bool:
    """Return whether a path is an image file or a folder."""
    return path.is_dir() or path.suffix.lower() in ENDINGS


def names_of(path: Path, n: int) -> list[str]:
    """Return names of n observations, from their files or their numbers."""
    stems = [file.stem for file in image_files(path)] if path.is_dir() else [path.stem]
    if len(stems) == n and len({*stems}) == n:
        return stems
    return [f"{i:0{len(str(n - 1))}d}" for i in range(n)]


def to_data(run: Run, rows: Tensor, *, whole: bool) -> Tensor:
    """Convert 8-bit pixels to data units.

    Parameters
    ----------
    run : Run
    rows : Tensor, shape (n, channels, height, width)
        Numbers from 0 to 255.
    whole : bool
        Round to levels.
    """
    top = n_values(run.model)
    if top is not None:
        rows = rows * ((top - 1) / 255.0)
        return rows.round() if whole else rows
    splits = run.splits if run.recipe.scaled_by_data else None
    return run.recipe.from_grey(rows, splits)
