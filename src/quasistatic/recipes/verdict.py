"""What a run's numbers say in words: warnings, and the sentence that a report begins with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from quasistatic.report import format_estimate

__all__ = ["below_null", "untrained_start", "verdict", "warnings_of"]


def untrained_start(log: Sequence[dict[str, Any]]) -> str | None:
    """Say that no update improved the model, where that is so.

    Parameters
    ----------
    log : sequence of dict
        The lines of ``metrics.jsonl``.
    """
    lines = [line for line in log if line.get("validation") is not None]
    if len(lines) < 2 or lines[0]["step"] != 0:
        return None
    first, last = lines[0], lines[-1]
    if any(line["validation"] > first["validation"] for line in lines):
        return None
    end = format_estimate(last["validation"], last.get("validation_se"), last["unit"])
    start = format_estimate(first["validation"], first.get("validation_se"))
    return (
        f"no update improved the validation bound ({start} at the start, {end} after {last['step']} updates), so the "
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


def verdict(result: dict[str, Any]) -> str:
    """One sentence on whether the model is better than what it is compared with.

    Examples
    --------
    >>> verdict({"gain": 2.3071, "gain_standard_error": 0.0192, "unit": "bits"})
    'Good: better than the null model by 2.307 ± 0.019 bits.'
    """
    unit = result["unit"]
    compared = [("the null model", result["gain"], result.get("gain_standard_error"))]
    if "lead_paired" in (other := result.get("baseline", {})):
        compared.append((other["name"], other["lead_paired"]["value"], other["lead_paired"]["standard_error"]))
    parts, signs = [], []
    for name, gain, error in compared:
        if gain is None or not math.isfinite(gain):
            return "Not known: the comparison with the null model is not finite."
        clear = error is None or not math.isfinite(error) or abs(gain) > 2.0 * error
        how = f"{'better' if gain > 0 else 'worse'} than {name}" if clear else f"no different from {name}"
        signs.append(math.copysign(1.0, gain) if clear else 0.0)
        parts.append(f"{how} by {format_estimate(abs(gain), error, unit)}" if clear else how)
    start = {1.0: "Good", 0.0: "No clear gain", -1.0: "Not good"}[min(signs)]
    return f"{start}: {', and '.join(parts)}."
