"""Pictures of a run in and out: its data units to 8-bit pixels and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from quasistatic.io.image_folders import ENDINGS, image_files
from quasistatic.io.pixels import write_pixels
from quasistatic.transforms import Chain, Dequantise, Levels, Transform
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
    """Whether rows of a recipe are pictures."""
    return type(recipe).to_grey is not Recipe.to_grey


def background(recipe: Recipe) -> str:
    """What transparent pixels of a run's pictures are blended with."""
    return getattr(recipe, "background", "white")


def n_values(model: DiffusionModel) -> int | None:
    """How many values an entry can have; None for real numbers."""
    if isinstance(model.process, BernoulliDiffusion):
        return 2
    if isinstance(model.process, CategoricalDiffusion):
        return model.process.n_classes

    def find(part: Transform) -> int | None:
        if isinstance(part, Dequantise | Levels):
            return part.levels
        parts = list(part.parts) if isinstance(part, Chain) else []
        return next((n for n in map(find, parts) if n is not None), None)  # type: ignore[arg-type]

    return find(model.transform)


def as_integers(run: Run, x: Tensor) -> NDArray[Any]:
    """Draws of a run as an array: of the type uint8 where they are pictures of at most 256 levels."""
    top = n_values(run.model) if has_pictures(run.recipe) else None
    return x.numpy() if top is None or top > 256 else x.numpy().astype(np.uint8)


def pixels(run: Run, x: Tensor) -> NDArray[np.uint8]:
    r"""Rows (n, \*event) of a run as 8-bit pictures, (n, channels, height, width)."""
    splits = run.splits if run.recipe.scaled_by_data else None
    grey = run.recipe.to_grey(x.double(), splits)
    if grey is None:
        raise InputError(f"rows of {run.name} are no pictures")
    return grey.round().clamp(0, 255).numpy().astype(np.uint8)


def write_samples(run: Run, x: Tensor, out: Path) -> None:
    """Write rows as PNG: one as a file of this name, or many as numbered files of a folder."""
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
    """Whether a path is an image file or a folder."""
    return path.is_dir() or path.suffix.lower() in ENDINGS


def names_of(path: Path, n: int) -> list[str]:
    """A name for each of n observations: those of their files, or their numbers."""
    stems = [file.stem for file in image_files(path)] if path.is_dir() else [path.stem]
    if len(stems) == n and len({*stems}) == n:
        return stems
    return [f"{i:0{len(str(n - 1))}d}" for i in range(n)]


def to_data(run: Run, rows: Tensor, *, whole: bool) -> Tensor:
    """8-bit pixels (n, channels, height, width), from 0 to 255, in data units; ``whole`` for levels only."""
    top = n_values(run.model)
    if top is not None:
        rows = rows * ((top - 1) / 255.0)
        return rows.round() if whole else rows
    splits = run.splits if run.recipe.scaled_by_data else None
    return run.recipe.from_grey(rows, splits)
