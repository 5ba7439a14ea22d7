"""Many processes do what one does: on images, in parts, killed and continued, and when they measure."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import quasistatic
import small
import tiny
from quasistatic.runs import blocks
from quasistatic.runs.run import evaluate_run, open_run


def start(work: str, folder: Path, world: int = 2) -> list[subprocess.Popen[bytes]]:
    """Start a function of tests/tiny.py in as many processes as torchrun would."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    src = str(Path(quasistatic.__file__).parents[1])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": src, "WORLD_SIZE": str(world)}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, tiny.__file__, work, str(folder)]
    return [subprocess.Popen(command, env={**env, "RANK": str(rank)}, stderr=subprocess.PIPE) for rank in range(world)]


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()


def kill_after(processes: list[subprocess.Popen[bytes]], log: Path, step: int) -> None:
    """Kill all when the log has come to a step, wherever they may be."""
    while not (log.exists() and f'"update": {step},' in log.read_text()):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.002)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate()
        assert process.returncode == -signal.SIGKILL


VISITS = (0, 2)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have trained and measured; one has measured the same runs elsewhere."""
    folder = tmp_path_factory.mktemp("processes")
    for n_timesteps in VISITS:
        small.train("digits", folder / f"n_timesteps-{n_timesteps}", n_timesteps=n_timesteps)
        shutil.copytree(folder / f"n_timesteps-{n_timesteps}", folder / f"alone-{n_timesteps}")
    finish(start("images_and_measures", folder))
    return folder


def test_two_processes_killed_and_continued_equal_uninterrupted_bit_for_bit(two, tmp_path):
    run = tmp_path / "killed"
    kill_after(start("images", run), run / "metrics.jsonl", 4)
    assert tiny.result(run)[0].keys() != tiny.result(two / "whole")[0].keys()  # it was not at its end
    finish(start("images", run))
    assert tiny.same(two / "whole", run)


def test_a_unet_trains_with_two_processes_as_with_one(two, tmp_path):
    one, both = tiny.images(tmp_path / "one"), quasistatic.load(two / "whole")
    x_t, t = torch.randn(50, 1, 4, 4), torch.randint(1, 11, (50,))
    with torch.no_grad():
        p, q = one.kernel(x_t, t), both.kernel(x_t, t)
    # Seen: 1e-7. The laws and not the weights, for one bias of this network is taken out by the norm behind it: its
    # gradient is nothing but rounding, of which Adam makes steps of full length.
    torch.testing.assert_close(q.normal.mean, p.normal.mean, rtol=1e-5, atol=1e-5)  # type: ignore[attr-defined]
    torch.testing.assert_close(q.normal.var, p.normal.var, rtol=1e-5, atol=1e-7)  # type: ignore[attr-defined]
    moved = tiny.images_model().kernel(x_t, t).normal.mean - p.normal.mean  # type: ignore[attr-defined]
    assert moved.abs().max() > 1e-2  # far from where they started
    logs = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (two / "whole", tmp_path / "one")]
    for a, b in zip(*(map(json.loads, log) for log in logs), strict=True):
        assert a["update"] == b["update"]
        assert a["validation"] == pytest.approx(b["validation"], rel=1e-5)


def measured(folder: Path) -> dict[str, object]:
    result = json.loads((folder / "result.json").read_text())
    result.pop("evaluation_seconds")
    return result


@pytest.mark.parametrize("n_timesteps", VISITS)
def test_a_measurement_is_the_same_to_the_last_digit_however_many_processes_share_it(two, n_timesteps, monkeypatch):
    alone = two / f"alone-{n_timesteps}"
    monkeypatch.setattr(blocks, "NUMBERS", 40 * 64)
    evaluate_run(open_run(alone), device="cpu").to_json()
    assert measured(two / f"n_timesteps-{n_timesteps}") == measured(alone)
    assert measured(alone)["n"] == 400  # ten blocks
    assert set(measured(alone)) >= {"bound", "standard_error", "terms", "log_prob"}
