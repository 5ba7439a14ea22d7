"""Items of the paper by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import small
from quasistatic.errors import InputError
from quasistatic.recipes import CATALOGUE
from quasistatic.recipes import reproduce as module
from quasistatic.recipes.reproduce import ITEMS, reproduce


def test_every_item_is_made_of_recipes_and_the_toys_are_in_the_papers_table():
    assert {name for names in ITEMS.values() for name in names} == {*CATALOGUE} - {"array", "table"}
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
        (["digits"], "big", "no recipe has a preset 'big'; there are demo"),
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
    monkeypatch.setattr(module, "evaluate_run", lambda run: {"recipe": run})
    monkeypatch.setattr(module, "write_run_report", lambda run: None)
    results = reproduce(["figure-1", "table-1", "swiss-roll"], tmp_path, preset="demo", quiet=True)
    assert [result["recipe"] for result in results] == [name for name, _ in done]
    names = list(dict.fromkeys([*ITEMS["figure-1"], *ITEMS["table-1"]]))
    assert done == [(name, "demo" if "demo" in CATALOGUE[name].presets else None) for name in names]
    assert ("swiss-roll", "demo") in done


def test_what_is_measured_but_not_drawn_is_measured_again(tmp_path, monkeypatch):
    entry = replace(CATALOGUE["heartbeat-mixture"], settings=small.SMALL["heartbeat-mixture"])
    monkeypatch.setitem(CATALOGUE, "heartbeat-mixture", entry)
    drawn = []
    monkeypatch.setattr(module, "write_run_report", lambda run: drawn.append(run.name))
    first = reproduce(["heartbeat-mixture"], tmp_path, quiet=True)
    again = reproduce(["heartbeat-mixture"], tmp_path, quiet=True)
    assert drawn == ["heartbeat-mixture"] * 2
    assert first[0]["bound"] == again[0]["bound"]
