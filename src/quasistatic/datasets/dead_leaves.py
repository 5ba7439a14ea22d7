r"""Dead leaves: opaque discs that occlude each other.

A disc has a radius of density proportional to :math:`r^{-3}` on ``[r_min, r_max]``, a centre uniform over the image and
a margin of ``r_max`` round it, and a grey value uniform over [0, 1). Pixels are points on the integer grid: a pixel
shows the front-most disc that holds its centre, and nothing is smoothed. Between the cutoffs the distribution is the same at
all scales, as natural images nearly do.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasistatic.checks import whole_number
from quasistatic.errors import InputError

__all__ = ["dead_leaves", "same_leaf_probability"]


def dead_leaves(
    n: int, size: int = 256, r_min: float = 1.5, r_max: float = 128.0, seed: int | np.random.Generator = 0
) -> NDArray[np.float32]:
    """Draw dead leaves images.

    Discs are drawn from front to back until every pixel is covered. Those that miss the image are left out before they
    are drawn, which does not change its distribution: a radius then has a density proportional to r^-3 times the area of the
    image widened by r, and the centre is uniform in there.

    Parameters
    ----------
    n : int
        Number of images, at least 1.
    size : int
        Pixels along each side, at least 2.
    r_min, r_max : float
        Smallest and largest radius in pixels, 0.5 <= r_min < r_max.
    seed : int or numpy.random.Generator
        The same seed gives the same images, and the first of them whatever ``n`` is.

    Returns
    -------
    ndarray of float32, shape (n, size, size)
        In [0, 1).

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    Lee, Mumford and Huang (2001), Occlusion models for natural images, Section 3.

    Examples
    --------
    >>> x = dead_leaves(2, size=64, seed=3)
    >>> x.shape, bool((x[:, :, 1:] == x[:, :, :-1]).mean() > 0.7)
    ((2, 64, 64), True)
    """
    for name, value, least in (("n", n, 1), ("size", size, 2)):
        whole_number(name, value, least)
    _check_radii(r_min, r_max)
    images = np.empty((n, size, size), np.float32)
    for image, rng in zip(images, np.random.default_rng(seed).spawn(n), strict=True):
        _cover(image, r_min, r_max, rng)
    return images


def same_leaf_probability(distance: ArrayLike, r_min: float = 1.5, r_max: float = 128.0) -> NDArray[np.float64]:
    r"""Probability that two pixels a distance apart show the same leaf.

    The front-most disc that holds either pixel decides: they show the same leaf if and only if it holds both, so

    .. math:: P(d) = \frac{g(d)}{2 - g(d)}, \qquad
              g(d) = \frac{E\,|D \cap (D + d)|}{E\,|D|}
                   = \frac{\int 2\,(\arccos v - v\sqrt{1 - v^2})\, d\log v}{\pi \log(r_\max / r_\min)},

    with :math:`v = d / 2r` from :math:`d / 2 r_\max` to :math:`\min(1, d / 2 r_\min)`. By Gauss-Legendre quadrature;
    the error is below 1e-7.

    Parameters
    ----------
    distance : array_like
        In pixels, at least 0, in any direction.
    r_min, r_max : float
        As in :func:`dead_leaves`.

    Returns
    -------
    ndarray, shape of ``distance``

    References
    ----------
    Lee, Mumford and Huang (2001), Section 4.

    Examples
    --------
    >>> same_leaf_probability([0.0, 1.0, 16.0, 256.0]).round(3).tolist()
    [1.0, 0.829, 0.229, 0.0]
    """
    _check_radii(r_min, r_max)
    d = np.asarray(distance, np.float64)
    if not (np.isfinite(d) & (d >= 0)).all():
        raise InputError("distances must be finite and at least 0")
    node, weight = np.polynomial.legendre.leggauss(200)
    apart = np.clip(d, 1e-300, 2.0 * r_max)[..., None]
    low, high = np.log(apart / (2.0 * r_max)), np.log(np.minimum(1.0, apart / (2.0 * r_min)))
    v = np.exp(np.minimum((low + high) / 2.0 + (high - low) / 2.0 * node, 0.0))
    shared = 2.0 * (np.arccos(v) - v * np.sqrt(1.0 - v * v))
    g = ((high - low) / 2.0 * weight * shared).sum(-1) / (math.pi * math.log(r_max / r_min))
    return np.asarray(g / (2.0 - g))


def _cover(image: NDArray[np.float32], r_min: float, r_max: float, rng: np.random.Generator) -> None:
    """Fill one image with layers of discs.

    A layer would cover each pixel twice on average.
    """
    reach = len(image) - 1.0
    discs = math.ceil(2.0 * _masses(reach, r_min, r_max).sum() / (math.pi * math.log(r_max / r_min)))
    flat = image.reshape(-1)
    bare = np.ones(flat.size, bool)
    while bare.any():
        radius = _radii(discs, reach, r_min, r_max, rng)
        centre = rng.random((2, discs)) * (reach + 2.0 * radius) - radius
        grey = rng.random(discs, np.float32)
        pixel, disc = _pixels(centre, radius, len(image))
        seen = bare[pixel]
        pixel, disc = pixel[seen], disc[seen]
        flat[pixel[::-1]] = grey[disc[::-1]]  # of values for one pixel the last one stays: that of the front disc
        bare[pixel] = False


def _masses(reach: float, r_min: float, r_max: float) -> NDArray[np.float64]:
    """Return the integrals of the three terms of the density.

    The terms reach^2 r^-3, 4 reach r^-2 and 4 r^-1 add up to r^-3 (reach + 2 r)^2.
    """
    steep = reach**2 * (r_min**-2 - r_max**-2) / 2.0
    return np.array([steep, 4.0 * reach * (1.0 / r_min - 1.0 / r_max), 4.0 * math.log(r_max / r_min)])


def _radii(n: int, reach: float, r_min: float, r_max: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw radii with a density proportional to r^-3 (reach + 2 r)^2.

    One of its three terms is chosen, then its distribution function inverted.
    """
    masses = _masses(reach, r_min, r_max)
    power, u = rng.choice(3, n, p=masses / masses.sum()), rng.random(n)
    steep = (r_max**-2 + u * (r_min**-2 - r_max**-2)) ** -0.5
    middle = 1.0 / (1.0 / r_max + u * (1.0 / r_min - 1.0 / r_max))
    return np.choose(power, [steep, middle, r_min * (r_max / r_min) ** u])


def _pixels(
    centre: NDArray[np.float64], radius: NDArray[np.float64], size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the flat indices of the pixels in each disc.

    The number of the disc is returned beside each index.
    """
    (y, x), r = centre, radius
    disc, row = _ranges(np.ceil(y - r).clip(0, size), np.floor(y + r).clip(-1, size - 1))
    half = np.sqrt(np.maximum(r[disc] ** 2 - (row - y[disc]) ** 2, 0.0))
    span, column = _ranges(np.ceil(x[disc] - half).clip(0, size), np.floor(x[disc] + half).clip(-1, size - 1))
    return row[span] * size + column, disc[span]


def _ranges(first: NDArray[np.float64], last: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return all integers first[k] .. last[k], with their k."""
    start, length = first.astype(np.intp), np.maximum(last - first + 1.0, 0.0).astype(np.intp)
    which = np.repeat(np.arange(len(length)), length)
    return which, np.arange(len(which)) + np.repeat(start - (length.cumsum() - length), length)


def _check_radii(r_min: float, r_max: float) -> None:
    if not 0.5 <= r_min < r_max < math.inf:
        raise InputError(f"radii must obey 0.5 <= r_min < r_max, got r_min {r_min!r} and r_max {r_max!r}")
