"""Measure how well rows that are not normal are told from normal ones, beside scikit-learn's detectors; write the records.

    python dev/measure_anomalies.py ecg 0 1 2        one record for each split

Sets: ecg (ECG5000, 140 samples a beat; class 1 is normal), wisconsin (nine levels of breast cells; benign is normal) and
breast-cancer (30 measurements of cells; benign is normal).
Sixty per cent of the normal rows, by the split's number, are trained on; all others are scored. Training sees no label.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from quasistatic.estimator import DiffusionDensity
from quasistatic.runs.versions import versions

RECORDS = Path(__file__).parent.parent / "records"


def load(name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rows, nan where missing, and which are abnormal."""
    if name == "breast-cancer":
        cells = load_breast_cancer()
        return cells.data, cells.target == 0
    home = Path(os.environ["QUASISTATIC_DATA"])
    if name == "ecg":
        table = np.loadtxt(home / "ecg5000" / "ECG5000_TRAIN.csv", delimiter=",")
        return table[:, :140], table[:, 140] != 1
    lines = [line.split(",") for line in (home / "tabular" / "breast-cancer-wisconsin.data").read_text().split()]
    table = np.array([[np.nan if cell == "?" else float(cell) for cell in line[1:]] for line in lines])
    return table[:, :9], table[:, 9] == 4


def peers(train: NDArray[np.float64], rest: NDArray[np.float64], seed: int) -> dict[str, NDArray[np.float64]]:
    """Anomaly scores of each peer; where they take no missing entries, medians stand for them."""
    gaussians = [GaussianMixture(k, reg_covar=1e-2, random_state=seed) for k in (1, 2, 4)]
    named: dict[str, Any] = {
        "isolation_forest": IsolationForest(n_estimators=300, random_state=seed),
        "one_class_svm": OneClassSVM(nu=0.1),
        "gaussian_mixture": None,
    }
    found: dict[str, NDArray[np.float64]] = {}
    for name, model in named.items():
        if model is None:
            fits = [make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), g) for g in gaussians]
            half = len(train) * 3 // 4
            held = [fit.fit(train[:half]).score(train[half:]) for fit in fits]
            chosen = fits[int(np.argmax(held))].fit(train)
        else:
            chosen = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), model).fit(train)
        found[name] = -chosen.score_samples(rest)
    return found


def main(name: str, numbers: list[int]) -> None:
    torch.set_num_threads(1)
    x, abnormal = load(name)
    for number in numbers:
        train = ~abnormal & (np.random.default_rng(number).random(len(x)) < 0.6)
        began, cpu = time.perf_counter(), time.process_time()
        model = DiffusionDensity(random_state=number).fit(x[train])
        ours = np.nan_to_num(model.anomaly_score(x[~train]), posinf=1e300)
        spent = {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = {"diffusion": ours} | peers(x[train], x[~train], number)
        told = {who: float(roc_auc_score(abnormal[~train], score)) for who, score in scores.items()}
        place = RECORDS / f"anomalies-{name}" / f"split-{number}"
        place.mkdir(parents=True, exist_ok=True)
        result = {
            "set": name, "split": number, "trained_on": int(train.sum()), "scored": int((~train).sum()),
            "abnormal": int(abnormal.sum()), "auroc": told, "weights": model.weights_.round(4).tolist(), **spent,
            "versions": versions(),
        }  # fmt: skip
        (place / "result.json").write_text(json.dumps(result, indent=1) + "\n")
        print(name, number, {who: round(value, 4) for who, value in told.items()}, result["weights"], spent, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], [int(word) for word in sys.argv[2:]] or [0])
