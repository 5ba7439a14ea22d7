"""What a run says of itself: the table in the terminal, the figures, and ``report.html``."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from quasistatic.entropy import entropy_band
from quasistatic.estimate import unit_divisor
from quasistatic.recipes.base import seeded
from quasistatic.recipes.run import Run, evaluate_run
from quasistatic.report import Section, format_estimate, learning_curve, save_figure, step_costs, write_report
from quasistatic.report import entropy_band as draw_entropy_band

__all__ = ["draw", "rows", "write_run_report"]

CONVENTION = {
    "learned": "first step learned and scored",
    "stationary": "first step fixed, the paper's convention",
}


def rows(result: dict[str, Any]) -> list[dict[str, str]]:
    """Lay out a result: what was measured, beside what it is measured against. Log likelihoods; higher is better."""
    unit, n = result["unit"], result["n"]

    def line(what: str, value: float, error: float | None = None, count: int | None = None) -> dict[str, str]:
        return {"": what, unit: format_estimate(value, error, "", count).strip()}

    table = [line(f"bound, {CONVENTION[result['first_step']]}", result["bound"], result["standard_error"], n)]
    edge = result["stationary"]
    table.append(line(f"bound, {CONVENTION['stationary']}", edge["value"], edge["standard_error"], edge["n"]))
    if "log_prob" in result:
        weighted = result["log_prob"]
        name = f"importance-weighted log p, {weighted['n_trajectories']} trajectories"
        table.append(line(name, weighted["value"], weighted["standard_error"], weighted["n"]))
    if "truth" in result:
        table.append(line("truth", result["truth"]))
        table.append(line("truth - bound", result["distance"], result["standard_error"]))
        gap = result.get("log_prob", {}).get("distance_paired")
        if gap:
            table.append(line("truth - importance-weighted, same points", gap["value"], gap["standard_error"]))
    if "limit" in result:
        table.append(line("best possible for this kind of kernel and T", result["limit"]))
    if "baseline" in result:
        other = result["baseline"]
        table.append(line(other["name"], other["value"], other["standard_error"], other["n"]))
    if "paper" in result:
        table.append(line("paper (its data and first step may differ)", result["paper"]))
    table.append(line("null model", result["null"]))
    table.append(line("gain over the null model", result["gain"], result["standard_error"]))
    return table


def draw(run: Run, generator: Generator | None = None) -> dict[str, Any]:
    """Draw all figures of a run, by file name."""
    generator = generator or seeded(run.seed)
    figures: dict[str, Any] = run.recipe.figures(run.model, run.splits, generator)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    unit = run.recipe.unit
    divisor = unit_divisor(unit, run.model.event_shape)
    truth = run.recipe.truth()
    figures["learning-curve"] = learning_curve(lines, truth=None if truth is None else truth / divisor, unit=unit)
    figures |= _over_steps(run, unit, divisor, generator)
    return figures


def _over_steps(run: Run, unit: str, divisor: float, generator: Generator) -> dict[str, Any]:
    """Cost and entropy of every reverse step, on validation rows."""
    model = run.model
    n_steps = model.diffusion.n_steps
    n = min(len(run.splits.validation), max(50, 200_000 // n_steps))
    x = run.splits.validation[:n]
    bound = model.bound(x, generator=generator)
    cost = torch.cat([-bound.data[:, None], -bound.transitions], 1) / divisor
    log_snr = model.diffusion.log_snr[1:].numpy()
    error = cost.std(0) / len(cost) ** 0.5
    figures = {"step-costs": step_costs(log_snr, cost.mean(0).numpy(), error.numpy(), unit)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the figure says it
        z, _ = model.encode(x[:500], generator)
        band = entropy_band(model.diffusion, model.kernel, z, generator=generator)
    drawn = draw_entropy_band(
        log_snr[1:], (band.lower / divisor).numpy(), (band.upper / divisor).numpy(), (band.model / divisor).numpy(),
        unit=unit,
    )  # fmt: skip
    if band.unmet:
        drawn.set_label(f"{drawn.get_label()} The upper limit need not hold here: {band.unmet}.")
    figures["entropy-band"] = drawn
    return figures


def write_run_report(run: Run, *, only_figures: tuple[str, ...] = ()) -> Path:
    """Write ``figures/*.png`` and a self-contained ``report.html``; evaluate first if that was not done."""
    measured = run.folder / "result.json"
    result = json.loads(measured.read_text()) if measured.exists() else evaluate_run(run)
    figures = draw(run)
    (run.folder / "figures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        if not only_figures or name in only_figures:
            save_figure(figure, run.folder / "figures" / f"{name}.png")
    diagnostics = ("learning-curve", "step-costs", "entropy-band")
    text = (
        f"Recipe {run.name}, seed {run.seed}, T = {result['n_steps']}. Held-out log likelihoods in {result['unit']}: higher is "
        f"better. Value ± standard error over {result['n']} {result['split']} rows unless another n is given."
    )
    sections = [
        Section("Result", text, table=rows(result)),
        Section("Figures", figures=tuple(f for name, f in figures.items() if name not in diagnostics)),
        Section("Training and steps", figures=tuple(figures[name] for name in diagnostics if name in figures)),
        Section("Configuration", (run.folder / "config.yaml").read_text()),
    ]
    path = run.folder / "report.html"
    write_report(path, f"quasistatic: {run.name}", sections)
    return path
