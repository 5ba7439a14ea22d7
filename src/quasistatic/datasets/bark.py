"""Crops of four photographs of tree bark.

They replace the photographs of the paper, which are not public.

So results on them cannot be compared with the paper's -0.55 bits per pixel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quasistatic.datasets.fetch import find
from quasistatic.datasets.textures import TextureSplits, standardise, tiles
from quasistatic.errors import InputError

__all__ = ["FILES", "bark_parts", "load_bark"]

FILES = (
    "bark_brown_02_color_1k.jpg",
    "bark_willow_02_color_1k.jpg",
    "birch_bark_texturecan221_color_1k.jpg",
    "pine_bark_texturecan588_color_1k.jpg",
)


def load_bark(size: int = 64, n_train: int = 4000, seed: int = 0) -> TextureSplits:
    """Load grey bark patches of unit variance.

    The patches are cut from the parts of :func:`bark_parts`, so training patches do not overlap validation or test patches.
    Training patches lie anywhere in their part, of any photograph, with equal
    chances, and may overlap each other. Those for validation and test lie side by side, so that no pixel is counted
    twice, in an order that is random once and for all.

    Parameters
    ----------
    size : int
        Pixels along each side of a patch.
    n_train : int
        Training patches, at least 1.
    seed : int
        Of the places and of the noise, 0 or more.

    Returns
    -------
    TextureSplits
        With noise 0: the standard deviation ``sd`` in grey levels turns K into bits/dim
        (:func:`quasistatic.transforms.bits_per_dim_from_k`).

    Raises
    ------
    InputError
        If a photograph is missing or not like the others, or a patch does not fit.
    """
    parts = bark_parts(seed)
    rng = np.random.default_rng([seed, 1])
    validation, test = (rng.permutation(tiles(part, size)) for part in (parts.validation, parts.test))
    return replace(parts, train=_crops(parts.train, size, n_train, rng), validation=validation, test=test)


def bark_parts(seed: int = 0) -> TextureSplits:
    """Return the parts of the photographs whole, noisy and scaled.

    They have shape (4, 1, height, width).

    The left three quarters of each photograph are for training, the upper half of the rest for validation, the lower half
    for test. Grey is ITU-R 601 luma, an integer from 0 to 255; uniform noise in [0, 1) is added to each pixel once, so
    that there is a density, and all is scaled by the mean and standard deviation of the training part.
    """
    rng = np.random.default_rng(seed)
    photographs = _photographs()
    grey = photographs + rng.random(photographs.shape)
    edge, middle = 3 * grey.shape[2] // 4, grey.shape[1] // 2
    rest = grey[:, :, edge:]
    return standardise(grey[:, :, :edge], rest[:, :middle], rest[:, middle:])


def _crops(images: NDArray[np.float32], size: int, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    _, _, height, width = images.shape
    if not 1 <= size <= min(height, width):
        raise InputError(f"a patch of {size} pixels does not fit into a part of {height} x {width} pixels")
    if n < 1:
        raise InputError(f"there must be at least 1 training patch, got {n}")
    image = rng.integers(len(images), size=(n, 1, 1))
    row, column = (rng.integers(side - size + 1, size=(n, 1)) + np.arange(size) for side in (height, width))
    return images[image, 0, row[:, :, None], column[:, None, :]][:, None]


def _photographs() -> NDArray[np.uint8]:
    from PIL import Image  # comes with matplotlib, and is needed here only

    grey = []
    for name in FILES:
        path = find("bark", name)
        try:
            with Image.open(path) as image:
                grey.append(np.asarray(image.convert("L"), np.uint8))
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f"{path} is not an image that can be read ({error})") from error
        if grey[-1].shape != grey[0].shape:
            raise InputError(f"{path} has shape {grey[-1].shape}, but {FILES[0]} has {grey[0].shape}")
    return np.stack(grey)
