"""Checkpoints: everything comes back, and damage costs no more than the newest one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from quasistatic.errors import InputError
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.train.ema import Ema
from quasistatic.train.state import TrainState, prune


class Run:
    """A regression with dropout: all that a checkpoint must hold, in three lines a step."""

    def __init__(self, width: int = 4, n_steps: int = 8) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, width), nn.Dropout(0.3), nn.BatchNorm1d(width), nn.Linear(width, 1))
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=0.01, fused=True)
        self.ema = Ema(self.net.parameters(), 0.9)
        self.sampler = TimestepSampler(n_steps)
        self.generator = Generator().manual_seed(3)
        self.state = TrainState(self.net, self.optimiser, self.ema, self.sampler, self.generator)

    def step(self) -> None:
        x = torch.randn(16, 3, generator=self.generator)
        t, weight = self.sampler.draw(16, self.generator)
        each = (self.net(x).squeeze(1) - t).square()
        (each * weight).mean().backward()
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.ema.update()
        self.sampler.record(t, each, refresh=self.state.update % 3 == 0)
        self.state.update += 1

    def all(self) -> dict[str, Tensor]:
        tensors = {k: v.detach().clone() for k, v in self.state._tensors().items()}
        numbers = {"update": self.state.update, "best": self.state.best, "updates": self.ema.updates}
        return tensors | {k: torch.tensor(float(v)) for k, v in numbers.items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def after(n: int) -> Run:
    run = Run()
    for _ in range(n):
        run.step()
    return run


def test_everything_comes_back_and_goes_on_the_same(tmp_path):
    run = after(7)
    run.state.best, run.state.seconds = -1.25, 12.5
    run.state.save(tmp_path)
    at_seven = run.all()
    again = Run()
    assert again.state.restore(tmp_path)
    assert equal(again.all(), at_seven)
    assert again.state.seconds == 12.5
    for _ in range(5):
        again.step()
    torch.set_rng_state(at_seven["random.torch"])  # dropout of both draws from the one global generator
    for _ in range(5):
        run.step()
    assert equal(run.all(), again.all())


def test_what_is_restored_are_copies(tmp_path):
    run = after(2)
    run.state.save(tmp_path)
    before = (tmp_path / "update-00000002" / "state.safetensors").read_bytes()
    again = Run()
    again.state.restore(tmp_path)
    again.step()
    assert (tmp_path / "update-00000002" / "state.safetensors").read_bytes() == before


def test_before_the_first_step_there_is_no_optimiser_to_restore(tmp_path):
    Run().state.save(tmp_path)
    again = after(4)
    again.state.restore(tmp_path)
    assert equal(again.all(), Run().all())


def test_no_checkpoint_at_all_is_no_error(tmp_path):
    run = Run()
    assert not run.state.restore(tmp_path)
    assert not run.state.restore(tmp_path / "missing")
    assert equal(run.all(), Run().all())


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_newest_and_the_one_before_are_kept(tmp_path):
    run = Run()
    for _ in range(4):
        run.state.save(tmp_path)
        run.step()
    assert names(tmp_path) == ["latest.json", "update-00000002", "update-00000003"]
    assert json.loads((tmp_path / "latest.json").read_text()) == {"folder": "update-00000003"}


def test_checkpoints_of_a_future_that_was_given_up_do_not_count(tmp_path):
    for n in (2, 6):
        after(n).state.save(tmp_path)
    after(3).state.save(tmp_path)
    assert names(tmp_path) == ["latest.json", "update-00000002", "update-00000003"]
    run = Run()
    run.state.restore(tmp_path)
    assert run.state.update == 3


def test_a_folder_ahead_of_the_pointer_is_not_in_force(tmp_path):
    # killed after the folder was in its place and before the pointer was moved
    for n in (2, 4):
        after(n).state.save(tmp_path)
    (tmp_path / "latest.json").write_text('{"folder": "update-00000002"}')
    run = Run()
    assert run.state.restore(tmp_path)
    assert run.state.update == 2


def test_a_step_saved_twice_holds_the_second(tmp_path):
    run = after(2)
    run.state.save(tmp_path)
    run.state.best = 7.0
    run.state.save(tmp_path)
    again = Run()
    again.state.restore(tmp_path)
    assert again.state.best == 7.0
    assert names(tmp_path) == ["latest.json", "update-00000002"]


def truncate(folder: Path) -> None:
    os.truncate(folder / "state.safetensors", 64)


def remove(folder: Path) -> None:
    (folder / "state.safetensors").unlink()
    (folder / "state.json").unlink()
    folder.rmdir()


DAMAGES: dict[str, Any] = {
    "truncated": truncate,
    "empty json": lambda folder: (folder / "state.json").write_text(""),
    "removed": remove,
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_damage_to_the_newest_falls_back_to_the_one_before(tmp_path, capsys, damage):
    for n in (3, 5):
        after(n).state.save(tmp_path)
    DAMAGES[damage](tmp_path / "update-00000005")
    run = Run()
    assert run.state.restore(tmp_path)
    assert equal(run.all(), after(3).all())
    said = capsys.readouterr().err
    if damage != "removed":
        assert "update-00000005" in said
        assert said.endswith("damaged: it has 64 bytes and should have 4920; trying the checkpoint before it\n") or (
            "is damaged" in said and said.endswith("; trying the checkpoint before it\n")
        )
        assert said.count("\n") == 1


def test_damage_to_both_is_the_sentence_of_the_newest(tmp_path, capsys):
    for n in (3, 5):
        after(n).state.save(tmp_path)
    for folder in tmp_path.glob("update-*"):
        truncate(folder)
    with pytest.raises(InputError, match=r"update-00000005/state\.safetensors is damaged: it has 64 bytes"):
        Run().state.restore(tmp_path)


def test_a_pointer_to_nothing_is_one_sentence(tmp_path):
    after(3).state.save(tmp_path)
    remove(tmp_path / "update-00000003")
    with pytest.raises(InputError, match=r"latest\.json names update-00000003, which is not there"):
        Run().state.restore(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"file": 3}'])
def test_a_damaged_pointer_is_mended_by_the_names(tmp_path, text):
    for n in (3, 5):
        after(n).state.save(tmp_path)
    (tmp_path / "latest.json").write_text(text)
    run = Run()
    assert run.state.restore(tmp_path)
    assert run.state.update == 5
    prune(tmp_path)
    assert names(tmp_path) == ["latest.json", "update-00000003", "update-00000005"]


@pytest.mark.parametrize("other", [Run(width=5), Run(n_steps=20)])
def test_the_checkpoint_of_another_model_is_one_sentence(tmp_path, other):
    after(3).state.save(tmp_path)
    with pytest.raises(InputError, match="update-00000003 is of another model or configuration") as raised:
        other.state.restore(tmp_path)
    assert "\n" not in str(raised.value)


def test_pruning_keeps_the_best_model_and_only_it(tmp_path):
    for name in ("best-00000002", "best-00000004", "best-00000009"):
        (tmp_path / name).mkdir()
    (tmp_path / "best.json").write_text('{"folder": "best-00000004"}')
    (tmp_path / "notes.txt").write_text("mine")
    prune(tmp_path)
    assert names(tmp_path) == ["best-00000004", "best.json", "notes.txt"]


def test_without_a_sampler_nothing_is_missed(tmp_path):
    # a chain of one step draws none
    run = after(2)
    run.state.sampler = None
    run.state.save(tmp_path)
    again = Run()
    again.state.sampler = None
    assert again.state.restore(tmp_path)
    assert torch.equal(again.net[0].weight, run.net[0].weight)  # type: ignore[arg-type]


def test_no_random_state_is_shared_with_the_generator_that_was_saved(tmp_path):
    run = after(2)
    run.state.save(tmp_path)
    expected = torch.rand(3, generator=run.generator)
    again = Run()
    again.state.restore(tmp_path)
    assert torch.equal(torch.rand(3, generator=again.generator), expected)
