"""A user's own table: from a file to a run, its scores, its gaps filled, and what is wrong with a file."""

from __future__ import annotations

import csv
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone

import small
from little_tables import fitted_normal, untrained
from quasistatic.cli import main
from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity
from quasistatic.io import tables
from quasistatic.io.cells import Cells
from quasistatic.io.tables import read_cells, read_cells_in_parts
from quasistatic.plots import rank_test
from quasistatic.recipes.table import Table
from quasistatic.recipes.table_figures import hidden_ranks, negative_conditional_log_prob
from quasistatic.runs import table_files
from quasistatic.runs.run import evaluate_run, open_run
from quasistatic.runs.settings import make_recipe
from quasistatic.runs.table_files import TableFile, impute_file, score_file
from quasistatic.runs.tables import ensemble_of
from quasistatic.tables.coding import encode_cells
from quasistatic.tables.ensemble import DensityEnsemble


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def density() -> DensityEnsemble:
    return ensemble_of(small.opened("table"))


def test_columns_are_inferred_and_may_be_said() -> None:
    recipe = small.opened("table").recipe
    assert isinstance(recipe, Table)
    assert [c.kind for c in recipe.columns()] == ["categorical", "numeric", "ordinal", "constant"]
    said = make_recipe("table", {"data": recipe.data, "types": "rings=integer, sex=categorical"})
    assert [c.kind for c in said.columns()][2] == "integer"  # type: ignore[attr-defined]
    for types, sentence in (
        ("rings", "takes NAME=KIND"),
        ("age=numeric", "names the column 'age'"),
        ("sex=odd", "NAME=KIND"),
    ):
        with pytest.raises(InputError, match=sentence):
            make_recipe("table", {"data": recipe.data, "types": types}).columns()  # type: ignore[attr-defined]


def test_a_run_with_holes_is_measured() -> None:
    result = evaluate_run(small.opened("table")).to_json()
    assert math.isfinite(result["bound"])
    assert result["first_step"] == "learned"
    assert "fixed_first_step" not in result
    assert result["n"] == 12


def test_the_scores_of_a_file_are_those_of_its_rows(tmp_path: Path, density: DensityEnsemble) -> None:
    run = small.opened("table")
    data = Path(run.recipe.data)  # type: ignore[attr-defined]
    answer = score_file(density, TableFile(data, tmp_path / "scores.csv"), "bits")
    told = rows_of(tmp_path / "scores.csv")
    assert [int(row["line"]) for row in told] == list(range(2, 122))
    cells = read_cells(data)
    by_hand = density.log_prob(encode_cells(density.columns, cells)[0]).numpy() / math.log(2)
    np.testing.assert_allclose([float(row["log_density_bits"]) for row in told], by_hand, rtol=1e-7)
    assert answer["mean"] == pytest.approx(by_hand.mean())
    assert answer["impossible"] == 0


def test_a_file_is_read_in_parts_as_it_is_read_whole(tmp_path: Path) -> None:
    path = small.mixed_table(tmp_path / "t.csv")
    whole, parts = read_cells(path), list(read_cells_in_parts(path, rows=50))
    assert [len(part) for part in parts] == [50, 50, 20]
    for j in range(4):
        assert np.concatenate([part.columns[j] for part in parts]).tolist() == whole.columns[j].tolist()
    assert [line for part in parts for line in part.lines] == whole.lines


def test_gaps_are_filled_and_what_was_there_stays(tmp_path: Path, density: DensityEnsemble) -> None:
    data = Path(small.opened("table").recipe.data)  # type: ignore[attr-defined]
    answer = impute_file(density, TableFile(data, tmp_path / "filled.csv"), 5, 0)
    before, after, draws = rows_of(data), rows_of(tmp_path / "filled.csv"), rows_of(tmp_path / "filled-draws.csv")
    holes = [(i, name) for i, row in enumerate(before) for name in row if row[name] == "?"]
    assert answer["missing"] == len(holes) == len(draws) > 10
    assert list(after[0]) == ["sex", "length", "rings", "site"]
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        for name in old:
            assert old[name] == new[name] if (i, name) not in holes else new[name] != ""
    assert {row["sex"] for row in after} == {"F", "M", "I"}
    assert all(row["rings"].isdigit() for row in after)
    for row in draws:
        assert row["q05"] == "" if row["column"] == "sex" else float(row["q05"]) <= float(row["q50"]) <= float(row["q95"])
    again = impute_file(density, TableFile(data, tmp_path / "again.csv"), 5, 0)
    assert again["missing"] == answer["missing"]
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "filled.csv").read_text()


