"""The density of a table by itself: named parts, files with a format number, and rows scored alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator

from little_tables import mixed_table, quick
from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity
from quasistatic.tables.coding import encode
from quasistatic.tables.ensemble import DensityEnsemble
from quasistatic.tables.preconditioner import TablePreconditioner
from quasistatic.transforms import Chain, Complete, OnColumns, Whiten


@pytest.fixture(scope="module")
def fitted() -> DiffusionDensity:
    return quick(max_updates=20, n_members=2).fit(mixed_table())


@pytest.fixture(scope="module")
def ensemble(fitted: DiffusionDensity) -> DensityEnsemble:
    return fitted.ensemble_


@pytest.fixture(scope="module")
def x(ensemble: DensityEnsemble) -> torch.Tensor:
    cells = mixed_table(40, seed=3)
    cells[4, 0] = cells[5, 1] = cells[6, 2] = None
    return encode(ensemble.columns, list(cells.T))[0]


def test_the_log_density_of_a_row_does_not_depend_on_the_others(ensemble: DensityEnsemble, x: torch.Tensor) -> None:
    whole = ensemble.log_prob(x)
    order = torch.randperm(len(x), generator=Generator().manual_seed(0))
    torch.testing.assert_close(ensemble.log_prob(x[order]), whole[order], rtol=0, atol=1e-10)
    for i in (0, 4, 5, 6, 39):
        torch.testing.assert_close(ensemble.log_prob(x[i : i + 1]), whole[i : i + 1], rtol=0, atol=1e-10)


def test_it_is_the_weighted_average_of_its_parts(ensemble: DensityEnsemble, x: torch.Tensor) -> None:
    each = ensemble.log_prob_each(x)
    assert each.shape == (len(x), len(ensemble.members) + 3)
    assert ensemble.weights.sum().item() == pytest.approx(1.0)
    torch.testing.assert_close(ensemble.log_prob(x).exp(), each.exp() @ ensemble.weights)
    torch.testing.assert_close(each[:, -1], ensemble.mixture.log_prob(x, seed=ensemble.seed))
    torch.testing.assert_close(each[:, -3], ensemble.normal.log_prob(x, seed=ensemble.seed))


def test_all_parts_share_one_preconditioner(ensemble: DensityEnsemble) -> None:
    for density in (ensemble.normal, ensemble.heavy_tailed, ensemble.mixture):
        assert density.preconditioner is ensemble.preconditioner
    assert all(member.transform is ensemble.preconditioner for member in ensemble.models)


def test_what_is_saved_scores_samples_and_fills_the_same(ensemble: DensityEnsemble, x: torch.Tensor, tmp_path: Path) -> None:
    ensemble.save(tmp_path / "e")
    again = DensityEnsemble.load(tmp_path / "e")
    assert again.columns == ensemble.columns
    assert torch.equal(again.log_prob(x), ensemble.log_prob(x))
    first, second = (e.sample(20, generator=Generator().manual_seed(1)) for e in (ensemble, again))
    assert torch.equal(first, second)
    first, second = (e.draw_missing(x, 3, generator=Generator().manual_seed(1)).draws for e in (ensemble, again))
    assert torch.equal(first, second)
    assert not list((tmp_path / "e").rglob("*.pkl"))


@pytest.mark.parametrize("found", [2, None, "one"])
def test_another_format_is_refused_with_what_to_do(ensemble: DensityEnsemble, tmp_path: Path, found: Any) -> None:
    ensemble.save(tmp_path / "e")
    file = tmp_path / "e" / "ensemble.json"
    record = json.loads(file.read_text())
    assert record["format"] == 1
    file.write_text(json.dumps(record | {"format": found}))
    with pytest.raises(InputError, match="this version reads format 1: fit and save it again, or load it with the version"):
        DensityEnsemble.load(tmp_path / "e")
    with pytest.raises(InputError, match=r"there is no ensemble\.json"):
        DensityEnsemble.load(tmp_path)


def test_conditioning_on_what_cannot_be_names_column_and_value(ensemble: DensityEnsemble) -> None:
    generator = Generator().manual_seed(0)
    for known, sentence in (
        ({"column 1": "X"}, r"^cannot condition on column 1='X': not a category seen in training \(F, I, M\)$"),
        ({"column 0": 1e200}, r"^cannot condition on column 0=1e\+200: no number may be above 1e\+150 in size$"),
        ({"weight": 1.0}, "^there is no column 'weight'; there are column 0, "),
    ):
        with pytest.raises(InputError, match=sentence):
            ensemble.condition(known, 5, generator=generator)
    drawn = ensemble.condition({1: "M"}, 5, generator=generator)
    assert set(drawn.draws[:, 0, 1]) == {"M"}


def test_types_by_number_are_kept(tmp_path: Path) -> None:
    table = mixed_table()
    model = quick(types={2: "categorical", "column 3": "numeric"}).fit(table)
    model.save(tmp_path / "m")
    again = DiffusionDensity.load(tmp_path / "m")
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.fit(table).score_samples(table[:5]), model.score_samples(table[:5]))


# -------------------------------------------------------------------------------------------------- the preconditioner


def test_the_layers_are_those_of_a_chain(ensemble: DensityEnsemble, x: torch.Tensor) -> None:
    p = ensemble.preconditioner
    assert isinstance(p, TablePreconditioner)
    assert isinstance(p.marginals, OnColumns)
    assert isinstance(p.completion, Complete)
    assert isinstance(p.whitening, Whiten)
    chain = Chain(p.marginals, p.completion, OnColumns([p.whitening], [p.numeric]))
    z, log_det = p(x, Generator().manual_seed(0))
    other, its_log_det = chain(x, Generator().manual_seed(0))
    assert torch.equal(z, other)
    assert torch.equal(log_det, its_log_det)
    assert torch.equal(p.inverse(z), chain.inverse(z))
    assert p.random == chain.random
    y, _ = p.observed(x, Generator().manual_seed(0))
    assert torch.equal(y.isnan(), x.isnan())
    matrix, shift = p.from_white
    filled, _ = p.completion(y, Generator().manual_seed(1))
    white = p.whitening(filled[:, p.numeric])[0]
    torch.testing.assert_close(white @ matrix.T + shift, filled[:, p.numeric])


def test_a_table_of_classes_needs_no_whitening() -> None:
    rows = np.array([["a", "x"], ["b", "y"], ["c", "x"]] * 20, dtype=object)
    p = quick().fit(rows).ensemble_.preconditioner
    assert p.whitening is None
    assert (p.numeric, p.discrete) == ([], [0, 1])
    x = torch.tensor([[0.0, math.nan], [2.0, 1.0]], dtype=torch.float64)
    z, _ = p(x, Generator().manual_seed(0))
    assert torch.equal(p.inverse(z)[1], x[1])
