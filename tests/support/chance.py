"""Two-sided statistical checks, each with the false-alarm rate it was asked for.

The rate is the chance that a correct program fails the check for a fresh seed; the tests fix their seeds, so a failure
stays a failure. (Not called ``statistics``: the folder is on the path, and that name belongs to the standard library.)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats
from torch import Tensor

__all__ = ["FALSE_ALARM", "check_covariance", "check_frequencies", "check_mean", "check_same_mean", "standard_error"]

FALSE_ALARM = 1e-6  # of a whole check, for all the numbers it looks at


def standard_error(values: Tensor) -> Tensor:
    """Standard error of the mean over the first axis."""
    return values.double().std(0) / math.sqrt(len(values))


def _check_z(z: Tensor, what: str, false_alarm: float) -> None:
    """Every one of a family of standard normal scores, by Bonferroni."""
    limit = stats.norm.isf(false_alarm / (2 * z.numel()))
    worst = z.abs().max().item()
    assert worst <= limit, f"{what}: {worst:.2f} standard errors off, more than {limit:.2f}"


def check_mean(
    values: Tensor, truth: float | Tensor, *, false_alarm: float = FALSE_ALARM, resolves: float | None = None
) -> None:
    """Hold the mean over the first axis to ``truth``.

    Values without variance must equal it to rounding. ``resolves`` is a difference that matters: the check refuses
    to pass with an error too large to see it.
    """
    truth = torch.as_tensor(truth, dtype=torch.float64)
    error = standard_error(values)
    if resolves is not None:
        seen = stats.norm.isf(false_alarm / 2) * error.max().item()
        assert seen < resolves, f"a difference of {resolves} would go unseen, only {seen:.2g} would not"
    rounding = 1e-12 * values.abs().double().mean(0).clamp_min(1.0)
    _check_z((values.double().mean(0) - truth) / (error + rounding), "mean", false_alarm)


def check_same_mean(a: Tensor, b: Tensor, *, false_alarm: float = FALSE_ALARM) -> None:
    """Hold the means of two independent samples to each other."""
    error = torch.hypot(standard_error(a), standard_error(b))
    _check_z((a.double().mean(0) - b.double().mean(0)) / error, "difference of means", false_alarm)


def check_covariance(x: Tensor, truth: Tensor, *, false_alarm: float = FALSE_ALARM) -> None:
    """Hold the covariance of rows (n, d) to ``truth``, (d, d), with the errors of their own products."""
    off = x.double() - x.double().mean(0)
    check_mean((off.unsqueeze(2) * off.unsqueeze(1)).flatten(1), truth.flatten(), false_alarm=false_alarm)


def check_frequencies(counts: Tensor, probs: Tensor, *, false_alarm: float = FALSE_ALARM) -> None:
    """Chi-square of counts against probabilities, two-sided: too good a fit is an alarm as well.

    Cells that expect fewer than five are pooled; an impossible one must be empty.
    """
    n = counts.sum().item()
    expected, seen = (probs.double() * n).numpy(), counts.double().numpy()
    assert abs(probs.sum().item() - 1.0) < 1e-9, f"probabilities sum to {probs.sum().item()}"
    assert (seen[expected == 0] == 0).all(), "an impossible outcome was drawn"
    rare = expected < 5
    if rare.any():
        expected = np.append(expected[~rare], expected[rare].sum())
        seen = np.append(seen[~rare], seen[rare].sum())
    kept = expected > 0
    square = (((seen - expected)[kept]) ** 2 / expected[kept]).sum()
    freedom = int(kept.sum()) - 1
    tail = min(stats.chi2.sf(square, freedom), stats.chi2.cdf(square, freedom))
    assert tail > false_alarm / 2, f"chi-square {square:.1f} with {freedom} degrees of freedom"
