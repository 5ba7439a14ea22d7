r"""The paper's bounds on the entropy of each reverse step.

.. math::

    H_q(X_t \mid X_{t-1}) + H_q(X_{t-1} \mid X_0) - H_q(X_t \mid X_0)
    \;\le\; H_q(X_{t-1} \mid X_t) \;\le\; H_q(X_t \mid X_{t-1}) \qquad (24)

hold for the true reversal. The lower limit holds for any data, the upper one where noise raises the entropy. A learned
kernel whose mean entropy is outside the band is badly fitted at that step.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.likelihood.scores import stacked_rows
from quasistatic.random import Rng
from quasistatic.reverse import ReverseKernel

__all__ = ["ReverseEntropyBounds", "reverse_entropy_bounds"]


@dataclass(frozen=True)
class ReverseEntropyBounds:
    """Entropy bounds and model entropies of each reverse step, nats.

    Parameters
    ----------
    lower, upper : Tensor, shape (T - 1,)
        Lower and upper limit of eq. (24) for t = 2..T, averaged over the data.
    model, model_se : Tensor, shape (T - 1,)
        Mean entropy of the kernel at forward draws, and its standard error.
    unmet : str
        Why the upper limit need not hold for this data; empty if it must.
    """

    lower: Tensor
    upper: Tensor
    model: Tensor
    model_se: Tensor
    unmet: str = ""


@torch.no_grad()
def reverse_entropy_bounds(
    process: ForwardProcess, kernel: ReverseKernel, x_0: Tensor, *, generator: Rng | None = None
) -> ReverseEntropyBounds:
    r"""Measure the band of eq. (24) and the kernel's own entropy.

    The upper limit needs noise to raise the entropy of :math:`x_t` at every step. As :math:`\mathrm{KL}(q(x_t) \| \pi)`
    falls, it does so if

    .. math:: -E \log \pi(x_0) \le H(\pi),

    that is, for a Gaussian process, if the mean square over all entries is at most one, and for a Bernoulli process if the
    mean rate is rho (or, with rho below one half, less). Data that violate this by more than five standard errors raise
    a warning, whose text is kept in ``unmet``.

    Parameters
    ----------
    process : ForwardProcess
        The forward process; the kernel is moved to its steps.
    kernel : ReverseKernel
        The model.
    x_0 : Tensor, shape (n, *event)
        Data in model units, two rows or more.
    generator : Generator, optional
        Source of the draws.

    Raises
    ------
    InputError
        If there are fewer than two rows.

    References
    ----------
    Sohl-Dickstein et al. (2015), Section 2.6 and Appendix A.

    Examples
    --------
    White data and its exact kernel: each step back has the entropy of the step forwards.

    >>> from quasistatic.forward import GaussianDiffusion
    >>> from quasistatic.networks import ResidualMLP
    >>> from quasistatic.reverse import GaussianDenoiser
    >>> q = GaussianDiffusion(torch.tensor([0.5, 0.5, 0.5]))
    >>> x = torch.tensor([[0.5, -1.0], [-0.5, 1.0]])
    >>> band = reverse_entropy_bounds(q, GaussianDenoiser(q, ResidualMLP(2, 4), 2), x)
    >>> bool((band.lower < band.model).all()), (band.model - band.upper).abs().max().item() < 1e-6, band.unmet
    (True, True, '')
    """
    if len(x_0) < 2:
        raise InputError(f"an entropy band needs two rows of data or more, got {len(x_0)}")
    unmet = _unmet(process, x_0)
    if unmet:
        warnings.warn(f"the upper limit of the entropy band need not hold: {unmet}", stacklevel=3)  # past no_grad
    kernel = kernel.on(process)
    lower, upper, model, error = [], [], [], []
    before = process.marginal(x_0, 1)
    for t in range(2, process.n_steps + 1):
        x_prev = before.sample(generator)
        step = process.step(x_prev, t)
        now = process.marginal(x_0, t)
        forwards = step.entropy().mean()
        upper.append(forwards)
        lower.append(forwards + (before.entropy() - now.entropy()).mean())
        x_t = step.sample(generator)
        own = torch.cat([_entropy(kernel, x, t, generator) for x in x_t.split(stacked_rows(x_0))])
        model.append(own.mean())
        error.append(own.std() / len(own) ** 0.5)
        before = now
    table = [torch.stack(values) if values else x_0.new_empty(0) for values in (lower, upper, model, error)]
    return ReverseEntropyBounds(table[0], table[1], table[2], table[3], unmet)


def _entropy(kernel: ReverseKernel, x_t: Tensor, t: int, generator: Rng | None) -> Tensor:
    """Return the entropy of each row.

    It is estimated by one draw where there is no closed form.
    """
    p = kernel(x_t, t)
    return p.entropy() if p.has_kl else -p.log_prob(p.sample(generator))


def _unmet(process: ForwardProcess, x_0: Tensor) -> str:
    pi = process.stationary(x_0.shape, torch.float64)
    excess = -pi.log_prob(x_0.double()) - pi.entropy()
    mean, error = excess.mean().item(), excess.std().item() / len(x_0) ** 0.5
    if mean <= 5 * error + 1e-9 * x_0[0].numel():
        return ""
    return f"-log pi(x) of the data is on average {mean:.3g} ± {error:.2g} nats above the entropy of pi"
