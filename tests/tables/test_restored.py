"""Observed cells leave as they came: text of digits, zip codes, long numbers; drawn numbers read back as they were."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from little_tables import quick
from quasistatic.io.table_writing import writing_table
from quasistatic.runs.table_files import TableFile, impute_file
from quasistatic.tables.inference import infer

ZIPS = ["02139", "10001", "94105"]


def texts(kind: str, n: int = 90) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame({
        "zip": pd.Series(draw.choice(ZIPS, n)).astype(kind),
        "code": pd.Series([f"{k:05d}" for k in draw.permutation(40_000)[:n]]).astype(kind),  # too many for classes
        "amount": pd.Series([f"{v:.2f}" for v in draw.normal(50.0, 9.0, n)]).astype(kind),
        "a": draw.normal(size=n),
    })  # fmt: skip


@pytest.mark.parametrize("kind", ["object", "string", "str", "category"])
def test_text_of_digits_in_a_data_frame(kind: str) -> None:
    frame = texts(kind)[["zip", "a"]] if kind == "category" else texts(kind)
    model = quick().fit(frame)
    assert model.columns_[0].kind == "categorical"
    holes = frame.iloc[:9].copy()
    holes.loc[0, "a"] = np.nan
    for name in holes.columns[:-1]:
        holes.loc[3, name] = None
    told = model.impute(holes, n_draws=2)
    for filled in (told.draw(0), told.draw(1), told.mean):
        for name in holes:
            there = holes[name].notna()
            assert filled.loc[there, name].tolist() == holes.loc[there, name].tolist()
        assert filled.loc[3, "zip"] in ZIPS
        if kind != "category":
            assert filled["code"].dtype == frame["code"].dtype
            assert len(filled.loc[3, "code"]) >= 5 or filled is told.mean
    assert set(model.sample(50, random_state=1)["zip"]) <= set(ZIPS)


def test_objects_in_arrays() -> None:
    frame = texts("object")
    model = quick().fit(frame.to_numpy(dtype=object))
    holes = frame.iloc[:6].to_numpy(dtype=object)
    holes[2, 3] = None
    draws = model.impute(holes, n_draws=3).draws
    for k in range(3):
        assert draws[k, :, :3].tolist() == holes[:, :3].tolist()


def test_a_leading_zero_makes_a_label_of_digits() -> None:
    assert infer(np.array(ZIPS * 9, dtype=object), "zip").values == tuple(ZIPS)
    assert infer(np.array(["0.5", "10", "20"] * 9, dtype=object), "x").kind == "numeric"
    assert infer(np.array(["7", "8"] * 9, dtype=object), "x", "categorical").values == ("7", "8")


@pytest.mark.parametrize("value", [1.7e9 + 1 / 3, 0.1 + 0.2, 1e-300 / 3, 123456789.123456, -5e22 / 7, 2.0**53])
def test_numbers_are_written_so_that_they_read_back(tmp_path: Path, value: float) -> None:
    with writing_table(tmp_path / "x.csv", ["x"], [float]) as write:
        write([[value], [np.float64(value)]])
    with open(tmp_path / "x.csv", newline="") as file:
        assert [float(row[0]) for row in list(csv.reader(file))[1:]] == [value, value]


def test_a_file_keeps_the_text_of_observed_cells(tmp_path: Path) -> None:
    frame = texts("object", 60)
    model = quick().fit(frame)
    rows = [list(row) for row in frame.head(8).itertuples(index=False)]
    cells: list[list[Any]] = [[z, code, amount, f"{a:.17g}"] for z, code, amount, a in rows]
    cells[1][3], cells[2][0] = "", ""
    cells[4][2] = "49.50"
    with open(tmp_path / "in.csv", "w", newline="") as file:
        csv.writer(file).writerows([list(frame.columns), *cells])
    impute_file(model.ensemble_, TableFile(tmp_path / "in.csv", tmp_path / "out.csv"), 3, 0)
    with open(tmp_path / "out.csv", newline="") as file:
        _, *filled = list(csv.reader(file))
    for before, after in zip(cells, filled, strict=True):
        assert [a for b, a in zip(before, after, strict=True) if b] == [b for b in before if b]
        assert all(after)
