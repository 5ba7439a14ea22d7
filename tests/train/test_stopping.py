"""SIGTERM: the update is finished and kept, the status is 143, and the same call goes on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import quasistatic
import small
import tiny
from quasistatic.errors import Terminated
from quasistatic.train import trainer
from quasistatic.train.stopping import termination


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopping") / "whole"
    tiny.train(folder)
    return folder


def terminate_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send this process SIGTERM in the middle of an update."""
    real = trainer.Trainer.update

    def update(self):
        if self.state.update + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        real(self)

    monkeypatch.setattr(trainer.Trainer, "update", update)


@pytest.mark.parametrize("step", [1, 15, 37, 60])
def test_a_terminated_training_goes_on_to_the_same_bits(whole, tmp_path, monkeypatch, step):
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        terminate_at(patched, step)
        with pytest.raises(Terminated) as end:
            tiny.train(tmp_path / "run")
    assert end.value.code == 143
    assert (tmp_path / "run" / "checkpoint" / f"update-{step:08d}").exists()
    assert signal.getsignal(signal.SIGTERM) is before
    tiny.train(tmp_path / "run")
    assert tiny.same(whole, tmp_path / "run")


def test_a_second_signal_ends_the_block_at_once():
    with termination() as came:
        assert not came()
        os.kill(os.getpid(), signal.SIGTERM)
        assert came()
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)


def test_where_signals_cannot_be_taken_nothing_changes():
    told: list[bool] = []

    def work() -> None:
        with termination() as came:
            told.append(came())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [False]


def test_a_terminated_command_has_status_143_and_says_how_to_go_on(tmp_path):
    words = ["train", "swiss-roll", "--out", str(tmp_path / "run"), *small.words("swiss-roll"), "train.n_updates=100000"]
    env = {**os.environ, "PYTHONPATH": str(Path(quasistatic.__file__).parents[1])}
    command = [sys.executable, "-m", "quasistatic", *words]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "metrics.jsonl"
    while not (log.exists() and log.read_text().count("\n") > 1):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "terminated; the same command goes on from the last checkpoint"
    assert not list((tmp_path / "run").rglob("*.tmp"))
