"""What a measurement is made of, and how it becomes records."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from quasistatic.model import DiffusionModel
from quasistatic.model_files import load_model
from quasistatic.posterior.result import PosteriorSamples
from quasistatic.runs.versions import versions

RECORDS = Path(__file__).resolve().parent.parent.parent / "records"


@dataclass(frozen=True)
class Measured:
    """One number of a row, and all that stands behind it."""

    value: float
    standard_error: float
    n: int
    details: dict[str, Any]


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def told(self) -> dict[str, float]:
        return {
            "seconds": round(time.perf_counter() - self.wall, 1),
            "cpu_seconds": round(time.process_time() - self.cpu, 1),
        }


def seed(n: int) -> Generator:
    return Generator().manual_seed(n)


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def trained(runs: Path, recipe: str) -> DiffusionModel:
    """The model of a run folder, of seed 0 if there is one for each seed."""
    folder = runs / recipe
    return load_model(folder / "seed-0" if (folder / "seed-0").exists() else folder)


def mean_error(p: PosteriorSamples, values: Tensor) -> Tensor:
    """Standard error of weighted means of (N, d) values, from lines of descent."""
    off = p.weights.unsqueeze(1) * (values - p.weights @ values)
    return torch.zeros_like(off).index_add_(0, p.ancestors, off).square().sum(0).sqrt()


def write(row: str, of_seed: int, measured: Measured, clock: dict[str, float], records: Path) -> None:
    """Write ``records/ROW/seed-K/result.json``; its ``record.json`` says what was asked."""
    record = json.loads((records / row / "record.json").read_text())
    told = {
        "unit": record["unit"],
        "bound": measured.value,
        "standard_error": measured.standard_error,
        "n": measured.n,
        "first_step": record["first_step"],
        "seed": of_seed,
        **clock,
        "evaluation": {**measured.details, "versions": versions()},
    }
    place = records / row / f"seed-{of_seed}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "result.json").write_text(json.dumps(told, indent=1) + "\n")
    say(f"{row}/seed-{of_seed}: {measured.value:.4g} ± {measured.standard_error:.2g} {record['unit']} {clock}")
