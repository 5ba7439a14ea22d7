"""The command: one JSON object on stdout, progress on stderr, and every mistake told in one sentence."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small
from commands import Told, blank, command  # noqa: F401  # fixtures
from quasistatic import cli
from quasistatic.recipes.catalogue import CATALOGUE

ROLL = small.words("swiss-roll")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A run folder that a test may spoil."""
    return Path(shutil.copytree(small.trained("swiss-roll"), tmp_path / "copy"))


# The contract


@pytest.mark.parametrize("name", [None, *cli.COMMANDS])
def test_help_shows_an_example_and_is_no_error(command, name):
    told = command(*([name] if name else []), "--help")
    assert (told.status, told.err) == (0, "")
    assert f"Example: quasistatic {name or 'recipes'}" in told.out


def test_recipes_lists_the_catalogue(command):
    answer = command("recipes", "--json").json()
    assert [row["recipe"] for row in answer["recipes"]] == list(CATALOGUE)
    assert answer["recipes"][0].keys() == {"recipe", "minutes", "reproduces", "presets", "about"}
    table = command("recipes")
    assert table.err == ""
    assert all(name in table.out for name in CATALOGUE)


def test_training_tells_its_progress_on_stderr_only(command, tmp_path):
    told = command("train", "heartbeat-mixture", "--out", tmp_path / "run", *small.words("heartbeat-mixture"), "--json")
    answer = told.json()
    assert [line.split(":")[0] for line in told.err.splitlines()] == [f"update {t} of 6" for t in (0, 3, 6)]
    assert answer["run"] == str(tmp_path / "run")
    assert (answer["recipe"], answer["unit"], answer["checkpoint"]) == (
        "heartbeat-mixture",
        "bits_per_sequence",
        "best-finished",
    )
    best = max(json.loads(line)["validation"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert answer["validation"] == best


def test_the_same_command_after_the_end_answers_at_once_and_changes_nothing(command):
    run = small.trained("swiss-roll")
    before = small.snapshot(run)
    told = command("train", "swiss-roll", "--out", run, *ROLL, "--json")
    assert told.json()["recipe"] == "swiss-roll"
    assert told.err == ""
    assert small.snapshot(run) == before
    said = command("train", "swiss-roll", "--out", run, *ROLL).out
    assert f"next: quasistatic evaluate {run}" in said


def test_a_training_out_of_time_says_so_and_comes_to_the_same_end(command, tmp_path):
    run = tmp_path / "run"
    words = ("train", "swiss-roll", "--out", run, *ROLL)
    answer = command(*words, "--time-budget", "0.0001s", "--json").json()
    assert (answer["stopped_at"], answer["n_updates"]) == (1, 6)
    assert "stopped at update 2 of 6; the same command goes on from there" in command(*words, "--time-budget", "0.0001s").out
    assert f"next: quasistatic evaluate {run}" in command(*words).out
    again, at_once = (command("evaluate", folder, "--json").json() for folder in (run, small.trained("swiss-roll")))
    assert again["bound"] == at_once["bound"]


def test_an_evaluation_has_what_the_design_promises(command):
    told = command("evaluate", small.trained("swiss-roll"), "--json")
    answer = told.json()
    assert told.err == "measuring swiss-roll on test rows\n"
    promised = {"recipe", "split", "n", "unit", "bound", "standard_error", "first_step", "terms", "null", "gain"}
    assert promised | {"truth", "paper"} <= answer.keys()
    assert (answer["recipe"], answer["split"], answer["n"], answer["unit"]) == ("swiss-roll", "test", 100, "bits")
    assert answer["first_step"] == "learned"
    assert answer["terms"].keys() == {"terminal", "transitions", "data"}
    assert sum(answer["terms"].values()) == pytest.approx(answer["bound"], abs=1e-9)
    assert answer["gain"] == pytest.approx(answer["bound"] - answer["null"], abs=1e-9)
    assert json.loads((small.trained("swiss-roll") / "result.json").read_text()) == answer


def test_an_evaluation_of_other_rows_steps_and_trajectories_has_a_file_of_its_own(command, copy):
    words = ("--split", "validation", "--trajectories", 0, "--n-steps", 7, "--json")
    answer = command("evaluate", copy, *words).json()
    assert (answer["split"], answer["n"], answer["n_steps"]) == ("validation", 60, 7)
    assert "log_prob" not in answer
    assert json.loads((copy / "result-validation-7.json").read_text()) == answer


def test_an_evaluation_is_a_table_for_people(command):
    told = command("evaluate", small.trained("swiss-roll"))
    assert told.status == 0
    assert told.out.startswith("swiss-roll, test rows, T = 4 (log likelihoods: higher is better)\n")
    assert all(word in told.out for word in ("bound, first step learned and scored", "truth", "paper", "null model"))


def test_a_number_that_json_does_not_have_is_null(command, monkeypatch):
    monkeypatch.setattr(cli.COMMANDS["recipes"], "run", lambda self: {"a": float("nan"), "b": [float("-inf"), 1.5]})
    assert command("recipes", "--json").json() == {"a": None, "b": [None, 1.5]}


def test_samples_repeat_with_their_seed_and_differ_with_another(command, tmp_path):
    run, files = small.trained("swiss-roll"), [tmp_path / f"{name}.npy" for name in "abc"]
    for file, seed in zip(files, (3, 3, 4), strict=True):
        told = command("sample", run, "-n", 5, "--out", file, "--seed", seed, "--json")
        assert told.json() == {"file": str(file), "n": 5, "shape": [5, 2]}
    a, b, c = (np.load(file) for file in files)
    assert np.isfinite(a).all()
    assert (a == b).all()
    assert (a != c).all()


def test_samples_go_to_the_run_folder_by_default_and_may_take_fewer_steps(command, copy):
    assert command("sample", copy, "--n-steps", 2, "--json").json()["file"] == str(copy / "samples.npy")
    assert np.load(copy / "samples.npy").shape == (64, 2)


def test_a_report_lists_its_figures(command, copy, blank):
    answer = command("report", copy, "--json").json()
    assert answer["report"] == str(copy / "report.html")
    assert {Path(p).name for p in answer["figures"]} == {
        "entropy-band.png", "figure-1.png", "learning-curve.png", "step-costs.png"
    }  # fmt: skip
    assert 'src="data:image/png;base64,' in Path(answer["report"]).read_text()


def test_reproduce_trains_measures_and_draws_and_then_only_tells(command, tmp_path, monkeypatch):
    entry = replace(CATALOGUE["heartbeat"], settings=small.SMALL["heartbeat"], presets={})
    monkeypatch.setitem(CATALOGUE, "heartbeat", entry)
    first = command("reproduce", "figure-2", "heartbeat", "--out", tmp_path, "--json")
    assert [result["recipe"] for result in first.json()["results"]] == ["heartbeat"]
    assert first.err.splitlines()[0] == "1 of 1, heartbeat: training"
    before = small.snapshot(tmp_path)
    assert {"heartbeat/report.html", "heartbeat/result.json", "heartbeat/figures/figure-2.png"} <= before.keys()
    again = command("reproduce", "figure-2", "--out", tmp_path, "--json")
    assert again.json() == first.json()
    assert small.snapshot(tmp_path) == before
    assert str(tmp_path / "heartbeat" / "report.html") in command("reproduce", "figure-2", "--out", tmp_path).out


def test_a_break_by_the_keyboard_says_how_to_go_on(command, monkeypatch):
    def stop(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.COMMANDS["train"], "run", stop)
    monkeypatch.setattr(cli.COMMANDS["report"], "run", stop)
    told = command("train", "swiss-roll")
    assert (told.status, told.out) == (130, "")
    assert told.err == "stopped; the same command goes on from the last checkpoint\n"
    assert command("report", "x").err == "stopped\n"


def test_of_many_processes_the_first_one_speaks(command, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert command("recipes", "--json") == Told(0, "", "")


# A table of one's own


@pytest.mark.parametrize("family", ["gaussian", "binomial"])
def test_a_table_of_ones_own_from_end_to_end(command, tmp_path, family):
    table = small.table(tmp_path / "table.csv", family=family)
    x = np.loadtxt(table, delimiter=",", skiprows=1)
    if family == "binomial":
        table = tmp_path / "table.npy"
        np.save(table, x.astype(bool))
    run = tmp_path / "run"
    words = small.words("array", family=family, n_steps=10, **{"train.n_updates": 20})
    command("train", "array", "--data", table, "--out", run, *words, "--json").json()
    answer = command("evaluate", run, "--json").json()
    assert answer["n"] == 12
    assert sum(answer["terms"].values()) == pytest.approx(answer["bound"], abs=1e-9)
    assert not {"truth", "paper"} & answer.keys()

    command("sample", run, "-n", 400, "--out", tmp_path / "s.npy", "--json").json()
    command("sample", run, "-n", 400, "--out", tmp_path / "s.csv", "--json").json()
    drawn = np.load(tmp_path / "s.npy")
    with open(tmp_path / "s.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == (["column a", "column b", "column c"] if family == "gaussian" else [f"column {k}" for k in (1, 2, 3)])
    np.testing.assert_allclose(np.array(rows, dtype=float), drawn, rtol=1e-8)
    # an untrained model is the Gaussian fit, or independent bits at their rates: means within 5 of their errors,
    # those of 400 draws and of 96 training rows; false alarm 3e-6 for six of them
    spread = x.std(0) * (1 / 400 + 1 / 96) ** 0.5
    assert (np.abs(drawn.mean(0) - x.mean(0)) < 5 * spread).all()
    if family == "binomial":
        assert {*drawn.ravel()} == {0.0, 1.0}


def test_ten_rows_are_enough_and_an_error_of_one_row_is_null(command, tmp_path):
    table, run = small.table(tmp_path / "table.csv", n=10), tmp_path / "run"
    command("train", "array", "--data", table, "--out", run, *small.words("array"), "--json").json()
    answer = command("evaluate", run, "--json").json()
    assert (answer["n"], answer["standard_error"]) == (1, None)
    assert "standard error unknown" in command("evaluate", run).out


def test_a_run_is_taken_up_from_another_folder(command, tmp_path, monkeypatch):
    small.table(tmp_path / "table.csv")
    monkeypatch.chdir(tmp_path)
    words = ("--data", "table.csv", *small.words("array"), "--json")
    assert command("train", "array", *words).json()["run"] == "runs/array"
    monkeypatch.chdir(tmp_path / "runs")
    assert command("evaluate", "array", "--json").status == 0


# Mistakes: one sentence, exit status 2, and nothing left behind


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Expected one of .*recipes, train, .*denoise, inpaint, score, impute, report.*; see quasistatic --help"),
        (["nonsense"], "nonsense.*; see quasistatic --help"),
        (["train"], "Missing .*RECIPE.*; see quasistatic train --help"),
        (["train", "swiss-roll", "--steps", "3"], "Unrecognized options: --steps.*; see quasistatic train --help"),
        (["sample", "run", "-n", "many"], "'many'; see quasistatic sample --help"),
        (["train", "swiss"], "there is no recipe 'swiss'; there are swiss-roll, .*array, images$"),
        (["train", "swiss-roll", "--set"], "--set needs at least one KEY=VALUE"),
        (["train", "swiss-roll", "--set", "n_steps"], "a setting is written key=value, got 'n_steps'"),
        (["train", "swiss-roll", "--set", "nonsense=1"], "there is no setting 'nonsense'; known here are .*n_steps"),
        (["train", "swiss-roll", "--set", "n_steps=many"], "n_steps must be a whole number, got 'many'"),
        (["train", "swiss-roll", "--set", "train.n_updates=0"], "n_updates must be at least 1, got 0"),
        (["train", "swiss-roll", "--preset", "big"], "recipe swiss-roll has no preset 'big'; it has demo"),
        (["train", "swiss-roll", "--seed", "-1"], r"seed must be at least 0, got -1"),
        (["train", "swiss-roll", "--time-budget", "soon"], "--time-budget must be a time such as 90s, .*, got 'soon'"),
        (["train", "swiss-roll", "--time-budget", "0m"], "--time-budget must be a time such as 90s, .*, got '0m'"),
        (["train", "swiss-roll", "--device", "gpu"], "device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        (["train", "swiss-roll", "--compile", "maybe"], "compile"),
        (["train", "swiss-roll", "--micro-batch", "-1"], "micro_batch must be at least 0, got -1"),
        (["evaluate", "run", "--samples", "-1"], "--samples must be at least 0, got -1"),
        (["train", "swiss-roll", "--data", "x.csv"], "swiss-roll has its own data; --data goes with the recipes table .*"),
        (["train", "swiss-roll", "--set", "network=paper"], "network=paper needs covariance=diagonal, got full"),
        (["train", "array"], "the array recipe needs a file of numbers: give --data PATH"),
        (["train", "array", "--data", "none.csv"], "there is no file .*none.csv"),
        (["evaluate", "run"], "run is not a run folder: it holds no config.yaml"),
        (["evaluate", "run", "--split", "all"], '--split must be "train", "validation" or "test", got \'all\''),
        (["evaluate", "run", "--trajectories", "-1"], "--trajectories must be at least 0, got -1"),
        (["report", "run"], "run is not a run folder: it holds no config.yaml"),
        (["sample", "run"], "run is not a run folder: it holds no config.yaml"),
        (["sample", "run", "-n", "0"], "the number of samples must be at least 1, got 0"),
        (["sample", "run", "--seed", "-1"], r"--seed must be at least 0, got -1"),
        (["sample", "run", "--out", "s.txt"], r"samples are written as .npy, .csv, .parquet or .png, got 's.txt'"),
        (["reproduce"], "cannot reproduce nothing; there are swiss-roll, "),
        (["reproduce", "table-9", "digits"], "cannot reproduce table-9; there are swiss-roll, .*figure-2"),
        (["reproduce", "array"], "cannot reproduce array; there are "),
        (["reproduce", "digits", "--preset", "big"], "no recipe has a preset 'big'; there are base, demo, large, small"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_leaves_nothing(command, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    sentence = command(*words).sentence()
    assert re.search(said, sentence), sentence
    assert not list(tmp_path.iterdir())


def good_rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((20, 2))


def write_csv(path: Path, x: np.ndarray) -> Path:
    np.savetxt(path, x, delimiter=",", header="width,height", comments="")
    return path


def write_npy(path: Path, x: np.ndarray) -> Path:
    np.save(path, x)
    return path


@pytest.mark.parametrize(
    ("name", "place", "value", "family", "said"),
    [
        ("x.csv", (3, 1), np.nan, "gaussian", "row 4, column 'height' of x.csv is nan, but every number must be finite"),
        ("x.npy", (3, 1), np.inf, "gaussian", "row 4, column 2 of x.npy is inf, but every number must be finite"),
        ("x.csv", (slice(None), 1), 0.5, "gaussian", "'height' of .*x.csv is 0.5 in all 16 training rows, so it has"),
        ("x.npy", (0, 0), 2.0, "binomial", "row 1, column 1 of .*x.npy is 2.0, but binary data must be 0 or 1"),
        ("x.npy", None, np.zeros(20), "gaussian", r"x.npy has shape \(20,\), but a table must be two-dimensional"),
        ("x.npy", None, np.zeros((20, 2, 2)), "gaussian", r"x.npy has shape \(20, 2, 2\), but a table must be two-dim"),
        ("x.npy", None, np.zeros((9, 2)), "gaussian", "x.npy has 9 rows, but at least 10 are needed"),
    ],
)  # fmt: skip
def test_a_bad_table_is_one_sentence_and_no_run_is_begun(command, tmp_path, name, place, value, family, said):
    x = good_rows() if family == "gaussian" else (good_rows() > 0).astype(float)
    if place is None:
        x = value
    else:
        x[place] = value
    table = (write_csv if name == "x.csv" else write_npy)(tmp_path / name, x)
    sentence = command(
        "train", "array", "--data", table, "--out", tmp_path / "run", *small.words("array", family=family)
    ).sentence()
    assert re.search(said, sentence), sentence
    assert not (tmp_path / "run").exists()


def test_another_configuration_in_the_same_folder_is_refused(command):
    run = small.trained("swiss-roll")
    before = small.snapshot(run)
    words = small.words("swiss-roll", width=17, noise=0.03)
    said = command("train", "swiss-roll", "--out", run, *words).sentence()
    assert said == f"{run} holds a run with another noise, width; give a new --out, or the same settings to go on"
    said = command("train", "swiss-roll", "--out", run, *ROLL, "--seed", 1).sentence()
    assert "holds a run with another seed;" in said
    said = command("train", "heartbeat", "--out", run, *small.words("heartbeat")).sentence()
    assert "holds a run with another " in said
    assert small.snapshot(run) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("best-finished/model.safetensors", r"model.safetensors is damaged: it has \d+ bytes and should have \d+$"),
        ("best-finished/model.json", "model.json is damaged: "),
        ("best.json", "best.json is damaged: "),
    ],
)
def test_a_truncated_model_is_one_sentence(command, copy, name, said):
    path = copy / "checkpoint" / name
    os.truncate(path, path.stat().st_size // 2)
    before = small.snapshot(copy)
    for words in (["evaluate", copy], ["sample", copy, "--out", copy / "s.npy"], ["report", copy]):
        assert re.search(said, command(*words).sentence())
    assert small.snapshot(copy) == before


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint/finished.json", "checkpoint/best.json", "config.yaml"])
def test_a_truncated_record_is_one_sentence(command, copy, name):
    path = copy / name
    path.write_bytes(b"{" + path.read_bytes()[:10])
    said = command("train", "swiss-roll", "--out", copy, *ROLL).sentence()
    assert said.startswith(f"{path} is damaged: ")


def test_a_folder_without_a_model_yet_is_one_sentence(command, copy):
    shutil.rmtree(copy / "checkpoint")
    assert command("evaluate", copy).sentence() == f"{copy} holds neither a saved model nor a run with a best checkpoint"


def test_a_split_without_rows_is_one_sentence(command, tmp_path):
    run = tmp_path / "run"
    small.train("array", run, data=str(small.table(tmp_path / "table.csv")), test=0.0)
    said = command("evaluate", run).sentence("measuring array on test rows")
    assert said == "there are no test rows to evaluate"
    assert not (run / "result.json").exists()
    assert command("evaluate", run, "--split", "validation", "--json").json()["n"] == 12


@pytest.mark.parametrize("steps", [0, 1, -3])
def test_too_few_steps_are_one_sentence(command, copy, steps):
    assert str(steps) in command("evaluate", copy, "--n-steps", steps).sentence()
    if steps < 1:
        assert str(steps) in command("sample", copy, "--n-steps", steps).sentence()
    assert not (copy / "samples.npy").exists()


@pytest.mark.parametrize("steps", [5, 100])
def test_more_steps_than_there_are_cannot_be_sampled(command, copy, steps):
    said = command("sample", copy, "--n-steps", steps).sentence("drawing 64 samples of swiss-roll")
    assert str(steps) in said


def test_a_kernel_with_a_read_out_for_each_step_keeps_its_steps(command):
    run = small.trained("swiss-roll-paper")
    for words in (["evaluate", run, "--n-steps", 3], ["sample", run, "--n-steps", 3]):
        told = command(*words)
        assert told.status == 2
        assert told.err.count("\n") == 2, told.err


def test_a_place_that_cannot_be_written_to_is_one_sentence(command, tmp_path):
    # below a file no folder can be made, not even by root
    (tmp_path / "file").write_text("mine")
    said = command("train", "swiss-roll", "--out", tmp_path / "file" / "run", *ROLL).sentence()
    assert said == f"the run folder {tmp_path / 'file' / 'run'} cannot be made: Not a directory"
    out = tmp_path / "file" / "s.npy"
    said = command("sample", small.trained("swiss-roll"), "--out", out).sentence("drawing 64 samples of swiss-roll")
    assert said.startswith(f"cannot write {out}: ")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing that was written comes to rest on the disk."""

    def fsync(handle: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_is_one_sentence_and_no_file_is_half_written(command, copy, full_disk, blank):
    before = small.snapshot(copy)
    full = "No space left on device"
    for words, progress in (
        (["evaluate", copy], "measuring swiss-roll on test rows"),
        (["report", copy], "drawing the figures of swiss-roll"),
    ):
        assert command(*words).sentence(progress) == f"cannot write the run folder {copy}: {full}"
    said = command("sample", copy).sentence("drawing 64 samples of swiss-roll")
    assert said == f"cannot write {copy / 'samples.npy'}: {full}"
    assert small.snapshot(copy) == before
    new = copy.with_name("new")
    assert command("train", "swiss-roll", "--out", new, *ROLL).sentence() == f"cannot write the run folder {new}: {full}"
    assert not small.snapshot(new)


def test_a_disk_that_is_full_at_the_very_end_is_one_sentence_and_the_same_command_goes_on(command, tmp_path, monkeypatch):
    from quasistatic.runs import training

    run = tmp_path / "run"
    words = ["train", "swiss-roll", "--out", run, *ROLL]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_best", full)
        assert (
            command(*words).err.splitlines()[-1]
            == f"quasistatic: cannot write the run folder {run}: No space left on device"
        )
    assert command(*words, "--json").json()["checkpoint"] == "best-finished"
    whole = small.trained("swiss-roll") / "checkpoint" / "best-finished" / "model.safetensors"
    assert (run / "checkpoint" / "best-finished" / "model.safetensors").read_bytes() == whole.read_bytes()


# ------------------------------------------------------------------------------------------------- tables


def test_a_table_goes_from_a_file_to_scores_and_filled_gaps(command: Callable[..., Told], tmp_path: Path) -> None:
    data, run = small.mixed_table(tmp_path / "shells.csv"), tmp_path / "run"
    trained = command("train", "table", "--data", data, "--types", "rings=ordinal", "--out", run, *small.words("table"))
    assert trained.status == 0
    assert "categorical: sex\n" in trained.err
    assert "constant: site" in trained.err
    assert command("evaluate", run, "--json").json()["n"] == 12
    scored = command("score", run, "--data", data, "--out", tmp_path / "s.csv", "--unit", "bits", "--json").json()
    assert (scored["n"], scored["unit"]) == (120, "bits")
    filled = command("impute", run, "--data", data, "--out", tmp_path / "f.csv", "--draws", 3, "--json").json()
    assert filled["missing"] > 10
    assert command("sample", run, "-n", 7, "--out", tmp_path / "new.csv").status == 0
    with open(tmp_path / "new.csv", newline="") as file:
        names, *rows = csv.reader(file)
    assert names == ["sex", "length", "rings", "site"]
    assert {row[3] for row in rows} == {"7"}
    assert Path(command("report", run, "--json").json()["report"]).exists()
    told = command("score", run, "--data", data, "--out", tmp_path / "s.csv").out
    assert "mean log density" in told
    assert "scores of 120 rows" in told


def test_what_is_wrong_with_the_words_for_a_table(command: Callable[..., Told], tmp_path: Path) -> None:
    data, run = small.mixed_table(tmp_path / "shells.csv"), small.trained("table")
    assert "--types goes with the table recipe" in command("train", "array", "--data", data, "--types", "a=b").sentence()
    asked = command("score", run, "--data", data, "--out", tmp_path / "s.csv", "--unit", "miles")
    assert "unit must be one of" in asked.sentence()
    asked = command("score", run, "--data", data, "--out", tmp_path / "s.txt")
    assert "written as .csv or .parquet, got 's.txt'" in asked.sentence()
    assert "there is no file" in command("impute", run, "--data", tmp_path / "none.csv").sentence()
    assert "--draws must be at least 1" in command("impute", run, "--data", data, "--draws", 0).sentence()
    assert "a run of array" in command("score", small.trained("array"), "--data", data).sentence()
