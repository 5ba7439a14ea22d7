"""Fit and score of a table beside a mixture of normals and, where zuko is installed, a neural spline flow, on the same rows.

The fit of ours is told whole: marginals, normal law, mixture and validation included. The mixture is scikit-learn's with ten
components; the flow takes as many steps of the same batch through networks as wide. What each of them reaches is told by
``dev/measure_tables.py``; here is what it costs, for as few steps as a benchmark has time for.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.mixture import GaussianMixture

from benchmarks.measure import Row, against, round_robin
from quasistatic.estimator import DiffusionDensity

BATCH, WIDTH, STEPS, SCORED = 256, 128, 100, 100
FITS = 2  # a fit takes seconds


def rows(rounds: int) -> list[Row]:
    warnings.simplefilter("ignore")
    x = load_breast_cancer().data
    x = ((x - x.mean(0)) / x.std(0))[:, :10]
    cases: dict[str, Callable[[], Any]] = {"diffusion": lambda: ours().fit(x), "mixture": lambda: mixture().fit(x)}
    if flow(10) is not None:
        cases["flow"] = lambda: fitted_flow(x)
    fits, models = fitted(cases)
    few = x[:SCORED]
    rest = torch.as_tensor(few, dtype=torch.float32)
    scores: dict[str, Callable[[], Any]] = {
        "diffusion": lambda: models["diffusion"].score_samples(few),
        "mixture": lambda: models["mixture"].score_samples(few),
    }
    if "flow" in models:
        scores["flow"] = lambda: models["flow"]().log_prob(rest)
    with torch.no_grad():
        seconds = round_robin(scores, rounds)
    found = []
    for peer in list(cases)[1:]:
        found.append(against(f"fit of a table, {STEPS} steps, {peer} is one", fits["diffusion"], fits[peer], None))
        found.append(against(f"score of a table, 8 paths, {peer} is one", seconds["diffusion"], seconds[peer], None))
    return found


def ours() -> DiffusionDensity:
    return DiffusionDensity(max_updates=STEPS, width=WIDTH, batch_size=BATCH, patience=None, random_state=0)


def mixture() -> GaussianMixture:
    return GaussianMixture(10, reg_covar=1e-2, random_state=0)


def flow(d: int) -> Any:
    try:
        from zuko.flows import NSF
    except ImportError:
        return None
    return NSF(d, transforms=3, hidden_features=(WIDTH, WIDTH))


def fitted_flow(x: np.ndarray) -> Any:
    torch.manual_seed(0)
    model = flow(x.shape[1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = torch.as_tensor(x, dtype=torch.float32)
    for _ in range(STEPS):
        loss = -model().log_prob(data[torch.randint(len(data), (BATCH,))]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def fitted(cases: dict[str, Callable[[], Any]]) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """CPU seconds of some fits of each case in turn, and the last models."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    models = {}
    for _ in range(FITS):
        for name, case in cases.items():
            start = time.process_time()
            models[name] = case()
            seconds[name].append(time.process_time() - start)
    return seconds, models