def test_what_is_wrong_with_a_file_is_told_by_its_line(tmp_path: Path, density: DensityEnsemble) -> None:
    path = tmp_path / "bad.csv"
    head = "sex,length,rings,site\nM,0.5,4,7\n\n"
    for line, sentence in (
        ("M,0.5,4\n", "line 4 of bad.csv has 3 cells, but the header has 4"),
        ("M,long,4,7\n", "line 4, column 'length' is numeric, but holds 'long'"),
        ("M,inf,4,7\n", "line 4, column 'length' holds inf"),
    ):
        path.write_text(head + line)
        with pytest.raises(InputError, match=sentence):
            score_file(density, TableFile(path, tmp_path / "s.csv"))
        assert not (tmp_path / "s.csv").exists()
    path.write_text(head + "X,0.5,4,7\nM,0.1,99,7\nM,?,4,8\n")
    assert score_file(density, TableFile(path, tmp_path / "s.csv"))["impossible"] == 3
    with pytest.raises(
        InputError,
        match=r"line 4 of bad\.csv cannot be filled: it holds sex='X': not a category seen in",
    ):
        impute_file(density, TableFile(path, tmp_path / "f.csv"), 2, 0)
    path.write_text("sex,length\nM,0.5\n")
    with pytest.raises(
        InputError, match="the table has the columns sex, length, but the model takes sex, length, rings, site"
    ):
        score_file(density, TableFile(path, tmp_path / "s.csv"))
    with pytest.raises(InputError, match=r"written as \.csv"):
        score_file(density, TableFile(path, tmp_path / "s.txt"))


def test_a_table_that_cannot_be_modelled_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for text, sentence in (
        ("a,b\n" + "1,2\n" * 20, "every column of t.csv is constant"),
        ("a,b\n" + "".join(f"{i},?\n" for i in range(20)), "'b' has no observed entry"),
        ("a,b\n1,2\n", "has 1 rows, but at least 10"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            make_recipe("table", {"data": str(path)}).splits(0)


def test_samples_are_written_with_the_columns_of_the_table() -> None:
    run = small.opened("table")
    told = run.recipe.cells(run.model.sample(9, generator=torch.Generator().manual_seed(0)))
    assert told is not None
    names, types, cells = told
    assert names == ("sex", "length", "rings", "site")
    assert types == [str, float, int, int]
    assert set(cells[:, 0]) <= {"F", "M", "I"}
    assert set(cells[:, 3]) == {7.0}


def test_figures_of_a_table() -> None:
    run = small.opened("table")
    assert set(run.recipe.figures(run.model, run.splits, torch.Generator().manual_seed(0))) == {
        "columns", "pairs", "missing", "rows",
    }  # fmt: skip


def test_a_cell_that_contradicts_its_row_is_the_surprising_one_and_hidden_entries_are_ranked_evenly() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 1)) + 0.1 * draw.normal(size=(400, 3))
    model = untrained(marginals="none", n_steps=6).fit(x)
    model.ensemble_.mixture = model.ensemble_.normal
    rows = torch.as_tensor(x[:50]).clone()
    rows[7, 1] = -rows[7, 1].sign() * 2.0  # nothing odd by itself
    rows[9, 2] = math.nan
    told = negative_conditional_log_prob(model.ensemble_, rows)
    assert np.nanargmax(told[:, 1]) == 7
    assert math.isnan(told[9, 2])
    mean, cov = fitted_normal(model)
    gain = cov[0, 1:] @ np.linalg.inv(cov[1:, 1:])
    law = stats.norm(mean[0] + (rows[0, 1:].numpy() - mean[1:]) @ gain, math.sqrt(cov[0, 0] - gain @ cov[1:, 0]))
    assert told[0, 0] == pytest.approx(-law.logpdf(rows[0, 0].item()), abs=1e-6)
    u = hidden_ranks(model.ensemble_, torch.as_tensor(x[:300]), torch.Generator().manual_seed(0))
    assert len(u) > 100
    assert rank_test(u, bins=10) > 1e-4  # two-sided false alarm


