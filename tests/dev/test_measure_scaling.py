"""What a table costs: the fitted powers, and that the documentation says what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from measure_scaling import HOME, QUANTITIES, RECORD, paragraph, slopes


def test_powers_of_exact_power_laws() -> None:
    found = [{"rows": float(n)} | {name: 3.0 * n**k for k, name in enumerate(QUANTITIES)} for n in (1, 10, 70, 500)]
    for k, told in enumerate(slopes(found, "rows").values()):
        assert told == pytest.approx({"all": k, "upper": k}, abs=1e-12)


def test_the_upper_power_leaves_out_the_small_sizes() -> None:
    found = [{"rows": float(n)} | {name: 100.0 if n < 50 else 2.0 * n for name in QUANTITIES} for n in (1, 10, 100, 1000)]
    told = slopes(found, "rows")["fit_seconds"]
    assert told["upper"] == pytest.approx(1.0)
    assert 0.0 < told["all"] < 1.0


def test_the_documentation_says_what_was_measured() -> None:
    said = " ".join((Path(HOME) / "docs" / "tables.md").read_text("utf-8").split())
    assert paragraph(json.loads(RECORD.read_text("utf-8"))) in said
