"""A Parquet file through the command: trained on, scored, filled and sampled; and the same cells as in text."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import small
from quasistatic.cli import main
from quasistatic.errors import InputError
from quasistatic.io.tables import read_cells, read_cells_in_parts
from quasistatic.runs import table_files

pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")


def frame(n: int = 90, seed: int = 0) -> pd.DataFrame:
    """A number, a class, a level, a bit, truth in words and a date, with holes in the first four."""
    draw = np.random.default_rng(seed)
    size = draw.normal(size=n).round(3)
    table = pd.DataFrame({
        "length": size,
        "sex": pd.Categorical(draw.choice(["F", "I", "M"], n)),
        "rings": pd.array(np.clip(np.round(5 + 2 * size), 1, 9), dtype="Int64"),
        "alive": pd.array(draw.random(n) < 0.6, dtype="boolean"),
        "day": pd.to_datetime(draw.choice(["2026-01-02", "2026-01-03", "2026-01-04"], n)).date,
    })  # fmt: skip
    for k in range(4):
        table.iloc[k::13, k] = pd.NA if k > 1 else None
    return table


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("parquet")
    frame().to_parquet(home / "shells.parquet", row_group_size=40)
    data, run = str(home / "shells.parquet"), str(home / "run")
    main(["train", "table", "--data", data, "--out", run, *small.words("table")])
    return home


def test_it_is_scored_filled_and_sampled(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = str(home / "shells.parquet"), str(home / "run")
    main(["score", run, "--data", data, "--out", str(home / "scores.csv")])
    main(["impute", run, "--data", data, "--out", str(home / "filled.csv"), "--draws", "3"])
    main(["sample", run, "-n", "20", "--out", str(home / "more.csv")])
    scores, filled, more = (rows_of(home / f"{name}.csv") for name in ("scores", "filled", "more"))
    assert [int(row["line"]) for row in scores] == list(range(1, 91))
    before = frame()
    for name in before:
        there = before[name].notna().tolist()
        kept = [row[name] for row, was in zip(filled, there, strict=True) if was]
        assert kept == [f"{cell:.9g}" if name in ("length", "rings") else str(cell) for cell in before[name].dropna()], name
        known = set(kept)
        for row in (*filled, *more):
            assert row[name] in known or name in ("length", "rings"), (name, row[name])
    assert all(float(row["length"]) < 100 and row["rings"].isdigit() for row in (*filled, *more))
    # what was filled is a table that the model of the Parquet file can score
    main(["score", run, "--data", str(home / "filled.csv"), "--out", str(home / "again.csv")])
    assert all(np.isfinite(float(row["log_density_nats"])) for row in rows_of(home / "again.csv"))


def test_what_it_writes_is_the_same_in_both_formats(home: Path) -> None:
    data, run = str(home / "shells.parquet"), str(home / "run")
    for ending in (".csv", ".parquet"):
        main(["score", run, "--data", data, "--out", str(home / f"both-scores{ending}")])
        main(["impute", run, "--data", data, "--out", str(home / f"both-filled{ending}"), "--draws", "3"])
        main(["sample", run, "-n", "20", "--out", str(home / f"both-more{ending}")])
    for name in ("both-scores", "both-filled", "both-filled-draws", "both-more"):
        text, typed = pd.read_csv(home / f"{name}.csv", dtype=str), pd.read_parquet(home / f"{name}.parquet")
        assert list(text) == list(typed)
        for column in typed:
            told = typed[column]
            if told.dtype.kind in "if":
                np.testing.assert_allclose(told, text[column].astype(float), rtol=1e-8)
            else:
                assert told.tolist() == text[column].tolist(), (name, column)
    kinds = pd.read_parquet(home / "both-filled.parquet").dtypes
    assert kinds["length"] == np.float64
    assert kinds["rings"] == np.int64
    with pytest.raises(SystemExit):
        main(["impute", run, "--data", data, "--out", str(home / "filled.xlsx")])
    assert not list(home.glob("*.xlsx"))


def test_a_table_is_filled_in_parts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "ROWS_AT_ONCE", 32)
    main(["impute", str(home / "run"), "--data", str(home / "shells.parquet"), "--out", str(home / "parts.csv")])
    filled = rows_of(home / "parts.csv")
    assert len(filled) == 90
    assert all(cell != "" for row in filled for cell in row.values())
    lines = [int(row["line"]) for row in rows_of(home / "parts-draws.csv")]
    holes = frame().isna().sum(axis=1).tolist()
    assert lines == [line for line, n in enumerate(holes, 1) for _ in range(n)]


def test_in_parts_it_is_the_same(home: Path) -> None:
    whole = read_cells(home / "shells.parquet")
    parts = list(read_cells_in_parts(home / "shells.parquet", rows=32))
    assert sum(len(part) for part in parts) == len(whole) == 90
    assert [line for part in parts for line in part.lines] == whole.lines
    for j, column in enumerate(whole.columns):
        told = np.concatenate([part.columns[j] for part in parts])
        assert [str(cell) for cell in told] == [str(cell) for cell in column]


def test_a_damaged_file_is_refused_in_a_sentence(home: Path, tmp_path: Path) -> None:
    (tmp_path / "half.parquet").write_bytes((home / "shells.parquet").read_bytes()[:500])
    with pytest.raises(InputError, match=r"half\.parquet is no whole Parquet file"):
        read_cells(tmp_path / "half.parquet")
    with pytest.raises(InputError, match="there is no file"):
        read_cells(tmp_path / "none.parquet")
