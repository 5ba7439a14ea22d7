"""Columns with values of a probability of their own: found, coded, normalised, drawn, filled and kept in files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Generator

from chance import check_mean
from little_tables import quick
from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity
from quasistatic.tables.coding import coded_columns, decode, hide, missing_cells, values_of
from quasistatic.tables.columns import Column, describe_columns
from quasistatic.tables.inference import infer
from quasistatic.tables.mixture import NormalMixture
from quasistatic.tables.preconditioner import fit_preconditioner


def limited(n: int, seed: int = 0) -> pd.DataFrame:
    """93 % exactly 45; the rare class alone lies in 15 to 40."""
    draw = np.random.default_rng(seed)
    rare = draw.random(n) < 0.07
    return pd.DataFrame({
        "kind": np.where(rare, "rare", "usual"),
        "age": np.where(rare, draw.uniform(15.0, 40.0, n), 45.0),
        "b": draw.normal(size=n) + 0.5 * rare,
    })  # fmt: skip


def inflated(n: int, seed: int = 0) -> NDArray[np.float64]:
    """40 % zeros beside amounts whose logarithm is normal."""
    draw = np.random.default_rng(seed)
    return np.where(draw.random(n) < 0.4, 0.0, np.exp(draw.normal(size=n)))


ROUNDED = {
    "normal, one digit": lambda d: np.round(d.normal(size=1000), 1),
    "normal, half a deviation": lambda d: 0.5 * np.round(2.0 * d.normal(size=1000)),
    "exponential": lambda d: 0.7 * np.round(d.exponential(size=1000) / 0.7),
    "grid": lambda d: 0.1 * d.integers(0, 30, 600),
    "no value twice": lambda d: d.normal(size=500),
    "counts": lambda d: d.negative_binomial(2, 0.02, 1000).astype(float),
    "dates by the month": lambda d: 30.5 * d.integers(0, 50, 900),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_numbers_have_no_atoms(name: str) -> None:
    for seed in range(5):
        assert infer(ROUNDED[name](np.random.default_rng(seed)), "x").atoms == ()


def test_values_that_repeat_are_found() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=400)
    assert infer(np.where(draw.random(400) < 0.93, 45.0, x), "x").atoms == (45.0,)
    assert infer(np.clip(x, -1.0, 1.0), "x").atoms == (-1.0, 1.0)
    assert infer(inflated(100), "x").atoms == (0.0,)
    count = np.where(draw.random(900) < 0.5, 0.0, draw.poisson(60.0, 900))
    zero = infer(count, "x")
    assert (zero.kind, zero.atoms, zero.values[0] > 0) == ("integer", (0.0,), True)
    assert infer(x, "x", "numeric").atoms == infer(inflated(100), "x", "numeric").atoms == ()
    assert infer(np.array([1.5, 1.5, 2.5, 3.5]), "x", "atoms").atoms == (1.5,)
    with pytest.raises(InputError, match="column 'x' cannot be atoms: it holds 'a', which is not a number"):
        infer(np.array(["a", "b", "a"], dtype=object), "x", "atoms")
    assert describe_columns([infer(inflated(100), "amount")]) == "numeric with atoms: amount (often exactly 0)"


@pytest.mark.parametrize("column", [
    Column("x", "numeric", (), (0.0, 45.0)),
    Column("x", "integer", (3.0, 90.0), (0.0, 45.0)),
    Column("x", "ordinal", (1.0, 3.0)),
])  # fmt: skip
def test_cells_to_codes_and_back(column: Column) -> None:
    cells = np.array([1.0, 3.0, math.nan]) if column.kind == "ordinal" else np.array([0.0, 7.0, 45.0, math.nan, 3.0])
    codes, wrong = column.encode(cells)
    assert codes.shape == (len(cells), len(column.coded))
    assert not wrong.any()
    np.testing.assert_array_equal(column.decode(codes), cells)
    still = Column("still", "constant", (1.0,))
    x = torch.as_tensor(codes)
    np.testing.assert_array_equal(values_of(x, [still, column])[:, 0], cells)
    np.testing.assert_array_equal(decode([still, column], x)[1], cells)
    np.testing.assert_array_equal(missing_cells(x, [column, still])[:, 0], np.isnan(cells))
    assert hide(x, torch.ones(len(x), 1, dtype=torch.bool), [column]).isnan().all()
    assert Column.from_plain(column.plain()) == column


@pytest.fixture(scope="module")
def amounts() -> DiffusionDensity:
    return quick(marginals="none", max_updates=20, n_steps=20, n_trajectories=16).fit(inflated(400)[:, None])


def test_masses_and_density_add_up_to_one(amounts: DiffusionDensity) -> None:
    """What the chain's bound falls short of the truth can only make the sum smaller."""
    grid = np.arange(-20.0, 30.0, 0.02) + 0.01
    p = np.exp(amounts.score_samples(np.concatenate([[0.0], grid])[:, None]))
    assert p[0] == pytest.approx((inflated(400) == 0).mean(), abs=0.02)
    assert 0.97 < p[0] + 0.02 * p[1:].sum() < 1.001


