"""What a run says of itself: every measured number with its error and n, every known one without."""

from __future__ import annotations

from typing import Any

import pytest

import small
from evaluations import evaluation
from quasistatic.runs.evaluation import evaluate
from quasistatic.runs.run import open_run
from quasistatic.runs.summary import draw, rows

RESULT: dict[str, Any] = {
    "unit": "bits", "n": 400, "first_step": "learned", "bound": 2.3512, "standard_error": 0.0101,
    "fixed_first_step": {"value": 2.1, "standard_error": 0.02, "n": 101},
    "null": -4.0942, "null_standard_error": 0.003, "gain": 6.4454, "gain_standard_error": 0.012,
}  # fmt: skip


def table(**more: Any) -> dict[str, str]:
    return {row[""]: row["bits"] for row in rows(evaluation(RESULT | more))}


def test_a_plain_result_has_the_bound_twice_the_null_and_the_gain():
    assert table() == {
        "bound, first step learned and scored": "2.35 ± 0.01 (n = 400)",
        "bound, first step fixed, the paper's convention": "2.10 ± 0.02 (n = 101)",
        "null model": "-4.094 ± 0.003",
        "gain over the null model": "6.445 ± 0.012",
    }


def test_what_is_known_is_set_beside_it():
    pair = {"value": 0.25, "standard_error": 0.01, "n": 400}
    told = table(
        truth=2.704, distance=0.3528, distance_paired=pair, paper=2.35, limit=2.66,
        log_prob={"n_trajectories": 50, **pair, "distance_paired": pair},
        baseline={"name": "mixture", **pair, "lead_paired": pair},
    )  # fmt: skip
    assert told["truth"] == "2.704"
    assert told["truth - bound"] == "0.35 ± 0.01"
    assert told["truth - bound, same points"] == "0.25 ± 0.01 (n = 400)"
    assert told["importance-weighted log p, 50 trajectories"] == "0.25 ± 0.01 (n = 400)"
    assert told["truth - importance-weighted, same points"] == "0.25 ± 0.01 (n = 400)"
    assert told["best possible for this kind of kernel and T"] == "2.66"
    assert told["mixture"] == told["lead over it, same points"] == "0.25 ± 0.01 (n = 400)"
    assert told["paper (its data and first step may differ)"] == "2.35"
    assert len(told) == 13


def test_the_papers_edge_as_headline_is_named():
    assert next(iter(table(first_step="fixed"))) == "bound, first step fixed, the paper's convention"


def test_a_number_that_json_could_not_hold_is_unknown():
    told = table(n=1, standard_error=None, fixed_first_step={"value": None, "standard_error": None, "n": 1})
    assert told["bound, first step learned and scored"] == "2.351 (standard error unknown, n = 1)"
    assert told["bound, first step fixed, the paper's convention"].startswith("not finite")


def test_a_result_of_every_recipe_makes_a_table():
    for name in ("swiss-roll", "heartbeat"):
        run = small.opened(name)
        told = evaluate(run.recipe, run.model, run.splits)
        lines = rows(told)
        assert all(row.keys() == {"", told.unit} and row[told.unit] for row in lines)


@pytest.mark.parametrize("family", ["gaussian", "binomial"])
@pytest.mark.parametrize("n", [10, 120])
def test_figures_are_drawn_also_of_very_few_rows(tmp_path, family, n):
    small.train("array", tmp_path / "run", data=str(small.table(tmp_path / "t.csv", n=n, family=family)), family=family)
    figures = draw(open_run(tmp_path / "run"))
    own = {"gaussian": "pairs", "binomial": "bits"}[family]
    assert figures.keys() == {own, "learning-curve"} | ({"step-costs", "entropy-band"} if n > 10 else set())


def test_drawing_leaves_what_is_drawn_to_the_seed_of_the_run():
    a, b = (draw(small.opened("heartbeat"))["figure-2"] for _ in "ab")
    images = [[image.get_array() for axes in figure.axes for image in axes.get_images()] for figure in (a, b)]
    assert images[0]
    assert all((x == y).all() for x, y in zip(*images, strict=True))
