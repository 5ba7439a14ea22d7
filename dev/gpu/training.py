"""A recipe trained for the seconds left of a call, by the library's own ``train_run``, and measured when it ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from gpu.clock import Deadline
from gpu.shards import unpack
from quasistatic.recipes.base import Recipe, seeded
from quasistatic.runs.run import Run, evaluate_run, open_run
from quasistatic.runs.settings import make_recipe
from quasistatic.runs.training import train_run
from quasistatic.train import Engine

__all__ = ["EVALUATION", "RESERVE", "measure", "rates", "resume", "train"]

RESERVE = 75.0
"""Seconds of a call kept for reading the data, fitting what lies under the network, the last checkpoint and its shards."""
EVALUATION = 150.0
"""Seconds that must be left for a finished run to be measured in the same call."""


def resume(name: str, run: Path, shards: Path, *, preset: str | None, settings: dict[str, Any], seed: int) -> None:
    """Unpack shards into a run folder that has no checkpoint yet; one that has is further on, and stays."""
    if (run / "checkpoint").exists():
        return
    recipe = make_recipe(name, settings, preset=preset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unpack(shards, run, recipe.build(recipe.splits(seed)))


def train(
    name: str,
    run: Path,
    deadline: Deadline,
    *,
    preset: str | None,
    settings: dict[str, Any],
    seed: int,
    device: torch.device,
    engine: Engine,
) -> dict[str, Any]:
    """Train until the call is nearly over or the run is finished, and say which."""
    began = time.perf_counter()
    make_recipe(name, settings, preset=preset).splits(seed)  # what is drawn or unpacked once is not of the budget
    told = train_run(
        name, run, preset=preset, settings=settings, seed=seed, device=str(device), engine=engine,
        time_budget=max(1.0, deadline.left() - RESERVE), quiet=False,
    )  # fmt: skip
    return told | {"finished": "stopped_at" not in told, "call_seconds": round(time.perf_counter() - began, 1)}


def measure(run: Path, device: torch.device, *, rows: int = 16) -> dict[str, Any]:
    """The test-set bound of a finished run with all that belongs to it, and how fast its model draws and is measured."""
    opened = open_run(run)
    return {"result": evaluate_run(opened, device=str(device)).to_json(), "rates": rates(opened, device, rows=rows)}


def rates(run: Run, device: torch.device, *, rows: int = 16, draws: int = 100) -> dict[str, float]:
    """Samples drawn in a second, on the steps the recipe draws with, and seconds for the whole chain of 10,000 images.

    The second is scaled up from a few rows, whose pairs of row and step fill many batches.
    """
    recipe: Recipe = run.recipe
    model, amp = run.model.to(device), recipe.train.amp
    try:
        recipe.draw(model, min(draws, 4), seeded(0))  # warm
        drawn = _seconds(lambda: recipe.draw(model, draws, seeded(0)), device)
        x = run.splits.test[:rows]
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, amp):
            whole = _seconds(lambda: model.elbo(x, generator=seeded(0)), device)
    finally:
        run.model.to("cpu")
    return {"samples_per_s": draws / drawn, "whole_chain_of_10000_s": 10_000 / len(x) * whole}


def _seconds(work: Any, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
