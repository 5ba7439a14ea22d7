"""The tables of docs/tables.md say what the records say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import peer_tables


def test_the_page_is_up_to_date() -> None:
    assert peer_tables.main(["--check"]) == 0


def test_seeds_are_averaged_and_the_best_other_method_is_named(tmp_path: Path) -> None:
    for seed, (ours, near) in enumerate([(0.5, 0.75), (0.7, 0.45)]):
        place = tmp_path / "imputation-made" / "hidden-10" / f"seed-{seed}"
        place.mkdir(parents=True)
        told = {
            "table": "made", "hidden": 0.1, "entries": 100 + 50 * seed, "cpu_seconds": 10.0 + 4 * seed,
            "scores": {
                "diffusion": {"nrmse": ours, "nrmse_standard_error": 0.02, "crps": 0.25, "coverage": 0.9},
                "chained_draws": {"nrmse": 0.9, "crps": 0.5, "coverage": 0.8},
                "neighbours": {"nrmse": near},
            },
        }  # fmt: skip
        (place / "result.json").write_text(json.dumps(told))
    row = [cell.strip() for cell in peer_tables.imputation(tmp_path).splitlines()[2].strip("|").split("|")]
    assert row == [
        "made, 10 %", "2 × 125", "0.600 ± 0.014", "0.600 (10 neighbours)", "1.000", "0.250", "0.500", "90.0 ± 1.9", "80.0",
        "12",
    ]  # fmt: skip


def test_the_error_of_an_auroc_is_about_that_of_repeated_draws() -> None:
    draw = np.random.default_rng(0)
    seen = [
        (
            draw.exponential(4.0, (40, 1)) > draw.exponential(1.0, (1, 60))
        ).mean()  # exponential scores, as the formula has them
        for _ in range(2000)
    ]
    assert peer_tables.auroc_error(float(np.mean(seen)), 40, 60) == pytest.approx(np.std(seen), rel=0.15)


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(SystemExit, match="needs one <!-- imputation: begin -->"):
        peer_tables.updated("no markers", "imputation", "")
    page = "a\n<!-- imputation: begin -->\nold\n<!-- imputation: end -->\nb"
    assert (
        peer_tables.updated(page, "imputation", "new") == "a\n<!-- imputation: begin -->\nnew\n<!-- imputation: end -->\nb"
    )
