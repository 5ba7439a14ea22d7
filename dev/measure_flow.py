"""Measure a neural spline flow (zuko's NSF) on the splits of ``measure_tables``, and write the records.

    python dev/measure_flow.py checkerboard 0 1 2       one record for each split

Settings are those a user would try first: three transforms of eight bins, two hidden layers of 128, AdamW with a cosine, the
weights of the best validation bound kept. Training ends after a budget of CPU seconds like that of ours on the same rows.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from typing import Any

import torch
from torch import Tensor

from measure_tables import RECORDS, SETTINGS, Split, cost
from quasistatic.runs.versions import versions

BUDGET = {"checkerboard": 150.0, "swiss-roll-half": 150.0, "breast-cancer": 60.0}  # CPU seconds
SHAPE: dict[str, Any] = {"transforms": 3, "bins": 8, "hidden_features": (128, 128)}
BATCH, RATE, EVERY, MOST = 512, 1e-3, 100, 20_000


def fitted(split: Split, budget: float, seed: int) -> tuple[Any, int, float]:
    """The flow of the best validation score, at which step, and CPU seconds in all."""
    from zuko.flows import NSF

    torch.manual_seed(seed)
    train, validation = (torch.as_tensor(x, dtype=torch.float32) for x in split[:2])
    model = NSF(train.shape[1], **SHAPE)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4)
    best, kept, at, began = -math.inf, copy.deepcopy(model), 0, time.process_time()
    for step in range(1, MOST + 1):
        spent = time.process_time() - began
        if spent > budget:
            break
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * min(1.0, spent / budget)))
        rows: Tensor = train[torch.randint(len(train), (min(BATCH, len(train)),))]
        loss = -model().log_prob(rows).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % EVERY == 0:
            with torch.no_grad():
                score = model().log_prob(validation).mean().item()
            if score > best:
                best, kept, at = score, copy.deepcopy(model), step
    return kept, at, time.process_time() - began


def main(name: str, numbers: list[int]) -> None:
    torch.set_num_threads(1)
    for number in numbers:
        split = SETTINGS[name][0](number)
        began = time.perf_counter()
        model, step, spent = fitted(split, BUDGET[name], number)
        with torch.no_grad():
            told = cost(model().log_prob(torch.as_tensor(split.test, dtype=torch.float32)).double().numpy())
        result = {
            "bound": told["value"], "standard_error": told["standard_error"], "n": told["n"], "unit": "bits",
            "first_step": None, "seed": number, "seconds": round(time.perf_counter() - began, 1),
            "cpu_seconds": round(spent, 1), "best_step": step, "settings": SHAPE | {"batch_size": BATCH, "rate": RATE},
            "versions": versions(),
        }  # fmt: skip
        place = RECORDS / f"{name}-flow" / f"seed-{number}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "result.json").write_text(json.dumps(result, indent=1) + "\n")
        print(name, number, f"{told['value']:.4f} ± {told['standard_error']:.4f}", step, round(spent, 1), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], [int(word) for word in sys.argv[2:]] or [0])
