"""Bits that are forgotten one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from quasistatic.checks import require_memory, shown, tensor_of
from quasistatic.distributions import Bernoulli, Distribution
from quasistatic.errors import InputError
from quasistatic.forward.base import ForwardProcess
from quasistatic.storage.modules import saveable

__all__ = ["BernoulliDiffusion"]


@saveable
class BernoulliDiffusion(ForwardProcess):
    r"""Fixed process on bits that forgets them towards independent coin tosses of rate rho.

    One step keeps each bit with probability 1 - beta_t and else draws it afresh,

    .. math:: q(x_t = 1 \mid x_{t-1}) = (1 - \beta_t)\,x_{t-1} + \beta_t\,\rho,

    hence :math:`q(x_t = 1 \mid x_0) = \bar\alpha_t x_0 + (1 - \bar\alpha_t)\rho`. Total erasure, beta_T = 1, is
    allowed.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Rates in (0, 1], one only at the last step.
    rho : float or Tensor, shape (*event)
        Rate of ones in the noise; the mean rate of the data, for all bits or for each.

    References
    ----------
    Sohl-Dickstein et al. (2015), Table App. 1 with 0.5 replaced by the rate of Section D.1.2.

    Examples
    --------
    A one that has lost half its signal towards rate 0.2:

    >>> q = BernoulliDiffusion(beta=torch.tensor([0.5, 1.0]), rho=0.2)
    >>> q.marginal(torch.ones(1, 1), t=1).probs.item(), q.marginal(torch.ones(1, 1), t=2).probs.item()
    (0.6000000238418579, 0.20000000298023224)
    """

    rho: Tensor
    _groups: ClassVar[dict[str, slice]] = {
        "step": slice(0, 2), "marginal": slice(2, 4), "posterior": slice(4, 12), "ratio": slice(12, 14),
    }  # fmt: skip

    def __init__(self, beta: Tensor, rho: float | Tensor = 0.5) -> None:
        super().__init__(beta, total_erasure=True)
        rate_of_ones = tensor_of("rho", rho, float64=True)
        require_memory(
            f"a chain of {self.n_steps} steps over {rate_of_ones.numel()} bits",
            8.0 * 40 * (self.n_steps + 1) * rate_of_ones.numel(), "take fewer steps, or one rate for all bits",
        )  # fmt: skip
        if not ((rate_of_ones > 0) & (rate_of_ones < 1)).all():
            raise InputError(f"rho must lie strictly between 0 and 1, got {shown(rate_of_ones.tolist())}")
        self.register_buffer("rho", rate_of_ones.to(self.beta.device), persistent=False)
        event = (1,) * self.rho.dim()

        def over_event(values: Tensor) -> Tensor:
            return values.view(-1, *event).expand(-1, *self.rho.shape)

        rho, rate, signal, noise = self.rho, *map(over_event, (self.beta, self.alpha_bar, self.noise_bar))
        before_signal, before_noise = (torch.cat([x[:1], x[:-1]]) for x in (signal, noise))
        back = {}  # P(x_{t-1} = x | x_t, x_0) for all triples of bits, by Bayes
        for x_0 in (0, 1):
            one = before_signal * x_0 + before_noise * rho
            zero = before_noise * (1 - rho) if x_0 else 1 - before_noise * rho
            for x_t in (0, 1):
                from_one = one * (1 - rate * (1 - rho) if x_t else rate * (1 - rho))
                from_zero = zero * (rate * rho if x_t else 1 - rate * rho)
                total = from_one + from_zero
                back[1, x_0, x_t] = torch.nan_to_num(from_one / total)
                back[0, x_0, x_t] = torch.nan_to_num(from_zero / total)
        ratio_one = torch.log(signal + noise * rho) - torch.log(noise * rho)
        ratio_zero = torch.log(noise * (1 - rho)) - torch.log1p(-noise * rho)
        columns = [
            1 - rate, rate * rho, signal, noise * rho,
            *(part for x in (1, 0) for x_0 in (1, 0)
              for part in (back[x, x_0, 0], back[x, x_0, 1] - back[x, x_0, 0])),
            ratio_zero, ratio_one - ratio_zero,
        ]  # fmt: skip
        self.register_buffer("_table", torch.stack(columns, 1), persistent=False)

    def with_beta(self, beta: Tensor) -> BernoulliDiffusion:
        return BernoulliDiffusion(beta.to(self.beta.device), self.rho)

    def stationary(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Bernoulli:
        return Bernoulli(self.rho.to(dtype or torch.get_default_dtype()).expand(*shape))

    def step(self, x_prev: Tensor, t: int | Tensor) -> Bernoulli:
        keep, fresh = self._at(t, x_prev, "step")
        return Bernoulli(keep * x_prev + fresh)

    def marginal(self, x_0: Tensor, t: int | Tensor) -> Bernoulli:
        signal, noise = self._at(t, x_0, "marginal")
        return Bernoulli(signal * x_0 + noise)

    def posterior(self, x_0: Tensor | Bernoulli, x_t: Tensor, t: int | Tensor) -> Bernoulli:
        """One step back when the data is known, or known to be one of a law of independent bits."""
        given = x_0 if isinstance(x_0, Bernoulli) else Bernoulli(x_0)
        one_1, d_one_1, one_0, d_one_0, zero_1, d_zero_1, zero_0, d_zero_0 = self._at(t, x_t, "posterior")
        one = given.probs * (one_1 + d_one_1 * x_t) + given.complement * (one_0 + d_one_0 * x_t)
        zero = given.probs * (zero_1 + d_zero_1 * x_t) + given.complement * (zero_0 + d_zero_0 * x_t)
        return Bernoulli(one, zero)

    def _posterior_over(self, given: Distribution, x_t: Tensor, t: int) -> Bernoulli:
        if not isinstance(given, Bernoulli):
            raise InputError(f"data of bits needs a Bernoulli distribution, got a {type(given).__name__}")
        return self.posterior(given, x_t, t)

    def _data_given_step(self, step: Distribution, x_t: Tensor, t: int, least: float) -> Bernoulli:
        one, zero = self.posterior(torch.ones_like(x_t), x_t, t), self.posterior(torch.zeros_like(x_t), x_t, t)
        return Bernoulli(((step.mean - zero.probs) / (one.probs - zero.probs)).clamp(least, 1.0 - least))

    def check(self, x: Tensor) -> None:
        allowed = (x == 0) | (x == 1)
        if not allowed.all():
            where = (~allowed).nonzero()[0].tolist()
            raise InputError(f"data holds {x[tuple(where)].item()} at index {where}, but bits must be 0 or 1")

    def log_likelihood_ratio(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        r"""How far each noisy bit speaks for a one, :math:`\log q(x_t \mid 1) / q(x_t \mid 0)`, (batch, *event)."""
        base, by_t = self._at(t, x_t, "ratio")
        return base + by_t * x_t

    def log_ratio_of_a_bit(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        r"""How much further a noisy one speaks for a one than a noisy zero does: the unit of evidence at step t.

        :math:`\log q(1 \mid 1) / q(1 \mid 0) - \log q(0 \mid 1) / q(0 \mid 0)`, a tensor
        broadcastable to ``x_t``.
        It falls from infinity at the data to zero where all is erased.
        """
        return self._at(t, x_t, "ratio")[1]
