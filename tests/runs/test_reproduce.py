"""Items of the paper by name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest

import small
from evaluations import evaluation
from quasistatic.errors import InputError
from quasistatic.recipes.catalogue import CATALOGUE
from quasistatic.reporting.text import format_estimate
from quasistatic.runs import reproduce as module
from quasistatic.runs.reproduce import ITEMS, reproduce
from quasistatic.runs.run import Run


def test_every_item_is_made_of_recipes_and_the_toys_are_in_the_papers_table():
    assert {name for names in ITEMS.values() for name in names} == {*CATALOGUE} - {"array", "images", "table"}
    assert {"swiss-roll", "swiss-roll-paper", "heartbeat", "heartbeat-paper"} <= {*ITEMS["table-1"]}
    assert (ITEMS["figure-1"], ITEMS["figure-2"]) == (("swiss-roll",), ("heartbeat",))
    assert ITEMS["digits"] == ("digits",)


@pytest.mark.parametrize(
    ("items", "preset", "said"),
    [
        (["table-9"], None, "cannot reproduce table-9; there are swiss-roll, "),
        (["digits", "x", "y"], None, "cannot reproduce x, y; there are "),
        (["array"], None, "cannot reproduce array; there are "),
        ([], None, "cannot reproduce nothing; there are "),
        (["digits"], "big", "no recipe has a preset 'big'; there are base, demo, large, small"),
    ],
)
def test_what_is_not_known_is_one_sentence_before_anything_is_done(tmp_path, items, preset, said):
    with pytest.raises(InputError, match=said):
        reproduce(items, tmp_path, preset=preset)
    assert not list(tmp_path.iterdir())


def test_each_recipe_is_run_once_with_the_preset_it_has(tmp_path, monkeypatch):
    done: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, "train_run", lambda name, folder, **kwargs: done.append((name, kwargs["preset"])))
    monkeypatch.setattr(module, "open_run", lambda folder: folder.name)
    monkeypatch.setattr(module, "evaluate_run", lambda run, n_samples: evaluation({"recipe": run}))
    monkeypatch.setattr(module, "write_run_report", lambda run: None)
    monkeypatch.setattr(module, "_copy_items", lambda *_: None)
    results = reproduce(["figure-1", "table-1", "swiss-roll"], tmp_path, preset="demo", quiet=True)
    assert [result.recipe for result in results] == [name for name, _ in done]
    names = list(dict.fromkeys([*ITEMS["figure-1"], *ITEMS["table-1"]]))
    assert [name for name, _ in done] == names
    for name, preset in done:
        presets = CATALOGUE[name].presets
        assert preset == ("demo" if "demo" in presets else "small" if "small" in presets else None)
    assert {("swiss-roll", "demo"), ("cifar10", "small")} <= {*done}


def test_what_is_measured_but_not_drawn_is_measured_again(tmp_path, monkeypatch):
    entry = replace(CATALOGUE["heartbeat-mixture"], settings=small.SMALL["heartbeat-mixture"])
    monkeypatch.setitem(CATALOGUE, "heartbeat-mixture", entry)
    drawn = []
    monkeypatch.setattr(module, "write_run_report", lambda run: drawn.append(run.name))
    first = reproduce(["heartbeat-mixture"], tmp_path, quiet=True)
    again = reproduce(["heartbeat-mixture"], tmp_path, quiet=True)
    assert drawn == ["heartbeat-mixture"] * 2
    assert first[0].bound == again[0].bound


def test_a_finished_run_is_taken_up_whatever_its_settings_unless_a_preset_is_asked_for(tmp_path, monkeypatch):
    shutil.copytree(small.trained("heartbeat-mixture"), tmp_path / "heartbeat-mixture")
    monkeypatch.setattr(module, "write_run_report", lambda run: None)
    (told,) = reproduce(["heartbeat-mixture"], tmp_path, quiet=True)  # its catalogue entry trains for 16,000 steps
    assert told.n == small.BEAT["n_test"]
    with pytest.raises(InputError, match="holds a run with another"):
        reproduce(["heartbeat-mixture"], tmp_path, preset="demo", quiet=True)
    with pytest.raises(InputError, match="holds a run with another"):
        reproduce(["heartbeat-mixture"], tmp_path, seed=1, quiet=True)


def test_figures_and_tables_that_were_asked_for_are_left_where_they_are_found(tmp_path, monkeypatch):
    shutil.copytree(small.trained("heartbeat"), tmp_path / "heartbeat")

    def drawn(run: Run) -> None:
        (run.folder / "figures").mkdir()
        (run.folder / "figures" / "figure-2.png").write_bytes(b"drawn")

    monkeypatch.setattr(module, "write_run_report", drawn)
    monkeypatch.setitem(ITEMS, "table-1", ("heartbeat",))
    (told,) = reproduce(["figure-2", "table-1"], tmp_path, quiet=True)
    assert (tmp_path / "figure-2.png").read_bytes() == b"drawn"
    table = (tmp_path / "table-1.md").read_text()
    assert format_estimate(told.bound.value, told.bound.standard_error, "", told.n) in table
    assert "-2.414" in table


def test_samples_that_a_table_needs_are_drawn_once(tmp_path, monkeypatch):
    shutil.copytree(small.trained("heartbeat"), tmp_path / "heartbeat")
    monkeypatch.setattr(module, "write_run_report", lambda run: (run.folder / "report.html").write_text(""))
    monkeypatch.setitem(ITEMS, "table-2", ("heartbeat",))
    monkeypatch.setitem(module.SAMPLES, "table-2", {"heartbeat": 30})
    assert not reproduce(["heartbeat"], tmp_path, quiet=True)[0].samples
    assert reproduce(["table-2"], tmp_path, quiet=True)[0].samples["n"] == 30
    monkeypatch.setattr(module, "evaluate_run", lambda *_, **__: pytest.fail("measured once more"))
    assert reproduce(["table-2", "heartbeat"], tmp_path, quiet=True)[0].samples["n"] == 30
