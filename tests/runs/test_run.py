"""Run folders: what a training leaves, what it is taken up with, and a user's file that must not change."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import small
from quasistatic.errors import InputError
from quasistatic.model_files import load_model
from quasistatic.recipes.base import Recipe
from quasistatic.runs import training
from quasistatic.runs.run import evaluate_run, open_run
from quasistatic.storage.run_folder import RunFolder
from quasistatic.runs.training import train_run
from quasistatic.runs.settings import make_recipe, to_plain
from quasistatic.storage.modules import save_module


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A run on a file of the user's, and that file."""
    table = small.table(tmp_path / "table.csv")
    small.train("array", tmp_path / "run", data=str(table))
    return tmp_path / "run", table


def test_the_configuration_is_resolved_and_enough_to_train_again():
    run = small.trained("heartbeat")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config.pop("recipe"), config.pop("seed")) == ("heartbeat", 0)
    assert config == to_plain(make_recipe("heartbeat", config))
    assert make_recipe("heartbeat", config) == open_run(run).recipe


def test_a_run_is_taken_up_with_its_best_model():
    run = small.opened("swiss-roll")
    assert (run.name, run.seed, run.fingerprint) == ("swiss-roll", 0, None)
    lines = run.folder.read_metrics()
    assert [line["update"] for line in lines] == [0, 3, 6]
    held = load_model(run.folder.path)
    assert all(torch.equal(a, held.state_dict()[k]) for k, a in run.model.state_dict().items())


def test_a_finished_run_knows_its_versions_seconds_and_parameters():
    run = small.trained("swiss-roll")
    told = json.loads((run / "checkpoint" / "finished.json").read_text())
    assert told["versions"]["torch"] == torch.__version__
    assert told["n_parameters"] == sum(p.numel() for p in load_model(run).parameters())
    assert told["seconds"] >= 0
    result = evaluate_run(open_run(run)).to_json()
    assert result["versions"] == told["versions"]


def test_the_same_seed_gives_the_same_model_and_torchs_random_state_has_no_say(tmp_path):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    small.train("heartbeat-mixture", tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)
    name = Path("checkpoint", "best-finished", "model.safetensors")
    assert (tmp_path / "a" / name).read_bytes() == (small.trained("heartbeat-mixture") / name).read_bytes()


def test_a_run_stopped_by_its_time_is_told_and_continued_to_the_same_bytes(tmp_path):
    run, words = tmp_path / "run", small.SMALL["swiss-roll"]
    told = train_run("swiss-roll", run, settings=words, quiet=True, time_budget=1e-9)
    assert told["stopped_at"] < told["n_updates"] == 6
    assert not (run / "checkpoint" / "finished.json").exists()
    train_run("swiss-roll", run, settings=words, quiet=True)
    name = Path("checkpoint", "best-finished", "model.safetensors")
    assert (run / name).read_bytes() == (small.trained("swiss-roll") / name).read_bytes()


def test_steps_placed_at_the_end_are_not_placed_once_more_after_a_break(tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(training, "versions", lambda: 1 / 0)  # between placing the steps and saying so
        with pytest.raises(ZeroDivisionError):
            small.train("heartbeat-mixture", run)
    monkeypatch.setattr(Recipe, "place_steps", lambda *_: pytest.fail("placed once more"))
    small.train("heartbeat-mixture", run)
    assert (run / "checkpoint" / "finished.json").exists()


def test_a_configuration_that_never_came_to_a_checkpoint_gives_way(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InputError, match="batch_size must be at least 2"):
        small.train("heartbeat-mixture", run, **{"train.batch_size": 1})
    small.train("heartbeat-mixture", run)
    assert open_run(run).recipe.train.batch_size == 16


@pytest.mark.parametrize("change", ["a cell", "a row more", "gone"])
def test_a_file_that_has_changed_is_refused(own, change):
    run, table = own
    before = open_run(run)
    if change == "gone":
        table.unlink()
        said = "there is no file .*table.csv"
    else:
        text = table.read_text()
        table.write_text(text.replace("1", "2", 1) if change == "a cell" else text + "1,2,3\n")
        said = "the data of .*run has changed since the training: train on it into a new --out"
    for opened in (before, open_run(run)):  # the rows are read when they are asked for
        with pytest.raises(InputError, match=said):
            evaluate_run(opened).to_json()
    said = said if change == "gone" else "holds a run on this file as it was before it changed; give a new --out"
    with pytest.raises(InputError, match=said):
        small.train("array", run, data=str(table))
    assert not (run / "result.json").exists()
    assert open_run(run).model.sample(2).shape == (2, 3)


def test_a_file_of_the_same_bytes_at_another_time_is_the_same(own):
    run, table = own
    text = table.read_bytes()
    table.unlink()
    table.write_bytes(text)
    assert evaluate_run(open_run(run)).to_json()["n"] == 12


@pytest.mark.parametrize("text", ["", "[1, 2]", "recipe: swiss-roll", "recipe: [", "seed: 1\nrecipe"])
def test_a_damaged_configuration_is_one_sentence(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(
        InputError, match=r"config\.yaml is damaged: (it must be an object|it is no YAML|the key 'seed' is missing)"
    ):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("recipe: nonsense\nseed: 0", "there is no recipe 'nonsense'"), ("recipe: digits\nseed: 0\nx: 1", "no setting 'x'")],
)
def test_a_configuration_of_another_version_is_one_sentence(tmp_path, text, said):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        open_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"update": 0}\n{"st'])
def test_a_damaged_log_is_one_sentence(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged: "):
        RunFolder(tmp_path).read_metrics()


def test_a_folder_with_something_else_than_a_model_is_refused(tmp_path):
    run = Path(shutil.copytree(small.trained("swiss-roll"), tmp_path / "run"))
    best = run / "checkpoint" / "best-finished"
    save_module(load_model(run).kernel, best)
    with pytest.raises(InputError, match="holds a GaussianDenoiser, not a DiffusionModel"):
        open_run(run)


def test_the_record_of_a_run_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.opened("swiss-roll").seed = 1  # type: ignore[misc]


def test_a_run_from_before_a_setting_goes_on_with_its_default(tmp_path):
    run = tmp_path / "run"
    told = small.train("digits", run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["n_timesteps"], config["train"]["amp"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert small.train("digits", run) == told
    with pytest.raises(InputError, match="holds a run with another train"):
        small.train("digits", run, **{"train.amp": True})


def test_a_run_whose_patience_is_over_is_finished(tmp_path):
    settings = {"train.n_updates": 60, "train.patience": 2, "train.learning_rate": 1e-12}
    told = small.train("swiss-roll", tmp_path / "run", **settings)
    assert "stopped_at" not in told
    assert RunFolder(tmp_path / "run").read_metrics()[-1]["update"] < 60
    assert small.train("swiss-roll", tmp_path / "run", **settings) == told
