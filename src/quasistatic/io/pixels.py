"""Image files as 8-bit pixels.

An image is read as a viewer shows it: turned by its orientation, with transparency blended and palettes resolved. 16 bits
become 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from quasistatic.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Background", "Header", "read_header", "read_pixels", "write_pixels"]

Background = Literal["white", "black", "grey"]
LEVEL: dict[str, int] = {"white": 255, "grey": 128, "black": 0}

# modes of Pillow with one channel, and with transparency
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
REAL = ("F",)
EXIF_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)  # orientations that swap height and width


class Header(NamedTuple):
    """Size and channels of an image file as it is shown."""

    channels: int
    height: int
    width: int
    transparent: bool
    """True if pixels may be transparent."""


def read_header(file: Path) -> Header:
    """Read size, channels and transparency without reading the pixels.

    Raises
    ------
    InputError
        If the file is not an image, or holds real numbers.
    """
    with _opened(file) as image:
        width, height = image.size
        if _orientation(image) in TURNED:
            width, height = height, width
        return Header(1 if _grey(image) else 3, height, width, _transparent(image))


def read_pixels(file: Path, channels: int, background: str = "white") -> NDArray[np.uint8]:
    """Read an image as it is shown.

    Colours become grey by ITU-R 601 luma, 16 bits become 8 by dividing by 257, and transparent pixels
    are blended with the background.

    Parameters
    ----------
    file : Path
    channels : {1, 3}
    background : {"white", "black", "grey"}
        Colour behind transparent pixels.

    Returns
    -------
    ndarray of uint8, shape (channels, height, width)

    Raises
    ------
    InputError
        If the file is not an image, or holds real numbers.
    """
    if background not in get_args(Background):
        raise InputError(f"background must be one of {', '.join(get_args(Background))}, got {background!r}")
    from PIL import Image

    with _opened(file) as image:
        orientation = _orientation(image)
        if image.mode.startswith("I"):
            wide = np.asarray(image, np.int64)
            if wide.min() < 0 or wide.max() > 65535:
                raise InputError(f"{file} has pixels beyond 16 bits: save it with 8 or 16 bits for each channel")
            shown = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
        elif _transparent(image):
            over = image.convert("RGBA")
            under = Image.new("RGBA", over.size, (LEVEL[background],) * 3 + (255,))
            shown = Image.alpha_composite(under, over).convert("L" if _grey(image) else "RGB")
        else:
            shown = image if image.mode in ("L", "RGB") else image.convert("L" if _grey(image) else "RGB")
        pixels = np.asarray(shown.convert("L" if channels == 1 else "RGB"), np.uint8)
    pixels = _upright(pixels.reshape(*pixels.shape[:2], channels), orientation)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def write_pixels(file: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image as PNG.

    Parameters
    ----------
    file : Path
    pixels : ndarray of uint8, shape (channels, height, width)
    """
    from PIL import Image

    shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(shown)).save(file, format="PNG")


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Open a file with Pillow, and re-raise its errors as InputError."""
    from PIL import Image  # comes with matplotlib

    try:
        with Image.open(file) as image:
            if image.mode in REAL:
                rule = "save it with 8 or 16 bits for each channel"
                raise InputError(f"{file} holds real numbers (mode {image.mode}): {rule}")
            yield image
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{file} is not an image that can be read ({error})") from error


def _transparent(image: Image.Image) -> bool:
    return image.mode in ALPHA or "transparency" in image.info


def _grey(image: Image.Image) -> bool:
    """Return True if the image or its palette is grey."""
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # searching behind the pixels would read them all
    value = image.getexif().get(EXIF_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror pixels by their EXIF orientation."""
    if orientation in TURNED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
