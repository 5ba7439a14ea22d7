"""Results as JSON that every program reads."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["strict"]


def strict(value: Any) -> Any:
    """Put None for numbers that JSON does not have: a standard error of one row, minus infinity.

    Examples
    --------
    >>> strict({"bound": -2.5, "terms": [float("nan"), 1]})
    {'bound': -2.5, 'terms': [None, 1]}
    """
    if isinstance(value, dict):
        return {k: strict(v) for k, v in value.items()}
    if isinstance(value, list):
        return [strict(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
