"""Gradients of every custom autograd function against finite differences."""

from __future__ import annotations

import importlib
import math
import pkgutil

import pytest
import torch
from torch import Generator, Tensor

import quasistatic
from quasistatic.distributions import Gaussian, _gaussian_cost, log_mass

CHECKED = {_gaussian_cost.GaussianCost, log_mass._LogMass}


def test_every_custom_function_is_checked_here() -> None:
    for module in pkgutil.walk_packages(quasistatic.__path__, "quasistatic."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: set[type] = {f for f in torch.autograd.Function.__subclasses__() if f.__module__.startswith("quasistatic.")}
    assert found == CHECKED


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


@pytest.mark.parametrize("n_points", [0, 2, 5])
@pytest.mark.parametrize("shape", [(5, 3), (5, 1), (5, 2, 2)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_cost_of_a_gaussian(n_points: int, shape: tuple[int, ...], scale: float) -> None:
    """The first rows are points, of variance zero; others have a variance below, near and above the model's."""
    m, v = numbers(*shape).requires_grad_(), (scale * numbers(*shape, seed=1).exp()).requires_grad_()
    mu, w = numbers(*shape, seed=2), numbers(*shape, seed=3).exp()
    w[:n_points] = 0.0
    cost = lambda m, v: _gaussian_cost.GaussianCost.apply(m, v, mu, w, n_points)  # noqa: E731
    assert torch.autograd.gradcheck(cost, (m, v), eps=1e-6 * min(1.0, scale), rtol=1e-4)
    weights = numbers(5, seed=4)  # rows count differently
    assert torch.autograd.gradcheck(lambda m, v: weights * cost(m, v), (m, v), eps=1e-6 * min(1.0, scale), rtol=1e-4)


@pytest.mark.parametrize("n_points", [0, 3])
def test_the_cost_has_the_value_and_gradient_of_the_plain_formula(n_points: int) -> None:
    """KL of the rows, minus log p of the points, by operations that autograd knows."""
    m, v = numbers(6, 4).requires_grad_(), numbers(6, 4, seed=1).exp().requires_grad_()
    mu, w = numbers(6, 4, seed=2), numbers(6, 4, seed=3).exp()
    w[:n_points] = 0.0
    rest = slice(n_points, None)
    ratio = w[rest] / v[rest]
    plain = torch.cat([
        -Gaussian(m[:n_points], v[:n_points]).log_prob(mu[:n_points]),
        0.5 * (ratio - 1.0 - ratio.log() + (mu - m)[rest].square() / v[rest]).sum(1),
    ])  # fmt: skip
    cost = _gaussian_cost.GaussianCost.apply(m, v, mu, w, n_points)
    torch.testing.assert_close(cost, plain)
    weight = numbers(6, seed=5)
    for ours, theirs in zip(
        torch.autograd.grad((weight * cost).sum(), (m, v)), torch.autograd.grad((weight * plain).sum(), (m, v)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_the_cost_that_training_uses_is_this_one() -> None:
    q = Gaussian(numbers(5, 3), numbers(5, 3, seed=1).exp())
    p = Gaussian(numbers(5, 3, seed=2).requires_grad_(), numbers(5, 3, seed=3).exp().requires_grad_())
    grads = torch.autograd.grad(q.cost(p, 0).sum(), (p.mean, p.var))
    kl = torch.autograd.grad(q.kl(p).sum(), (p.mean, p.var))
    for ours, theirs in zip(grads, kl, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("below", "above"),
    [(-0.5, 0.5), (2.0, 3.0), (-9.0, -8.0), (-math.inf, -1.0), (1.5, math.inf), (0.0, 1e-3), (30.0, 31.0)],
)
def test_the_mass_between_two_edges(below: float, above: float) -> None:
    mean, var = numbers(7).requires_grad_(), numbers(7, seed=1).exp().requires_grad_()
    edges = torch.full((7,), below, dtype=torch.float64), torch.full((7,), above, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m, v: log_mass._LogMass.apply(m, v, *edges), (mean, var), rtol=1e-4)
