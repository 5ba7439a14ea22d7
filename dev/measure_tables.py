"""Measure ``DiffusionDensity`` on small tables beside its peers, on the same splits, and write the records.

    python dev/measure_tables.py breast-cancer 0 1 2 3 4      one record for each split

Measurements: breast-cancer, breast-cancer-power, breast-cancer-ratio, checkerboard, swiss-roll-half. Costs are minus log2
of the density, per unit of the standardised rows; lower is better. Nothing is chosen on test rows: the estimator and all
peers take their settings from the training and validation rows.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.mixture import GaussianMixture

from quasistatic.estimate import Estimate, paired_difference
from quasistatic.estimator import DiffusionDensity
from quasistatic.runs.versions import versions
from quasistatic.transforms import Transform

RECORDS = Path(__file__).parent.parent / "records"
Rows = NDArray[np.float64]


class Split(NamedTuple):
    train: Rows
    validation: Rows
    test: Rows
    truth: float | None = None
    """Mean of -log2 of the true density of the test rows."""
    log_unit: float = 0.0
    """To be added to the log density of a row, to tell it per unit of the standardised rows, nats."""


# ------------------------------------------------------------------------------------------------- splits


def breast_cancer(split: int) -> Split:
    """60, 20 and 20 % of a permutation by the split's number, standardised by the training rows."""
    rows = raw_breast_cancer(split)
    return Split(*((x - rows.train.mean(0)) / rows.train.std(0) for x in rows[:3]))


def raw_breast_cancer(split: int) -> Split:
    """The same in its own units, told per standardised unit: the density of the same rows, for whoever wants to see zero."""
    x = datasets.load_breast_cancer().data
    x = x[np.random.default_rng(split).permutation(len(x))]
    a, b = int(0.6 * len(x)), int(0.8 * len(x))
    return Split(x[:a], x[a:b], x[b:], None, float(np.log(x[:a].std(0)).sum()))


def _plane(x: Rows, log2_density: Callable[[Rows], Rows]) -> Split:
    """10,000 rows to train, 2,000 and 10,000; centred, and divided by one number for both axes."""
    train = x[:10_000]
    shift, scale = train.mean(0), (train - train.mean(0)).std()
    z = (x - shift) / scale
    truth = -float(log2_density(x[12_000:]).mean()) - 2 * math.log2(scale)
    return Split(z[:10_000], z[10_000:12_000], z[12_000:], truth)


def checkerboard(split: int) -> Split:
    """Eight of the sixteen squares of side two between -4 and 4, uniform."""
    draw, n = np.random.default_rng(1000 + split), 22_000
    across = draw.uniform(-4, 4, n)
    base = draw.integers(0, 2, n) * 4 - 4 + 2 * (np.floor((across + 4) / 2) % 2)
    x = np.c_[across, base + 2 * draw.uniform(size=n)]
    return _plane(x, lambda rows: np.full(len(rows), -5.0))


def swiss_roll(split: int) -> Split:
    """scikit-learn's swiss roll seen from the side, noise 0.5."""
    state = np.random.RandomState(1000 + split)
    x = datasets.make_swiss_roll(22_000, noise=0.5, random_state=state)[0][:, [0, 2]]
    t = 1.5 * np.pi * (1 + 2 * (np.arange(4000) + 0.5) / 4000)
    curve = np.c_[t * np.cos(t), t * np.sin(t)]

    def log2_density(rows: Rows) -> Rows:
        parts = [np.exp(-((r[:, None] - curve) ** 2).sum(-1) / 0.5).mean(1) for r in np.array_split(rows, 100)]
        return np.log2(np.concatenate(parts) / (0.5 * math.pi))

    return _plane(x, log2_density)


# ------------------------------------------------------------------------------------------------- peers


