"""Warnings about posteriors that should not be trusted."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning

__all__ = ["least_effective", "warn_if_poor"]

LEAST_EFFECTIVE = 10.0
"""Effective particles below which samples should not be trusted, from N = 100 on; see :func:`least_effective`."""
LEAST_SHARE = 0.1
"""The same as a share of N, for fewer than 100 particles."""
CONTRADICTION = math.log(1000.0)
"""Nats by which independent noise must explain the observation better for a warning."""


def least_effective(n_particles: int) -> float:
    """Return the effective particles needed.

    With fewer a posterior gives a warning.

    It is min(10, max(0.1 N, 0.5 min(N, 4))): 10 from N = 100 on, a tenth of N below, and 2 for 4 to 20 particles.

    Examples
    --------
    >>> [least_effective(n) for n in (2, 10, 50, 1000)]
    [1.0, 2.0, 5.0, 10.0]
    """
    return min(LEAST_EFFECTIVE, max(LEAST_SHARE * n_particles, 0.5 * min(n_particles, 4)))


def warn_if_poor(posterior: PosteriorSamples, null: Tensor | None) -> None:
    """Warn if a posterior should not be trusted.

    Parameters
    ----------
    posterior : PosteriorSamples
        With weights.
    null : Tensor, shape (B,), optional
        Log evidence of each observation under the null model.
    """
    n = posterior.n_particles
    impossible = torch.atleast_1d(posterior.log_evidence == -torch.inf)
    effective = torch.atleast_1d(torch.minimum(posterior.ess, posterior.n_ancestors))
    if impossible.any():
        _warn(
            impossible,
            "the observation contradicts the model: every particle has weight zero, so the samples are meaningless. "
            "Check the observation and its units",
        )
    if null is not None:
        worse = null - torch.atleast_1d(posterior.log_evidence)
        if (contradicted := (worse > CONTRADICTION) & ~impossible).any():
            _warn(
                contradicted,
                "the observation contradicts the model: independent noise explains it "
                f"e^{worse[contradicted].max().item():.0f} times better, so do not trust the samples. "
                "Check the observation and its units",
            )
    least = least_effective(n)
    if (poor := (effective < least) & ~impossible).any():
        _warn(
            poor,
            f"only {effective[poor].min().item():.1f} of {n} particles are effective, fewer than {least:g}: do not trust "
            "the samples or the log evidence. Use more particles or more steps, and check whether the observation "
            "contradicts the model",
        )


def _warn(rows: Tensor, why: str) -> None:
    where = rows.nonzero().flatten().tolist()
    numbers = f"{', '.join(map(str, where[:5]))}{', ..' if len(where) > 5 else ''}"
    warnings.warn(f"{why} (observations {numbers})" if len(rows) > 1 else why, PosteriorWarning, stacklevel=4)
