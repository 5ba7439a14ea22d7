"""Measuring a trained model on held-out rows: every number with its error, unit and convention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from quasistatic.likelihood.bound import Bound
from quasistatic.errors import InputError
from quasistatic.estimate import Estimate, paired_difference, unit_divisor
from quasistatic.likelihood.exact import kl_to_exact
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe, Splits, seeded
from quasistatic.reverse.kernel import FirstStep
from quasistatic.runs.blocks import by_blocks
from quasistatic.reverse import ReverseKernel
from quasistatic.likelihood.estimators import learned_sampler
from quasistatic.train.workers import Workers

__all__ = ["evaluate"]

PAIRS = 2_000_000  # n_timesteps of (row, step) that one bound may cost


def evaluate(
    recipe: Recipe,
    model: DiffusionModel,
    splits: Splits,
    *,
    split: str = "test",
    n_trajectories: int | None = None,
    n_samples: int = 0,
    seed: int = 0,
    team: Workers | None = None,
) -> dict[str, Any]:
    """Measure the bound of a split under both first-step conventions, beside null, truth and paper.

    The bound and the importance-weighted estimate are shared among the processes of ``team``, which all come to the
    same answer, and to that of one alone.

    Returns
    -------
    dict
        Every value in the recipe's unit, log likelihoods (higher is better). ``bound`` and ``standard_error`` are
        the headline, over ``n`` rows, for the convention ``first_step``; ``stationary`` is the paper's edge, over
        rows of its own ``n``, where it means something. ``terms`` add up to the plain mean over the rows. That mean
        is the headline, unless an exact kernel is known: then it is that kernel's bound less the measured
        kl_to_exact, and the mean is
        ``direct``. A gain, distance or lead over the same points has the error of the difference.

    Raises
    ------
    InputError
        If the split has no rows, or samples are to be checked that nothing is known of.
    """
    x = splits.rows(split)
    if not len(x):
        raise InputError(f"there are no {split} rows to measure")
    if n_samples and type(recipe).check_samples is Recipe.check_samples:
        raise InputError("it is not known of this recipe what its samples must be, so none can be checked")
    if not recipe.n_timesteps:
        x = x[: max(1, PAIRS // (recipe.n_draws * model.process.n_steps))]
    n, team = len(x), team or Workers()
    unit, shape = recipe.unit, model.event_shape

    def told(values: Tensor) -> Estimate:
        return Estimate.of(values, unit, shape)

    bounds = _bounds(recipe, model, splits, x, seed, team)
    # over the transform's noise, before errors are taken
    total = torch.stack([bound.total for bound in bounds]).mean(0)
    terms = [bound.terms(unit) for bound in bounds]
    headline, stationary = told(total), None
    if recipe.has_edge:
        if recipe.n_timesteps:
            edge = _bounds(recipe, model, splits, x, seed, team, "fixed")[0]
        else:
            edge = model.elbo(x[: n // 4 + 1], generator=seeded(seed), method="trajectory", first_step="fixed")
        stationary = told(edge.total.cpu())
    result: dict[str, Any] = {"split": split, "n": n, "unit": unit, "n_steps": model.process.n_steps}
    if recipe.n_timesteps:
        result["n_timesteps"] = recipe.n_timesteps
    each = total
    exact = recipe.exact_kernel(model)
    if exact is not None:
        result["direct"] = _pair(headline)
        each, stationary, limits = _controlled(recipe, model, exact, x, seed)
        headline = told(each)
        result |= limits
    null = recipe.null_log_prob(model, x, seeded(seed)).cpu()
    floor, gain = told(null), told(each - null)
    result |= {
        "bound": headline.value,
        "standard_error": headline.standard_error,
        "first_step": model.kernel.first_step,
        "terms": {name: sum(parts[name].value for parts in terms) / len(terms) for name in terms[0]},
        "null": floor.value,
        "null_standard_error": floor.standard_error,
        "gain": gain.value,
        "gain_standard_error": gain.standard_error,
    }
    if stationary is not None:
        result["fixed_first_step"] = _pair(stationary)
    if converted := _converted(recipe, splits, headline):
        result |= {"converted": converted, "channels": shape[0]}
    true = recipe.true_log_prob(x)
    if (truth := recipe.truth()) is not None and true is not None:
        result["truth"] = truth / unit_divisor(unit, shape)
        result["distance"] = result["truth"] - headline.value
        # over the same points, and so free of their own spread
        result["distance_paired"] = _pair(paired_difference(true, each, unit, shape))
    trajectories = recipe.n_trajectories if n_trajectories is None else n_trajectories
    if trajectories > 0:
        few = x[: recipe.log_prob_rows]

        def estimate(rows: Tensor, generator: Generator) -> Tensor:
            return model.log_prob(rows, trajectories, generator=generator).unsqueeze(1)

        log_prob = by_blocks(few, estimate, 1, seed=seed + 1, team=team).squeeze(1)
        result["log_prob"] = {"n_trajectories": trajectories} | _pair(told(log_prob))
        if true is not None:
            gap = paired_difference(true[: len(few)], log_prob, unit, shape)
            result["log_prob"]["distance_paired"] = _pair(gap)
    if (paper := recipe.paper()) is not None:
        result["paper"] = paper
    if (other := recipe.baseline(splits, x)) is not None:
        lead = paired_difference(total, other[1], unit, shape)
        result["baseline"] = {"name": other[0]} | _pair(told(other[1])) | {"lead_paired": _pair(lead)}
    if n_samples:
        drawn = recipe.draw(model, n_samples, seeded(seed + 2)).cpu()
        result["samples"] = {"n": n_samples} | recipe.check_samples(drawn, splits)
    return result


def _bounds(
    recipe: Recipe,
    model: DiffusionModel,
    splits: Splits,
    x: Tensor,
    seed: int,
    team: Workers,
    first_step: str = "learned",
) -> list[Bound]:
    """Bound of each row, for each draw of a transform's noise, on whole paths or estimated from some of the steps."""
    with torch.no_grad(), torch.autocast(model.process.beta.device.type, torch.bfloat16, recipe.train.amp):
        sampler = None
        if recipe.n_timesteps:  # which steps to look at is learned from rows that are not measured
            others, _ = model.encode(splits.train[:500], seeded(seed))
            sampler = learned_sampler(model.process, model.kernel, others.float(), generator=seeded(seed))

        def measure(rows: Tensor, generator: Generator) -> Tensor:
            if recipe.n_timesteps:
                bound = model.estimate_elbo(rows, recipe.n_timesteps, sampler=sampler, generator=generator, first_step=first_step)
            else:
                bound = model.elbo(rows, generator=generator, method="trajectory", first_step=first_step)
            return torch.stack([bound.terminal, bound.transitions.sum(1), bound.data], 1)

        found = [by_blocks(x, measure, 3, seed=seed + 1000 * k, team=team) for k in range(recipe.n_draws)]
    convention: FirstStep = "fixed" if first_step == "fixed" else "learned"
    return [Bound(a, b.unsqueeze(1), c, model.event_shape, convention) for a, b, c in (each.unbind(1) for each in found)]


