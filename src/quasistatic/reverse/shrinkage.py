"""Shrunk covariances of images, chosen by cross-validation."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.reverse.cosine import dense_covariance, spectrum
from quasistatic.reverse.wiener import WienerBase

__all__ = ["ImageShrinkage", "fit_shrunk"]

SMOOTH = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)
WHITE = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03)
MOST_HELD = 1000  # most rows left out, enough to compare covariances


class ImageShrinkage(NamedTuple):
    """Weights of two simpler covariances in the shrunk one."""

    smooth: float = 0.0
    """A covariance that is diagonal in cosines and colours, as that of stationary images."""
    white: float = 0.0
    """A multiple of the identity."""


def fit_shrunk(x: Tensor, least: float, *, seed: int = 0) -> tuple[WienerBase, ImageShrinkage]:
    r"""Fit a Gaussian base with a shrunk covariance, chosen by cross-validation.

    .. math:: C = (1 - w) \bigl((1 - s)\, \hat C + s\, C_{\cos}\bigr) + w\, \bar v\, I, \qquad \lambda_k \ge \text{least},

    with the sample covariance :math:`\hat C`, its cosine model and its mean variance. The shares s and w have the highest
    log density of images left out of a first fit. They are small for many images. Every pixel has at least 1 / n of the mean
    variance, since a pixel that is constant in n images may vary in the next.

    Parameters
    ----------
    x : Tensor, shape (n, channels, height, width)
        Images in model units, at least two.
    least : float
        Smallest variance of a component, such as that of uniform noise of one level's width.
    seed : int
        Seed of the choice of images left out.

    Raises
    ------
    InputError
        If there are fewer than two images.

    Examples
    --------
    >>> x = torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> base, shrinkage = fit_shrunk(x, 1e-4)
    >>> shrinkage.smooth + shrinkage.white > 0.3        # white noise, and few examples of it
    True
    """
    held, rest = _split(x, seed)
    some = _moments(rest)
    shrinkage = _choose(held, rest, some, least)
    mean, cov = _joined(some, len(rest), _moments(held), len(held))
    cov = _with_still_pixels(cov, len(x))
    values, vectors = torch.linalg.eigh(_mixed(cov, _smooth(x), shrinkage))
    kept = mean.float(), values.clamp_min(least).float(), vectors.float()
    return WienerBase(*kept), shrinkage


def _split(x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return a fifth of the rows, at random, and the others."""
    if (n := len(x)) < 2:
        raise InputError(f"a covariance needs at least 2 images, got {n}")
    order = torch.randperm(n, generator=Generator().manual_seed(seed))
    n_held = min(max(1, n // 5), MOST_HELD)
    return x[order[:n_held]], x[order[n_held:]]


def _choose(held: Tensor, rest: Tensor, moments: tuple[Tensor, Tensor], least: float) -> ImageShrinkage:
    """Choose the shares by the mean held-out log density.

    One share is chosen after the other.
    """
    mean, cov = moments[0], _with_still_pixels(moments[1], len(rest))
    smooth, off = _smooth(rest), (held.double() - mean).flatten(1).T

    @cache
    def score(choice: ImageShrinkage) -> float:
        factor, failed = torch.linalg.cholesky_ex(_mixed(cov, smooth, choice, least))
        if failed:
            return -math.inf
        white = torch.linalg.solve_triangular(factor, off, upper=False)
        return -0.5 * white.square().sum(0).mean().item() - factor.diagonal().log().sum().item()

    best = ImageShrinkage()
    for _ in range(2):
        best = max((best._replace(white=w) for w in WHITE), key=score)
        best = max((best._replace(smooth=s) for s in SMOOTH), key=score)
    return best


def _joined(a: tuple[Tensor, Tensor], n: int, b: tuple[Tensor, Tensor], m: int) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of n rows and m rows together."""
    (mean_a, cov_a), (mean_b, cov_b), share = a, b, m / (n + m)
    off = (mean_b - mean_a).flatten()
    cov = torch.lerp(cov_a, cov_b, share).addr_(off, off, alpha=share * (1.0 - share))
    return torch.lerp(mean_a, mean_b, share), cov


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (event) and covariance (d, d) of rows, in float64."""
    mean = x.mean(0, dtype=torch.float64)
    cov = mean.new_zeros(mean.numel(), mean.numel())
    for part in x.split(4096):
        off = (part.double() - mean).flatten(1)
        cov.addmm_(off.T, off, alpha=1.0 / len(x))
    return mean, cov


def _with_still_pixels(cov: Tensor, n: int) -> Tensor:
    """Raise the variance of nearly constant pixels.

    It becomes 1 / n of the mean variance.
    """
    still = (cov.diagonal().mean() / n - cov.diagonal()).clamp_min(0.0)
    return cov + torch.diag(still)


def _smooth(x: Tensor) -> Tensor:
    """Return the covariance that is diagonal in cosines and colours.

    It is (d, d), about the mean of each pixel.
    """
    return dense_covariance(*spectrum(x, x.mean(0, dtype=torch.float64)))


def _mixed(cov: Tensor, smooth: Tensor, shrinkage: ImageShrinkage, least: float = 0.0) -> Tensor:
    """Return the shrunk covariance, with ``least`` added to every variance."""
    mixed = torch.lerp(cov, smooth, shrinkage.smooth).mul_(1.0 - shrinkage.white)
    mixed.diagonal().add_(shrinkage.white * cov.diagonal().mean() + least)
    return mixed