def test_the_average_has_members_of_its_own_that_are_trained_once(tmp_path: Path) -> None:
    small.train("table", tmp_path / "run", data=str(small.mixed_table(tmp_path / "t.csv")), members=3)
    assert not (tmp_path / "run" / "members").exists()
    first = ensemble_of(open_run(tmp_path / "run"))
    assert len(first.members) == 3
    assert [folder.name for folder in sorted((tmp_path / "run" / "members").iterdir())] == ["1", "2"]
    x = open_run(tmp_path / "run").splits.test
    starts = [next(member.kernel.parameters()) for member in first.models]
    assert not torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[1], starts[2])
    shutil.rmtree(tmp_path / "run" / "estimator")
    (tmp_path / "run" / "estimator-of.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "members").rglob("*.safetensors")}
    again = ensemble_of(open_run(tmp_path / "run"))
    (tmp_path / "t.csv").unlink()  # what is kept needs the rows no more
    assert [c.name for c in ensemble_of(open_run(tmp_path / "run")).columns] == ["sex", "length", "rings", "site"]
    assert torch.equal(again.log_prob(x), first.log_prob(x))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_is_left_open_is_chosen_as_the_estimator_does(tmp_path: Path) -> None:
    recipe = make_recipe("table", {"data": str(small.mixed_table(tmp_path / "t.csv", n=60))})
    assert recipe.n_steps is recipe.members is None  # type: ignore[attr-defined]
    assert recipe.build(recipe.splits(0)).process.n_steps == 100
    given = make_recipe("table", {"data": str(tmp_path / "t.csv"), "n_steps": 7, "n_components": None})
    assert given.build(given.splits(0)).process.n_steps == 7
    with pytest.raises(InputError, match="members must be at least 1, got 0"):
        make_recipe("table", {"members": 0})
    with pytest.raises(InputError, match="n_steps must be a whole number, got 'many'"):
        make_recipe("table", {"n_steps": "many"})


def test_another_recipe_has_no_table() -> None:
    with pytest.raises(InputError, match="a run of array, but tables are scored and filled by a run of table"):
        ensemble_of(small.opened("array"))


def test_arrays_of_numbers_are_tables_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 2))
    x[3, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    cells = read_cells(tmp_path / "x.npy")
    assert cells.names == ["column 1", "column 2"]
    np.testing.assert_array_equal(cells.columns[1], x[:, 1])


def test_without_pyarrow_a_parquet_file_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="where pyarrow is installed"):
        read_cells(tmp_path / "x.parquet")


# ------------------------------------------------------------------------------------- one parse, and a run's estimator


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are parsed from their first row on."""
    names: list[str] = []
    real = tables.read_cells_in_parts

    def count(path: Path, rows: int = 10_000) -> Iterator[Cells]:
        names.append(Path(path).name)
        return real(path, rows)

    for module in (tables, table_files):
        monkeypatch.setattr(module, "read_cells_in_parts", count)
    return names


def test_a_file_is_parsed_once_by_each_command(tmp_path: Path, parsed: list[str]) -> None:
    data, run = str(small.mixed_table(tmp_path / "t.csv")), str(tmp_path / "run")
    new = str(small.mixed_table(tmp_path / "new.csv", n=30, seed=1))
    main(["train", "table", "--data", data, "--out", run, *small.words("table")])
    assert parsed == ["t.csv"]
    parsed.clear()
    main(["score", run, "--data", new, "--out", str(tmp_path / "s.csv")])
    assert sorted(parsed) == ["new.csv", "t.csv"]  # the training rows choose the weights of the average, once
    for command, out in (("score", "s.csv"), ("impute", "f.csv")):
        parsed.clear()
        main([command, run, "--data", new, "--out", str(tmp_path / out)])
        assert parsed == ["new.csv"]
    assert len(rows_of(tmp_path / "s.csv")) == len(rows_of(tmp_path / "f.csv")) == 30


def test_the_estimator_of_a_run_is_cloned_and_fitted_again(tmp_path: Path) -> None:
    data, run = small.mixed_table(tmp_path / "t.csv"), str(tmp_path / "run")
    types = ["--types", "rings=integer,sex=categorical"]
    main(["train", "table", "--data", str(data), "--out", run, *types, *small.words("table")])
    main(["score", run, "--data", str(data), "--out", str(tmp_path / "s.csv")])
    loaded = DiffusionDensity.load(tmp_path / "run" / "estimator")
    assert loaded.get_params()["types"] == {"rings": "integer", "sex": "categorical"}
    frame = pd.read_csv(data, na_values="?")
    scores = [float(row["log_density_nats"]) for row in rows_of(tmp_path / "s.csv")]
    np.testing.assert_allclose(loaded.score_samples(frame), scores, rtol=1e-7)
    again = clone(loaded).fit(frame)
    assert [column.kind for column in again.columns_] == ["categorical", "numeric", "integer", "constant"]
    assert np.isfinite(again.score_samples(frame)).all()
    assert len(again.members_) == small.SMALL["table"]["members"]
