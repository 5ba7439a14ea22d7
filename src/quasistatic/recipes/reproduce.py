"""Items of the paper, and of this project, by name: train, evaluate, draw, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quasistatic.errors import InputError
from quasistatic.recipes import CATALOGUE
from quasistatic.recipes.run import evaluate_run, open_run, train_run
from quasistatic.recipes.summary import write_run_report

__all__ = ["ITEMS", "reproduce"]

ITEMS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in CATALOGUE if name != "array"},
    "table-1": ("swiss-roll-paper", "swiss-roll", "heartbeat-paper", "heartbeat"),
    "figure-1": ("swiss-roll",),
    "figure-2": ("heartbeat",),
}


def reproduce(
    items: list[str], out: Path, *, preset: str | None = None, seed: int = 0, quiet: bool = False
) -> list[dict[str, Any]]:
    """Do what each item needs, in ``out/RECIPE``; what is there already is taken up, not done again."""
    unknown = [item for item in items if item not in ITEMS]
    if unknown or not items:
        raise InputError(f"cannot reproduce {', '.join(unknown) or 'nothing'}; there are {', '.join(ITEMS)}")
    names = list(dict.fromkeys(name for item in items for name in ITEMS[item]))
    results = []
    for name in names:
        folder = out / name
        train_run(name, folder, preset=preset, seed=seed, quiet=quiet)
        done = folder / "result.json"
        if done.exists() and (folder / "report.html").exists():
            results.append(json.loads(done.read_text()))
            continue
        run = open_run(folder)
        results.append(evaluate_run(run))
        write_run_report(run)
    return results
