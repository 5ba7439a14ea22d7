"""What a run says of itself: the table in the terminal, the figures, and ``report.html``."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from quasistatic.likelihood.entropy import entropy_band
from quasistatic.estimate import unit_divisor
from quasistatic.storage.files import read_text
from quasistatic.recipes.base import seeded
from quasistatic.recipes.pictures import on_fewer_steps
from quasistatic.runs.run import Run, evaluate_run, own_names, read_metrics, read_result, writing
from quasistatic.runs.verdict import null_in_words, verdict, warnings_of
from quasistatic.reporting.html import Section, write_report
from quasistatic.reporting.text import format_estimate
from quasistatic.plots import learning_curve, save_figure, step_costs
from quasistatic.plots import entropy_band as draw_entropy_band

__all__ = ["draw", "rows", "write_run_report"]

CONVENTION = {
    "learned": "first step learned and scored",
    "fixed": "first step fixed, the paper's convention",
}


def rows(result: dict[str, Any]) -> list[dict[str, str]]:
    """Lay out a result: what was measured, beside what it is measured against. Log likelihoods; higher is better."""
    unit = result["unit"]
    table: list[dict[str, str]] = []

    def exact(what: str, value: float) -> None:
        table.append({"": what, unit: "not finite" if value is None else format_estimate(value, None)})

    def measured(what: str, pair: dict[str, Any]) -> None:
        value, error = pair["value"], _known(pair["standard_error"])
        cell = "not finite" if value is None else format_estimate(value, error, "", pair.get("n"))
        table.append({"": what, unit: cell})

    measured(f"bound, {CONVENTION[result['first_step']]}", _headline(result) | {"n": result["n"]})
    if "fixed_first_step" in result:
        measured(f"bound, {CONVENTION['fixed']}", result["fixed_first_step"])
    for name, pair in result.get("converted", {}).items():
        measured(f"the same in {name}", pair)
    weighted = result.get("log_prob", {})
    if weighted:
        measured(f"importance-weighted log p, {weighted['n_trajectories']} trajectories", weighted)
    if "truth" in result:
        exact("truth", result["truth"])
        measured("truth - bound", _headline(result, "distance"))
        measured("truth - bound, same points", result["distance_paired"])
    if "distance_paired" in weighted:
        measured("truth - importance-weighted, same points", weighted["distance_paired"])
    if "limit" in result:
        exact("best possible for this kind of kernel and T", result["limit"])
    if "baseline" in result:
        other = result["baseline"]
        measured(other["name"], other)
        if "lead_paired" in other:
            measured("lead over it, same points", other["lead_paired"])
    if "paper" in result:
        exact("paper (its data and first step may differ)", result["paper"])
    measured("null model", _headline(result, "null", "null_standard_error"))
    measured("gain over the null model", _headline(result, "gain", "gain_standard_error"))
    return table


def _headline(result: dict[str, Any], key: str = "bound", error: str = "standard_error") -> dict[str, Any]:
    return {"value": result[key], "standard_error": result.get(error)}


def _known(value: float | None) -> float:
    """A number that JSON could not hold is not known any more."""
    return math.nan if value is None else value


def draw(run: Run, generator: Generator | None = None, *, null: float | None = None) -> dict[str, Any]:
    """Draw all figures of a run, by file name; ``null`` is a line of the learning curve."""
    generator = generator or seeded(run.seed)
    figures: dict[str, Any] = run.recipe.figures(run.model, run.splits, generator)
    unit = run.recipe.unit
    divisor = unit_divisor(unit, run.model.event_shape)
    truth = run.recipe.truth()
    limit = None if truth is None else truth / divisor
    figures["learning-curve"] = learning_curve(read_metrics(run.folder), truth=limit, null=null, unit=unit)
    figures |= _over_steps(run, unit, divisor, generator)
    return figures


def _over_steps(run: Run, unit: str, divisor: float, generator: Generator) -> dict[str, Any]:
    """Cost and entropy of every reverse step, on validation rows; of fewer, longer steps where the chain is dear."""
    model = run.model
    if run.recipe.n_timesteps:
        model = on_fewer_steps(model, 50)
    n_steps = model.process.n_steps
    x = run.splits.validation[: max(4, 2500 // n_steps) if run.recipe.n_timesteps else max(50, 200_000 // n_steps)]
    if len(x) < 2:
        return {}  # nothing could be said of their error
    bound = model.elbo(x, generator=generator)
    cost = torch.cat([-bound.data[:, None], -bound.transitions], 1) / divisor
    log_snr = model.process.log_snr[1:].numpy()
    error = cost.std(0) / len(cost) ** 0.5
    figures = {"step-costs": step_costs(log_snr, cost.mean(0).numpy(), error.numpy(), unit)}
    if run.recipe.n_timesteps or model.kernel.n_components > 1:
        return figures  # entropies of mixtures are estimates, whose errors are wider than the band
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the figure says it
        z, _ = model.encode(x[:500], generator)
        band = entropy_band(model.process, model.kernel, z, generator=generator)
    lower = torch.minimum(band.lower, band.upper)  # they may cross where the upper limit need not hold
    low, high, own, wrong = ((values / divisor).numpy() for values in (lower, band.upper, band.model, band.model_se))
    figures["entropy-band"] = draw_entropy_band(log_snr[1:], low, high, own, unit=unit, error=wrong, unmet=band.unmet)
    return figures


def write_run_report(run: Run, *, only_figures: tuple[str, ...] = ()) -> Path:
    """Write ``figures/*.png`` and a self-contained ``report.html``; evaluate first if that was not done."""
    measured = run.folder / "result.json"
    own_names(run.folder)
    result = read_result(measured) if measured.exists() else evaluate_run(run)
    figures = draw(run, null=result["null"])
    warned = "".join(f"WARNING: {sentence}\n\n" for sentence in warnings_of(result, read_metrics(run.folder)))
    with writing(run.folder):
        for name, figure in figures.items():
            if not only_figures or name in only_figures:
                save_figure(figure, run.folder / "figures" / f"{name}.png")
    diagnostics = ("learning-curve", "step-costs", "entropy-band")
    text = (
        f"Recipe {run.name}, seed {run.seed}, T = {result['n_steps']}. Held-out log likelihoods in {result['unit']}: "
        "higher is better. Value ± standard error over "
        f"{result['n']} {result['split']} rows unless another n is given. Good means better by more than two standard "
        "errors of the difference on the same rows."
    )
    sections = [
        Section("Result", f"{warned}{text}", table=rows(result)),
        Section("Figures", figures=tuple(f for name, f in figures.items() if name not in diagnostics)),
        Section("Training and steps", figures=tuple(figures[name] for name in diagnostics if name in figures)),
        Section("Configuration", read_text(run.folder / "config.yaml")),
    ]
    path = run.folder / "report.html"
    with writing(run.folder):
        write_report(path, f"quasistatic: {run.name}", sections, lead=verdict(result, null_in_words(run.model)))
    return path
