"""Exact models: laws that can be written down, by other routes than the library's.

Bits and classes are enumerated (all states, transition matrices), Gaussians are conditioned by linear algebra, and a single
bit is summed in plain Python. None of these use ``posterior``, ``kl`` or the bound they are there to judge.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quasistatic.distributions import Bernoulli, Categorical, Distribution, Gaussian, Masked, MultivariateGaussian
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, ForwardProcess, GaussianDiffusion
from quasistatic.likelihood.estimators import estimate_elbo
from quasistatic.reverse import ReverseKernel

__all__ = [
    "ExactClasses",
    "ExactGaussianData",
    "ForwardKernel",
    "RandomBits",
    "all_bits",
    "all_classes",
    "enumerated_bound",
    "index_of",
    "law_table",
    "marginal_matrix",
    "model_log_prob",
    "one_bit_bound",
    "random_weights",
    "reverse_matrix",
    "roughen",
    "state_probs",
    "step_matrix",
    "transition_score",
    "white",
]


# ------------------------------------------------------------------------------------------------ one bit


def one_bit_bound(p: float, beta: list[float], rho: float = 0.5) -> tuple[float, float, float]:
    """Bound under the true reversal, minus the entropy, and KL(q(x_T) || pi) of one bit, in nats, by hand.

    With the true reversal the chain's path law is q's own, but for the start: the bound is -H - KL(q(x_T) || pi).
    """
    alpha_bar = math.prod(1.0 - b for b in beta)
    last = alpha_bar * p + (1.0 - alpha_bar) * rho
    kl = last * math.log(last / rho) + (1.0 - last) * math.log((1.0 - last) / (1.0 - rho))
    entropy = -p * math.log(p) - (1.0 - p) * math.log(1.0 - p)
    return -entropy - kl, -entropy, kl


# ------------------------------------------------------------------------------------- all 2^d states of d bits


def all_bits(d: int) -> Tensor:
    """(2^d, d), in the order of the binary numbers."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=d)), dtype=torch.float64)


def all_classes(d: int, k: int) -> Tensor:
    """(k^d, d), in the order of the numbers to base k; with the mask as a class more, all states of a masked event."""
    return torch.tensor(list(itertools.product(range(k), repeat=d)), dtype=torch.float64)


def index_of(x: Tensor) -> Tensor:
    """Row of :func:`all_bits` of each state, (n, d) -> (n,)."""
    return (x @ 2.0 ** torch.arange(x.shape[1] - 1, -1, -1, dtype=x.dtype)).long()


def random_weights(n: int, seed: int = 0, spread: float = 1.5) -> Tensor:
    """Probabilities of n states, uneven."""
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(spread * torch.randn(n, generator=generator, dtype=torch.float64), 0)


def law_table(law: Distribution, n: int, states: Tensor) -> Tensor:
    """Probability that each of n laws gives each state, (n, len(states)), from ``log_prob`` alone."""
    return torch.stack([law.log_prob(x.expand(n, -1)) for x in states], 1).exp()


def step_matrix(process: ForwardProcess, states: Tensor, t: int) -> Tensor:
    """q(x_t = j | x_{t-1} = i) at [i, j]."""
    return law_table(process.step(states, t), len(states), states)


def marginal_matrix(process: ForwardProcess, states: Tensor, t: int) -> Tensor:
    """q(x_t = j | x_0 = i) at [i, j], as a product of steps."""
    matrix = torch.eye(len(states), dtype=states.dtype)
    for s in range(1, t + 1):
        matrix = matrix @ step_matrix(process, states, s)
    return matrix


def reverse_matrix(kernel: ReverseKernel, states: Tensor, t: int) -> Tensor:
    """p(x_{t-1} = j | x_t = i) at [i, j]."""
    with torch.no_grad():
        return law_table(kernel(states, t), len(states), states)


def state_probs(process: ForwardProcess, kernel: ReverseKernel, states: Tensor, t: int = 0) -> Tensor:
    """Law of x_t under the model, (2^d,): noise, then matrices down to t."""
    p = process.stationary(states.shape, states.dtype).log_prob(states).exp()
    for s in range(process.n_steps, t, -1):
        p = p @ reverse_matrix(kernel, states, s)
    return p


def model_log_prob(process: ForwardProcess, kernel: ReverseKernel, states: Tensor) -> Tensor:
    """True log p(x_0) of the model for every state."""
    return state_probs(process, kernel, states).log()


def transition_score(process: ForwardProcess, kernel: ReverseKernel, states: Tensor, t: int) -> Tensor:
    """E log p(x_{t-1} | x_t) / q(x_{t-1} | x_t, x_0) for every x_0, (2^d,), with q by Bayes from matrices."""
    step, before = step_matrix(process, states, t), marginal_matrix(process, states, t - 1)
    joint = before.unsqueeze(2) * step  # [x_0, x_{t-1}, x_t]
    posterior = joint / joint.sum(1, keepdim=True)
    score = reverse_matrix(kernel, states, t).T.log() - posterior.log()
    return torch.where(joint > 0, joint * score, 0.0).sum((1, 2))


def enumerated_bound(process: ForwardProcess, kernel: ReverseKernel, states: Tensor) -> Tensor:
    """The bound of every x_0 with all expectations summed, (2^d,)."""
    n_steps = process.n_steps
    last = marginal_matrix(process, states, n_steps)
    pi = process.stationary(states.shape, states.dtype).log_prob(states)
    total = torch.where(last > 0, last * (pi - last.log()), 0.0).sum(1)
    for t in range(2, n_steps + 1):
        total = total + transition_score(process, kernel, states, t)
    first = marginal_matrix(process, states, 1)
    return total + torch.where(first > 0, first * reverse_matrix(kernel, states, 1).T.log(), 0.0).sum(1)


