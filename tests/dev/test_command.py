"""The command: one call goes as far as it may, and the next goes on from what came home."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
import torch

import pictures
from gpu.__main__ import main
from gpu.checks import LIMITS
from gpu.delivery import deliver, put
from gpu.numbers import Numbers
from gpu.plan import PLAN, predicted, rows_of_plan
from quasistatic.errors import InputError
from quasistatic.recipes.presets import PRESETS
from quasistatic.reporting.text import markdown_table
from quasistatic.train.session import Session

PAGE = Path(__file__).parents[2] / "dev" / "gpu.md"
TRAIN = ["--parts", "train", "--tiny", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pictures.install(monkeypatch, tmp_path / "data")


def call(*words: object) -> int:
    return main([str(word) for word in words])


def test_a_call_checks_measures_trains_and_tells_it_in_a_table(tmp_path, capsys):
    out = tmp_path / "out"
    assert call("run", "mnist-binary", "--tiny", "--device", "cpu", "--work", tmp_path / "work", "--out", out) == 0
    told = capsys.readouterr().out
    for line in (
        "network forward in bfloat16, mnist-binary",
        "copy, TB/s",
        "chosen: ",
        "model FLOP utilisation",
        "test bound",
    ):
        assert line in told
    assert told.rstrip().endswith((out / "table.txt").read_text().rstrip())  # nothing after the table
    numbers = json.loads((out / "numbers.json").read_text())
    assert {"checks", "ceilings", "ways", "predicted", "training", "measured"} <= numbers.keys()
    assert numbers["measured"]["result"]["n"] == 16
    assert sorted(file.name for file in out.iterdir()) == ["index.json", "numbers.json", "shard-00.safetensors", "table.txt"]


def test_a_training_goes_on_elsewhere_from_what_came_home(tmp_path, monkeypatch, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    with monkeypatch.context() as stopped:
        stopped.setattr(Session, "budget_spent", lambda session: session.trainer.state.update == 2)
        assert call("run", "dead-leaves", *TRAIN, "--work", tmp_path / "a", "--out", first) == 0
    assert json.loads((first / "numbers.json").read_text())["training"]["stopped_at"] == 2
    assert call("run", "dead-leaves", *TRAIN, "--work", tmp_path / "b", "--shards", first, "--out", second) == 0
    told = json.loads((second / "numbers.json").read_text())
    assert told["training"]["finished"]
    updates = [
        json.loads(line)["update"] for line in (tmp_path / "b/dead-leaves/run/metrics.jsonl").read_text().splitlines()
    ]
    assert updates == [0, 2, 4]
    assert "did not fit" not in capsys.readouterr().out
    assert "lead_paired" in told["measured"]["result"]["baseline"]


def test_a_check_that_fails_ends_the_call_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gpu.checks.LIMITS", dict.fromkeys(LIMITS, -1.0))
    assert call("run", "mnist-binary", "--tiny", "--device", "cpu", "--work", tmp_path / "work") == 1
    assert "NO" in capsys.readouterr().out
    assert not (tmp_path / "work" / "mnist-binary" / "run").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "cifar10", "--parts", "train,sleep"], "parts must be of check, ceilings, ways, train, got 'sleep'"),
        (["run", "cifar10", "--set", "widths"], "a setting is written key=value, got 'widths'"),
        (["fetch", "cifar10", "--skip", "2"], "fetch needs --out"),
        (["put", "nowhere", "there"], "there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(*words, *(["--device", "cpu"] if words[0] == "run" else [])) == 2
    assert sentence in capsys.readouterr().err


def test_no_call_brings_home_more_than_it_may_and_the_next_brings_the_rest(tmp_path, monkeypatch):
    files = [tmp_path / f"{k}" for k in range(12)]
    for file in files:
        file.write_bytes(bytes(100))
    out = tmp_path / "out"
    assert deliver(files, out) == 8
    assert deliver(files, out, skip=8) == 12
    assert len(list(out.iterdir())) == 12
    monkeypatch.setattr("gpu.delivery.BYTES", 350)
    assert deliver(files, tmp_path / "less") == 3
    with pytest.raises(InputError, match="skip must be between 0 and 12"):
        deliver(files, out, skip=13)


def test_data_is_unpacked_on_its_way_in(tmp_path):
    source, target = tmp_path / "source" / "set", tmp_path / "target"
    source.mkdir(parents=True)
    (source / "a.bin.xz").write_bytes(lzma.compress(b"abc"))
    (source / "b.txt").write_bytes(b"d")
    put(tmp_path / "source", target)
    assert {file.name: file.read_bytes() for file in (target / "set").iterdir()} == {"a.bin": b"abc", "b.txt": b"d"}


def test_numbers_of_another_device_are_left_behind(tmp_path):
    path = tmp_path / "numbers.json"
    Numbers(path, {"device": "one"}).put("ceilings", 1.0)
    assert Numbers(path, {"device": "one"}).get("ceilings") == 1.0
    assert Numbers(path, {"device": "two"}).get("ceilings") is None


def test_the_page_shows_the_predictions_as_they_are():
    rows = rows_of_plan()
    assert markdown_table(rows, list(rows[0])) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(PLAN))
def test_what_is_planned_fits_its_minutes_and_its_network_the_shards(name):
    which = PLAN[name]
    told = predicted(which)
    assert told["parameters"] < 12e6
    assert told["least_mfu"] < 0.3  # it fits even if a step is a quarter slower than hoped
    if which.preset is not None:
        assert which.preset in PRESETS[which.recipe]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["mnist-binary", "mnist-binary-flip", "cifar10", "dead-leaves", "cifar10-paper"])
def test_on_a_gpu_a_tiny_call_passes_its_checks_trains_and_is_measured(name, tmp_path):
    assert (
        call("run", name, "--parts", "check,ceilings,train", "--tiny", "--device", "cuda", "--work", tmp_path / "work") == 0
    )
    numbers = json.loads((tmp_path / "work" / name / "numbers.json").read_text())
    assert numbers["where"]["device"] == torch.cuda.get_device_name()
    assert numbers["training"]["finished"]