def peers(split: Split) -> dict[str, Rows]:
    """Log density of the test rows under a mixture by BIC, a mixture and a ridged Gaussian by validation, nats."""
    by_bic: list[tuple[float, Any]] = []
    by_validation: list[tuple[float, Any]] = []
    ridged: list[tuple[float, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in (1, 2, 3, 5, 10, 20, 40)[: 5 if len(split.train) < 1000 else 7]:
            for kind in ("full", "diag"):
                model = GaussianMixture(k, covariance_type=kind, random_state=0).fit(split.train)
                by_bic.append((-model.bic(split.train), model))
                for ridge in (1e-3, 1e-2, 1e-1):
                    model = GaussianMixture(k, covariance_type=kind, reg_covar=ridge, random_state=0).fit(split.train)
                    by_validation.append((model.score(split.validation), model))
        for ridge in 10.0 ** np.arange(-6, 0.1, 0.5):
            model = GaussianMixture(1, reg_covar=ridge).fit(split.train)
            ridged.append((model.score(split.validation), model))
    best = {"mixture_by_bic": by_bic, "mixture_by_validation": by_validation, "gaussian": ridged}
    return {name: max(found, key=lambda pair: pair[0])[1].score_samples(split.test) for name, found in best.items()}


def powered(split: Split, layer: Transform) -> tuple[Split, Rows]:
    """The same rows behind the marginals that we chose, standardised, for the peers; and the log-derivative of test rows."""
    train, validation, test = (layer(torch.as_tensor(rows)) for rows in split[:3])
    mean, std = train[0].mean(0), train[0].std(0, correction=0)
    moved = [((z - mean) / std).numpy() for z, _ in (train, validation, test)]
    return Split(*moved), (test[1] - std.log().sum()).numpy()


# ------------------------------------------------------------------------------------------------- measurements

# chosen on validation rows of the checkerboard
PLANE = {"marginals": "none", "max_updates": 15_000, "batch_size": 512, "learning_rate": 2e-3, "patience": None}

SETTINGS: dict[str, tuple[Callable[[int], Split], dict[str, Any], int]] = {
    # splits, settings of the estimator that are not its defaults, test rows of the weighted estimate
    "breast-cancer": (breast_cancer, {"marginals": "none"}, 200),
    "breast-cancer-power": (breast_cancer, {"marginals": "power"}, 200),
    "breast-cancer-ratio": (raw_breast_cancer, {"marginals": "auto"}, 200),
    "checkerboard": (checkerboard, PLANE, 10_000),
    "swiss-roll-half": (swiss_roll, PLANE, 10_000),
}


def cost(log_density: Rows) -> dict[str, Any]:
    """Mean of -log2 with its standard error."""
    told = Estimate.of(-torch.as_tensor(log_density), "bits")
    return {"value": told.value, "standard_error": told.standard_error, "n": told.n}


def measure(name: str, number: int) -> dict[str, Any]:
    """Fit and score one split."""
    splits, settings, n_weighted = SETTINGS[name]
    split = splits(number)
    types = ["numeric"] * split.train.shape[1]
    began, cpu = time.perf_counter(), time.process_time()
    model = DiffusionDensity(types=types, random_state=number, **settings).fit(split.train, validation=split.validation)
    spent = {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    unit = split.log_unit
    bound = model.elbo(split.test).total.numpy() + unit
    few = split.test[:n_weighted]
    model.set_params(n_trajectories=100 if len(split.train) > 1000 else 20)
    weighted = model.score_samples(few) + unit
    told: dict[str, Any] = {
        "bound": cost(bound),
        "weighted": cost(weighted) | {"n_trajectories": model.n_trajectories},
        "bound_of_the_same_rows": cost(bound[: len(few)]),
        "diffusion_alone": cost(model.members_[0].elbo(split.test, method="trajectory").total.numpy() + unit),
        "normal_law_alone": cost(model.ensemble_.normal.log_prob(torch.as_tensor(split.test)).numpy() + unit),
        "weights": {
            "diffusions": model.weights_[:-3].round(4).tolist(),
            "normal": round(model.weights_[-3], 4),
            "tailed": round(model.weights_[-2], 4),
            "mixture": round(model.weights_[-1], 4),
        },
    }
    layer = model.ensemble_.preconditioner.marginals if settings["marginals"] != "none" else None
    told |= _beside(split, bound, layer)
    if split.truth is not None:
        told["truth"] = split.truth
    headline = told["bound"]
    return {
        "bound": headline["value"], "standard_error": headline["standard_error"], "n": headline["n"], "unit": "bits",
        "first_step": "learned", "seed": number, **spent,
        "evaluation": told | {"settings": settings, "versions": versions(), "split": number},
    }  # fmt: skip


def _beside(split: Split, bound: Rows, layer: Any) -> dict[str, Any]:
    """Peers, and the lead over each on the same rows: their cost less ours."""
    seen, slope = (split, np.zeros(len(bound))) if layer is None else powered(split, layer)
    told: dict[str, Any] = {}
    for name, log_density in peers(seen).items():
        theirs = log_density + slope + split.log_unit
        lead = paired_difference(torch.as_tensor(bound), torch.as_tensor(theirs), "bits")
        told[name] = cost(theirs) | {"lead": lead.value, "lead_standard_error": lead.standard_error}
    return {"peers": told}


def main(name: str, numbers: list[int]) -> None:
    torch.set_num_threads(1)
    for number in numbers:
        told = measure(name, number)
        place = RECORDS / name / f"seed-{number}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "result.json").write_text(json.dumps(told, indent=1) + "\n")
        others = {peer: round(pair["value"], 3) for peer, pair in told["evaluation"]["peers"].items()}
        shown = {k: round(told["evaluation"][k]["value"], 3) for k in ("weighted", "diffusion_alone", "normal_law_alone")}
        print(
            name,
            number,
            f"{told['bound']:.4f} ± {told['standard_error']:.4f}",
            shown,
            others,
            told["cpu_seconds"],
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], [int(word) for word in sys.argv[2:]] or [0])