class ForwardKernel(ReverseKernel):
    """The forward step run backwards at every t: the model whose law of x_0 is pi again."""

    def __init__(self, process: ForwardProcess) -> None:
        super().__init__(process)

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self.process.step(x_t, t)


class RandomBits(ReverseKernel):
    """A kernel of product bits without structure: other odds for every step and state, in float64."""

    odds: Tensor

    def __init__(self, process: BernoulliDiffusion, d: int, seed: int = 0, spread: float = 1.0) -> None:
        super().__init__(process)
        generator = torch.Generator().manual_seed(seed)
        odds = torch.randn(process.n_steps + 1, 2**d, d, generator=generator, dtype=torch.float64)
        self.register_buffer("odds", spread * odds)

    def forward(self, x_t: Tensor, t: int | Tensor) -> Bernoulli:
        return Bernoulli(torch.sigmoid(self.odds[t, index_of(x_t)]).to(x_t.dtype))


class ExactClasses(ReverseKernel):
    """The best kernel of independent classes for data of any law, by summing over all data for every x_t."""

    def __init__(self, process: CategoricalDiffusion, states: Tensor, probs: Tensor) -> None:
        super().__init__(process)
        self.states, self.probs = states, probs

    def forward(self, x_t: Tensor, t: int | Tensor) -> Categorical | Masked:
        assert isinstance(self.process, CategoricalDiffusion)
        likelihood = [self.process.marginal(x_0.expand_as(x_t), t).log_prob(x_t) for x_0 in self.states]
        weights = torch.softmax(self.probs.log() + torch.stack(likelihood, 1), 1)
        is_class = self.states.unsqueeze(-1) == torch.arange(self.process.n_classes)
        shares = torch.einsum("bs,sdk->bdk", weights, is_class.double())
        return self.process.posterior(Categorical(shares.log()), x_t, t)


def roughen(network: nn.Module, seed: int = 0, scale: float = 0.3) -> nn.Module:
    """Set the network's parameters to random numbers, so that it is no longer zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network


# ------------------------------------------------------------------------------------------------ Gaussian data


class Moments(NamedTuple):
    """Mean (d,) and covariance (d, d)."""

    mean: Tensor
    cov: Tensor


class ExactGaussianData(ReverseKernel):
    """Data from N(mean, cov) with its true reversal, by conditioning the joint normal of x_{t-1} and x_t."""

    mean: Tensor
    cov: Tensor

    def __init__(self, process: GaussianDiffusion, mean: Tensor, cov: Tensor) -> None:
        super().__init__(process)
        self.register_buffer("mean", mean.double())
        self.register_buffer("cov", cov.double())

    def moments(self, t: int) -> Moments:
        """Of q(x_t), one step after the other."""
        mean, cov = self.mean, self.cov
        for beta in self.process.beta[1 : t + 1]:
            mean, cov = (1 - beta).sqrt() * mean, (1 - beta) * cov + beta * torch.eye(len(cov), dtype=cov.dtype)
        return Moments(mean, cov)

    def _one(self, x_t: Tensor, t: int) -> Moments:
        before, beta = self.moments(t - 1), self.process.beta[t]
        shrink = (1 - beta).sqrt()
        now = shrink.square() * before.cov + beta * torch.eye(len(before.cov), dtype=torch.float64)
        gain = shrink * torch.linalg.solve(now, before.cov).T
        mean = before.mean + (x_t.double() - shrink * before.mean) @ gain.T
        cov = before.cov - shrink * gain @ before.cov
        return Moments(mean, 0.5 * (cov + cov.T))

    def forward(self, x_t: Tensor, t: int | Tensor) -> MultivariateGaussian:
        steps = torch.full((len(x_t),), t) if isinstance(t, int) else t
        mean, factor = torch.empty_like(x_t), x_t.new_empty(len(x_t), x_t.shape[1], x_t.shape[1])
        for s in steps.unique().tolist():
            law = self._one(x_t[steps == s], s)
            mean[steps == s] = law.mean.to(x_t.dtype)
            factor[steps == s] = torch.linalg.cholesky(law.cov).to(x_t.dtype)
        return MultivariateGaussian(mean, factor)

    def data(self, n: int, generator: torch.Generator) -> Tensor:
        """Rows of the data, (n, d), float64."""
        noise = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64)
        return self.mean + noise @ torch.linalg.cholesky(self.cov).T

    def log_prob(self, x: Tensor) -> Tensor:
        """True log density, from torch."""
        return torch.distributions.MultivariateNormal(self.mean, self.cov).log_prob(x)

    def terminal_kl(self) -> float:
        """KL(q(x_T) || N(0, I)) of the law of x_T over all data, from torch."""
        mean, cov = self.moments(self.process.n_steps)
        noise = torch.distributions.MultivariateNormal(torch.zeros_like(mean), torch.eye(len(mean), dtype=mean.dtype))
        q = torch.distributions.MultivariateNormal(mean, cov)
        return torch.distributions.kl_divergence(q, noise).item()


def white(x: Tensor) -> Tensor:
    """Log density of N(0, I) at (n, *event)."""
    return Gaussian(torch.zeros_like(x), torch.ones_like(x)).log_prob(x)


def quick_bound(process: ForwardProcess, kernel: ReverseKernel, x_0: Tensor, *, n_pairs: int, **settings: Any) -> Tensor:
    """The estimated bound of each row from about ``n_pairs`` (row, timestep) pairs in all."""
    return estimate_elbo(process, kernel, x_0, n_timesteps=max(1, n_pairs // len(x_0)), **settings).total
