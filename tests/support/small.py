"""Recipes made small: each trains in a second or two, and still goes through everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import Tensor

from quasistatic.recipes.base import Splits
from quasistatic.runs.run import Run, open_run
from quasistatic.runs.training import train_run

TRAINING = {"train.n_updates": 6, "train.batch_size": 16, "train.evaluate_every": 3, "train.validation_pairs": 300}
MEASURING = {"n_trajectories": 2, "log_prob_rows": 20}
ROLL = {"n_steps": 4, "n_train": 300, "n_validation": 60, "n_test": 100}
BEAT = {"n_steps": 6, "n_train": 300, "n_validation": 60, "n_test": 100}
NETWORK = {"width": 16, "depth": 1}

SMALL: dict[str, dict[str, Any]] = {
    "swiss-roll": TRAINING | MEASURING | ROLL | NETWORK | {"place": "no"},
    "swiss-roll-paper": TRAINING | MEASURING | ROLL | {"place": "no"},
    "swiss-roll-mixture": TRAINING | MEASURING | ROLL | NETWORK | {"n_components": 2, "place": "no"},
    "heartbeat": TRAINING | MEASURING | BEAT | NETWORK,
    "heartbeat-paper": TRAINING | MEASURING | BEAT,
    "heartbeat-mixture": TRAINING | MEASURING | BEAT | NETWORK,
    "digits": TRAINING | MEASURING | NETWORK | {"n_steps": 4, "n_draws": 2},
    "table": TRAINING | MEASURING | NETWORK | {"n_steps": 5, "members": 2},
    "array": TRAINING | MEASURING | NETWORK | {"n_steps": 5},
}


def words(name: str, **settings: Any) -> list[str]:
    """The same for the command line."""
    pairs = (SMALL[name] | settings).items()
    return ["--set", *(f"{key}={value}" for key, value in pairs)]


def train(name: str, folder: Path, **settings: Any) -> dict[str, Any]:
    return train_run(name, folder, settings=SMALL[name] | settings, quiet=True)


_homes: list[TemporaryDirectory[str]] = []


@cache
def trained(name: str) -> Path:
    """A run folder for all tests that only look at it."""
    _homes.append(TemporaryDirectory())
    home = Path(_homes[-1].name)
    train(name, home / "run", **own_rows(name, home))
    return home / "run"


def own_rows(name: str, home: Path) -> dict[str, str]:
    """The setting that names a user's file, for the recipes that want one."""
    made: dict[str, Callable[[Path], Path]] = {"array": table, "table": mixed_table}
    return {"data": str(made[name](home / "table.csv"))} if name in made else {}


def opened(name: str) -> Run:
    return open_run(trained(name))


def table(path: Path, n: int = 120, d: int = 3, seed: int = 0, family: str = "gaussian") -> Path:
    """A file of correlated numbers, or of bits, with a header."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((n, d)) @ (np.eye(d) + 0.5 * np.tri(d, k=-1)) + 3.0
    if family == "binomial":
        x = (x > 3.5).astype(float)
    header = ",".join(f"column {chr(97 + i)}" for i in range(d))
    np.savetxt(path, x, delimiter=",", header=header, comments="", fmt="%.17g")
    return path


def mixed_table(path: Path, n: int = 120, seed: int = 0) -> Path:
    """A file of text, numbers, levels and the same everywhere, with holes."""
    draw = np.random.default_rng(seed)
    length = draw.normal(size=n).round(3)
    cells = np.array(
        [draw.choice(["F", "M", "I"], n), length, np.clip(np.round(5 + 2 * length), 1, 9).astype(int), ["7"] * n]
    )
    cells[:3][draw.random((3, n)) < 0.1] = "?"
    path.write_text("sex,length,rings,site\n" + "".join(f"{','.join(row)}\n" for row in cells.T))
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    """All that a folder holds."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read_strictly(text: str) -> Any:
    """Read JSON as other programs do: NaN and Infinity are none of it."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


class Poison:
    """Stands for rows that must not be looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the test rows were asked for their {name}")

    def __len__(self) -> int:
        raise AssertionError("the test rows were counted")

    def __getitem__(self, key: Any) -> Tensor:
        raise AssertionError("the test rows were read")


def poisoned(splits: Splits) -> Splits:
    return Splits(splits.train, splits.validation, Poison(), splits.names)  # type: ignore[arg-type]
