"""One set of defaults: the command's, the estimator's, and what is documented of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import small
from little_tables import normal_rows
from quasistatic.cli import main
from quasistatic.estimator import DiffusionDensity
from quasistatic.recipes.table import Table
from quasistatic.runs import tables
from quasistatic.runs import training as runs
from quasistatic.runs.run import open_run
from quasistatic.tables import training
from quasistatic.tables.settings import DEFAULTS, TablePlan, TableSettings, plans_by_size

SIZES = [(240, 41), (240, 10), (5000, 10)]


def rows(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, d))


class Stopped(Exception):
    """Ends a fit before it trains."""


@pytest.mark.parametrize(("n", "d"), SIZES)
def test_the_command_and_the_estimator_train_alike(n: int, d: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", rows(n, d))
    planned: list[tuple[TablePlan, TableSettings, int]] = []
    real = TableSettings.plan

    def plan(self: TableSettings, n_rows: int, n_columns: int) -> TablePlan:
        planned.append((real(self, n_rows, n_columns), self, n_columns))
        raise Stopped

    monkeypatch.setattr(TableSettings, "plan", plan)
    with pytest.raises(Stopped):
        DiffusionDensity(random_state=0).fit(rows(n, d))
    recipe = Table(data=str(tmp_path / "x.npy"))
    with pytest.raises(Stopped):
        recipe.build(recipe.splits(0))
    (one, own, width), (other, its, its_width) = planned
    assert one == other
    assert width == its_width == d
    assert own.validation_fraction == its.validation_fraction == recipe.validation
    assert recipe.training(recipe.splits(0)) == one.train
    assert (own.marginals, own.average, own.n_trajectories) == (its.marginals, its.average, its.n_trajectories)


def test_the_defaults_are_those_that_were_measured() -> None:
    """The numbers of the records of tables."""
    found = {}
    for n, d in SIZES:
        plan = DEFAULTS.plan(n, d)
        t = plan.train
        found[n, d] = (plan.n_members, t.n_updates, t.evaluate_every, plan.shape.n_steps, plan.shape.n_components)
        assert (t.patience, t.batch_size, t.learning_rate, t.weight_decay) == (5, 256, 1e-3, 1e-2)
        assert t.validation_pairs == 20_000
    assert found == {(240, 41): (2, 6000, 150, 200, 1), (240, 10): (4, 1500, 50, 100, 1), (5000, 10): (1, 5000, 250, 30, 4)}
    assert DEFAULTS.validation_fraction == 0.15


def test_both_go_through_one_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small.train("table", tmp_path / "run", data=str(small.mixed_table(tmp_path / "t.csv")), members=1)
    seen: list[Any] = []

    def average(columns: Any, *args: Any, **rest: Any) -> Any:
        seen.append(rest)
        raise Stopped

    monkeypatch.setattr(training, "average_members", average)
    with pytest.raises(Stopped):
        tables.ensemble_of(open_run(tmp_path / "run"))
    with pytest.raises(Stopped):
        DiffusionDensity(max_updates=1, n_members=1, n_steps=2, width=4, random_state=0).fit(normal_rows(30))
    assert seen[0].keys() == seen[1].keys()
    assert {name: seen[0][name] for name in ("baselines", "n_trajectories")} == {"baselines": True, "n_trajectories": 8}


def test_the_run_trains_as_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", rows(240, 3))
    seen: list[Any] = []

    def fit(model: Any, train: Any, validation: Any, config: Any, **rest: Any) -> Any:
        seen.append((config, len(validation)))
        raise Stopped

    monkeypatch.setattr(runs, "fit", fit)
    with pytest.raises(Stopped):
        runs.train_run("table", tmp_path / "run", settings={"data": str(tmp_path / "x.npy")}, quiet=True)
    settings = {"data": str(tmp_path / "x.npy"), "train.n_updates": 7, "train.warmup": 3}
    with pytest.raises(Stopped):
        runs.train_run("table", tmp_path / "other", settings=settings, quiet=True)
    (config, n_validation), (other, _) = seen
    assert config == DEFAULTS.plan(180, 3).train
    assert n_validation == round(0.15 * 240)
    assert (other.n_updates, other.evaluate_every, other.warmup, other.patience) == (7, 7, 3, 5)


def test_the_documented_defaults_are_the_real_ones() -> None:
    text = " ".join((DiffusionDensity.__doc__ or "").split())
    few, wide, large, plane = (DEFAULTS.plan(n, d) for n, d in ((1999, 10), (1999, 33), (2000, 10), (2000, 2)))
    middle = DEFAULTS.plan(2000, 17)
    for sentence in (
        f'"auto" is {few.n_members} for fewer than 2000 rows, or {wide.n_members} if there are more than 32 columns too; '
        f"else {large.n_members}.",
        f'"auto" is {few.shape.n_steps} for fewer than 2000 rows or more than 16 columns, {wide.shape.n_steps} for more '
        f"than 32 columns, {plane.shape.n_steps} for more rows of at most two columns, else {large.shape.n_steps}.",
        f'"auto" is {few.shape.n_components} for fewer than 2000 rows or more than 16 columns, {plane.shape.n_components} '
        f"for more rows of at most two columns, else {large.shape.n_components}.",
        f'"auto" is {few.train.n_updates} for fewer than 2000 rows, {large.train.n_updates} for more rows, and '
        f"{wide.train.n_updates} for more than 32 columns.",
        f'"auto" is {few.shape.dropout:g} for fewer than 2000 rows or more than 16 columns, {plane.shape.dropout:g} for '
        f"more rows of at most two columns, else {large.shape.dropout:g}.",
        f"every {few.train.evaluate_every} updates for fewer than 2000 rows, every {wide.train.evaluate_every} if there "
        f"are more than 32 columns too, else every {large.train.evaluate_every}.",
    ):
        assert sentence in text
    assert (middle.shape.n_steps, middle.shape.n_components, middle.shape.dropout) == (100, 1, few.shape.dropout)
    params = DiffusionDensity().get_params()
    for name in ("marginals", "width", "depth", "learning_rate", "batch_size", "validation_fraction", "patience", "average"):
        assert params[name] == getattr(DEFAULTS, name)


def test_the_help_of_the_command_lists_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "table", "--help"])
    assert not end.value.code
    text = " ".join(capsys.readouterr().out.split())
    for name in ("batch_size", "learning_rate", "patience", "validation_pairs"):
        assert f"train.{name}={getattr(DEFAULTS, name)}" in text
    assert f"validation={DEFAULTS.validation_fraction}" in text
    for record in plans_by_size():
        numbers = [record[key] for key in ("members", "train.n_updates", "train.evaluate_every", "n_steps", "n_components")]
        start = re.escape(f"{record['rows']} {record['columns']} ")
        assert re.search(start + " ".join(map(str, numbers)), text), record


def test_settings_of_the_loop_without_a_name_are_kept() -> None:
    recipe = Table()
    assert recipe.settings().plan(100, 3).train.ema == recipe.train.ema
    assert torch.get_default_dtype() == torch.float32
