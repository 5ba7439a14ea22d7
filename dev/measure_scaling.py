"""Measure what a table costs against its rows and columns, and draw it: ``records/table-scaling``, ``docs/pictures``.

    PYTHONPATH=src python dev/measure_scaling.py          measure, each size in a process of its own, and draw
    PYTHONPATH=src python dev/measure_scaling.py draw     draw what was measured, and say it in words

Data are correlated normals. A fit takes a fixed number of steps, so that it tells what a table costs beside the training
proper: marginals, the normal law, the mixture, validation. CPU seconds of one thread, for other work on the machine must not
count; memory is what the process has at most over what it had before the fit.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from quasistatic.estimator import DiffusionDensity
from quasistatic.plots import save_figure
from quasistatic.plots.style import DATA, MODEL, TRUTH, drawn, new_figure
from quasistatic.runs.versions import versions

HOME = Path(__file__).resolve().parent.parent
RECORD, PICTURE = HOME / "records" / "table-scaling" / "result.json", HOME / "docs" / "pictures" / "table-scaling.png"
SEED, STEPS, SCORED = 0, 100, 1000
ROWS, COLUMNS = (1000, 3000, 10_000, 30_000, 100_000), (2, 5, 10, 20, 50, 100, 200)
FIXED = {"rows": 10, "columns": 2000}  # the columns where rows grow, the rows where columns do
QUANTITIES = {
    "fit_seconds": "fit, CPU s",
    "score_seconds": f"score of {SCORED} rows, CPU s",
    "peak_megabytes": "peak memory, MB",
}


def measure(n: int, d: int) -> dict[str, float]:
    """Fit n rows of d columns and score a thousand, in this process."""
    torch.set_num_threads(1)
    draw = np.random.default_rng(SEED)
    x = draw.normal(size=(n, d)) @ (np.eye(d) + 0.5 * np.tri(d, k=-1) / d**0.5)
    settings: dict[str, Any] = {"n_steps": 30, "n_components": 1, "dropout": 0.1}  # else they would depend on the size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    model = DiffusionDensity(max_updates=STEPS, n_members=1, patience=None, random_state=SEED, **settings).fit(x)
    middle = time.process_time()
    model.score_samples(x[:SCORED])
    end = time.process_time()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"rows": n, "columns": d, "fit_seconds": middle - start, "score_seconds": end - middle, "peak_megabytes": peak}


def in_a_process(n: int, d: int) -> dict[str, float]:
    command = [sys.executable, __file__, "one", str(n), str(d)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    print(done.stdout.strip(), file=sys.stderr)
    return json.loads(done.stdout)


def slope(pairs: list[tuple[float, float]]) -> float:
    """Least-squares slope of log y over log x: what power of x it is."""
    x, y = np.log(pairs).T
    return float(np.polyfit(x, y, 1)[0])


def slopes(found: list[dict[str, float]], over: str) -> dict[str, dict[str, float]]:
    """Over all sizes, and over the upper half of them, where what is fixed matters least."""
    told = {}
    for name in QUANTITIES:
        pairs = [(one[over], one[name]) for one in found]
        half = pairs[len(pairs) // 2 :]
        told[name] = {"all": slope(pairs), "upper": slope(half)}
    return told


def result() -> dict[str, Any]:
    sizes = {"rows": [(n, FIXED["rows"]) for n in ROWS], "columns": [(FIXED["columns"], d) for d in COLUMNS]}
    found = {over: [in_a_process(n, d) for n, d in each] for over, each in sizes.items()}
    powers = {over: slopes(each, over) for over, each in found.items()}
    return {"seed": SEED, "n_updates": STEPS, "scored_rows": SCORED, "versions": versions(), "slopes": powers, **found}


@drawn
def picture(told: dict[str, Any]) -> Figure:
    figure = new_figure(8.0, 3.1, "What a table costs.")
    panels = figure.subplots(1, 2)
    for axes, over in zip(panels, ("rows", "columns"), strict=True):
        fixed = f"{FIXED['rows']} columns" if over == "rows" else f"{FIXED['columns']:,} rows"
        x = [one[over] for one in told[over]]
        for (name, label), colour in zip(QUANTITIES.items(), (MODEL, DATA, TRUTH), strict=True):
            power = told["slopes"][over][name]["upper"]
            y = [one[name] for one in told[over]]
            axes.loglog(x, y, "o-", ms=3.5, color=colour, label=f"{label} (power {power:.2f})")
        axes.set(xlabel=f"{over}, at {fixed}")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * 8)  # for the legend
        axes.legend(fontsize=8, loc="upper left")
    return figure


def paragraph(told: dict[str, Any]) -> str:
    """What the record says, for the documentation."""
    fit, score = (told["slopes"]["columns"][name]["upper"] for name in ("fit_seconds", "score_seconds"))
    (first, *_, last), (few, *_, many) = told["rows"], told["columns"]
    most = max(one["peak_megabytes"] for over in ("rows", "columns") for one in told[over])
    return (
        f"With {told['n_updates']} updates of one member, from {first['rows']:,} to {last['rows']:,} rows of "
        f"{first['columns']} columns a fit went from {first['fit_seconds']:.1f} to "
        f"{last['fit_seconds']:.1f} seconds of one core. "
        f"From {few['columns']} to {many['columns']} columns, at {few['rows']:,} rows, it went from "
        f"{few['fit_seconds']:.1f} to {many['fit_seconds']:.1f}, and a score of {told['scored_rows']:,} rows from "
        f"{few['score_seconds']:.1f} to {many['score_seconds']:.1f}. Over the upper half of these "
        f"columns the fitted powers are "
        f"{fit:.2f} and {score:.2f}. No fit and score took more than {most:.0f} MB beside what was loaded before."
    )


def main(words: list[str]) -> None:
    if words[:1] == ["one"]:
        print(json.dumps(measure(int(words[1]), int(words[2]))))
        return
    if words != ["draw"]:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(result(), indent=1) + "\n", encoding="utf-8")
    told = json.loads(RECORD.read_text("utf-8"))
    save_figure(picture(told), PICTURE)
    print(paragraph(told))


if __name__ == "__main__":
    main(sys.argv[1:])
