r"""Exact models: data laws whose every :math:`p(x_{t-1} \mid x_t)` is known.

They are furniture, not scaffolding: a truth for tests, the limit a learned kernel can reach at a given T and family,
and a control variate. If :math:`p^*` is the best member of an exponential family (the one with the right moments),
then for any other member :math:`p` of that family

.. math:: E\,\mathrm{KL}(q \,\|\, p) = E\,\mathrm{KL}(q \,\|\, p^*) + E\,\mathrm{KL}(p^* \,\|\, p),

so the bound of :math:`p` is the limit of its family less a sum of small non-negative terms (:func:`kl_to_exact`).
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from quasistatic.distributions import Bernoulli, Distribution, Gaussian, Mixture, MultivariateGaussian
from quasistatic.forward import BernoulliDiffusion, ForwardProcess, GaussianDiffusion
from quasistatic.likelihood.bound import stacked_rows
from quasistatic.linalg import cholesky
from quasistatic.reverse import ReverseKernel

__all__ = ["ExactBernoulliKernel", "ExactGaussianMixtureKernel", "kl_to_exact"]


class ExactBernoulliKernel(ReverseKernel):
    r"""Reverse kernels of bits with finitely many patterns, :math:`p(x_0) = \sum_k w_k [x_0 = a_k]`.

    Parameters
    ----------
    diffusion : BernoulliDiffusion
    atoms : Tensor, shape (K, *event)
        The patterns.
    weights : Tensor, shape (K,), optional
        Their probabilities; equal if not given.
    factorised : bool
        False (default) for the exact kernel, a mixture over patterns; True for the best product of bits.
    """

    def __init__(
        self, process: BernoulliDiffusion, atoms: Tensor, weights: Tensor | None = None, factorised: bool = False
    ) -> None:
        super().__init__()
        self.process = process
        self.factorised = factorised
        self.register_buffer("atoms", atoms.double(), persistent=False)
        equal = torch.full((len(atoms),), 1.0 / len(atoms), dtype=torch.float64)
        self.register_buffer("log_weights", (equal if weights is None else weights.double()).log(), persistent=False)

    atoms: Tensor
    log_weights: Tensor

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        given, k = self.denoise(x_t, t), len(self.atoms)
        if isinstance(given, Mixture):
            t = t.repeat_interleave(k, 0) if isinstance(t, Tensor) else t
            back = self.process.posterior(given.components, x_t.repeat_interleave(k, 0), t)  # type: ignore[arg-type]
            return Mixture(given.log_weights, back)
        return self.process.posterior(given, x_t, t)

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Bernoulli | Mixture:
        """Law of the data given x_t: a mixture of the patterns, or its margins."""
        ratio = self.process.log_likelihood_ratio(x_t, t).double().flatten(1)
        # an infinite ratio (no noise yet) times a zero bit must not make nan
        finite = torch.nan_to_num(ratio, posinf=1e9, neginf=-1e9)
        log_posterior = torch.log_softmax(self.log_weights + finite @ self.atoms.flatten(1).T, 1)
        if self.factorised:
            return Bernoulli((log_posterior.exp() @ self.atoms.flatten(1)).view_as(x_t).to(x_t.dtype))
        every = self.atoms.to(x_t.dtype).repeat(len(x_t), *(1,) * (self.atoms.dim() - 1))
        return Mixture(log_posterior.to(x_t.dtype), Bernoulli(every))


class ExactGaussianMixtureKernel(ReverseKernel):
    r"""Reverse kernels of data from a mixture of normals, :math:`p(x_0) = \sum_k w_k \mathcal{N}(x_0; \mu_k, s^2 I)`.

    Parameters
    ----------
    diffusion : GaussianDiffusion
    means : Tensor, shape (K, d)
    var : float
        :math:`s^2`, of every component.
    weights : Tensor, shape (K,), optional
    family : {"mixture", "full", "diagonal"}
        The exact kernel, or the best normal with full or diagonal covariance.
    """

    def __init__(
        self,
        process: GaussianDiffusion,
        means: Tensor,
        var: float,
        weights: Tensor | None = None,
        family: str = "mixture",
    ) -> None:
        super().__init__()
        if family not in ("mixture", "full", "diagonal"):
            raise ValueError(f'family must be "mixture", "full" or "diagonal", got {family!r}')
        self.process = process
        self.prior_var, self.family = var, family
        self.register_buffer("means", means.double(), persistent=False)
        equal = torch.full((len(means),), 1.0 / len(means), dtype=torch.float64)
        self.register_buffer("log_weights", (equal if weights is None else weights.double()).log(), persistent=False)

    means: Tensor
    log_weights: Tensor

    def log_prob(self, x_0: Tensor) -> Tensor:
        """True log density of the data law, (batch,), nats."""
        d = self.means.shape[1]
        square = torch.cdist(x_0.double(), self.means).square()
        log_norm = 0.5 * d * math.log(2.0 * math.pi * self.prior_var)
        return torch.logsumexp(self.log_weights - square / (2.0 * self.prior_var), 1) - log_norm

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self._law(x_t, t, *self.process._at(t, x_t.double(), "posterior"))

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        """Law of the data given x_t, in the family of the kernel."""
        one = x_t.new_ones((), dtype=torch.float64)
        return self._law(x_t, t, one, 0.0 * one, 0.0 * one)

    def _law(self, x_t: Tensor, t: int | Tensor, *line: Tensor) -> Distribution:
        """Law of share_0 x_0 + share_t x_t + sqrt(var) noise, with ``line`` = (share_0, share_t, var)."""
        x = x_t.double()
        signal, noise, share_0, share_t, var = (c.view(-1, 1) for c in (*self.process._at(t, x, "marginal"), *line))
        total = signal.square() * self.prior_var + noise  # variance of x_t about a component's mean
        square = (x.unsqueeze(1) - signal.unsqueeze(1) * self.means).square().sum(-1)
        weight = torch.log_softmax(self.log_weights - 0.5 * square / total, 1)
        # x_0 given x_t and its component: shrink towards the component's mean
        gain = signal * self.prior_var / total
        x_0 = self.means + gain.unsqueeze(1) * (x.unsqueeze(1) - signal.unsqueeze(1) * self.means)
        within = self.prior_var * noise / total
        mean = share_0.unsqueeze(1) * x_0 + share_t.unsqueeze(1) * x.unsqueeze(1)  # (n, K, d)
        spread = var + share_0.square() * within  # (n, 1) or (1, 1)
        n, k, d = mean.shape
        if self.family == "mixture":
            each = spread.expand(n, 1).repeat_interleave(k, 0)
            parts = Gaussian(mean.reshape(n * k, d).to(x_t.dtype), each.to(x_t.dtype))
            return Mixture(weight.to(x_t.dtype), parts)
        p = weight.exp().unsqueeze(-1)
        centre = (p * mean).sum(1)
        off = mean - centre.unsqueeze(1)
        if self.family == "diagonal":
            return Gaussian(centre.to(x_t.dtype), ((p * off.square()).sum(1) + spread).to(x_t.dtype))
        cov = (p * off).mT @ off + spread.view(-1, 1, 1) * torch.eye(d, dtype=torch.float64)
        return MultivariateGaussian(centre.to(x_t.dtype), cholesky(cov).to(x_t.dtype))


def kl_to_exact(
    process: ForwardProcess,
    kernel: ReverseKernel,
    best: ReverseKernel,
    x_0: Tensor,
    *,
    steps: Tensor | None = None,
    generator: Generator | None = None,
) -> Tensor:
    r"""Measure KL(p* || p) of each step at forward draws: how far ``kernel`` is below its family's best.

    The bound of ``kernel`` is that of ``best`` less the mean of the sum over steps (module docstring), with a far
    smaller error than when both are estimated apart.

    Parameters
    ----------
    best : ReverseKernel
        The family's best member, such as ``ExactBernoulliKernel(..., factorised=True)``.
    steps : Tensor, shape (m,), optional
        Steps to visit; all of 1..T if not given.

    Returns
    -------
    Tensor, shape (batch, m)
        Nats, never negative but for rounding.
    """
    kernel, best = kernel.on(process), best.on(process)
    visited = torch.arange(1, process.n_steps + 1) if steps is None else steps
    lost = []
    for pair in torch.arange(len(x_0) * len(visited)).split(stacked_rows(x_0)):
        x, t = x_0[pair // len(visited)], visited[pair % len(visited)]
        x_t = process.marginal(x, t).sample(generator)
        lost.append(best(x_t, t).kl(kernel(x_t, t)))
    return torch.cat(lost).view(len(x_0), len(visited))
