r"""The paper's bounds on the entropy of each reverse step, as a diagnostic.

.. math::

    H_q(X_t \mid X_{t-1}) + H_q(X_{t-1} \mid X_0) - H_q(X_t \mid X_0)
    \;\le\; H_q(X_{t-1} \mid X_t) \;\le\; H_q(X_t \mid X_{t-1}) \qquad (24)

hold for the true reversal, under conditions on the data; a learned kernel whose own mean entropy leaves the band
is mis-fitted there.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from quasistatic.bound import stacked_rows
from quasistatic.forward import BinomialDiffusion, Diffusion
from quasistatic.reverse import ReverseKernel

__all__ = ["EntropyBand", "entropy_band"]


@dataclass(frozen=True)
class EntropyBand:
    """Entropies of the steps t = 2..T in nats, each (T - 1,).

    Attributes
    ----------
    lower, upper : Tensor
        The band of eq. (24), averaged over the data.
    model, model_se : Tensor
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
def entropy_band(
    diffusion: Diffusion, kernel: ReverseKernel, x_0: Tensor, *, generator: Generator | None = None
) -> EntropyBand:
    """Measure the band of eq. (24) and where the kernel's own entropy lies.

    The upper limit needs noise to raise entropy at every step: for a Gaussian process data of mean square at
    most one in each entry, for a binomial one bits of mean rate rho. Where that fails, a warning says so and ``unmet`` keeps it.

    Parameters
    ----------
    x_0 : Tensor, shape (n, *event)
        Data in model units.
    """
    unmet = _unmet(diffusion, x_0)
    if unmet:
        warnings.warn(f"the upper limit of the entropy band need not hold: {unmet}", stacklevel=2)
    kernel = kernel.on(diffusion)
    lower, upper, model, error = [], [], [], []
    before = diffusion.marginal(x_0, 1)
    for t in range(2, diffusion.n_steps + 1):
        x_prev = before.sample(generator)
        step = diffusion.step(x_prev, t)
        now = diffusion.marginal(x_0, t)
        forwards = step.entropy().mean()
        upper.append(forwards)
        lower.append(forwards + (before.entropy() - now.entropy()).mean())
        x_t = step.sample(generator)
        own = torch.cat([_entropy(kernel, x, t, generator) for x in x_t.split(stacked_rows(x_0))])
        model.append(own.mean())
        error.append(own.std() / len(own) ** 0.5)
        before = now
    return EntropyBand(torch.stack(lower), torch.stack(upper), torch.stack(model), torch.stack(error), unmet)


def _entropy(kernel: ReverseKernel, x_t: Tensor, t: int, generator: Generator | None) -> Tensor:
    """Entropy of each row, by one draw where there is no closed form."""
    p = kernel(x_t, t)
    return p.entropy() if p.has_kl else -p.log_prob(p.sample(generator))


def _unmet(diffusion: Diffusion, x_0: Tensor) -> str:
    n = len(x_0)
    if isinstance(diffusion, BinomialDiffusion):
        rate = x_0.double().mean(0)
        error = (diffusion.rho * (1 - diffusion.rho) / n).sqrt()
        off = ((rate - diffusion.rho).abs() / error).max().item()
        return f"a bit's rate is {off:.1f} standard errors from rho" if off > 5 else ""
    square = x_0.double().square()
    excess = ((square.mean(0) - 1.0) / (square.std(0) / n**0.5)).max().item()
    worst = square.mean(0).max().item()
    return f"an entry has mean square {worst:.3f}, above 1" if excess > 5 else ""
