"""Measuring: parts that add up, errors of what was compared, and the exact kernel as control variate."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch

import small
from quasistatic.errors import InputError
from quasistatic.estimate import Estimate, unit_divisor
from quasistatic.recipes.base import Splits, seeded
from quasistatic.runs import evaluation
from quasistatic.runs.evaluation import evaluate

ALL = ["swiss-roll", "swiss-roll-paper", "swiss-roll-mixture", "heartbeat", "heartbeat-paper", "heartbeat-mixture", "array"]


@cache
def measured(name: str, split: str = "test") -> dict[str, Any]:
    run = small.opened(name)
    return evaluate(run.recipe, run.model, run.splits, split=split).to_json()


@pytest.mark.parametrize("name", ALL)
def test_the_terms_add_up_to_the_mean_over_the_rows(name):
    told = measured(name)
    mean = told["direct"]["value"] if "direct" in told else told["bound"]
    assert sum(told["terms"].values()) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_headline_is_the_models_bound_on_these_rows(name):
    told, run = measured(name), small.opened(name)
    bound = run.model.elbo(run.splits.test, generator=seeded(0), method="trajectory")
    by_hand = Estimate.of(bound.total, told["unit"], run.model.event_shape)
    pair = told.get("direct", {"value": told["bound"], "standard_error": told["standard_error"]})
    assert pair["value"] == by_hand.value
    assert pair["standard_error"] == by_hand.standard_error


@pytest.mark.parametrize("name", ALL)
def test_a_gain_is_the_bound_less_the_null_and_has_the_error_of_the_difference(name):
    told = measured(name)
    assert told["gain"] == pytest.approx(told["bound"] - told["null"], abs=1e-9)
    apart = math.hypot(told["standard_error"], told["null_standard_error"])
    assert told["gain_standard_error"] <= told["standard_error"] + told["null_standard_error"]
    assert told["gain_standard_error"] != pytest.approx(apart, rel=1e-6) or told["null_standard_error"] < 1e-9


@pytest.mark.parametrize("name", ["swiss-roll", "heartbeat", "heartbeat-mixture"])
def test_distances_are_to_the_truth(name):
    told, run = measured(name), small.opened(name)
    divisor = unit_divisor(told["unit"], run.model.event_shape)
    truth, each = run.recipe.truth(), run.recipe.true_log_prob(run.splits.test)
    assert truth is not None
    assert each is not None
    assert told["truth"] == truth / divisor
    assert told["distance"] == pytest.approx(told["truth"] - told["bound"], abs=1e-12)
    here = each.mean().item() / divisor
    assert told["distance_paired"]["value"] == pytest.approx(here - told["bound"], abs=1e-9)
    # an importance-weighted estimate of the same rows is tighter than their bound in the mean, and no more than the
    # truth; both by draws, two-sided at 4.5 of their errors
    weighted = told["log_prob"]["distance_paired"]
    assert weighted["value"] > -4.5 * weighted["standard_error"]


@pytest.mark.parametrize("name", ["heartbeat", "heartbeat-paper"])
def test_the_exact_kernel_takes_the_noise_out_of_the_headline(name):
    told = measured(name)
    assert told["bound"] <= told["limit"] + 4.5 * told["standard_error"]
    error = math.hypot(told["standard_error"], told["direct"]["standard_error"])
    assert abs(told["bound"] - told["direct"]["value"]) < 4.5 * error
    stationary = told["fixed_first_step"]
    assert stationary["value"] <= told["fixed_first_step_limit"] + 4.5 * stationary["standard_error"]
    assert "enumeration" in told["method"]


def test_the_exact_kernel_measured_as_a_model_is_its_limit_without_an_error():
    run = small.opened("heartbeat")
    exact = run.recipe.exact_kernel(run.model)
    model = run.model.on(run.model.process)
    assert exact is not None
    assert exact.first_step == "learned"
    model._modules["kernel"] = exact
    told = evaluate(run.recipe, model, run.splits, n_trajectories=0).to_json()
    assert told["bound"] == pytest.approx(told["limit"], abs=1e-9)
    assert told["standard_error"] < 1e-9
    assert told["direct"]["standard_error"] > 1e-3
    assert abs(told["direct"]["value"] - told["limit"]) < 4.5 * told["direct"]["standard_error"]


def test_draws_of_a_transforms_noise_are_averaged_before_errors_are_taken(monkeypatch):
    import tiny

    model, x = tiny.model(), tiny.rows(40, 3)
    recipe = small.opened("swiss-roll").recipe
    splits = Splits(x[:0], x[:0], x)
    for name in ("true_log_prob", "truth", "paper"):
        monkeypatch.setattr(type(recipe), name, lambda *_: None)
    object.__setattr__(recipe, "n_draws", 4)
    told = evaluate(recipe, model, splits, n_trajectories=0).to_json()
    bounds = [model.elbo(x, generator=seeded(1000 * k), method="trajectory").total for k in range(4)]
    by_hand = Estimate.of(torch.stack(bounds).mean(0), "bits", (2,))
    assert (told["bound"], told["standard_error"], told["n"]) == (by_hand.value, by_hand.standard_error, 40)
    assert sum(told["terms"].values()) == pytest.approx(told["bound"], rel=1e-12)
    assert told["standard_error"] < Estimate.of(bounds[0], "bits", (2,)).standard_error


def test_no_more_rows_are_measured_than_the_visits_allow(monkeypatch):
    run = small.opened("swiss-roll")
    monkeypatch.setattr(evaluation, "MAX_PAIRS", 4 * 30)
    told = evaluate(run.recipe, run.model, run.splits, n_trajectories=0).to_json()
    assert told["n"] == 30
    assert "log_prob" not in told


@pytest.mark.parametrize("n", [0, 3])
def test_trajectories_asked_for_win_over_those_of_the_recipe(n):
    run = small.opened("swiss-roll")
    told = evaluate(run.recipe, run.model, run.splits, n_trajectories=n).to_json()
    assert told.get("log_prob", {}).get("n_trajectories", 0) == n


def test_the_same_measurement_is_the_same_number():
    run = small.opened("heartbeat-mixture")
    assert evaluate(run.recipe, run.model, run.splits).to_json() == measured("heartbeat-mixture")


def test_a_model_of_the_papers_edge_is_told_as_such():
    run = small.opened("swiss-roll")
    from quasistatic.model import DiffusionModel
    from quasistatic.reverse import FixedFirstStep

    kernel = FixedFirstStep(run.model.kernel, run.model.process)
    model = DiffusionModel(run.model.transform, run.model.process, kernel, (2,))
    told = evaluate(run.recipe, model, run.splits, n_trajectories=0).to_json()
    assert told["first_step"] == "fixed"
    assert measured("swiss-roll")["first_step"] == "learned"


def test_a_split_without_rows_is_refused():
    run = small.opened("swiss-roll")
    splits = Splits(run.splits.train, run.splits.validation, run.splits.test[:0])
    with pytest.raises(InputError, match="there are no test rows to evaluate"):
        evaluate(run.recipe, run.model, splits).to_json()


def test_samples_are_checked_where_something_is_known_of_them():
    run = small.opened("heartbeat")
    told = evaluate(run.recipe, run.model, run.splits, n_trajectories=0, n_samples=50).to_json()["samples"]
    assert told["n"] == 50
    assert sum(told["phases"]) == pytest.approx(told["valid"] * 50)
    other = small.opened("swiss-roll")
    with pytest.raises(InputError, match="this recipe cannot check samples"):
        evaluate(other.recipe, other.model, other.splits, n_samples=50).to_json()
