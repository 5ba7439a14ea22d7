"""Measure ``DiffusionDensity`` with its defaults on the digits of 8 x 8 pixels, and write the records.

    python dev/measure_digits.py 0 1 2      one record for each seed

The split is the recipe's: 1,200 images to train, 197 to choose, 400 to test. Pixels are said to be levels from 0 to 16.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from quasistatic.datasets.digits import load_digits
from quasistatic.estimate import Estimate
from quasistatic.estimator import DiffusionDensity
from quasistatic.runs.versions import versions

RECORDS = Path(__file__).parent.parent / "records"


def main(seed: int) -> None:
    torch.set_num_threads(1)
    train, validation, test = (np.asarray(x, dtype=np.float64) for x in vars(load_digits()).values())
    began, cpu = time.perf_counter(), time.process_time()
    model = DiffusionDensity(types=["ordinal:0..16"] * 64, random_state=seed).fit(train, validation=validation)
    spent = {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    cost = Estimate.of(-model.elbo(test).total / 64, "bits")
    alone = Estimate.of(-model.members_[0].elbo(torch.as_tensor(test), method="trajectory").total / 64, "bits")
    weighted = Estimate.of(-torch.as_tensor(model.score_samples(test)) / 64, "bits")
    told = {
        "bound": cost.value, "standard_error": cost.standard_error, "n": cost.n, "unit": "bits_per_pixel",
        "first_step": "learned", "seed": seed, **spent,
        "evaluation": {
            "weighted": {"value": weighted.value, "standard_error": weighted.standard_error, "n_trajectories":
            model.n_trajectories},
            "diffusion_alone": {"value": alone.value, "standard_error": alone.standard_error},
            "weights": model.weights_.round(4).tolist(), "versions": versions(),
        },
    }  # fmt: skip
    place = RECORDS / "digits-estimator" / f"seed-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "result.json").write_text(json.dumps(told, indent=1) + "\n")
    print(seed, f"{cost.value:.4f} ± {cost.standard_error:.4f}", told["evaluation"], spent, flush=True)


if __name__ == "__main__":
    for word in sys.argv[1:] or ["0"]:
        main(int(word))
