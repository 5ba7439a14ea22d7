"""What is wrong with a run is said in train, evaluate and report; and whether it is any good."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import small
from quasistatic.recipes.run import open_run
from quasistatic.recipes.summary import write_run_report
from quasistatic.recipes.verdict import below_null, untrained_start, verdict, warnings_of
from test_cli import Told, blank, command  # noqa: F401  # fixtures


def log(*bounds: float) -> list[dict[str, Any]]:
    return [
        {"step": 100 * k, "validation": bound, "validation_se": 0.1, "unit": "bits_per_dim"}
        for k, bound in enumerate(bounds)
    ]


def test_a_training_without_any_gain_says_that_the_start_is_used() -> None:
    said = untrained_start(log(-11.5, -20.0, -42.0))
    assert said is not None
    assert said.startswith(
        "no update improved the validation bound (-11.5 ± 0.1 at the start, -42.0 ± 0.1 bits_per_dim after 200"
    )
    assert said.endswith("so the untrained model is kept and used")


@pytest.mark.parametrize("bounds", [(-11.5,), (-11.5, -11.4), (-11.5, -3.0, -12.0), (-11.5, float("nan"), -3.0)])
def test_a_training_that_gained_at_any_time_or_has_not_begun_says_nothing(bounds: tuple[float, ...]) -> None:
    assert untrained_start(log(*bounds)) is None
    assert untrained_start([]) is None
    assert untrained_start([{"step": 0, "validation": None}, {"step": 3, "validation": None}]) is None


def test_a_bound_below_the_null_model_is_said() -> None:
    told = below_null(-42.0, -3.78, 2.0, "bits_per_dim", "test")
    assert told is not None
    assert told.startswith(
        "the bound of test rows, -42 bits_per_dim, is below that of the null model, -3.78: this model is worse"
    )
    assert below_null(-3.8, -3.78, 0.1, "bits_per_dim", "test") is None  # within the error
    assert below_null(-3.0, -3.78, 0.1, "bits_per_dim", "test") is None
    assert below_null(None, -3.78, 0.1, "bits_per_dim", "test") is below_null(-3.0, None, 0.1, "bits", "test") is None


def test_both_may_be_wrong_at_once() -> None:
    result = {"bound": -11.5, "null": -3.8, "unit": "bits_per_dim", "split": "test"}
    assert len(warnings_of(result, log(-11.5, -12.0))) == 2
    assert warnings_of(result | {"bound": -3.0}, log(-11.5, -3.0)) == []


@pytest.mark.parametrize(
    ("gain", "lead", "said"),
    [
        (2.0, None, "Good: better than the null model by 2.0 ± 0.1 bits."),
        (-2.0, None, "Not good: worse than the null model by 2.0 ± 0.1 bits."),
        (0.1, None, "No clear gain: no different from the null model."),
        (2.0, 1.0, "Good: better than the null model by 2.0 ± 0.1 bits, and better than a mixture by 1.0 ± 0.1 bits."),
        (2.0, -1.0, "Not good: better than the null model by 2.0 ± 0.1 bits, and worse than a mixture by 1.0 ± 0.1 bits."),
        (None, None, "Not known: the comparison with the null model is not finite."),
    ],
)
def test_a_report_begins_with_whether_the_model_is_good(gain: float | None, lead: float | None, said: str) -> None:
    result: dict[str, Any] = {"gain": gain, "gain_standard_error": 0.1, "unit": "bits"}
    if lead is not None:
        result["baseline"] = {"name": "a mixture", "lead_paired": {"value": lead, "standard_error": 0.1}}
    assert verdict(result) == said


def with_bounds(name: str, run: Path, start: float, slope: float) -> Path:
    """A copy of a run whose log has other bounds."""
    shutil.copytree(small.trained(name), run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines = [line | {"validation": start + slope * line["step"]} for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A run whose training lost what it had, and whose bound is below the null model's."""
    return with_bounds("swiss-roll", tmp_path / "run", -100.0, -1.0)


def test_train_evaluate_and_report_say_it(command: Callable[..., Told], blank: None, spoilt: Path) -> None:  # noqa: F811
    words = ("train", "swiss-roll", "--out", spoilt, *small.words("swiss-roll"))
    start = "WARNING: no update improved the validation bound (-100"
    null = "WARNING: the bound of validation rows, -100 bits, is below that of the null model, -4"
    said = command(*words).out
    assert start in said
    assert null in said
    assert len(command(*words, "--json").json()["warnings"]) == 2
    assert start in command("evaluate", spoilt).out
    assert command("evaluate", spoilt, "--json").json()["warnings"][0].startswith("no update improved")
    page = write_run_report(open_run(spoilt)).read_text()
    assert start in page
    assert "than the null model" in page or "different from the null model" in page


def test_a_run_that_is_well_has_no_warnings(command: Callable[..., Told], tmp_path: Path) -> None:  # noqa: F811
    run = with_bounds("array", tmp_path / "run", 1.0, 1.0)
    assert "warnings" not in command("evaluate", run, "--json").json()
    assert "WARNING" not in command("evaluate", run).out
