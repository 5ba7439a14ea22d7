"""What a run's numbers say in words: warnings, and the sentence that a report begins with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from quasistatic.transforms import HistogramGaussianizer, Whiten
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion, MixedDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.reporting.text import format_estimate

__all__ = ["below_null", "null_in_words", "unit_in_words", "untrained_start", "verdict", "warnings_of"]


def untrained_start(log: Sequence[dict[str, Any]]) -> str | None:
    """Say that no update improved the model, where that is so.

    Parameters
    ----------
    log : sequence of dict
        The lines of ``metrics.jsonl``.
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
    """Say that a bound is below the null model's log likelihood, by more than two errors of the difference."""
    if bound is None or null is None or not bound - null < -2.0 * (error or 0.0):
        return None
    said = f"the bound of {rows} rows, {bound:.4g} {unit}, is below that of the null model, {null:.4g}"
    return f"{said}: this model is worse than the noise that its chain ends in"


def warnings_of(result: dict[str, Any], log: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong with a trained and measured run, in sentences."""
    null = below_null(result["bound"], result["null"], result.get("gain_standard_error"), result["unit"], result["split"])
    return [sentence for sentence in (untrained_start(log), null) if sentence]


def unit_in_words(unit: str) -> str:
    """A unit as a sentence says it.

    Examples
    --------
    >>> unit_in_words("bits"), unit_in_words("bits_per_pixel")
    ('bits per row', 'bits per pixel')
    """
    whole = f"{unit}_per_row" if "_per_" not in unit else unit.replace("_per_dim", "_per_number")
    return whole.replace("_", " ")


def null_in_words(model: DiffusionModel) -> str:
    """What the null model of a trained model is, in a few words."""
    process = model.process
    if isinstance(process, MixedDiffusion):
        return "a Gaussian for numbers, training shares for classes"
    if isinstance(process, GaussianDiffusion):
        kinds = [type(part) for part in getattr(model.transform, "parts", ())]
        if Whiten not in kinds:
            return "standard normal noise"
        bent = " after a transform of each column" if HistogramGaussianizer in kinds else ""
        return f"a Gaussian fitted to the training rows{bent}"
    if isinstance(process, BernoulliDiffusion):
        return "independent bits"
    return "independent classes"


def verdict(result: dict[str, Any], null: str = "") -> str:
    """Good or not good, and why; a second sentence compares with the truth where that is known.

    Good is better than all that the model is compared with, each by more than two standard errors of the paired
    difference.

    Parameters
    ----------
    result : dict
        Of :func:`quasistatic.recipes.evaluate`.
    null : str
        What the null model is, in a few words.

    Examples
    --------
    >>> verdict({"gain": 0.8, "gain_standard_error": 0.1, "unit": "bits", "n": 400, "split": "test"}, "independent bits")
    'Good: 0.8 ± 0.1 bits per row better than the null model (independent bits), on 400 held-out rows.'
    """
    unit = unit_in_words(result["unit"])
    compared = [(f"the null model ({null})" if null else "the null model", result["gain"], result["gain_standard_error"])]
    other = result.get("baseline", {})
    if "lead_paired" in other:
        compared.append((f"the baseline ({other['name']})", *(other["lead_paired"][k] for k in ("value", "standard_error"))))
    rows = f"{result['n']} {'training' if result['split'] == 'train' else 'held-out'} row{'s' * (result['n'] != 1)}"
    signs, parts = [], []
    for name, gain, error in compared:
        if gain is None or not math.isfinite(gain):
            return f"Not known: the difference from {name} is not finite, on {rows}."
        if error is None or not math.isfinite(error):
            return f"Not known: the difference from {name} has no standard error, on {rows}."
        sign = 0 if abs(gain) <= 2.0 * error else 1 if gain > 0 else -1
        if sign:
            parts.append(f"{format_estimate(abs(gain), error)} {unit} {'better' if sign > 0 else 'worse'} than {name}")
        else:
            parts.append(f"not distinguishable from {name}, from which it differs by {format_estimate(gain, error)} {unit}")
        signs.append(sign)
    joined = (", but " if 1 in signs and min(signs) < 1 else ", and ").join(parts)
    if min(signs) > 0:
        return f"Good: {joined}, on {rows}.{_below_truth(result, unit)}"
    advice = ": train longer or check the data" if signs[0] <= 0 else ""
    return f"Not good: {joined}, on {rows}{advice}.{_below_truth(result, unit)}"


def _below_truth(result: dict[str, Any], unit: str) -> str:
    """How far the model is below the true distribution, where that is known."""
    pair = result.get("distance_paired")
    if pair is None or None in (pair["value"], pair["standard_error"]) or not math.isfinite(pair["standard_error"]):
        return ""
    if abs(pair["value"]) <= 2.0 * pair["standard_error"]:
        return " It is not distinguishable from the true distribution."
    if pair["value"] < 0.0:
        return ""
    return f" It is {format_estimate(pair['value'], pair['standard_error'])} {unit} below the true distribution."