def test_a_closed_form_adds_up_to_one_exactly() -> None:
    column = infer(inflated(400), "x")
    x = torch.as_tensor(column.encode(inflated(400))[0])
    law = NormalMixture.fit(fit_preconditioner(x, coded_columns([column]), "none"), x[:350], x[350:])
    cells = np.concatenate([[0.0], np.arange(-30.0, 40.0, 0.005) + 0.0025])
    p = law.log_prob(torch.as_tensor(column.encode(cells)[0])).exp()
    assert (p[0] + 0.005 * p[1:].sum()).item() == pytest.approx(1.0, abs=1e-5)


def test_draws_are_exactly_the_atom_as_often_as_rows_are(amounts: DiffusionDensity) -> None:
    drawn = amounts.sample(4000, random_state=1)[:, 0]
    share = np.exp(amounts.score_samples([[0.0]]))[0]
    check_mean(torch.as_tensor(drawn == 0.0).double(), float(share), false_alarm=1e-5, resolves=0.05)


def test_a_class_that_decides_about_the_atom() -> None:
    """Draws of the rare class lie where its rows do; those of the usual one are exactly 45."""
    model = DiffusionDensity(n_members=1, max_updates=100, width=32, random_state=0).fit(limited(1200))
    assert model.columns_[1].atoms == (45.0,)
    rare = model.condition({"kind": "rare"}, n_draws=200).draws[:, 0, 1].astype(float)
    usual = model.condition({"kind": "usual"}, n_draws=200).draws[:, 0, 1].astype(float)
    assert ((rare > 10.0) & (rare < 45.0)).mean() > 0.85
    assert (rare == 45.0).mean() < 0.15
    assert (usual == 45.0).mean() > 0.97
    drawn = model.sample(1000, random_state=1)
    assert abs((drawn["age"] == 45.0).mean() - 0.93) < 0.03
    assert drawn.loc[drawn["age"] != 45.0, "age"].between(5.0, 55.0).all()
    # a mean over particles counts the atom as the value that it is
    gone = limited(4, seed=3).assign(age=np.nan)
    assert (model.impute(gone).mean.loc[gone["kind"] == "usual", "age"] > 43.0).all()


def test_a_missing_cell_is_told_from_an_atom(amounts: DiffusionDensity) -> None:
    rows = np.array([[0.0], [math.nan], [1.5]])
    filled = amounts.impute(rows, n_draws=40)
    assert (filled.draws[:, 0, 0] == 0.0).all()
    assert (filled.draws[:, 2, 0] == 1.5).all()
    assert 0 < (filled.draws[:, 1, 0] == 0.0).sum() < 40
    assert np.isnan(filled.log_evidence).tolist() == [True, False, True]
    assert amounts.score_samples([[math.nan]])[0] == pytest.approx(0.0, abs=1e-3)  # nothing was observed


def test_what_is_saved_still_has_atoms(amounts: DiffusionDensity, tmp_path: Path) -> None:
    amounts.save(tmp_path / "m")
    again = DiffusionDensity.load(tmp_path / "m")
    assert again.columns_ == amounts.columns_
    np.testing.assert_array_equal(again.score_samples([[0.0], [2.0]]), amounts.score_samples([[0.0], [2.0]]))


def test_all_values_beside_the_atom_may_be_held_out() -> None:
    x = np.full((60, 1), 3.0)
    x[:2, 0] = 1.0, 2.5
    model = quick(types=["atoms"]).fit(np.concatenate([x, x[2:]]), validation=x)
    assert np.isfinite(model.score_samples([[3.0], [1.0], [2.2]])).all()
    rest = quick(types=["atoms"]).fit(np.concatenate([x[2:], [[1.0], [2.5]]]), validation=x)
    assert np.isfinite(rest.score_samples([[3.0], [1.0]])).all()


def test_densities_of_atoms_are_near_the_truth() -> None:
    """0.4 at zero, else a log-normal density, within .05 nats (n = 2000, seed 5; the mean's standard error is .03)."""
    test = inflated(2000, seed=5)
    with np.errstate(divide="ignore"):
        truth = np.where(test == 0, math.log(0.4), math.log(0.6) + stats.lognorm.logpdf(test, 1.0))
    model = quick(max_updates=20, n_steps=20).fit(inflated(2000)[:, None])
    assert -0.01 < (truth - model.score_samples(test[:, None])).mean() < 0.05


@pytest.mark.parametrize("kind", [np.int64, object, str])
def test_whole_numbers_that_floats_cannot_tell_apart_are_refused(kind: type) -> None:
    cells: NDArray[Any] = np.array([9007199254740993 + 2 * k for k in range(40)]).astype(kind)
    with pytest.raises(InputError, match=r"holds 9007199254740993, but whole numbers above 2\*\*53 are not exact as floats"):
        infer(cells.astype(object) if kind is str else cells, "id")
    assert infer(np.array([2**60, 2**61, 2**62] * 5), "x").kind == "numeric"  # these are exact
    assert infer(np.array([1e17 + 3.0, 2e17, 3e17]), "x").kind == "numeric"  # measured


def test_generators_are_used(amounts: DiffusionDensity) -> None:
    law = amounts.ensemble_.mixture
    rows = torch.full((5, 2), math.nan, dtype=torch.float64)
    first, again = (law.draw(rows, Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
