"""The result table of a run, its figures, and ``report.html``."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from quasistatic.estimate import Estimate, unit_divisor
from quasistatic.likelihood.entropy import reverse_entropy_bounds
from quasistatic.plots import entropy_band, learning_curve, save_figure, step_costs
from quasistatic.recipes.base import seeded
from quasistatic.recipes.pictures import on_fewer_steps
from quasistatic.reporting.html import Section, write_report
from quasistatic.reporting.text import format_estimate
from quasistatic.runs.results import Evaluation
from quasistatic.runs.run import Run, evaluate_run
from quasistatic.runs.verdict import null_in_words, verdict, warnings_of
from quasistatic.storage.files import read_text

__all__ = ["draw", "rows", "write_run_report"]

CONVENTION = {
    "learned": "first step learned and scored",
    "fixed": "first step fixed, the paper's convention",
}
_DIAGNOSTICS = ("learning-curve", "step-costs", "entropy-band")


def rows(result: Evaluation) -> list[dict[str, str]]:
    """Return the rows of the result table.

    All numbers are log likelihoods; higher is better.

    Returns
    -------
    list of dict
        Each row has a description under "" and a number under the unit of the result.
    """
    table: list[dict[str, str]] = []

    def exact(what: str, value: float | None) -> None:
        if value is not None:
            table.append({"": what, result.unit: format_estimate(value, None)})

    def measured(what: str, estimate: Estimate | None, n: bool = True) -> None:
        if estimate is not None:
            value, error = estimate.value, estimate.standard_error
            finite = format_estimate(value, error, "", estimate.n if n else None)
            table.append({"": what, result.unit: finite if math.isfinite(value) else "not finite"})

    measured(f"bound, {CONVENTION[result.first_step]}", result.bound)
    measured(f"bound, {CONVENTION['fixed']}", result.fixed_first_step)
    for name, estimate in result.converted.items():
        measured(f"the same in {name}", estimate)
    measured(f"importance-weighted log p, {result.n_trajectories} trajectories", result.log_prob)
    exact("truth", result.truth)
    if result.distance is not None:
        measured("truth - bound", Estimate(result.distance, result.bound.standard_error, result.n), n=False)
    measured("truth - bound, same points", result.distance_paired)
    measured("truth - importance-weighted, same points", result.log_prob_distance)
    exact("best possible for this kind of kernel and T", result.limit)
    measured(result.baseline_name, result.baseline)
    measured("lead over it, same points", result.lead)
    exact("paper (its data and first step may differ)", result.paper)
    measured("null model", result.null, n=False)
    measured("gain over the null model", result.gain, n=False)
    return table


def draw(run: Run, generator: Generator | None = None, *, null: float | None = None) -> dict[str, Any]:
    """Draw all figures of a run.

    Parameters
    ----------
    run : Run
    generator : Generator, optional
        Source of the samples; seeded with the run's seed by default.
    null : float, optional
        Log likelihood of the null model, a line of the learning curve.

    Returns
    -------
    dict of str to Figure
        Figures by file name, without ending.
    """
    generator = generator or seeded(run.seed)
    figures: dict[str, Any] = run.recipe.figures(run.model, run.splits, generator)
    unit = run.recipe.unit
    divisor = unit_divisor(unit, run.model.event_shape)
    truth = run.recipe.truth()
    limit = None if truth is None else truth / divisor
    figures["learning-curve"] = learning_curve(run.folder.read_metrics(), truth=limit, null=null, unit=unit)
    figures |= _over_steps(run, unit, divisor, generator)
    return figures


def _over_steps(run: Run, unit: str, divisor: float, generator: Generator) -> dict[str, Any]:
    """Draw cost and entropy of every reverse step, on validation rows.

    Expensive chains are shortened to fewer, longer steps.
    """
    model, expensive = run.model, bool(run.recipe.n_timesteps)
    if expensive:
        model = on_fewer_steps(model, 50)
    n_steps = model.process.n_steps
    x = run.splits.validation[: max(4, 2500 // n_steps) if expensive else max(50, 200_000 // n_steps)]
    if len(x) < 2:
        return {}  # one row has no standard error
    bound = model.elbo(x, generator=generator)
    cost = torch.cat([-bound.data[:, None], -bound.transitions], 1) / divisor
    log_snr = model.process.log_snr[1:].numpy()
    error = cost.std(0) / len(cost) ** 0.5
    figures = {"step-costs": step_costs(log_snr, cost.mean(0).numpy(), error.numpy(), unit)}
    if run.recipe.n_timesteps or model.kernel.n_components > 1:
        return figures  # entropies of mixtures are estimates, whose errors are wider than the band
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the figure shows the same
        z, _ = model.encode(x[:500], generator)
        band = reverse_entropy_bounds(model.process, model.kernel, z, generator=generator)
    lower = torch.minimum(band.lower, band.upper)  # they may cross where the upper bound need not hold
    low, high, own, wrong = ((values / divisor).numpy() for values in (lower, band.upper, band.model, band.model_se))
    figures["entropy-band"] = entropy_band(log_snr[1:], low, high, own, unit=unit, error=wrong, unmet=band.unmet)
    return figures


def write_run_report(run: Run, *, only_figures: tuple[str, ...] = ()) -> Path:
    """Write the figures and a self-contained ``report.html``.

    The run is evaluated first, unless it was before.

    Parameters
    ----------
    run : Run
    only_figures : tuple of str
        Figures to write as PNG; all by default. The report has all of them.

    Returns
    -------
    Path
        The HTML file.
    """
    folder = run.folder
    folder.refuse_links()
    result = Evaluation.read(folder.result()) if folder.result().exists() else evaluate_run(run)
    figures = draw(run, null=None if math.isnan(result.null.value) else result.null.value)
    warned = "".join(f"WARNING: {sentence}\n\n" for sentence in warnings_of(result, folder.read_metrics()))
    with folder.writing():
        for name, figure in figures.items():
            if not only_figures or name in only_figures:
                save_figure(figure, folder.figure(name))
    text = (
        f"Recipe {run.name}, seed {run.seed}, T = {result.n_steps}. Held-out log likelihoods in {result.unit}: "
        "higher is better. Value ± standard error over "
        f"{result.n} {result.split} rows unless another n is given. Good means better by more than two standard "
        "errors of the difference on the same rows."
    )
    sections = [
        Section("Result", f"{warned}{text}", table=rows(result)),
        Section("Figures", figures=tuple(f for name, f in figures.items() if name not in _DIAGNOSTICS)),
        Section("Training and steps", figures=tuple(figures[name] for name in _DIAGNOSTICS if name in figures)),
        Section("Configuration", read_text(folder.config)),
    ]
    with folder.writing():
        write_report(folder.report, f"quasistatic: {run.name}", sections, lead=verdict(result, null_in_words(run.model)))
    return folder.report
