"""Observations and masks in files, in the shape of a model's event."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasistatic.errors import InputError
from quasistatic.io.array_files import open_array
from quasistatic.io.image_folders import ENDINGS, open_images
from quasistatic.io.pixels import read_pixels
from quasistatic.io.text_tables import layout_of, read_numbers
from quasistatic.storage.files import regular_file

__all__ = ["Observed", "read_mask", "read_observed"]

_TEXT = (".csv", ".txt", ".tsv")


class Observed(NamedTuple):
    r"""Rows (n, \*event), and a flag for 8-bit images."""

    rows: NDArray[np.float64]
    pictures: bool


def read_observed(path: str | os.PathLike[str], event: Sequence[int], background: str = "white") -> Observed:
    r"""Read observations in the shape of a model's event.

    ``.npy`` and ``.npz`` (with one array, or one named ``x``) hold (n, \*event), one event alone, or events in another
    shape with as many entries; ``.csv`` holds a row for each event; an image file is one event, a folder of images many.

    Parameters
    ----------
    path : str or path
    event : sequence of int
        Shape of one event of the model.
    background : {"white", "black", "grey"}
        Colour behind transparent pixels.

    Raises
    ------
    InputError
        If the file is missing, cannot be read, or has another number of entries.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "y.npy")
    ...     np.save(file, np.zeros((3, 8, 8)))
    ...     read_observed(file, (1, 8, 8)).rows.shape, read_observed(file, (64,)).rows.shape
    ((3, 1, 8, 8), (3, 64))
    """
    path = Path(path)
    if "\0" in str(path) or not os.path.lexists(path):
        raise InputError(f"there is no file or folder {path}")
    if not path.is_dir():
        regular_file(path, "a file or a folder of images")
    ending = path.suffix.lower()
    channels = event[0] if len(event) == 3 and event[0] in (1, 3) else 1
    if path.is_dir():
        x: NDArray[Any] = open_images(path, channels=channels, background=background)[:]
    elif ending in ENDINGS:
        x = read_pixels(path, channels, background)[None]
    elif ending in (".npy", ".npz"):
        found = open_array(path, pick="x")
        _require_shape(found.shape, tuple(event), path)
        x = found.read()
    elif ending in _TEXT:
        x = read_numbers(path, layout_of(path))
    else:
        raise InputError(f"{path} must be a folder of images or end in {', '.join(('.npy', '.npz', *_TEXT, *ENDINGS))}")
    pictures = path.is_dir() or ending in ENDINGS
    if pictures and len(event) == 3 and x.shape[1:] != tuple(event):  # a reshape would scramble the pixels
        size = f"{x.shape[3]} x {x.shape[2]} pixels, but this model takes {event[2]} x {event[1]}"
        raise InputError(f"{path} has {size}: crop or resize it")
    return Observed(_fitted(x, tuple(event), path), pictures)


def read_mask(path: str | os.PathLike[str], event: Sequence[int], n: int) -> NDArray[np.bool_]:
    r"""Read the mask of known entries, (n, \*event).

    Entries that are not zero are known; of 8-bit images, the bright ones. Transparent pixels are unknown.

    Parameters
    ----------
    path : str or path
    event : sequence of int
        Shape of one event of the model.
    n : int
        Number of observations. One mask is used for all of them.

    Raises
    ------
    InputError
        If the mask holds nan, or there are neither one nor n masks.
    """
    rows, pictures = read_observed(path, event, "black")
    if np.isnan(rows).any():
        raise InputError(f"{path} holds nan, but every entry of a mask must be a number: 0 for an unknown entry")
    if len(rows) not in (1, n):
        raise InputError(f"{path} holds {len(rows)} masks, but there are {n} observations: give one mask, or one for each")
    return np.broadcast_to(rows > 127 if pictures else rows != 0, (n, *event))


def _fitted(x: NDArray[Any], event: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    if x.dtype.kind not in "biuf":
        raise InputError(f"{path} holds entries of type {x.dtype}, but observations are real numbers")
    _require_shape(x.shape, event, path)
    rows = np.ascontiguousarray(x, dtype=np.float64).reshape(-1, *event)
    if np.isinf(rows).any():
        where = np.argwhere(np.isinf(rows))[0].tolist()
        raise InputError(f"{path} holds an infinite number at index {where}")
    return rows


def _require_shape(shape: tuple[int, ...], event: tuple[int, ...], path: Path) -> None:
    """Refuse an array of another size than some events."""
    d = math.prod(event)
    if math.prod(shape) == 0 or (math.prod(shape) != d and (len(shape) < 2 or math.prod(shape[1:]) != d)):
        raise InputError(f"{path} has shape {shape}, but this model takes (n, {', '.join(map(str, event))})")
