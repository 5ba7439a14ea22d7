"""torch's default floating type is the user's: every kind of run works when it is float64."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import pictures
import small
from little_tables import mixed_table, quick
from quasistatic.estimator import DiffusionDensity
from quasistatic.runs.run import draw_samples, evaluate_run, open_run
from quasistatic.runs.summary import draw
from quasistatic.runs.training import train_run


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", [name for name in small.SMALL if name != "table"])
def test_every_recipe(name: str, tmp_path: Path) -> None:
    """Train, evaluate, sample and draw; the first steps clip, and all later ones too."""
    small.train(name, tmp_path / "run", **small.own_rows(name, tmp_path))
    run = open_run(tmp_path / "run")
    assert math.isfinite(evaluate_run(run).to_json()["bound"])
    assert torch.isfinite(draw_samples(run, 3)).all()
    assert draw(run)


@pytest.mark.parametrize("name", ["mnist-binary", "cifar10"])
def test_recipes_of_images(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures.install(monkeypatch, tmp_path)
    train_run(name, tmp_path / "run", settings=pictures.SMALL[name] | {"samples_every": 0}, quiet=True)
    run = open_run(tmp_path / "run")
    assert math.isfinite(evaluate_run(run).to_json()["bound"])
    assert torch.isfinite(draw_samples(run, 2).double()).all()


def test_a_table(tmp_path: Path) -> None:
    rows = mixed_table(80)
    model = quick().fit(rows)
    scores = model.score_samples(rows[:9])
    assert np.isfinite(scores).all()
    holes = rows[:4].copy()
    holes[0, 0] = None
    assert model.impute(holes, n_draws=2).draws.shape == (2, 4, 5)
    assert len(model.sample(3)) == 3
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(DiffusionDensity.load(tmp_path / "m").score_samples(rows[:9]), scores)
    torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(quick().fit(rows).score_samples(rows[:9]), scores, atol=0.3)


def test_a_posterior() -> None:
    import quasistatic as qs

    torch.set_default_dtype(torch.float32)
    run = small.opened("swiss-roll")  # trained with the other default
    torch.set_default_dtype(torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p = run.model.posterior(qs.GaussianMeasurement(torch.tensor([0.6, -0.3]), std=0.4), n_particles=40)
    assert torch.isfinite(p.mean).all()
