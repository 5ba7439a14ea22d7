"""What it costs to start: whole processes, in turns, by their CPU time; the answer of ``--help`` by the clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median, quantiles

from benchmarks.measure import Row, against

PROGRAMS = {
    "torch": "import torch",
    "package": "import quasistatic",
    "model": "import torch; import quasistatic.model",
    "train": "import torch; import quasistatic.train",
}


def rows(rounds: int) -> list[Row]:
    cpu: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    helped = []
    for turn in range(rounds + 1):
        for name, program in PROGRAMS.items():
            used, _ = spent("-c", program)
            if turn:  # the first round fills the caches of the disk
                cpu[name].append(used)
        _, waited = spent("-m", "quasistatic", "--help")
        if turn:
            helped.append(waited)
    low, _, high = quantiles(helped, n=4)
    base = cpu["torch"]
    return [
        against("import quasistatic / import torch", cpu["package"], base, 1.15, unit="s"),
        against("import quasistatic.model / import torch", cpu["model"], base, 1.15, unit="s"),
        against("import quasistatic.train / import torch", cpu["train"], base, 1.15, unit="s"),
        Row("quasistatic --help, seconds on the clock", median(helped), low, high, 0.5),
    ]


def spent(*arguments: str) -> tuple[float, float]:
    """CPU and clock seconds of one Python process."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    waited, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, waited
