"""Images in a folder or in a NumPy file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasistatic.errors import InputError
from quasistatic.io.array_files import open_array
from quasistatic.io.pixels import Header, read_header, read_pixels
from quasistatic.io.splits import split_rows

__all__ = ["Images", "image_files", "open_images"]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True, eq=False)
class Images:
    """Images on disk, read when they are indexed.

    Attributes
    ----------
    event_shape : tuple of int
        (channels, height, width).
    dtype : numpy.dtype
    rows : ndarray of int, shape (n,)
        Numbers of the images on disk, from 0.
    read : callable
        Reads images by number into an array (k, *event_shape).
    n_transparent : int
        Files of the folder that may have transparent pixels.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = pathlib.Path(folder.name) / "noise.npy"
    >>> np.save(file, np.random.default_rng(0).integers(256, size=(20, 3, 8, 8), dtype=np.uint8))
    >>> images = open_images(file)
    >>> train, validation, test = images.split(seed=0)
    >>> len(train), len(validation), len(test), train[:5].shape
    (16, 2, 2, (5, 3, 8, 8))
    >>> folder.cleanup()
    """

    event_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: NDArray[np.intp]
    read: Callable[[NDArray[np.intp]], NDArray[Any]]
    n_transparent: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, channels, height, width)."""
        return (len(self), *self.event_shape)

    def __getitem__(self, index: int | slice | ArrayLike) -> NDArray[Any]:
        """Read one image, or those of a slice or an array."""
        rows = self.rows[index]  # type: ignore[index]
        return self.read(np.atleast_1d(rows)).reshape(np.shape(rows) + self.event_shape)

    def split(self, seed: int, validation: float = 0.1, test: float = 0.1) -> tuple[Images, Images, Images]:
        """Split the images at random into train, validation and test.

        Parameters
        ----------
        seed : int
        validation, test : float
            Shares of the images, as in :func:`quasistatic.io.splits.split_rows`.
        """
        parts = split_rows(len(self), seed, validation, test)
        train, middle, last = (replace(self, rows=self.rows[part]) for part in parts)
        return train, middle, last


def open_images(
    path: str | os.PathLike[str],
    crop: int | None = None,
    channels: int | None = None,
    *,
    common: bool = False,
    background: str = "white",
) -> Images:
    """Open images without reading them.

    A **folder** holds .png, .jpg, .bmp or .webp files, taken in the order of their names; other files and folders inside
    are ignored. Only their headers are read here. Images are read as a viewer shows them: turned by their EXIF orientation,
    palettes as their colours, one bit as black and white, 16 bits as 8. A **.npy** file, or **.npz** file with one array,
    holds (n, height, width) or (n, channels, height, width); it is mapped into memory, so that it may be larger than that,
    unless it is a compressed .npz, which must be unpacked first.

    Parameters
    ----------
    path : str or path
    crop : int, optional
        Take the central square of so many pixels of each image. Without it, all must have one size.
    channels : {1, 3}, optional
        Turn the images of a folder into grey (ITU-R 601 luma) or colour. Without it, they must be alike already.
        Needed where images have transparency.
    background : {"white", "black", "grey"}
        What transparent pixels of a folder's images are blended with.
    common : bool
        Where images of a folder differ in size, take the largest central square that all of them have.

    Returns
    -------
    Images
        uint8 from a folder, else of the array's type.

    Raises
    ------
    InputError
        If there are no images, one cannot be read (also later, when it is indexed), or one is not like the others.
    """
    path = Path(path)
    if crop is not None and crop < 1:
        raise InputError(f"crop must be at least 1, got {crop}")
    if channels not in (None, 1, 3):
        raise InputError(f"channels must be 1 or 3, got {channels}")
    if "\0" in str(path) or not os.path.lexists(path):
        raise InputError(f"there is no file or folder {path}")
    if path.is_dir():
        return _open_folder(path, crop, channels, common, background)
    return _open_array(path, crop, channels)


# -------------------------------------------------------------------------------------------------- folders


