"""Evaluation of a trained model on held-out rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.estimate import Estimate, paired_difference, unit_divisor
from quasistatic.likelihood.bound import Bound
from quasistatic.likelihood.estimators import learned_sampler
from quasistatic.likelihood.exact import kl_to_exact
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import FirstStep, Recipe, Splits, seeded
from quasistatic.reverse import ReverseKernel
from quasistatic.runs.blocks import by_blocks
from quasistatic.runs.results import Evaluation
from quasistatic.train.workers import Workers

__all__ = ["evaluate"]

MAX_PAIRS = 2_000_000  # (row, timestep) pairs that one bound may cost


def evaluate(
    recipe: Recipe,
    model: DiffusionModel,
    splits: Splits,
    *,
    name: str = "",
    split: str = "test",
    n_trajectories: int | None = None,
    n_samples: int = 0,
    seed: int = 0,
    team: Workers | None = None,
) -> Evaluation:
    """Evaluate a model on one split.

    The processes of ``team`` share the rows of the bound and of the importance-weighted estimate. All of them return
    the result of a single process.

    Parameters
    ----------
    recipe : Recipe
        The experiment, with its ground truth, baselines and units.
    model : DiffusionModel
    splits : Splits
        Rows of the experiment, in data units.
    name : str
        Name of the recipe, for the result.
    split : {"test", "validation", "train"}
        The rows to evaluate.
    n_trajectories : int, optional
        Trajectories of the importance-weighted estimate; the recipe's number by default, 0 for none.
    n_samples : int
        Samples to draw and check, where the recipe can check them.
    seed : int
    team : Workers, optional
        Processes that share the work.

    Returns
    -------
    Evaluation
        All values in the unit of the recipe. Where the recipe has an exact kernel, ``bound`` is the bound of that
        kernel minus the measured KL divergence of the learned one from it, and ``direct`` is the plain mean.

    Raises
    ------
    InputError
        If the split has no rows, or the recipe cannot check samples.
    """
    x = splits.rows(split)
    if not len(x):
        raise InputError(f"there are no {split} rows to evaluate")
    if n_samples and type(recipe).check_samples is Recipe.check_samples:
        raise InputError("this recipe cannot check samples: leave out --samples")
    if not recipe.n_timesteps:
        x = x[: max(1, MAX_PAIRS // (recipe.n_draws * model.process.n_steps))]
    return _Evaluator(recipe, model, splits, x, seed, team or Workers()).result(name, split, n_trajectories, n_samples)


class _Evaluator:
    """The measurements of one evaluation, over the same rows."""

    def __init__(self, recipe: Recipe, model: DiffusionModel, splits: Splits, x: Tensor, seed: int, team: Workers) -> None:
        self.recipe, self.model, self.splits, self.x = recipe, model, splits, x
        self.seed, self.team, self.unit, self.event_shape = seed, team, recipe.unit, model.event_shape

    def estimate(self, values: Tensor) -> Estimate:
        """Return the mean over rows in the recipe's unit."""
        return Estimate.of(values, self.unit, self.event_shape)

    def difference(self, a: Tensor, b: Tensor) -> Estimate:
        """Return the mean of a - b over the same rows."""
        return paired_difference(a, b, self.unit, self.event_shape)

    def result(self, name: str, split: str, n_trajectories: int | None, n_samples: int) -> Evaluation:
        """Measure everything that the recipe provides."""
        recipe, model, x = self.recipe, self.model, self.x
        bounds = self.bounds("learned")
        # averaged over the noise of the transform before the standard error is taken
        total = torch.stack([bound.total for bound in bounds]).mean(0)
        terms = [bound.terms(self.unit) for bound in bounds]
        fixed = self.fixed_first_step()
        exact = recipe.exact_kernel(model)
        each, optional = (total, {}) if exact is None else self.controlled(exact, total)
        null = recipe.null_log_prob(model, x, seeded(self.seed)).cpu()
        measured = Evaluation(
            recipe=name, split=split, unit=self.unit, n_steps=model.process.n_steps, first_step=model.kernel.first_step,
            bound=self.estimate(each), null=self.estimate(null), gain=self.estimate(each - null),
            terms={part: sum(of[part].value for of in terms) / len(terms) for part in terms[0]},
            n_timesteps=recipe.n_timesteps, fixed_first_step=fixed, paper=recipe.paper(),
        )  # fmt: skip
        measured = replace(measured, **optional)
        if converted := self.converted(measured.bound):
            measured = replace(measured, converted=converted, channels=self.event_shape[0])
        true = recipe.true_log_prob(x)
        measured = replace(measured, **self.against_truth(measured, true, each), **self.log_prob(true, n_trajectories))
        if (other := recipe.baseline(self.splits, x)) is not None:
            baseline, lead = self.estimate(other[1]), self.difference(total, other[1])
            measured = replace(measured, baseline=baseline, baseline_name=other[0], lead=lead)
        if n_samples:
            drawn = recipe.draw(model, n_samples, seeded(self.seed + 2)).cpu()
            measured = replace(measured, samples={"n": n_samples} | recipe.check_samples(drawn, self.splits))
        return measured

    def bounds(self, first_step: FirstStep) -> list[Bound]:
        """Compute the bound of each row.

        The list has one entry for each draw of the transform's noise.
        """
        recipe, model = self.recipe, self.model
        with torch.no_grad(), torch.autocast(model.process.beta.device.type, torch.bfloat16, recipe.train.amp):
            sampler = None
            if recipe.n_timesteps:  # the timesteps are chosen by rows that are not evaluated
                others, _ = model.encode(self.splits.train[:500], seeded(self.seed))
                sampler = learned_sampler(model.process, model.kernel, others.float(), generator=seeded(self.seed))

            def measure(rows: Tensor, generator: Generator) -> Tensor:
                if recipe.n_timesteps:
                    bound = model.estimate_elbo(
                        rows, recipe.n_timesteps, sampler=sampler, generator=generator, first_step=first_step
                    )
                else:
                    bound = model.elbo(rows, generator=generator, method="trajectory", first_step=first_step)
                return torch.stack([bound.terminal, bound.transitions.sum(1), bound.data], 1)

            found = [
                by_blocks(self.x, measure, 3, seed=self.seed + 1000 * k, team=self.team) for k in range(recipe.n_draws)
            ]
        return [
            Bound(a, b.unsqueeze(1), c, self.event_shape, first_step) for a, b, c in (each.unbind(1) for each in found)
        ]

    def fixed_first_step(self) -> Estimate | None:
        """Compute the bound under the paper's fixed first step."""
        if not self.recipe.has_fixed_first_step:
            return None
        if self.recipe.n_timesteps:
            bound = self.bounds("fixed")[0]
        else:
            few = self.x[: len(self.x) // 4 + 1]
            bound = self.model.elbo(few, generator=seeded(self.seed), method="trajectory", first_step="fixed")
        return self.estimate(bound.total.cpu())

    def controlled(self, exact: ReverseKernel, total: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Use the enumerated best kernel as a control variate.

        Returns
        -------
        Tensor, shape (n,)
            Bound of each row: the enumerated bound of the best kernel minus the measured KL divergence, nats.
        dict
            The fields of :class:`Evaluation` that this determines.
        """
        z, _ = self.model.encode(self.x)
        with torch.no_grad():
            loss = kl_to_exact(self.model.process, self.model.kernel, exact, z, generator=seeded(self.seed))
        limit, fixed_limit = self.recipe.limit(self.model, "learned"), self.recipe.limit(self.model, "fixed")
        if limit is None or fixed_limit is None:
            raise TypeError(f"{type(self.recipe).__name__} returns an exact kernel but not its bound")
        divisor = unit_divisor(self.unit, self.event_shape)
        return limit - loss.sum(1), {
            "direct": self.estimate(total),
            "fixed_first_step": self.estimate(fixed_limit - loss[:, 1:].sum(1)),
            "method": "bound of the best kernel of this family, by enumeration, minus the measured KL divergence from it",
            "limit": limit / divisor,
            "fixed_first_step_limit": fixed_limit / divisor,
        }

    def converted(self, bound: Estimate) -> dict[str, Estimate]:
        """Convert the bound to other conventions."""
        at, above = (self.recipe.converted(self.splits, bound.value + error) for error in (0.0, bound.standard_error))
        return {unit: Estimate(value, abs(above[unit] - value), bound.n, unit) for unit, value in at.items()}

    def against_truth(self, measured: Evaluation, true: Tensor | None, each: Tensor) -> dict[str, Any]:
        """Compare with the true log likelihood, where it is known."""
        truth = self.recipe.truth()
        if truth is None or true is None:
            return {}
        truth = truth / unit_divisor(self.unit, self.event_shape)
        return {
            "truth": truth,
            "distance": truth - measured.bound.value,
            "distance_paired": self.difference(true, each),
        }

    def log_prob(self, true: Tensor | None, n_trajectories: int | None) -> dict[str, Any]:
        """Estimate log p by importance sampling on the first rows."""
        n = self.recipe.n_trajectories if n_trajectories is None else n_trajectories
        if n == 0:
            return {}
        few = self.x[: self.recipe.log_prob_rows]

        def measure(rows: Tensor, generator: Generator) -> Tensor:
            return self.model.log_prob(rows, n, generator=generator).unsqueeze(1)

        log_prob = by_blocks(few, measure, 1, seed=self.seed + 1, team=self.team).squeeze(1)
        distance = None if true is None else self.difference(true[: len(few)], log_prob)
        return {"n_trajectories": n, "log_prob": self.estimate(log_prob), "log_prob_distance": distance}
