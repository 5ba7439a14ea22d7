"""Measuring a trained model on held-out rows: every number with its error, unit and convention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from quasistatic.estimate import Estimate, paired_difference, unit_divisor
from quasistatic.exact import shortfall
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe, Splits, seeded
from quasistatic.reverse import ReverseKernel

__all__ = ["evaluate"]

PAIRS = 2_000_000  # visits of (row, step) that one bound may cost


def evaluate(
    recipe: Recipe,
    model: DiffusionModel,
    splits: Splits,
    *,
    split: str = "test",
    n_trajectories: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the bound of a split under both first-step conventions, beside null, truth and paper.

    Returns
    -------
    dict
        JSON-ready; every value in the recipe's unit, log likelihoods (higher is better). ``bound`` and
        ``standard_error`` are the headline, for ``first_step = "learned"``; ``stationary`` is the paper's edge.
        Where an exact kernel is known the headline is its bound less the measured shortfall, and ``direct`` is the plain mean.
    """
    x = splits.rows(split)
    n = max(1, min(len(x), PAIRS // (recipe.n_draws * model.diffusion.n_steps)))
    x = x[:n]
    unit, shape = recipe.unit, model.event_shape

    def told(values: Tensor) -> Estimate:
        return Estimate.of(values, unit, shape)

    bounds = [model.bound(x, generator=seeded(seed + 1000 * k), method="trajectory") for k in range(recipe.n_draws)]
    total = torch.stack([bound.total for bound in bounds]).mean(0)  # over dequantisation noise, before errors are taken
    edge = model.bound(x[: n // 4 + 1], generator=seeded(seed), method="trajectory", first_step="stationary")
    headline, stationary = told(total), told(edge.total)
    result: dict[str, Any] = {"split": split, "n": n, "unit": unit, "n_steps": model.diffusion.n_steps}
    exact = recipe.exact_kernel(model)
    if exact is not None:
        result["direct"] = _pair(headline)
        headline, stationary, limits = _controlled(recipe, model, exact, x, seed)
        result |= limits
    null = told(model.null_log_prob(x, generator=seeded(seed))).value
    result |= {
        "bound": headline.value,
        "standard_error": headline.standard_error,
        "first_step": model.kernel.first_step,
        "terms": {name: part.value for name, part in bounds[0].terms(unit).items()},
        "stationary": _pair(stationary),
        "null": null,
        "gain": headline.value - null,
    }
    true = recipe.true_log_prob(x)
    if (truth := recipe.truth()) is not None and true is not None:
        result["truth"] = truth / unit_divisor(unit, shape)
        result["distance"] = result["truth"] - headline.value
        # over the same points, and so free of their own spread
        result["distance_paired"] = _pair(paired_difference(true, total, unit, shape))
    trajectories = recipe.n_trajectories if n_trajectories is None else n_trajectories
    if trajectories > 0:
        few = x[: recipe.log_prob_rows]
        log_prob = model.log_prob(few, trajectories, generator=seeded(seed + 1))
        result["log_prob"] = {"n_trajectories": trajectories} | _pair(told(log_prob))
        if true is not None:
            gap = paired_difference(true[: len(few)], log_prob, unit, shape)
            result["log_prob"]["distance_paired"] = _pair(gap)
    if (paper := recipe.paper()) is not None:
        result["paper"] = paper
    if (other := recipe.baseline(splits, x)) is not None:
        result["baseline"] = {"name": other[0]} | _pair(told(other[1]))
    return result


def _pair(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "standard_error": estimate.standard_error, "n": estimate.n}


def _controlled(
    recipe: Recipe, model: DiffusionModel, exact: ReverseKernel, x: Tensor, seed: int
) -> tuple[Estimate, Estimate, dict[str, Any]]:
    """The bound of the best kernel of the family, enumerated, less the measured shortfall of the learned one."""
    unit, shape = recipe.unit, model.event_shape
    z, _ = model.encode(x)
    with torch.no_grad():
        lost = shortfall(model.diffusion, model.kernel, exact, z, generator=seeded(seed))
    limit, edge = (recipe.limit(model, step) for step in ("learned", "stationary"))
    if limit is None or edge is None:
        raise TypeError(f"{type(recipe).__name__} names an exact kernel but not its bound")
    limit, edge = (value / unit_divisor(unit, shape) for value in (limit, edge))
    learned = Estimate.of(-lost.sum(1), unit, shape).plus(limit)
    stationary = Estimate.of(-lost[:, 1:].sum(1), unit, shape).plus(edge)
    method = "the best bound of this kernel's family, by enumeration, less the measured shortfall"
    return learned, stationary, {"method": method, "limit": limit, "stationary_limit": edge}
