r"""Parzen window estimate of a density from samples.

.. math:: \log \hat p(x) = \log \frac1n \sum_{i=1}^n \mathcal{N}(x;\, s_i, \sigma^2 I)

It is neither the likelihood of the model that drew the samples :math:`s_i` nor a bound of it. In many dimensions it ranks
models by how often they come near a few examples, and even training data scores far below its density. Older papers print
it where a likelihood is missing, and it is used here to compare with them (Sohl-Dickstein et al. 2015, Table 2).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from quasistatic.errors import InputError

__all__ = ["choose_sd", "parzen_log_prob"]

CHUNK = 2**22  # squared distances held at once


def parzen_log_prob(samples: ArrayLike, x: ArrayLike, sd: float) -> Tensor:
    """Score rows under Gaussian windows around samples.

    Parameters
    ----------
    samples : array, shape (m, *event)
        Drawn from the model; papers have m = 10000.
    x : array, shape (n, *event)
    sd : float
        Standard deviation of the windows in data units (:func:`choose_sd`).

    Returns
    -------
    Tensor, shape (n,)
        Nats, float64.

    Raises
    ------
    InputError
        If the events differ, there are no samples, or ``sd`` is not positive and finite.

    Examples
    --------
    One window is a normal distribution:

    >>> round(parzen_log_prob(torch.zeros(1, 2), torch.zeros(1, 2), sd=1.0).item(), 4)      # -log(2 pi)
    -1.8379
    """
    return _log_densities(samples, x, [sd])[0]


def choose_sd(samples: ArrayLike, validation: ArrayLike, grid: Sequence[float]) -> float:
    """Choose the standard deviation of the windows.

    It has the highest mean log density of validation rows. A warning is issued if it is an end of the grid, because a
    better one may lie beyond. For pixels in 0..1 papers take ten values from 0.1 to 1 in equal ratios.

    Parameters
    ----------
    samples : array, shape (m, *event)
    validation : array, shape (n, *event)
        Neither the samples nor the rows to score.
    grid : sequence of float
        Standard deviations to try.

    Examples
    --------
    >>> draw = torch.Generator().manual_seed(0)
    >>> choose_sd(torch.randn(500, 1, generator=draw), torch.randn(500, 1, generator=draw), [0.01, 0.3, 9.0])
    0.3
    """
    sds = sorted(float(sd) for sd in grid)
    if not sds:
        raise InputError("the grid of deviations is empty: give at least one")
    score = _log_densities(samples, validation, sds).mean(1)
    best = int(score.argmax())
    if len(sds) > 1 and best in (0, len(sds) - 1):
        warnings.warn(f"sd = {sds[best]:g} is an end of the grid: widen the grid", stacklevel=2)
    return sds[best]


def _log_densities(samples: ArrayLike, x: ArrayLike, sds: Sequence[float]) -> Tensor:
    """Return the log density of each row for each deviation, (len(sds), n)."""
    s, x = torch.as_tensor(samples), torch.as_tensor(x)
    if s.shape[1:] != x.shape[1:] or s.dim() < 2 or not len(s) or not len(x):
        raise InputError(
            f"samples of shape {tuple(s.shape)} and rows of shape {tuple(x.shape)} must be some of one event each"
        )
    for sd in sds:
        if not 0 < sd < math.inf:
            raise InputError(f"sd must be positive and finite, got {sd}")
    s, x = s.flatten(1).double(), x.flatten(1).double()
    centre = s.mean(0)  # squares of centred numbers are small, so their differences are exact
    s, x = s - centre, x - centre
    constant = [math.log(len(s)) + s.shape[1] * (math.log(sd) + 0.5 * math.log(2.0 * math.pi)) for sd in sds]
    parts = []
    for rows in x.split(max(1, CHUNK // len(s))):
        square = torch.addmm(rows.square().sum(1, keepdim=True) + s.square().sum(1), rows, s.T, alpha=-2.0)
        square.clamp_min_(0.0)
        parts.append(
            torch.stack([
                torch.logsumexp(square * (-0.5 / sd**2), 1) - c for sd, c in zip(sds, constant, strict=True)
            ])
        )  # fmt: skip
    return torch.cat(parts, 1)
