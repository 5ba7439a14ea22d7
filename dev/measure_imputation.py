"""Measure how well gaps are filled, beside scikit-learn's imputers, and write the records.

    python dev/measure_imputation.py wine-red 0.3 0 1     one table, one share of entries made missing, one record a seed

Tables: wine-red, wine-white, wisconsin, abalone, breast-cancer. Entries are hidden at random, each on its own; all methods
see the same rows with the same gaps, and nothing else. Told over the hidden entries of numbers and levels, each column in
its own standard deviation: NRMSE of the mean (of a method that only draws, the mean of its draws), CRPS of 20 draws, and
how often the truth ranks between the lowest and the highest of them, which 19 / 21 = 90.5 % do when draws are calibrated.
Where levels tie with the truth its rank among them is drawn at random, or wide levels would count as covered; "closed" is
the share within the interval, ends included. Rows are a random sample of at most 500, so that a measurement takes minutes.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer

from quasistatic.estimator import DiffusionDensity
from quasistatic.io.tables import read_cells
from quasistatic.runs.versions import versions

RECORDS = Path(__file__).parent.parent / "records"
Rows = NDArray[np.float64]
N_ROWS, N_DRAWS = 500, 20


def load(name: str) -> Rows:
    """Rows of numbers, without missing entries; sex of abalone as 0, 1 and 2."""
    if name == "breast-cancer":
        return datasets.load_breast_cancer().data
    home = Path(os.environ["QUASISTATIC_DATA"]) / "tabular"
    files = {
        "wine-red": "winequality-red.csv", "wine-white": "winequality-white.csv",
        "wisconsin": "breast-cancer-wisconsin.data", "abalone": "abalone.csv",
    }  # fmt: skip
    path = home / files[name]
    if path.suffix == ".data":  # comma-separated, by another name
        lines = [line.split(",")[1:] for line in path.read_text().split()]  # without the patient's number
        return np.array([line for line in lines if "?" not in line], dtype=np.float64)
    cells = read_cells(path).columns
    if name == "abalone":
        cells[0] = np.array(["FIM".index(cell) for cell in cells[0]], dtype=object)
    return np.stack([column.astype(np.float64) for column in cells], 1)


def scores(truth: Rows, draws: Rows, hidden: NDArray[np.bool_], std: Rows, mean: Rows | None = None) -> dict[str, float]:
    """NRMSE, CRPS and coverage over the hidden entries; draws (n_draws, n, d)."""
    row, column = hidden.nonzero()
    x, y = draws[:, row, column] / std[column], truth[row, column] / std[column]
    middle = x.mean(0) if mean is None else mean[row, column] / std[column]
    square, n = (middle - y) ** 2, len(y)
    told = {"nrmse": float(np.sqrt(np.mean(square)))}
    told["nrmse_standard_error"] = float(square.std(ddof=1) / np.sqrt(n) / (2 * told["nrmse"]))
    m = len(x)
    if m > 1:
        spread = np.abs(x[:, None] - x[None]).sum((0, 1)) / (2 * m * (m - 1))  # fair: unbiased in the number of draws
        told["crps"] = float(np.mean(np.abs(x - y).mean(0) - spread))
        ranks = np.random.default_rng(0).integers((x < y).sum(0), (x <= y).sum(0) + 1)
        told["coverage"] = float(np.mean((ranks >= 1) & (ranks <= m - 1)))
        told["closed"] = float(np.mean((x.min(0) <= y) & (y <= x.max(0))))
    return told


def peers(x: Rows, seed: int) -> dict[str, Rows]:
    """Draws of each peer, (n_draws or 1, n, d)."""

    def chained(k: int) -> Rows:
        return IterativeImputer(sample_posterior=True, max_iter=10, random_state=seed + k).fit_transform(x)

    forest = RandomForestRegressor(50, min_samples_leaf=3, random_state=seed)
    std, mean = np.nanstd(x, 0), np.nanmean(x, 0)
    near = KNNImputer(n_neighbors=10).fit_transform((x - mean) / std) * std + mean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "chained_draws": np.stack([chained(k) for k in range(N_DRAWS)]),
            "chained": IterativeImputer(max_iter=10, random_state=seed).fit_transform(x)[None],
            "neighbours": near[None],
            "forest": IterativeImputer(forest, max_iter=4, random_state=seed).fit_transform(x)[None],
        }


def main(name: str, share: float, seed: int) -> None:
    torch.set_num_threads(1)
    draw = np.random.default_rng(seed)
    whole = load(name)
    whole = whole[draw.permutation(len(whole))[:N_ROWS]]
    types = DiffusionDensity(max_updates=1, n_steps=2, width=4, average=False).fit(whole).columns_
    hidden = draw.random(whole.shape) < share
    x = np.where(hidden, np.nan, whole)
    began, cpu = time.perf_counter(), time.process_time()
    model = DiffusionDensity(types=[c.kind for c in types], random_state=seed).fit(x)
    fitted = time.process_time() - cpu
    filled = model.impute(x, N_DRAWS)
    spent = {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    measured = np.array([c.kind in ("numeric", "integer", "ordinal") for c in types])
    std, asked = whole.std(0), hidden & measured
    draws, mean = filled.draws.astype(float), filled.mean.astype(float)
    told: dict[str, Any] = {"diffusion": scores(whole, draws, asked, std, mean)}
    told |= {peer: scores(whole, draws, asked, std) for peer, draws in peers(x, seed).items()}
    place = RECORDS / f"imputation-{name}" / f"hidden-{round(100 * share)}" / f"seed-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    result = {
        "table": name, "hidden": share, "rows": len(x), "entries": int(asked.sum()), "seed": seed, **spent,
        "fit_cpu_seconds": round(fitted, 1), "weights": model.weights_.round(4).tolist(),
        "median_effective_particles": float(np.nanmedian(filled.ess)), "scores": told, "versions": versions(),
    }  # fmt: skip
    (place / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    shown = {k: {m: round(v, 3) for m, v in s.items() if not math.isnan(v)} for k, s in told.items()}
    print(name, share, seed, shown, "weights", result["weights"], "cpu", spent["cpu_seconds"], fitted, flush=True)


if __name__ == "__main__":
    for word in sys.argv[3:] or ["0"]:
        main(sys.argv[1], float(sys.argv[2]), int(word))
