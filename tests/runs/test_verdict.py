"""What is wrong with a run is said in train, evaluate and report; and whether it is any good."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import small
from evaluations import evaluation
from quasistatic.runs.run import open_run
from quasistatic.runs.summary import write_run_report
from quasistatic.runs.verdict import below_null, null_in_words, untrained_start, verdict, warnings_of
from commands import Told, blank, command  # noqa: F401  # fixtures


def log(*bounds: float) -> list[dict[str, Any]]:
    return [
        {"update": 100 * k, "validation": bound, "validation_se": 0.1, "unit": "bits_per_dim"}
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
    assert untrained_start([{"update": 0, "validation": None}, {"update": 3, "validation": None}]) is None


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
    assert len(warnings_of(evaluation(result), log(-11.5, -12.0))) == 2
    assert warnings_of(evaluation(result | {"bound": -3.0}), log(-11.5, -3.0)) == []


NULL, ROWS = "the null model (independent bits)", "on 400 held-out rows"
AGAIN = "train longer or check the data"


@pytest.mark.parametrize(
    ("gain", "lead", "said"),
    [
        (2.0, None, f"Good: 2.0 ± 0.1 bits per row better than {NULL}, {ROWS}."),
        (0.21, None, f"Good: 0.2 ± 0.1 bits per row better than {NULL}, {ROWS}."),
        (-2.0, None, f"Not good: 2.0 ± 0.1 bits per row worse than {NULL}, {ROWS}: {AGAIN}."),
        (
            0.19,
            None,
            f"Not good: not distinguishable from {NULL}, from which it differs by 0.2 ± 0.1 bits per row, {ROWS}: {AGAIN}.",
        ),
        (
            2.0,
            1.0,
            f"Good: 2.0 ± 0.1 bits per row better than {NULL}, and 1.0 ± 0.1 bits per row better than the baseline "
            f"(a mixture), {ROWS}.",
        ),
        (
            2.0,
            -1.0,
            f"Not good: 2.0 ± 0.1 bits per row better than {NULL}, but 1.0 ± 0.1 bits per row worse than the baseline "
            f"(a mixture), {ROWS}.",
        ),
        (None, None, f"Not known: the difference from {NULL} is not finite, {ROWS}."),
    ],
)
def test_a_report_begins_with_whether_the_model_is_good(gain: float | None, lead: float | None, said: str) -> None:
    result: dict[str, Any] = {"gain": gain, "gain_standard_error": 0.1, "unit": "bits", "n": 400, "split": "test"}
    if lead is not None:
        result["baseline"] = {"name": "a mixture", "value": 1.0, "standard_error": 0.1, "lead_paired": {"value": lead, "standard_error": 0.1}}
    assert verdict(evaluation(result), "independent bits") == said


@pytest.mark.parametrize(
    ("distance", "error", "said"),
    [
        (0.43, 0.02, "on 400 held-out rows. It is 0.43 ± 0.02 bits per sequence below the true distribution."),
        (0.03, 0.02, "on 400 held-out rows. It is not distinguishable from the true distribution."),
        (0.43, None, "on 400 held-out rows."),
    ],
)
def test_the_truth_is_compared_where_it_is_known(distance: float, error: float | None, said: str) -> None:
    result = {"gain": 2.0, "gain_standard_error": 0.1, "unit": "bits_per_sequence", "n": 400, "split": "test"}
    assert verdict(evaluation(result | {"distance_paired": {"value": distance, "standard_error": error, "n": 400}})).endswith(said)


@pytest.mark.parametrize("error", [None, float("nan")])
def test_without_an_error_nothing_is_known(error: float | None) -> None:
    result = {"gain": 2.0, "gain_standard_error": error, "unit": "bits", "n": 1, "split": "train"}
    assert verdict(evaluation(result)) == "Not known: the difference from the null model has no standard error, on 1 training row."


@pytest.mark.parametrize(
    ("name", "null"),
    [("heartbeat", "independent bits"), ("swiss-roll", "standard normal noise"), ("array", "a Gaussian fitted to")],
)
def test_the_null_model_is_named(name: str, null: str) -> None:
    assert null_in_words(small.opened(name).model).startswith(null)


def with_bounds(name: str, run: Path, start: float, slope: float) -> Path:
    """A copy of a run whose log has other bounds."""
    shutil.copytree(small.trained(name), run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines = [line | {"validation": start + slope * line["update"]} for line in lines]
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
    assert re.search(r'<h1>.*</h1>\n<p class="lead">(Good|Not good): .* the null model \(standard normal noise\)', page)


def test_a_run_that_is_well_has_no_warnings(command: Callable[..., Told], tmp_path: Path) -> None:  # noqa: F811
    run = with_bounds("array", tmp_path / "run", 1.0, 1.0)
    assert "warnings" not in command("evaluate", run, "--json").json()
    assert "WARNING" not in command("evaluate", run).out
