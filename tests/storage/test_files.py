"""Files are regular, of limited size and depth, and hold the keys and types expected; links in a run are not followed."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import small
from quasistatic.errors import InputError
from quasistatic.estimator import DiffusionDensity
from quasistatic.model_files import load_model
from quasistatic.runs.results import Evaluation
from quasistatic.runs.run import open_run
from quasistatic.storage.files import (
    digest_of,
    plain_yaml,
    read_json,
    read_log,
    read_text,
    refuse_links,
    regular_file,
    strict,
)
from quasistatic.storage.run_folder import RunFolder
from quasistatic.storage.schema import Check, Optional, a_list, a_name, a_number, a_record, a_text, a_whole
from quasistatic.train.run_log import append_line

SCHEMA: dict[str, Check | Optional] = {
    "name": a_name, "size": a_whole(1, 9), "rates": a_list(a_number, 1), "note": Optional(a_text),
    "best": Optional(a_number, required=True), "inner": Optional(a_record({"text": a_text})),
}  # fmt: skip
GOOD = {"name": "best-1", "size": 4, "rates": [0.5, 2], "best": None, "more": [1]}


def put(folder: Path, text: str | bytes) -> Path:
    path = folder / "record.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_record_of_the_right_types_is_read(tmp_path):
    assert read_json(put(tmp_path, json.dumps(GOOD)), SCHEMA) == GOOD
    assert read_json(put(tmp_path, json.dumps(GOOD | {"inner": {"text": "x"}, "note": None})), SCHEMA)["inner"] == {
        "text": "x"
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../up"}, "the key 'name' must be the name of an entry of the same folder, got '../up'"),
        ({"name": "/etc"}, "the key 'name' must be the name"), ({"name": ".."}, "the key 'name' must be the name"),
        ({"name": "a\0b"}, "the key 'name' must be the name"), ({"name": "x" * 5000}, "the key 'name' must be the name"),
        ({"name": 5}, "the key 'name' must be the name"), ({"size": 0}, "the key 'size' must be at least 1, got 0"),
        ({"size": 10**30}, "the key 'size' must be at most 9"), ({"size": True}, "the key 'size' must be a whole number"),
        ({"size": 2.0}, "the key 'size' must be a whole number"),
        ({"rates": []}, "the key 'rates' must be a list of at least 1"),
        ({"rates": [1, "x"]}, r"the key 'rates'\[1\] must be a number"), ({"note": 5}, "the key 'note' must be text, got 5"),
        ({"inner": {}}, "'inner'.text is missing"), ({"inner": [1]}, "'inner' must be an object with keys"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_file_and_key(tmp_path, change, said):
    with pytest.raises(InputError, match=rf"record\.json is damaged: .*{said}"):
        read_json(put(tmp_path, json.dumps(GOOD | change)), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", '"x"', "5", "null", '{"size": 4}', b"\xff\xfe", b"{\x00}", json.dumps(GOOD | {"best": math.nan}),
        json.dumps(GOOD | {"more": [[-math.inf]]}), json.dumps(GOOD)[:-1] + ', "far": 1e999}', "[" * 200_000,
        '{"a":' * 3000 + "1" + "}" * 3000, json.dumps(GOOD)[:-1] + ', "deep": ' + "[" * 150 + "]" * 150 + "}",
        json.dumps(GOOD)[:-1] + ', "long": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_a_damaged_record_is_one_sentence(tmp_path, text):
    with pytest.raises(InputError, match=r"record\.json is damaged: ") as said:
        read_json(put(tmp_path, text), SCHEMA)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_no_number_for_is_named(tmp_path, word):
    with pytest.raises(InputError, match=f"it holds {word}, which is no number of JSON"):
        read_json(put(tmp_path, '{"note": ' + word + "}"), {})


def test_a_log_names_the_line(tmp_path):
    path = put(tmp_path, '{"step": 1}\n{"step": 2}\n')
    assert [line["step"] for line in read_log(path, {"step": a_whole()})] == [1, 2]
    with pytest.raises(InputError, match=r"record\.json is damaged: line 2: the key 'step' must be at least 0, got -2"):
        read_log(put(tmp_path, '{"step": 1}\n{"step": -2}\n'), {"step": a_whole()})


def test_numbers_that_json_does_not_have_become_null():
    assert strict({"a": (math.inf, 1), "b": math.nan}) == {"a": [None, 1], "b": None}


@pytest.mark.parametrize(
    "text",
    ["a: &x [1]\nb: *x", "[" * 3000, "- " * 300, "!!python/name:os.system", "2021-02-30", "? [1]\n: 2", "a: 'b", "\x07"],
)
def test_yaml_is_plain(text):
    with pytest.raises(InputError) as said:
        plain_yaml(text)
    assert "\n" not in str(said.value)


# ------------------------------------------------------------------------------------------------- kinds of files


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "socket", "device", "link to itself", "zero byte", "text"])
def test_only_regular_files_are_opened(tmp_path, monkeypatch, kind):
    path: Path | str = tmp_path / "x.csv"
    assert isinstance(path, Path)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("x.csv")
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "zero byte":
        path = "a\0b.csv"
    elif kind == "text":
        path = ""
    for look in (regular_file, read_text, digest_of):
        with pytest.raises(InputError) as said:
            look(path)
        assert "\n" not in str(said.value)


def test_a_file_may_be_too_large(tmp_path):
    with pytest.raises(InputError, match="has 100 bytes, but a text file may have at most 99"):
        read_text(put(tmp_path, " " * 100), most=99)


def test_links_in_a_run_folder_are_refused_but_the_folder_may_be_one(tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    (run / "checkpoint").mkdir(parents=True)
    out.mkdir()
    (tmp_path / "link").symlink_to(run)
    refuse_links(tmp_path / "link", "checkpoint", "figures")
    (run / "checkpoint" / "step-1").symlink_to(out)
    with pytest.raises(InputError, match="step-1 is a link"):
        refuse_links(run, "checkpoint")
    (run / "metrics.jsonl").symlink_to(out / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        append_line(run / "metrics.jsonl", {"update": 1})
    assert not list(out.iterdir())


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint", "figures"])
def test_a_training_does_not_write_through_a_link(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "out")
    with pytest.raises(InputError, match=f"{name} is a link, and what a run writes must stay inside its folder"):
        small.train("swiss-roll", tmp_path / "run")
    assert not list((tmp_path / "out").iterdir())


# ------------------------------------------------------------------------------------------------------ a saved model


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(small.trained("swiss-roll"), tmp_path / "run"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(run, value):
    path = run / "checkpoint" / "best-finished" / "model.safetensors"
    tensors = load_file(path)
    name = next(k for k, v in tensors.items() if k.startswith("state.") and v.numel() > 3)
    tensors[name].view(-1)[2] = value
    save_file(tensors, path)
    with pytest.raises(InputError, match=rf"{name} holds {value}, but weights must be finite"):
        load_model(run)


def edited(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_whose_parts_do_not_fit_together_is_refused(run):
    path = run / "checkpoint" / "best-finished" / "model.json"
    module = json.loads(path.read_text())["module"]
    for shape in ([3], [-1], "ab", [2.5]):
        module["args"]["event_shape"] = shape
        edited(path, module=module)
        with pytest.raises(InputError, match=r"event_shape|do not fit together"):
            load_model(run)


@pytest.mark.parametrize("folder", ["../../elsewhere", "/", "", 5, None, ["a"]])
def test_a_pointer_stays_in_its_folder(run, folder):
    edited(run / "checkpoint" / "best.json", folder=folder)
    for opened in (load_model, open_run):
        with pytest.raises(InputError, match=r"best\.json is damaged: the key 'folder' must be the name"):
            opened(run)


def test_logs_and_results_of_other_types_are_refused(run):
    (run / "metrics.jsonl").write_text('{"update": 1, "unit": "bits", "validation": "high", "validation_se": 1}\n')
    with pytest.raises(InputError, match="line 1: the key 'validation' must be a number"):
        RunFolder(run).read_metrics()
    (run / "result.json").write_text('{"bound": 1}')
    with pytest.raises(InputError, match=r"result\.json is damaged: the key 'recipe' is missing"):
        Evaluation.read(run / "result.json")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("density") / "model"
    rows = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).numpy()
    small_one = DiffusionDensity(
        max_updates=1, width=4, depth=1, n_members=1, n_steps=3, n_components=1, random_state=0
    )  # fmt: skip
    small_one.fit(rows).save(folder)
    return folder


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("ensemble", {"weights": [0.5]}), ("ensemble", {"weights": [math.nan] * 4}),
        ("ensemble", {"weights": [2.0, -1.0, 0.0, 0.0]}), ("ensemble", {"columns": []}),
        ("ensemble", {"columns": [{"name": "a", "kind": "odd", "values": []}] * 2}),
        ("estimator", {"params": {"nosuch": 1}}),
        ("estimator", {"params": [1]}), ("estimator", {"n_features": 5}), ("ensemble", {"seed": -1}),
        ("ensemble", {"format": 9}), ("estimator", {"format": 9}), ("estimator", {"frame": [{"name": "a"}]}),
        ("estimator", {"names": [5]}), ("ensemble", {"columns": [{"name": "a", "kind": "integer", "values": [1]}] * 2}),
        ("ensemble", {"n_members": 2}), ("ensemble", {"columns": [{"name": "a", "kind": "numeric", "values": []}]}),
    ],
)  # fmt: skip
def test_a_changed_estimator_is_one_sentence(saved, tmp_path, file, changes):
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    edited(folder / f"{file}.json", **changes)
    with pytest.raises(InputError) as said:
        DiffusionDensity.load(folder)
    assert "\n" not in str(said.value)
