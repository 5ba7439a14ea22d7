"""What holds of every recipe."""

from __future__ import annotations

import pytest
import torch

import small
from quasistatic.recipes.base import Recipe
from quasistatic.runs.settings import make_recipe

MADE = [name for name in small.SMALL if name not in ("array", "table")]  # those that bring their own rows


def recipe(name: str) -> Recipe:
    return make_recipe(name, small.SMALL[name])


@pytest.mark.parametrize("name", MADE)
def test_rows_that_measure_do_not_depend_on_the_seed_and_do_repeat(name):
    a, b, c = (recipe(name).splits(seed) for seed in (0, 1, 0))
    for split in ("train", "validation", "test"):
        assert torch.equal(a.rows(split), c.rows(split))
        if split != "train":
            assert torch.equal(a.rows(split), b.rows(split))
        assert torch.isfinite(a.rows(split)).all()


@pytest.mark.parametrize("name", list(small.SMALL))
def test_building_placing_and_encoding_never_look_at_the_test_rows(name, tmp_path):
    made = make_recipe(name, small.SMALL[name] | small.own_rows(name, tmp_path))
    splits = small.poisoned(made.splits(0))
    model = made.build(splits)
    made.place_steps(model, splits, torch.Generator().manual_seed(0))
    model.encode(splits.validation, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [name for name in MADE if not name.startswith("heartbeat")])
def test_hardly_a_row_is_in_two_splits(name):
    splits = recipe(name).splits(0)
    rows = torch.cat([splits.train, splits.validation, splits.test])
    assert len(rows.unique(dim=0)) >= 0.99 * len(rows)


@pytest.mark.parametrize("name", [name for name in MADE if name != "digits"])
def test_the_true_log_probability_has_the_truth_for_its_mean(name):
    made = make_recipe(name, {"n_test": 4000})
    told = made.true_log_prob(made.splits(0).test)
    truth = made.truth()
    assert told is not None
    assert truth is not None
    # two-sided at 4.5 standard errors over rows: false alarm 7e-6; all rows of the heartbeat are equally likely
    assert abs(told.mean().item() - truth) < 4.5 * told.std().item() / 4000**0.5 + 1e-9


def test_a_recipe_that_says_nothing_of_its_samples_is_told_apart():
    checks = {name for name in MADE if type(make_recipe(name)).check_samples is not Recipe.check_samples}
    assert checks == {name for name in MADE if name.startswith("heartbeat")}