def _converted(recipe: Recipe, splits: Splits, mean: Estimate) -> dict[str, dict[str, Any]]:
    """The headline in the conventions of others, which are shifts and scales of it."""
    at, above = (recipe.converted(splits, mean.value + error) for error in (0.0, mean.standard_error))
    return {
        unit: {"value": value, "standard_error": abs(above[unit] - value), "n": mean.n, "unit": unit}
        for unit, value in at.items()
    }


def _pair(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "standard_error": estimate.standard_error, "n": estimate.n}


def _controlled(
    recipe: Recipe, model: DiffusionModel, exact: ReverseKernel, x: Tensor, seed: int
) -> tuple[Tensor, Estimate, dict[str, Any]]:
    """The bound of the best kernel of the family, enumerated, less the measured kl_to_exact of the learned one.

    Per row in nats for the learned first step, and the mean for the stationary one.
    """
    unit, shape = recipe.unit, model.event_shape
    z, _ = model.encode(x)
    with torch.no_grad():
        lost = kl_to_exact(model.process, model.kernel, exact, z, generator=seeded(seed))
    limit, edge = recipe.limit(model, "learned"), recipe.limit(model, "fixed")
    if limit is None or edge is None:
        raise TypeError(f"{type(recipe).__name__} names an exact kernel but not its bound")
    divisor = unit_divisor(unit, shape)
    stationary = Estimate.of(edge - lost[:, 1:].sum(1), unit, shape)
    method = "the best bound of this kernel's family, by enumeration, less the measured kl_to_exact"
    limits = {"method": method, "limit": limit / divisor, "fixed_first_step_limit": edge / divisor}
    return limit - lost.sum(1), stationary, limits
