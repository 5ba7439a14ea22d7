"""Training settings: the learning rate by step, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasistatic.errors import InputError
from quasistatic.train import TrainConfig

CONFIGS = st.builds(
    TrainConfig,
    n_updates=st.integers(1, 5000),
    warmup=st.integers(0, 1000),
    decay_from=st.floats(0, 1),
    learning_rate=st.floats(1e-6, 1.0),
)


def with_(name: str, value: Any) -> TrainConfig:
    return dataclasses.replace(TrainConfig(), **{name: value})


@given(CONFIGS)
def test_the_rate_is_never_above_the_one_asked_for_nor_zero(config):
    rates = [config.rate_at(step) for step in range(config.n_updates)]
    assert min(rates) > 0
    assert max(rates) <= config.learning_rate


@given(CONFIGS)
def test_the_rate_rises_then_stays_then_falls(config):
    rates = [config.rate_at(step) for step in range(config.n_updates)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_the_rate_at_some_steps_by_hand():
    config = TrainConfig(n_updates=100, learning_rate=2.0, warmup=10, decay_from=0.6)
    expected = {0: 0.2, 4: 1.0, 9: 2.0, 10: 2.0, 60: 2.0, 70: 1.5, 80: 1.0, 90: 0.5, 99: 0.05, 100: 0.0}
    assert {step: config.rate_at(step) for step in expected} == pytest.approx(expected)


def test_without_warm_up_or_decay_the_rate_is_constant():
    config = TrainConfig(n_updates=10, learning_rate=0.5, warmup=0, decay_from=1.0)
    assert {config.rate_at(step) for step in range(10)} == {0.5}


@pytest.mark.parametrize("name", ["n_updates", "batch_size", "evaluate_every", "validation_pairs"])
def test_counts_start_at_one(name):
    with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
        with_(name, 0)
    assert getattr(with_(name, 1), name) == 1


@pytest.mark.parametrize("name", ["learning_rate", "clip"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_rates_and_norms_are_positive_and_finite(name, value):
    with pytest.raises(InputError, match=f"{name} must be positive and finite, got {value}"):
        with_(name, value)


@pytest.mark.parametrize("name", ["warmup", "weight_decay"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_what_may_be_zero_may_not_be_negative(name, value):
    with pytest.raises(InputError, match=rf"{name} must be (a whole number of )?at least 0( and finite)?, got {value}"):
        with_(name, value)
    assert getattr(with_(name, 0), name) == 0


@pytest.mark.parametrize("name", ["decay_from", "ema", "first_share"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_shares_lie_between_0_and_1(name, value):
    with pytest.raises(InputError, match=f"{name} must be between 0 and 1, got {value}"):
        with_(name, value)


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_the_second_moment_must_forget(value):
    with pytest.raises(InputError, match=f"beta_2 must be at least 0 and below 1, got {value}"):
        TrainConfig(beta_2=value)


def test_settings_cannot_change_under_a_training():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().n_updates = 3  # type: ignore[misc]
