"""Evaluations from the few numbers that a test is about."""

from __future__ import annotations

from typing import Any

from quasistatic.runs.results import Evaluation

USUAL: dict[str, Any] = {
    "recipe": "heartbeat", "split": "test", "n": 400, "unit": "bits", "n_steps": 10, "first_step": "learned", "bound": 1.0,
    "standard_error": 0.1, "null": 0.0, "null_standard_error": 0.1, "gain": 1.0, "gain_standard_error": None,
}  # fmt: skip


def evaluation(plain: dict[str, Any]) -> Evaluation:
    """The evaluation that a file with these numbers holds."""
    return Evaluation.from_json(USUAL | plain)