def image_files(folder: Path) -> list[Path]:
    """List the image files of a folder by name."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())


def _open_folder(folder: Path, crop: int | None, channels: int | None, common: bool, background: str) -> Images:
    files = image_files(folder)
    if not files:
        raise InputError(f"{folder} holds no images ({', '.join(ENDINGS)})")
    headers = [read_header(file) for file in files]
    shapes = [_shape(file, header, crop, channels) for file, header in zip(files, headers, strict=True)]
    if common and len({shape[1:] for shape in shapes}) > 1:
        side = min(min(shape[1:]) for shape in shapes)
        shapes = [(shape[0], side, side) for shape in shapes]
    for file, shape in zip(files, shapes, strict=True):
        if shape != shapes[0]:
            rule = "give channels" if shape[0] != shapes[0][0] else "give crop to cut a square out of each"
            difference = f"{file} has {_in_words(shape)}, but {files[0].name} has {_in_words(shapes[0])}"
            raise InputError(f"{difference}: all images must be alike, or {rule}")

    def read(rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        out = np.empty((len(rows), *shapes[0]), np.uint8)
        for image, row in zip(out, rows, strict=True):
            image[:] = _decode(files[row], shapes[0], background)
        return out

    n_transparent = sum(header.transparent for header in headers)
    return Images(shapes[0], np.dtype(np.uint8), np.arange(len(files)), read, n_transparent)


def _shape(file: Path, header: Header, crop: int | None, channels: int | None) -> tuple[int, int, int]:
    """Return the shape of the part of a file to read."""
    _, height, width, transparent = header
    if channels is None and transparent:
        blended = "blends transparent pixels with a background (white, unless another is given)"
        raise InputError(f"{file} has transparent pixels: channels=3, or 1 for grey, {blended}")
    if crop is not None and min(height, width) < crop:
        raise InputError(f"{file} has {width} x {height} pixels, but crop {crop} must fit into every image")
    return channels or header.channels, crop or height, crop or width


def _decode(file: Path, shape: tuple[int, ...], background: str) -> NDArray[np.uint8]:
    pixels = read_pixels(file, shape[0], background)
    if pixels.shape[1] < shape[1] or pixels.shape[2] < shape[2]:
        raise InputError(f"{file} has changed since it was opened: it is now smaller")
    return np.ascontiguousarray(_centre(pixels, shape))


def _centre(pixels: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Return the centre of the last two axes."""
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape[-2:], shape[-2:], strict=True))
    return pixels[..., top : top + shape[-2], left : left + shape[-1]]


def _in_words(shape: Sequence[int]) -> str:
    return f"{shape[2]} x {shape[1]} pixels and {shape[0]} channel{'s' * (shape[0] != 1)}"


# --------------------------------------------------------------------------------------------------- arrays


def _open_array(path: Path, crop: int | None, channels: int | None) -> Images:
    if path.suffix.lower() not in (".npy", ".npz"):
        raise InputError(f"{path} must be a folder of images or end in .npy or .npz")
    found = open_array(path)
    shape = (found.shape[0], 1, *found.shape[1:]) if len(found.shape) == 3 else found.shape
    if len(shape) != 4 or math.prod(shape) == 0:
        rule = "images must have shape (n, height, width) or (n, channels, height, width), without a zero"
        raise InputError(f"{path} has shape {found.shape}, but {rule}")
    if shape[1] not in (1, 3) or shape[1] != (channels or shape[1]):
        hint = "; move the last axis to place 1" if shape[3] in (1, 3) else ""
        raise InputError(f"{path} has {shape[1]} channels, but must have {channels or '1 or 3'}{hint}")
    if crop is not None and min(shape[2:]) < crop:
        raise InputError(f"{path} has images of {shape[3]} x {shape[2]} pixels, but crop {crop} must fit into them")
    event = (shape[1], crop or shape[2], crop or shape[3])
    array = found.read(mapped=True)

    def read(rows: NDArray[np.intp]) -> NDArray[Any]:
        images = np.ascontiguousarray(_centre(array[rows], event)).reshape(-1, *event)
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            bad = rows[np.argmin(np.isfinite(images).all((1, 2, 3)))]
            raise InputError(f"image {bad + 1} of {path} has a pixel that is not finite")
        return images

    return Images(event, array.dtype, np.arange(len(array)), read)
