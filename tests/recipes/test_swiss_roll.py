"""Swiss roll: steps are placed as the setting says, and settings that do not go together are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator

import small
from quasistatic.errors import InputError
from quasistatic.recipes import swiss_roll
from quasistatic.runs.settings import make_recipe
from quasistatic.schedules import geometric


@pytest.mark.parametrize(
    ("place", "function", "n_rows"),
    [("optimal_schedule", "optimal_schedule", 3000), ("gradient", "learn_schedule", 20_000), ("no", None, 0)],
)
def test_steps_are_placed_on_training_rows_as_the_setting_says(monkeypatch, place, function, n_rows):
    told: dict[str, tuple[Any, ...]] = {}
    for name in ("optimal_schedule", "learn_schedule"):
        monkeypatch.setattr(swiss_roll, name, lambda *args, name=name, **_: told.update({name: args}) or args[0])
    recipe = make_recipe("swiss-roll", small.SMALL["swiss-roll"], {"place": place, "n_train": 25_000, "n_steps": 5})
    splits = recipe.splits(0)
    model = recipe.build(splits)
    placed = recipe.place_steps(model, splits, Generator())
    if function is None:
        assert (placed, told) == (None, {})
        return
    assert placed is model.process
    assert told.keys() == {function}
    assert torch.equal(told[function][2], splits.train[:n_rows])
    assert told[function][3:] == ((5,) if place == "optimal_schedule" else ())


def test_an_untrained_model_is_the_gaussian_fit_on_any_steps():
    # the process carries N(0, 1) to N(0, 1), and a network that starts at zero leaves its reversal exact
    recipe = make_recipe("swiss-roll", small.SMALL["swiss-roll"])
    splits = recipe.splits(0)
    model = recipe.build(splits)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(splits.test).sum(1)
    for n_steps in (2, 9):
        other = model.on(model.process.with_beta(geometric(n_steps, 10.0, -5.0)))
        bound = other.elbo(splits.test, method="trajectory")
        torch.testing.assert_close(bound.total, normal, rtol=0, atol=1e-5)  # the network's zeros are float32


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"covariance": "full"}, "network=paper needs covariance=diagonal, got full"),
        ({"n_components": 2}, "network=paper needs n_components=1, got 2"),
        ({"place": "optimal_schedule"}, "network=paper belongs to its own steps: set place=no or place=gradient"),
    ],
)
def test_what_the_papers_network_cannot_do_is_one_sentence(settings, said):
    recipe = make_recipe("swiss-roll-paper", small.SMALL["swiss-roll-paper"], settings)
    with pytest.raises(InputError, match=said):
        recipe.build(recipe.splits(0))
