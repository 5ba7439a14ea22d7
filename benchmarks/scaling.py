"""How much faster two processes train than one, on the same batch: the U-Net of mnist-binary, gloo, one core each.

Wall time, since what is promised is time, so it means something on a quiet machine with two cores only; the load is told.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import Row, against
from benchmarks.pictures import binary_digits
from benchmarks.training_step import stepper
from quasistatic.train.workers import workers

BATCH, STEPS = 64, 8


def rows(rounds: int) -> list[Row]:
    print(f"load before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores", file=sys.stderr)
    one, two = [], []
    for _ in range(rounds):  # in turn, so that what else the machine does meets both
        one.append(median(trained(1)))
        two.append(median(trained(2)))
    print(f"load after: {os.getloadavg()[0]:.2f}", file=sys.stderr)
    return [against("images/s of two processes, one is one", one, two, 1.85, at_least=True)]


def trained(world: int) -> list[float]:
    """Seconds of each step of a training by so many processes, as the first one sees them."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "WORLD_SIZE": str(world)}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "benchmarks.scaling"]
    started = [
        subprocess.Popen(command, env={**env, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True) for rank in range(world)
    ]
    told = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("a process of the benchmark failed")
    return [float(word) for word in told[0].split()]


def timed(step: Callable[[], None]) -> list[float]:
    step()
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    torch.set_num_threads(1)
    with workers() as team:
        model, bits = binary_digits()
        seconds = timed(stepper(model, bits, BATCH, team))
        if team.first:
            print(*seconds)
