"""A result in words: warnings, and the first sentence of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from quasistatic.estimate import Estimate
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion, MixedDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.reporting.text import format_estimate
from quasistatic.runs.results import Evaluation
from quasistatic.transforms import HistogramGaussianizer, Whiten

__all__ = ["below_null", "null_in_words", "unit_in_words", "untrained_start", "verdict", "warnings_of"]


def untrained_start(log: Sequence[dict[str, Any]]) -> str | None:
    """Return a warning if no update improved the model.

    Parameters
    ----------
    log : sequence of dict
        The records of ``metrics.jsonl``.
    """
    lines = [line for line in log if line.get("validation") is not None]
    if len(lines) < 2 or lines[0]["update"] != 0:
        return None
    first, last = lines[0], lines[-1]
    if any(line["validation"] > first["validation"] for line in lines):
        return None
    end = format_estimate(last["validation"], last.get("validation_se"), last["unit"])
    start = format_estimate(first["validation"], first.get("validation_se"))
    return (
        f"no update improved the validation bound ({start} at the start, {end} after {last['update']} updates), so the "
        "untrained model is kept and used"
    )


def below_null(bound: float | None, null: float | None, error: float | None, unit: str, rows: str) -> str | None:
    """Return a warning if a bound is below the null model.

    Parameters
    ----------
    bound, null : float or None
        The bound, and the log likelihood of the null model on the same rows.
    error : float or None
        Standard error of the difference; the warning needs two of them.
    unit, rows : str
        Unit of the numbers, and name of the split.
    """
    if bound is None or null is None or not bound - null < -2.0 * (error or 0.0):
        return None
    start = f"the bound of {rows} rows, {bound:.4g} {unit}, is below that of the null model, {null:.4g}"
    return f"{start}: this model is worse than the stationary distribution of its chain"


def warnings_of(result: Evaluation, log: Sequence[dict[str, Any]]) -> list[str]:
    """Return all warnings about a trained and evaluated run."""
    bound, gain = result.bound.value, result.gain.standard_error
    null = below_null(bound, result.null.value, 0.0 if math.isnan(gain) else gain, result.unit, result.split)
    return [sentence for sentence in (untrained_start(log), null) if sentence]


def unit_in_words(unit: str) -> str:
    """Return a unit in words.

    Examples
    --------
    >>> unit_in_words("bits"), unit_in_words("bits_per_pixel")
    ('bits per row', 'bits per pixel')
    """
    whole = f"{unit}_per_row" if "_per_" not in unit else unit.replace("_per_dim", "_per_number")
    return whole.replace("_", " ")


def null_in_words(model: DiffusionModel) -> str:
    """Return the null model of a trained model in words."""
    match model.process:
        case MixedDiffusion():
            return "a Gaussian for numbers, training shares for classes"
        case GaussianDiffusion():
            kinds = [type(part) for part in getattr(model.transform, "parts", ())]
            if Whiten not in kinds:
                return "standard normal noise"
            bent = " after a transform of each column" if HistogramGaussianizer in kinds else ""
            return f"a Gaussian fitted to the training rows{bent}"
        case BernoulliDiffusion():
            return "independent bits"
    return "independent classes"


def verdict(result: Evaluation, null: str = "") -> str:
    """Return one sentence: good or not good, and why.

    Good is better than the null model and the baseline, each by more than two standard errors of the paired
    difference. A second sentence compares with the truth, where it is known.

    Parameters
    ----------
    result : Evaluation
    null : str
        The null model in words.

    Examples
    --------
    >>> from quasistatic.estimate import Estimate
    >>> bound, null, gain = (Estimate(v, 0.1, 400, "bits") for v in (-2.2, -3.0, 0.8))
    >>> verdict(Evaluation("heartbeat", "test", "bits", 100, "learned", bound, null, gain), "independent bits")
    'Good: 0.8 ± 0.1 bits per row better than the null model (independent bits), on 400 held-out rows.'
    """
    unit = unit_in_words(result.unit)
    compared = [(f"the null model ({null})" if null else "the null model", result.gain)]
    if result.lead is not None:
        compared.append((f"the baseline ({result.baseline_name})", result.lead))
    rows = f"{result.n} {'training' if result.split == 'train' else 'held-out'} row{'s' * (result.n != 1)}"
    signs, parts = [], []
    for name, gain in compared:
        if not math.isfinite(gain.value):
            return f"Not known: the difference from {name} is not finite, on {rows}."
        if not math.isfinite(gain.standard_error):
            return f"Not known: the difference from {name} has no standard error, on {rows}."
        sign, part = _compared(name, gain, unit)
        signs.append(sign)
        parts.append(part)
    joined = (", but " if 1 in signs and min(signs) < 1 else ", and ").join(parts)
    truth = _below_truth(result.distance_paired, unit)
    if min(signs) > 0:
        return f"Good: {joined}, on {rows}.{truth}"
    advice = ": train longer or check the data" if signs[0] <= 0 else ""
    return f"Not good: {joined}, on {rows}{advice}.{truth}"


def _compared(name: str, gain: Estimate, unit: str) -> tuple[int, str]:
    """Return the sign of a difference and the comparison in words.

    The sign is 0 if the difference is not significant.
    """
    if abs(gain.value) <= 2.0 * gain.standard_error:
        difference = format_estimate(gain.value, gain.standard_error)
        return 0, f"not distinguishable from {name}, from which it differs by {difference} {unit}"
    difference, better = format_estimate(abs(gain.value), gain.standard_error), gain.value > 0
    return (1 if better else -1), f"{difference} {unit} {'better' if better else 'worse'} than {name}"


def _below_truth(distance: Estimate | None, unit: str) -> str:
    """Return how far the model is below the true distribution, in words."""
    if distance is None or not (math.isfinite(distance.value) and math.isfinite(distance.standard_error)):
        return ""
    if abs(distance.value) <= 2.0 * distance.standard_error:
        return " It is not distinguishable from the true distribution."
    if distance.value < 0.0:
        return ""
    return f" It is {format_estimate(distance.value, distance.standard_error)} {unit} below the true distribution."
