r"""Forward processes: data diffused in T small steps to a distribution that can be written down.

A process is the chain :math:`q(x_t \mid x_{t-1})`, t = 1..T, that leaves :math:`\pi` unchanged and carries any
:math:`x_0` towards it. Four questions are all the rest of the library asks of it:

=============  ======================================  =======================
method         law                                     symbol
=============  ======================================  =======================
``stationary``  the noise end                          :math:`\pi(x_T)`
``step``        one step forwards                      :math:`q(x_t \mid x_{t-1})`
``marginal``    t steps at once                        :math:`q(x_t \mid x_0)`
``posterior``   one step back when the data is known   :math:`q(x_{t-1} \mid x_t, x_0)`
=============  ======================================  =======================

Steps count from one and ``t = 0`` is the data: tables have T + 1 entries and ``alpha_bar[0] == 1``. ``t`` is an
``int`` for a whole batch or a tensor of shape (batch,) with one step per row. Tables are kept in float64 whatever
the module is cast to, and read out in the dtype of the state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from quasistatic.distributions import Bernoulli, Distribution, Gaussian
from quasistatic.saving import saveable

__all__ = ["BinomialDiffusion", "Diffusion", "GaussianDiffusion", "expand_right"]


def expand_right(values: Tensor, like: Tensor) -> Tensor:
    """Give (batch,) values trailing ones, to broadcast against (batch, *event)."""
    return values.view(values.shape + (1,) * (like.dim() - values.dim()))


class Diffusion(nn.Module, ABC):
    r"""What all forward processes share: the rates, their products, and the same process on another grid.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Diffusion rates of steps 1 to T.

    Attributes
    ----------
    n_steps : int
        T.
    beta, alpha_bar, log_snr : Tensor, shape (T + 1,), float64
        Rates, remaining signal :math:`\bar\alpha_t = \prod_{s \le t}(1 - \beta_s)` and
        :math:`\log \bar\alpha_t / (1 - \bar\alpha_t)`, with the data at index 0.
    """

    beta: Tensor
    alpha_bar: Tensor
    log_snr: Tensor
    noise_bar: Tensor
    _table: Tensor
    _groups: ClassVar[dict[str, slice]]

    def __init__(self, beta: Tensor, *, total_erasure: bool = False) -> None:
        super().__init__()
        beta = torch.as_tensor(beta)
        rule = "in (0, 1], one only at the last step" if total_erasure else "strictly between 0 and 1"
        inside = (beta > 0) & (beta <= 1 if total_erasure else beta < 1)
        if beta.dim() != 1 or len(beta) < 1 or not inside.all() or (beta[:-1] >= 1).any():
            raise ValueError(f"beta must be a vector of rates {rule}, got {beta.tolist()}")
        # float64: alpha_bar is a product of up to thousands of factors near one.
        beta = torch.cat([beta.new_zeros(1), beta]).double()
        log_alpha_bar = torch.log1p(-beta).cumsum(0)
        self.n_steps = len(beta) - 1
        self.register_buffer("beta", beta, persistent=False)
        self.register_buffer("alpha_bar", log_alpha_bar.exp(), persistent=False)
        self.register_buffer("noise_bar", -torch.expm1(log_alpha_bar), persistent=False)  # 1 - alpha_bar
        self.register_buffer("log_snr", log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar)), persistent=False)
        self._cast: dict[tuple[str, torch.dtype], Tensor] = {}
        self._rows: dict[tuple[str, torch.dtype, int], Sequence[Tensor]] = {}
        self._clocks: dict[tuple[torch.dtype, int], Tensor] = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Diffusion:
        """Follow the module to another device, but never to another precision."""
        self._cast, self._rows, self._clocks = {}, {}, {}
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self

    def _at(self, t: int | Tensor, like: Tensor, group: str) -> Sequence[Tensor]:
        """Some columns of the coefficient table at step t: 0-d tensors for an int, (batch, 1, ..) else."""
        if isinstance(t, int):
            row = self._rows.get((group, like.dtype, t))
            return self._row(t, like.dtype, group) if row is None else row
        picked = self._columns(like.dtype, group).index_select(0, t)
        return picked.view(picked.shape[:2] + (1,) * (like.dim() + 1 - picked.dim()) + picked.shape[2:]).unbind(1)

    def _row(self, t: int, dtype: torch.dtype, group: str) -> Sequence[Tensor]:
        """Read one step, and keep it: a chain asks again and again, and tensors cost it half of what floats do."""
        if not 0 <= t <= self.n_steps:
            raise ValueError(f"t must lie between 0 and n_steps = {self.n_steps}, got {t}")
        with torch.inference_mode(False):  # what is kept must serve training too
            row = self._columns(dtype, group)[t]
            parts = row.unbind(0) if row.dim() else (row,)
        if not self._table.requires_grad:
            self._rows[group, dtype, t] = parts
        return parts

    def _columns(self, dtype: torch.dtype, group: str) -> Tensor:
        """Columns of the coefficient table in the given precision, or the clock."""
        table = self._cast.get((group, dtype))
        if table is None:
            whole = self.log_snr if group == "log_snr" else self._table[:, self._groups[group]]
            if self._table.requires_grad:  # rates that are being learned
                return whole.to(dtype)
            with torch.inference_mode(False):
                table = self._cast[group, dtype] = whole.to(dtype).contiguous()
        return table

    def log_snr_at(self, t: int | Tensor, like: Tensor) -> Tensor:
        """Log signal-to-noise ratio at step t, one for each row of ``like``, (batch,)."""
        if isinstance(t, int):
            clock = self._clocks.get((like.dtype, t))
            if clock is None or len(clock) != len(like):
                clock = self._at(t, like, "log_snr")[0].expand(len(like))
                if not clock.requires_grad:
                    self._clocks[like.dtype, t] = clock
            return clock
        return self._columns(like.dtype, "log_snr").index_select(0, t)

    @abstractmethod
    def with_beta(self, beta: Tensor) -> Diffusion:
        """Build the same family of process with other rates."""

    @abstractmethod
    def stationary(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Distribution:
        r"""Noise end :math:`\pi`, for a batch of the given shape (batch, *event)."""

    @abstractmethod
    def step(self, x_prev: Tensor, t: int | Tensor) -> Distribution:
        r"""One step forwards, :math:`q(x_t \mid x_{t-1})`, t = 1..T."""

    @abstractmethod
    def marginal(self, x_0: Tensor, t: int | Tensor) -> Distribution:
        r"""Law of t steps at once, :math:`q(x_t \mid x_0)`, t = 0..T."""

    @abstractmethod
    def posterior(self, x_0: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        r"""One step back when the data is known, :math:`q(x_{t-1} \mid x_t, x_0)`, t = 2..T.

        At t = 1 it is the point mass at ``x_0``.
        """

    def respaced(self, steps: int | Sequence[int]) -> Diffusion:
        """View the same process at fewer steps.

        Parameters
        ----------
        steps : int or increasing sequence of int
            The steps of this chain to keep, the last one T; or how many, spread evenly.

        Examples
        --------
        >>> q = GaussianDiffusion(torch.tensor([0.25, 0.5, 0.5]))
        >>> q.respaced([1, 3]).alpha_bar.tolist() == q.alpha_bar[[0, 1, 3]].tolist()
        True
        """
        if isinstance(steps, int):
            if not 1 <= steps <= self.n_steps:
                raise ValueError(f"steps must lie between 1 and n_steps = {self.n_steps}, got {steps}")
            steps = torch.linspace(0, self.n_steps, steps + 1).round().long()[1:].tolist()
        kept = list(steps)
        if not kept or sorted(set(kept)) != kept or kept[0] < 1 or kept[-1] != self.n_steps:
            raise ValueError(f"steps must increase from at least 1 to n_steps = {self.n_steps}, got {kept}")
        log_alpha_bar = torch.log1p(-self.beta).cumsum(0)
        return self.with_beta(-torch.expm1(log_alpha_bar[[0, *kept]].diff()))


@saveable
class GaussianDiffusion(Diffusion):
    r"""Fixed Gaussian process that carries data to unit white noise.

    One step shrinks the state and refills the lost variance with noise,

    .. math:: q(x_t \mid x_{t-1}) = \mathcal{N}(x_t;\, \sqrt{1-\beta_t}\,x_{t-1},\, \beta_t I),

    hence :math:`q(x_t \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\,x_0,\, (1-\bar\alpha_t) I)`.
    The data should have zero mean and unit mean square, so that little is left to erase.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Diffusion rates of steps 1 to T, each strictly between 0 and 1.

    References
    ----------
    Sohl-Dickstein et al. (2015), Section 2.1 and Table App. 1.

    Examples
    --------
    What the signal loses, the noise gains:

    >>> q = GaussianDiffusion(beta=torch.tensor([0.25, 0.5]))
    >>> q.alpha_bar.tolist()
    [1.0, 0.75, 0.375]
    >>> q.marginal(torch.full((1, 3), 2.0), t=torch.tensor([2])).var.tolist()
    [[0.625, 0.625, 0.625]]
    """

    _groups: ClassVar[dict[str, slice]] = {
        "step": slice(0, 2), "marginal": slice(2, 4), "posterior": slice(4, 7), "mixed": slice(6, 10),
    }  # fmt: skip

    def __init__(self, beta: Tensor) -> None:
        super().__init__(beta)
        now, before = slice(1, None), slice(None, -1)
        signal, noise, rate = self.alpha_bar, self.noise_bar, self.beta

        def after_data(values: Tensor, at_data: float) -> Tensor:
            return torch.cat([values.new_full((1,), at_data), values])

        # posterior mean: x_0 and x_t in these shares; its variance is beta_t scaled down by what is known of x_0
        share_0 = after_data(signal[before].sqrt() * rate[now] / noise[now], 1.0)
        share_t = after_data((1 - rate[now]).sqrt() * noise[before] / noise[now], 0.0)
        var = after_data(rate[now] * noise[before] / noise[now], 0.0)
        # the same for x_0 = signal x_t + sd F: shares of x_t and of F, whose square is that of var F
        sd_0 = after_data(noise[now].sqrt(), 0.0)
        whole, gain = share_0 * signal.sqrt() + share_t, share_0 * sd_0
        columns = [(1 - rate).sqrt(), rate, signal.sqrt(), noise, share_0, share_t, var, whole, gain, gain.square()]
        self.register_buffer("_table", torch.stack(columns, 1), persistent=False)

    def with_beta(self, beta: Tensor) -> GaussianDiffusion:
        return GaussianDiffusion(beta.to(self.beta.device))

    def stationary(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Gaussian:
        mean = torch.zeros(*shape, dtype=dtype, device=self.beta.device)
        return Gaussian(mean, torch.ones_like(mean))

    def step(self, x_prev: Tensor, t: int | Tensor) -> Gaussian:
        shrink, rate = self._at(t, x_prev, "step")
        return Gaussian(shrink * x_prev, rate)

    def marginal(self, x_0: Tensor, t: int | Tensor) -> Gaussian:
        signal, noise = self._at(t, x_0, "marginal")
        return Gaussian(signal * x_0, noise)

    def posterior(self, x_0: Tensor, x_t: Tensor, t: int | Tensor) -> Gaussian:
        share_0, share_t, var = self._at(t, x_t, "posterior")
        return Gaussian(torch.addcmul(share_0 * x_0, share_t, x_t), var)


@saveable
class BinomialDiffusion(Diffusion):
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

    >>> q = BinomialDiffusion(beta=torch.tensor([0.5, 1.0]), rho=0.2)
    >>> q.marginal(torch.ones(1, 1), t=1).probs.item(), q.marginal(torch.ones(1, 1), t=2).probs.item()
    (0.6000000238418579, 0.20000000298023224)
    """

    rho: Tensor
    _groups: ClassVar[dict[str, slice]] = {
        "step": slice(0, 2), "marginal": slice(2, 4), "posterior": slice(4, 12), "ratio": slice(12, 14),
    }  # fmt: skip

    def __init__(self, beta: Tensor, rho: float | Tensor = 0.5) -> None:
        super().__init__(beta, total_erasure=True)
        rate_of_ones = torch.as_tensor(rho, dtype=torch.float64)
        if not ((rate_of_ones > 0) & (rate_of_ones < 1)).all():
            raise ValueError(f"rho must lie strictly between 0 and 1, got {rate_of_ones.tolist()}")
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

    def with_beta(self, beta: Tensor) -> BinomialDiffusion:
        return BinomialDiffusion(beta.to(self.beta.device), self.rho)

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

    def log_likelihood_ratio(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        r"""How far each noisy bit speaks for a one, :math:`\log q(x_t \mid 1) / q(x_t \mid 0)`, (batch, *event)."""
        base, by_t = self._at(t, x_t, "ratio")
        return base + by_t * x_t

    def evidence_of_one_bit(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        r"""How much further a noisy one speaks for a one than a noisy zero does: the unit of evidence at step t.

        :math:`\log q(1 \mid 1) / q(1 \mid 0) - \log q(0 \mid 1) / q(0 \mid 0)`, a tensor
        broadcastable to ``x_t``.
        It falls from infinity at the data to zero where all is erased.
        """
        return self._at(t, x_t, "ratio")[1]
