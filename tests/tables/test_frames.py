"""Real data frames: in, and out again with the same columns and types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from little_tables import Frame, mixed_table, normal_rows, quick
from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity


def mixed_frame(n: int = 80, seed: int = 0) -> pd.DataFrame:
    """Columns of most types that pandas has, with holes in most, and an index of its own."""
    draw = np.random.default_rng(seed)
    size = draw.normal(size=n)
    frame = pd.DataFrame({
        "length": size.astype(np.float32),
        "rings": np.clip(np.round(5 + 2 * size), 1, 9).astype(np.int8),
        "income": (40_000_000 + 9_000_000 * size).astype(np.int64),
        "sex": pd.Categorical(draw.choice(["F", "I", "M"], n), categories=["M", "F", "I", "never"]),
        "size": pd.Categorical.from_codes(1 + (size > 0), ["none", "small", "large"], ordered=True),
        "grade": pd.Categorical(draw.choice([10, 20, 30], n), categories=[30, 20, 10]),
        "alive": draw.random(n) < 0.7,
        "sick": pd.array(draw.random(n) < 0.3, dtype="boolean"),
        "age": pd.array(draw.integers(20, 30, n), dtype="Int64"),
        "city": pd.Series(draw.choice(["Bern", "Genf"], n), dtype="str"),
        "said": pd.Series(list(draw.random(n) < 0.5), dtype=object),
        "same": np.full(n, 7),
    })  # fmt: skip
    frame.index = pd.Index([f"row {i}" for i in range(n)])
    for k, name in enumerate(["length", "sex", "size", "sick", "age", "city"]):
        frame.loc[frame.index[k::11], name] = pd.NA if name in ("sick", "age") else None
    frame.iloc[3::13, frame.columns.get_loc("said")] = None
    return frame


@pytest.fixture(scope="module")
def fitted() -> DiffusionDensity:
    return quick(max_updates=5, width=16).fit(mixed_frame())


def test_kinds_are_those_of_what_the_cells_are(fitted: DiffusionDensity) -> None:
    assert {column.name: column.kind for column in fitted.columns_} == {
        "length": "numeric", "rings": "ordinal", "income": "numeric", "sex": "categorical", "size": "binary",
        "grade": "categorical", "alive": "binary", "sick": "binary", "age": "ordinal", "city": "binary", "said": "binary",
        "same": "constant",
    }  # fmt: skip


def test_samples_are_a_data_frame_of_the_same_columns_and_types(fitted: DiffusionDensity) -> None:
    frame, drawn = mixed_frame(), fitted.sample(60, random_state=1)
    assert isinstance(drawn, pd.DataFrame)
    pd.testing.assert_series_equal(drawn.dtypes, frame.dtypes)
    assert not drawn.isna().any().any()
    assert drawn.index.tolist() == list(range(60))
    for name in ("sex", "size", "grade", "alive", "sick", "city", "said", "same"):
        assert set(drawn[name]) <= set(frame[name].dropna()), name
    assert all(isinstance(cell, bool) for cell in drawn["said"])
    assert drawn["rings"].between(1, 9).all()
    assert np.isfinite(fitted.score_samples(drawn)).all()


def test_filled_rows_are_a_data_frame_and_what_was_there_stays(fitted: DiffusionDensity) -> None:
    holes = mixed_frame().iloc[:20]
    told = fitted.impute(holes, n_draws=5)
    for filled in (told.draw(0), told.draw(4), told.mean):
        assert filled.index.equals(holes.index)
        assert filled.columns.equals(holes.columns)
        assert not filled.isna().any().any()
        for name in holes:
            there = holes[name].notna()
            assert (filled.loc[there, name] == holes.loc[there, name]).all(), name
    pd.testing.assert_series_equal(told.draw(0).dtypes, holes.dtypes)
    halves = told.mean["age"]  # a mean of whole numbers need not be one
    assert halves.dtype == np.float64 or (halves == halves.round()).all()
    low, high = told.quantile(0.1), told.quantile(0.9)
    assert low.index.equals(holes.index)
    assert (low["length"] <= high["length"]).all()
    assert low["city"].isna().all()
    with pytest.raises(InputError, match="k must be a draw from 0 to 4, got 5"):
        told.draw(5)


def test_conditional_draws_come_in_the_frame_of_the_fit(fitted: DiffusionDensity) -> None:
    drawn = fitted.condition({"sex": "M", "alive": True}, n_draws=6).draw(2)
    assert drawn.loc[0, "sex"] == "M"
    assert drawn.loc[0, "alive"] == True  # noqa: E712
    pd.testing.assert_series_equal(drawn.dtypes, mixed_frame().dtypes)


def test_a_mean_of_integers_keeps_its_halves() -> None:
    frame = pd.DataFrame({"a": np.arange(60), "b": np.arange(60) % 2})
    model = quick().fit(frame)
    holes = frame.iloc[:4].astype({"a": "Int64"})
    holes["a"] = pd.NA
    told = model.impute(holes, n_draws=7)
    mean = told.mean["a"]
    assert (mean != mean.round()).any()
    np.testing.assert_allclose(mean, np.asarray(told.expected)[:, 0])
    assert told.draw(0)["a"].dtype == np.int64


def test_what_is_saved_still_knows_the_frame(fitted: DiffusionDensity, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m")
    again = DiffusionDensity.load(tmp_path / "m")
    pd.testing.assert_frame_equal(again.sample(9, random_state=2), fitted.sample(9, random_state=2))


def test_categories_that_are_no_plain_values_are_kept_but_not_saved(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": normal_rows(60)[:, 0]})
    frame["part"] = pd.cut(frame["x"], 3)
    model = quick().fit(frame)
    assert model.sample(5)["part"].dtype == frame["part"].dtype
    model.save(tmp_path / "m")
    assert isinstance(DiffusionDensity.load(tmp_path / "m").sample(5), np.ndarray)


def test_categories_that_are_said_to_be_numbers_are_drawn_as_numbers() -> None:
    frame = mixed_frame()[["length", "grade"]]
    drawn = quick(types={"grade": "numeric"}).fit(frame).sample(9)
    assert drawn["grade"].dtype == np.float64
    assert drawn["grade"].notna().all()


@pytest.mark.parametrize("table", [mixed_table(30), Frame(mixed_table(30), list("abcde")), mixed_table(30).tolist()])
def test_other_tables_give_back_arrays(table: Any) -> None:
    model = quick().fit(table)
    assert isinstance(model.sample(3), np.ndarray)
    assert isinstance(model.impute(table, n_draws=2).mean, np.ndarray)


def test_a_fit_to_an_array_forgets_the_frame_before() -> None:
    model = quick().fit(pd.DataFrame(normal_rows(30), columns=list("abc")))
    assert isinstance(model.sample(2), pd.DataFrame)
    assert isinstance(model.fit(normal_rows(30)).sample(2), np.ndarray)


def test_it_is_no_transformer() -> None:
    assert not hasattr(quick(), "transform")
    assert not hasattr(quick(), "set_output")


def test_columns_of_other_names_are_refused(fitted: DiffusionDensity) -> None:
    with pytest.raises(ValueError, match="feature names"):
        fitted.score_samples(mixed_frame().rename(columns={"age": "years"}))
