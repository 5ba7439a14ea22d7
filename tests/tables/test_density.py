"""The scikit-learn face: its contract, what a zero network is, holes, and odd tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from little_tables import Frame, fitted_normal, mixed_table, normal_rows, pierced, quick, untrained
from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity
from quasistatic.likelihood.scores import path_scores
from quasistatic.tables import training
from quasistatic.tables.build import Shape, build_member
from quasistatic.tables.columns import Column
from quasistatic.tables.mixture import NormalMixture
from quasistatic.tables.preconditioner import fit_preconditioner
from quasistatic.train import TrainConfig
from quasistatic.train.patience import Patience

# ------------------------------------------------------------------------------------------------- the contract


@parametrize_with_checks([quick()])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_s_checks(estimator: DiffusionDensity, check: Any) -> None:
    check(estimator)


def test_it_works_in_pipelines_searches_and_cross_validation() -> None:
    x = load_iris().data[:60]
    search = GridSearchCV(quick(), {"width": [4, 8]}, cv=2).fit(x)
    assert math.isfinite(search.best_score_)
    pipeline = make_pipeline(StandardScaler(), quick(types=["numeric"] * 4))
    assert np.isfinite(cross_val_score(pipeline, x, cv=2)).all()


def test_a_row_s_score_is_a_matter_of_that_row_alone() -> None:
    table = mixed_table()
    table[5, 0] = table[9, 1] = table[11, 2] = None
    model = quick(max_updates=30).fit(table)
    whole = model.score_samples(table)
    np.testing.assert_allclose(model.score_samples(table[::-1])[::-1], whole, rtol=0, atol=1e-7)
    np.testing.assert_allclose(model.score_samples(table[5:12]), whole[5:12], rtol=0, atol=1e-7)


def test_the_seed_decides_all() -> None:
    x = normal_rows(50)
    a, b = quick(max_updates=10).fit(x), quick(max_updates=10).fit(x)
    assert np.array_equal(a.score_samples(x), b.score_samples(x))
    assert np.array_equal(a.sample(5), b.sample(5))


# ------------------------------------------------------------------------------------------------- exact cases


@pytest.mark.parametrize("n_steps", [2, 9])
def test_untrained_it_is_the_normal_fit_of_each_row_with_holes_or_without(n_steps: int) -> None:
    x = pierced(normal_rows(200))
    model = untrained(n_steps=n_steps, marginals="none").fit(x)
    mean, cov = fitted_normal(model)
    for row, told in zip(x[:40], model.score_samples(x[:40]), strict=True):
        o = ~np.isnan(row)
        truth = stats.multivariate_normal(mean[o], cov[np.ix_(o, o)]).logpdf(row[o]) if o.any() else 0.0
        assert told == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("n_steps", [2, 50])
def test_an_untrained_network_in_single_precision_is_the_normal_fit_to_a_thousandth(n_steps: int) -> None:
    x = torch.as_tensor(normal_rows(200))
    columns = [Column(f"column {i}", "numeric") for i in range(3)]
    transform = fit_preconditioner(x, columns, "none")
    model = build_member(transform, columns, Shape(n_steps=n_steps, width=8, depth=1))
    assert {p.dtype for p in model.kernel.parameters()} == {torch.float32}
    z, log_det = model.encode(x)
    path = [z.float()]
    for t in range(1, n_steps + 1):
        path.append(model.process.step(path[-1], t).sample(torch.Generator().manual_seed(t)))
    with torch.no_grad():
        transitions, data = path_scores(model.process, model.kernel.on(model.process), torch.stack(path, 1))
    told = transitions.sum(1) + data + log_det
    truth = NormalMixture.single(transform).log_prob(x)
    assert (told - truth).abs().max() < 1e-3


def test_trained_with_holes_it_bounds_the_marginal_of_gaussian_data() -> None:
    x, root = normal_rows(3000), np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.4, 0.5, 0.7]])
    model = quick(max_updates=150, n_steps=20, width=32, batch_size=128).fit(pierced(x))
    new = pierced(normal_rows(400, seed=7), seed=8)
    new = new[~np.isnan(new).all(1)]
    cov, mean = root @ root.T, np.array([1.0, 2.0, 3.0])
    o = [~np.isnan(row) for row in new]
    truth = [stats.multivariate_normal(mean[i], cov[np.ix_(i, i)]).logpdf(row[i]) for row, i in zip(new, o, strict=True)]
    gap = np.array(truth) - model.score_samples(new)
    assert abs(gap.mean()) < 0.03
    assert np.abs(gap).max() < 1.5


def test_permuted_columns_give_the_same_scores() -> None:
    x, order = pierced(normal_rows(100)), [2, 0, 1]
    a, b = untrained().fit(x), untrained().fit(x[:, order])
    np.testing.assert_allclose(a.score_samples(x), b.score_samples(x[:, order]), rtol=0, atol=1e-4)


def test_a_column_in_another_unit_moves_the_score_by_the_log_of_the_unit() -> None:
    x, unit = normal_rows(100), np.array([1e9, 1.0, 1e-6])
    a, b = untrained().fit(x), untrained().fit(x * unit)
    np.testing.assert_allclose(b.score_samples(x * unit), a.score_samples(x) - np.log(unit).sum(), rtol=0, atol=1e-5)


def test_levels_and_classes_are_scored_as_probabilities() -> None:
    table = mixed_table()
    model = quick(average=False, n_trajectories=1).fit(table)
    assert [column.kind for column in model.columns_] == ["numeric", "categorical", "ordinal", "binary", "constant"]
    alone = np.empty((6, 5), dtype=object)
    alone[:, 1] = ["F", "I", "M", None, None, None]
    alone[:, 3] = [None, None, None, 0.0, 1.0, None]
    total = np.exp(model.score_samples(alone))
    assert total[5] == pytest.approx(1.0, abs=1e-3)  # nothing was observed
    bits = quick(average=False, n_trajectories=200).fit(np.where(table == "never", table, table)[:, [1, 3]])
    each = np.array([[s, b] for s in ("F", "I", "M") for b in (0.0, 1.0)], dtype=object)
    assert np.exp(bits.score_samples(each)).sum() == pytest.approx(1.0, abs=0.02)


def test_the_average_is_no_worse_than_its_parts_on_validation_rows() -> None:
    x = load_iris().data
    model = quick(max_updates=20, n_members="auto").fit(x)
    assert model.weights_.sum() == pytest.approx(1.0)
    assert len(model.members_) == 4  # of few rows
    assert len(model.weights_) == 7
    assert model.elbo(x).mean("bits").unit == "bits"
    parts = quick(max_updates=20, average=False).fit(x).elbo(x)
    assert parts.transitions.shape == (150, 3)


def test_a_table_that_is_soon_learned_is_soon_done(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TrainConfig] = []
    real_fit = training.fit

    def told(*args: Any, **rest: Any) -> Any:
        asked.append(args[3])
        return real_fit(*args, **rest)

    monkeypatch.setattr(training, "fit", told)
    seen: list[int] = []
    real = Patience.record

    def see(self: Patience, bounds: Any) -> None:
        seen.append(self.waited)
        real(self, bounds)

    monkeypatch.setattr(Patience, "record", see)
    x = normal_rows(40)  # a normal law, which the untrained network is
    scores = {}
    for patience in (2, None):
        seen.clear()
        model = quick(max_updates=1500, width=32, learning_rate=5e-3, patience=patience).fit(x)
        scores[patience] = model.validation_score_
        assert len(seen) <= 8 if patience else len(seen) == 31
    assert scores[2] >= scores[None] - 0.05
    assert [config.patience for config in asked] == [2, 0]
    with pytest.raises(InputError, match="patience must be at least 1, or None for all of max_updates, got 0"):
        quick(patience=0).fit(x)


def test_of_many_rows_some_choose_and_all_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quasistatic.tables.preconditioner.MOST_ROWS", 50)
    x = normal_rows(400)
    model = untrained(marginals="none", validation_fraction=0.1).fit(x)
    mean, cov = fitted_normal(model)
    order = np.random.default_rng(model.seed_).permutation(400)[40:]
    np.testing.assert_allclose(mean, x[order].mean(0), atol=1e-8)
    np.testing.assert_allclose(np.diag(cov), x[order].var(0), rtol=1e-6)


# ------------------------------------------------------------------------------------------------- samples and files


def test_samples_have_the_columns_values_and_moments() -> None:
    table = mixed_table(300)
    drawn = quick().fit(table).sample(200, random_state=3)
    assert set(drawn[:, 1]) <= {"F", "I", "M"}
    assert set(drawn[:, 2]) <= set(range(1, 13))
    assert set(drawn[:, 4]) == {7.0}
    x = normal_rows(500)
    made = untrained().fit(x).sample(4000)
    error = 4.9 * np.sqrt(1 / 4000 + 1 / 500)  # one false alarm in a million, three means
    assert (np.abs(made.mean(0) - x.mean(0)) < error * x.std(0)).all()
    with pytest.raises(InputError, match="at least 1"):
        quick().fit(x[:20]).sample(0)


def test_what_is_saved_scores_the_same(tmp_path: Path) -> None:
    table = mixed_table()
    model = quick(max_updates=10, n_members=2).fit(Frame(table, ["a", "sex", "rings", "bit", "same"]))
    model.save(tmp_path / "m")
    again = DiffusionDensity.load(tmp_path / "m")
    frame = Frame(table[:20], ["a", "sex", "rings", "bit", "same"])
    assert np.array_equal(again.score_samples(frame), model.score_samples(frame))
    assert again.get_params()["max_updates"] == 10
    assert len(again.members_) == 2
    with pytest.raises(InputError, match="holds no estimator"):
        DiffusionDensity.load(tmp_path)
    record = json.loads((tmp_path / "m" / "estimator.json").read_text())
    (tmp_path / "m" / "estimator.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        DiffusionDensity.load(tmp_path / "m")
    (tmp_path / "m" / "estimator.json").write_text(json.dumps(record | {"format": 2}))
    with pytest.raises(InputError, match="has format 2, but this version reads format 1: fit and save it again, or load"):
        DiffusionDensity.load(tmp_path / "m")
    renamed = {name.replace("max_updates", "n_updates"): value for name, value in record["params"].items()}
    (tmp_path / "m" / "estimator.json").write_text(json.dumps(record | {"params": renamed}))
    with pytest.raises(InputError, match=r"other parameters than this version \(max_updates, n_updates\): fit and save"):
        DiffusionDensity.load(tmp_path / "m")


# ------------------------------------------------------------------------------------------------- odd tables


def test_a_constant_column_must_stay_what_it_was() -> None:
    x = np.c_[normal_rows(30), np.full(30, 4.0)]
    model = quick().fit(x)
    same = quick().fit(x[:, :3])
    np.testing.assert_allclose(model.score_samples(x), same.score_samples(x[:, :3]))
    x[3, 3] = 5.0
    assert np.isneginf(model.score_samples(x)).tolist() == [i == 3 for i in range(30)]
    with pytest.raises(InputError, match=r"row 3 has no bound: it holds column 3=5\.0: not a category seen in "):
        model.elbo(x)
    with pytest.raises(InputError, match="every column is constant"):
        quick().fit(np.ones((20, 2)))


def test_a_duplicate_column_is_no_accident() -> None:
    x = normal_rows(60)
    assert np.isfinite(quick(max_updates=20).fit(np.c_[x, x[:, 0]]).score_samples(np.c_[x, x[:, 0]])).all()


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (np.array([[1.0, 2.0]]), "n_samples=1"),
        (np.c_[np.arange(9.0), np.full(9, np.nan)], "'column 1' has no observed entry"),
        (np.array([[1.0], [np.inf], [2.0]]), "infinity"),
        (np.empty((0, 3)), "0 sample"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(x: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        quick().fit(x)


def test_an_unseen_class_is_impossible_and_an_unseen_word_where_numbers_are_is_named() -> None:
    table = mixed_table()
    model = quick().fit(table)
    new = table[:3].copy()
    new[1, 1] = "X"
    assert np.isneginf(model.score_samples(new)).tolist() == [False, True, False]
    assert model.anomaly_score(new)[1] == math.inf
    new[1, 1], new[2, 0] = "M", "long"
    with pytest.raises(InputError, match="'column 0' is numeric, but holds 'long'"):
        model.score_samples(new)


def test_types_can_be_said() -> None:
    table = mixed_table()
    model = quick(types={2: "categorical", "column 3": "numeric"}).fit(table)
    assert [column.kind for column in model.columns_][2:4] == ["categorical", "numeric"]
    with pytest.raises(InputError, match="names the column 'weight'"):
        quick(types={"weight": "numeric"}).fit(table)
    with pytest.raises(InputError, match="a kind for each of 5 columns, got 2"):
        quick(types=["numeric", "binary"]).fit(table)


def test_rows_that_are_missing_whole_say_nothing() -> None:
    x = normal_rows(60)
    x[:5] = np.nan
    model = untrained().fit(x)
    np.testing.assert_allclose(model.score_samples(x[:2]), 0.0, atol=1e-6)
