r"""Data distributions whose every :math:`p(x_{t-1} \mid x_t)` is known.

Used as ground truth in tests, as the best attainable bound, and as a control variate. If :math:`p^*` is the best member
of an exponential family (the one with the right moments), then for any other member :math:`p` of that family

.. math:: E\,\mathrm{KL}(q \,\|\, p) = E\,\mathrm{KL}(q \,\|\, p^*) + E\,\mathrm{KL}(p^* \,\|\, p),

so the bound of :math:`p` is the limit of its family less a sum of small non-negative terms (:func:`kl_to_exact`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.checks import one_of
from quasistatic.distributions import Bernoulli, Distribution, Gaussian, Mixture, MultivariateGaussian
from quasistatic.forward import BernoulliDiffusion, ForwardProcess, GaussianDiffusion
from quasistatic.likelihood.scores import stacked_rows
from quasistatic.linalg import cholesky
from quasistatic.random import Rng
from quasistatic.reverse import ReverseKernel
from quasistatic.reverse.kernel import repeat_steps

__all__ = ["ExactBernoulliKernel", "ExactGaussianMixtureKernel", "kl_to_exact"]


class ExactBernoulliKernel(ReverseKernel[BernoulliDiffusion]):
    r"""Exact kernel of bits with finitely many patterns.

    The data are :math:`p(x_0) = \sum_k w_k [x_0 = a_k]`.

    Parameters
    ----------
    process : BernoulliDiffusion
        The process that the kernel reverses.
    atoms : Tensor, shape (K, *event)
        The patterns.
    weights : Tensor, shape (K,), optional
        Their probabilities; equal if not given.
    factorised : bool
        Return the best product of bits; by default the exact kernel, a mixture over patterns.
    """

    def __init__(
        self, process: BernoulliDiffusion, atoms: Tensor, weights: Tensor | None = None, factorised: bool = False
    ) -> None:
        super().__init__(process)
        self.factorised = factorised
        self.register_buffer("atoms", atoms.double(), persistent=False)
        equal = torch.full((len(atoms),), 1.0 / len(atoms), dtype=torch.float64)
        self.register_buffer("log_weights", (equal if weights is None else weights.double()).log(), persistent=False)

    atoms: Tensor
    log_weights: Tensor

    @property
    def n_components(self) -> int:  # type: ignore[override]
        """Number of patterns, or 1 for the best product."""
        return 1 if self.factorised else len(self.atoms)

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        log_weights, k = self._log_posterior(x_t, t), len(self.atoms)
        if self.factorised:
            return self.process.posterior(self._margins(log_weights, x_t), x_t, t)
        x_repeated = x_t.repeat_interleave(k, 0)
        back = self.process.posterior(self._patterns(x_t), x_repeated, repeat_steps(t, k))
        return Mixture(log_weights.to(x_t.dtype), back)

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Bernoulli | Mixture:
        log_weights = self._log_posterior(x_t, t)
        if self.factorised:
            return self._margins(log_weights, x_t)
        return Mixture(log_weights.to(x_t.dtype), self._patterns(x_t))

    def _margins(self, log_weights: Tensor, x_t: Tensor) -> Bernoulli:
        return Bernoulli((log_weights.exp() @ self.atoms.flatten(1)).view_as(x_t).to(x_t.dtype))

    def _patterns(self, x_t: Tensor) -> Bernoulli:
        """Return the patterns as bits, once for each row."""
        return Bernoulli(self.atoms.to(x_t.dtype).repeat(len(x_t), *(1,) * (self.atoms.dim() - 1)))

    def _log_posterior(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """Return the log probability of each pattern given x_t, (batch, K), float64."""
        ratio = self.process.log_likelihood_ratio(x_t, t).double().flatten(1)
        # an infinite ratio (no noise yet) times a zero bit must not make nan
        finite = torch.nan_to_num(ratio, posinf=1e9, neginf=-1e9)
        return torch.log_softmax(self.log_weights + finite @ self.atoms.flatten(1).T, 1)


class ExactGaussianMixtureKernel(ReverseKernel[GaussianDiffusion]):
    r"""Exact kernel of data from a mixture of Gaussians.

    The data are :math:`p(x_0) = \sum_k w_k \mathcal{N}(x_0; \mu_k, s^2 I)`.

    Parameters
    ----------
    process : GaussianDiffusion
        The process that the kernel reverses.
    means : Tensor, shape (K, d)
        :math:`\mu_k`.
    var : float
        :math:`s^2`, of every component.
    weights : Tensor, shape (K,), optional
        :math:`w_k`; equal if not given.
    family : {"mixture", "full", "diagonal"}
        The exact kernel, or the best Gaussian with full or diagonal covariance.
    """

    def __init__(
        self,
        process: GaussianDiffusion,
        means: Tensor,
        var: float,
        weights: Tensor | None = None,
        family: str = "mixture",
    ) -> None:
        super().__init__(process)
        one_of("family", family, ("mixture", "full", "diagonal"))
        self.prior_var, self.family = var, family
        self.register_buffer("means", means.double(), persistent=False)
        equal = torch.full((len(means),), 1.0 / len(means), dtype=torch.float64)
        self.register_buffer("log_weights", (equal if weights is None else weights.double()).log(), persistent=False)

    means: Tensor
    log_weights: Tensor

    def log_prob(self, x_0: Tensor) -> Tensor:
        """Return the true log density of data (batch, d), in nats."""
        d = self.means.shape[1]
        square = torch.cdist(x_0.double(), self.means).square()
        log_norm = 0.5 * d * math.log(2.0 * math.pi * self.prior_var)
        return torch.logsumexp(self.log_weights - square / (2.0 * self.prior_var), 1) - log_norm

    @property
    def n_components(self) -> int:  # type: ignore[override]
        """Number of components, or 1 for the best Gaussian."""
        return len(self.means) if self.family == "mixture" else 1

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self._line(x_t, t, *self.process._at(t, x_t.double(), "posterior"))

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        one = x_t.new_ones((), dtype=torch.float64)
        return self._line(x_t, t, one, 0.0 * one, 0.0 * one)

    def _line(self, x_t: Tensor, t: int | Tensor, *line: Tensor) -> Distribution:
        """Return the distribution of share_0 x_0 + share_t x_t + sqrt(var) noise.

        ``line`` is (share_0, share_t, var).
        """
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
        total_var = var + share_0.square() * within  # (n, 1) or (1, 1)
        n, k, d = mean.shape
        if self.family == "mixture":
            each = total_var.expand(n, 1).repeat_interleave(k, 0)
            parts = Gaussian(mean.reshape(n * k, d).to(x_t.dtype), each.to(x_t.dtype))
            return Mixture(weight.to(x_t.dtype), parts)
        p = weight.exp().unsqueeze(-1)
        centre = (p * mean).sum(1)
        off = mean - centre.unsqueeze(1)
        if self.family == "diagonal":
            return Gaussian(centre.to(x_t.dtype), ((p * off.square()).sum(1) + total_var).to(x_t.dtype))
        cov = (p * off).mT @ off + total_var.view(-1, 1, 1) * torch.eye(d, dtype=torch.float64)
        return MultivariateGaussian(centre.to(x_t.dtype), cholesky(cov).to(x_t.dtype))


def kl_to_exact(
    process: ForwardProcess,
    kernel: ReverseKernel,
    best: ReverseKernel,
    x_0: Tensor,
    *,
    steps: Tensor | None = None,
    generator: Rng | None = None,
) -> Tensor:
    r"""Measure the KL from the best kernel at each step.

    The divergence is KL(p* || p), with p* the distribution of ``best`` and p that of ``kernel``, at states drawn from the
    forward process. The bound of ``kernel`` is the bound of ``best`` minus the sum over steps, averaged over the data.
    The standard error is far smaller than that of the difference of two estimated bounds.

    Parameters
    ----------
    process : ForwardProcess
        The forward process; both kernels are moved to its steps.
    kernel : ReverseKernel
        The model.
    best : ReverseKernel
        The family's best member, such as ``ExactBernoulliKernel(..., factorised=True)``.
    x_0 : Tensor, shape (batch, *event)
        Data in model units.
    steps : Tensor, shape (m,), optional
        Steps to evaluate; all of 1..T if not given.
    generator : Generator, optional
        Source of the draws.

    Returns
    -------
    Tensor, shape (batch, m)
        Nats, never negative but for rounding.
    """
    kernel, best = kernel.on(process), best.on(process)
    chosen = torch.arange(1, process.n_steps + 1) if steps is None else steps
    losses = []
    for pair in torch.arange(len(x_0) * len(chosen)).split(stacked_rows(x_0)):
        x, t = x_0[pair // len(chosen)], chosen[pair % len(chosen)]
        x_t = process.marginal(x, t).sample(generator)
        losses.append(best(x_t, t).kl(kernel(x_t, t)))
    return torch.cat(losses).view(len(x_0), len(chosen))
