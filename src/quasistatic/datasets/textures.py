r"""Textures scaled to unit variance.

**Never quote bits per pixel of dead leaves without the noise s.** Neighbouring pixels of a leaf are equal, so without
noise the density is infinite, and with it the number is set by s: half the noise is about one bit more. The convention
is to scale the clean set by the mean and standard deviation of its training part, add Gaussian noise of standard
deviation s, drawn once, and divide by :math:`\sqrt{1 + s^2}`: the variance is 1 again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quasistatic.checks import whole_number
from quasistatic.datasets.dead_leaves import dead_leaves
from quasistatic.datasets.fetch import cache_folder
from quasistatic.errors import InputError
from quasistatic.storage.atomic import new_folder

__all__ = ["TextureSplits", "load_dead_leaves", "noise_ceiling", "noisy_patches", "standardise", "tiles"]


@dataclass(frozen=True, eq=False)
class TextureSplits:
    """Images of training mean 0 and variance 1.

    Attributes
    ----------
    train, validation, test : ndarray of float32, shapes (n, channels, height, width)
    mean, sd : float
        Of the clean training images: x = (raw - mean) / sd, before any noise.
    noise : float
        The noise s, which every number on these images depends on.
    """

    train: NDArray[np.float32]
    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    mean: float
    sd: float
    noise: float


def load_dead_leaves(
    n_train: int = 300,
    n_validation: int = 30,
    n_test: int = 60,
    size: int = 256,
    r_min: float = 1.5,
    r_max: float = 128.0,
    seed: int = 0,
    folder: Path | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Load clean dead leaves for training, validation and test.

    They are generated once and then read from disk.

    The three sets are drawn with the generators that ``numpy.random.default_rng(seed)`` spawns, so no image is in two.

    Parameters
    ----------
    n_train, n_validation, n_test : int
        Images in each set.
    size, r_min, r_max
        As in :func:`quasistatic.datasets.dead_leaves.dead_leaves`.
    seed : int
        0 or more.
    folder : path, optional
        Where the sets are kept, in a folder named after all the numbers above; the cache unless given.

    Returns
    -------
    train, validation, test : ndarray of float32, shapes (n, size, size)
        In [0, 1), mapped from disk, read-only.

    Raises
    ------
    InputError
        If a number is out of range or the sets cannot be kept.
    """
    whole_number("seed", seed, 0)
    radii = (float(r_min), float(r_max))
    counts = {"train": n_train, "validation": n_validation, "test": n_test}
    key = "-".join(map(str, (*counts.values(), size, *radii, seed)))
    path = (cache_folder() if folder is None else folder) / f"dead_leaves-1-{key}"  # 1 is the version of the generator
    try:
        if not path.is_dir():
            with new_folder(path) as new:
                for rng, (name, n) in zip(np.random.default_rng(seed).spawn(3), counts.items(), strict=True):
                    np.save(new / f"{name}.npy", dead_leaves(n, size, *radii, seed=rng))
        train, validation, test = (np.load(path / f"{name}.npy", mmap_mode="r") for name in counts)
    except OSError as error:
        raise InputError(f"dead leaves cannot be kept in {path}: {error.strerror}") from error
    return train, validation, test


def noisy_patches(
    train: NDArray[np.floating],
    validation: NDArray[np.floating],
    test: NDArray[np.floating],
    size: int | None = 32,
    noise: float = 0.06,
    seed: int = 0,
) -> TextureSplits:
    r"""Add noise of standard deviation s and cut patches.

    .. math:: x = \frac{(\text{raw} - m) / \sigma + s\,\xi}{\sqrt{1 + s^2}},

    m and :math:`\sigma` over all clean training pixels. The noise of a pixel depends on ``seed`` and the set alone, so
    patches of 32 and of 64 pixels are cut from the same noisy images.

    Parameters
    ----------
    train, validation, test : ndarray, shapes (n, height, width)
        Clean images.
    size : int or None
        Pixels along each side of a patch; what does not fill a patch at the right and lower edge is left out. None
        leaves the images whole.
    noise : float
        s, at least 0.
    seed : int
        0 or more.

    Returns
    -------
    TextureSplits

    Raises
    ------
    InputError
        If a patch does not fit or a number is out of range.

    Examples
    --------
    >>> from quasistatic.datasets.dead_leaves import dead_leaves
    >>> clean = dead_leaves(4, size=64)
    >>> patches = noisy_patches(clean[:2], clean[2:3], clean[3:], size=32, noise=0.06)
    >>> patches.train.shape, round(float(patches.train.var()), 2)
    ((8, 1, 32, 32), 1.0)
    """
    parts = standardise(train, validation, test, noise, seed)
    if size is None:
        return parts
    return replace(
        parts,
        train=tiles(parts.train, size),
        validation=tiles(parts.validation, size),
        test=tiles(parts.test, size),
    )


def standardise(
    train: NDArray[np.floating],
    validation: NDArray[np.floating],
    test: NDArray[np.floating],
    noise: float = 0.0,
    seed: int = 0,
) -> TextureSplits:
    """Scale images to unit variance and add noise.

    The formula is that of :func:`noisy_patches`, without cutting patches.

    Parameters
    ----------
    train, validation, test : array, shape (n, height, width) or (n, channels, height, width)
        Clean images.
    noise : float
        Standard deviation of the noise, in units of that of the clean training pixels.
    seed : int
        Seed of the noise.
    """
    if not 0.0 <= noise < math.inf:
        raise InputError(f"noise must be finite and at least 0, got {noise!r}")
    mean, sd = float(train.mean(dtype=np.float64)), float(train.std(dtype=np.float64))
    if not sd > 0.0:
        raise InputError(f"images of standard deviation {sd} cannot be scaled to 1")
    generators = np.random.default_rng(seed).spawn(3)

    def noisy(clean: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float32]:
        x = ((clean - mean) / sd).astype(np.float32)
        if noise:
            x += noise * rng.standard_normal(x.shape, np.float32)
            x /= math.sqrt(1.0 + noise**2)
        return x[:, None] if x.ndim == 3 else x

    x, y, z = (noisy(clean, rng) for clean, rng in zip((train, validation, test), generators, strict=True))
    return TextureSplits(x, y, z, mean, sd, float(noise))


def noise_ceiling(noise: float) -> float:
    r"""Return the best possible bits per pixel of a noisy set.

    A model that is given the clean images reaches them. No model of a noisy set can be better.

    .. math:: -\log_2\left(\frac{s}{\sqrt{1 + s^2}} \sqrt{2\pi e}\right).

    Examples
    --------
    >>> round(noise_ceiling(0.06), 3)
    2.014
    """
    if not 0.0 < noise < math.inf:
        raise InputError(f"noise must be finite and above 0, got {noise!r}")
    return -math.log2(noise * math.sqrt(2.0 * math.pi * math.e / (1.0 + noise**2)))


def tiles(images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Cut grey images into patches side by side.

    Images have shape (n, 1, height, width). The rest at the edges is left out.
    """
    n, _, height, width = images.shape
    if not 1 <= size <= min(height, width):
        raise InputError(f"a patch of {size} pixels does not fit into images of {height} x {width}")
    down, across = height // size, width // size
    grid = images[:, 0, : down * size, : across * size].reshape(n, down, size, across, size)
    return np.ascontiguousarray(grid.swapaxes(2, 3)).reshape(-1, 1, size, size)
