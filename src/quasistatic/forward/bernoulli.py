"""Bernoulli forward process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from quasistatic.checks import shown, tensor_of
from quasistatic.distributions import Bernoulli, Distribution
from quasistatic.errors import InputError
from quasistatic.forward.base import ForwardProcess
from quasistatic.memory import require_memory
from quasistatic.storage.modules import saveable

__all__ = ["BernoulliDiffusion"]


@saveable
class BernoulliDiffusion(ForwardProcess):
    r"""Forward process that gradually replaces bits by random ones.

    One step keeps each bit with probability 1 - beta_t and otherwise redraws it as a one with
    probability rho,

    .. math:: q(x_t = 1 \mid x_{t-1}) = (1 - \beta_t)\,x_{t-1} + \beta_t\,\rho,

    hence :math:`q(x_t = 1 \mid x_0) = \bar\alpha_t x_0 + (1 - \bar\alpha_t)\rho`. Total erasure, beta_T = 1, is
    allowed.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Rates in (0, 1]; only the last may be one.
    rho : float or Tensor, shape (*event)
        Rate of ones of the stationary distribution, for all bits or for each. Use the mean rate of the data.

    References
    ----------
    Sohl-Dickstein et al. (2015), Table App. 1 with 0.5 replaced by the rate of Section D.1.2.

    Examples
    --------
    A one after half of its signal is lost, with rho = 0.2:

    >>> q = BernoulliDiffusion(beta=torch.tensor([0.5, 1.0]), rho=0.2)
    >>> q.marginal(torch.ones(1, 1), t=1).probs.item(), q.marginal(torch.ones(1, 1), t=2).probs.item()
    (0.6000000238418579, 0.20000000298023224)
    """

    rho: Tensor
    _groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "step": ("keep", "fresh"),
        "marginal": ("signal", "noise"),
        # P(x_{t-1} = x | x_0, x_t = 0) as "back_{x}{x_0}", and what x_t = 1 adds to it as "more_{x}{x_0}"
        "posterior": ("back_11", "more_11", "back_10", "more_10", "back_01", "more_01", "back_00", "more_00"),
        "ratio": ("ratio_of_0", "ratio_of_1_over_0"),
    }

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
        ratio_of_1 = torch.log(signal + noise * rho) - torch.log(noise * rho)
        ratio_of_0 = torch.log(noise * (1 - rho)) - torch.log1p(-noise * rho)
        self._keep_coefficients({
            "keep": 1 - rate, "fresh": rate * rho, "signal": signal, "noise": noise * rho,
            **_posterior_columns(rho, rate, signal, noise),
            "ratio_of_0": ratio_of_0, "ratio_of_1_over_0": ratio_of_1 - ratio_of_0,
        })  # fmt: skip

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
        r"""Return the distribution of one step back given the data.

        .. math:: q(x_{t-1} \mid x_t, x_0)

        Parameters
        ----------
        x_0 : Tensor or Bernoulli, shape (batch, *event)
            Data, or independent bits over which the posterior is averaged.
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 1 to T.
        """
        given = x_0 if isinstance(x_0, Bernoulli) else Bernoulli(x_0)
        one_1, more_one_1, one_0, more_one_0, zero_1, more_zero_1, zero_0, more_zero_0 = self._at(t, x_t, "posterior")
        one = given.probs * (one_1 + more_one_1 * x_t) + given.complement * (one_0 + more_one_0 * x_t)
        zero = given.probs * (zero_1 + more_zero_1 * x_t) + given.complement * (zero_0 + more_zero_0 * x_t)
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
        r"""Return the log likelihood ratio of each bit.

        .. math:: \log q(x_t \mid x_0 = 1) / q(x_t \mid x_0 = 0)

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 0 to T.

        Returns
        -------
        Tensor, shape (batch, *event)
        """
        at_zero, difference = self._at(t, x_t, "ratio")
        return at_zero + difference * x_t

    def log_ratio_difference(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        r"""Return the difference of the log likelihood ratios of two states.

        It compares :math:`x_t = 1` with :math:`x_t = 0`,

        .. math:: \log \frac{q(1 \mid 1)}{q(1 \mid 0)} - \log \frac{q(0 \mid 1)}{q(0 \mid 0)}

        It falls from infinity at the data to zero where all is erased. Denoisers scale the network's logits by it.

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 0 to T.

        Returns
        -------
        Tensor, broadcastable to ``x_t``
        """
        return self._at(t, x_t, "ratio")[1]


def _posterior_columns(rho: Tensor, rate: Tensor, signal: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """Tabulate the posterior for all triples of bits, by Bayes' rule."""
    signal_before, noise_before = (torch.cat([x[:1], x[:-1]]) for x in (signal, noise))
    back = {}
    for x_0 in (0, 1):
        one = signal_before * x_0 + noise_before * rho
        zero = noise_before * (1 - rho) if x_0 else 1 - noise_before * rho
        for x_t in (0, 1):
            from_one = one * (1 - rate * (1 - rho) if x_t else rate * (1 - rho))
            from_zero = zero * (rate * rho if x_t else 1 - rate * rho)
            total = from_one + from_zero
            back[1, x_0, x_t] = torch.nan_to_num(from_one / total)
            back[0, x_0, x_t] = torch.nan_to_num(from_zero / total)
    columns = {}
    for x in (1, 0):
        for x_0 in (1, 0):
            columns[f"back_{x}{x_0}"] = back[x, x_0, 0]
            columns[f"more_{x}{x_0}"] = back[x, x_0, 1] - back[x, x_0, 0]
    return columns
