"""What all forward processes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from quasistatic.checks import MOST, MOST_STEPS, shown, tensor_of, whole_number
from quasistatic.distributions import Distribution
from quasistatic.errors import InputError

__all__ = ["ForwardProcess", "expand_right"]


def expand_right(values: Tensor, like: Tensor) -> Tensor:
    """Give (batch,) values trailing ones, to broadcast against (batch, *event)."""
    return values.view(values.shape + (1,) * (like.dim() - values.dim()))


class ForwardProcess(nn.Module, ABC):
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
        beta = tensor_of("beta", beta)
        rule = "in (0, 1], one only at the last step" if total_erasure else "strictly between 0 and 1"
        inside = (beta > 0) & (beta <= 1 if total_erasure else beta < 1)
        if beta.dim() != 1 or len(beta) < 1 or not inside.all() or (beta[:-1] >= 1).any():
            raise InputError(f"beta must be a vector of rates {rule}, got {shown(beta.tolist())}")
        if len(beta) > MOST_STEPS:
            raise InputError(f"beta has {len(beta)} steps, but at most {MOST_STEPS} can be taken")
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

    def extra_repr(self) -> str:
        return f"n_steps={self.n_steps}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ForwardProcess:
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
            raise InputError(f"t must lie between 0 and n_steps = {self.n_steps}, got {t}")
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
    def with_beta(self, beta: Tensor) -> ForwardProcess:
        """Build the same family of process with other rates."""

    @abstractmethod
    def stationary(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Distribution:
        r"""Noise end :math:`\pi`, for a batch of the given shape (batch, *event)."""

    def null(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Distribution:
        """Null model of data in model units: the noise end, unless that cannot be data."""
        return self.stationary(shape, dtype)

    def check(self, x: Tensor) -> None:
        """Raise an ``InputError`` if ``x`` holds what cannot be data of this process; anything finite can."""

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

    def posterior_over(self, given: Distribution, x_t: Tensor, t: int) -> Distribution:
        r"""Average the posterior over a distribution of the data.

        It is :math:`\int p(x_0)\, q(x_{t-1} \mid x_t, x_0)\, dx_0`; at t = 1 the distribution of the data itself.

        Parameters
        ----------
        given : Distribution
            Distribution p of the data, one row for each row of ``x_t``.
        x_t : Tensor, shape (batch, \*event)
            State at step t.
        t : int
            Step, 1 to T.
        """
        if t == 1:
            return given
        return given.each_component(lambda p, x: self._posterior_over(p, x, t), x_t)

    def data_given_step(self, step: Distribution, x_t: Tensor, t: int, least: float = 0.01) -> Distribution:
        """Invert :meth:`posterior_over` for a kernel's distribution of one step back.

        Parameters
        ----------
        step : Distribution
            Distribution of x_{t-1} given x_t.
        x_t : Tensor, shape (batch, *event)
            State at step t.
        t : int
            Step, 2 to T.
        least : float
            Smallest variance of the data, as a share of the kernel's, and smallest probability of a bit.
        """
        return step.each_component(lambda p, x: self._data_given_step(p, x, t, least), x_t)

    def _posterior_over(self, given: Distribution, x_t: Tensor, t: int) -> Distribution:
        raise InputError(f"{type(self).__name__} cannot average its posterior over a {type(given).__name__} distribution")

    def _data_given_step(self, step: Distribution, x_t: Tensor, t: int, least: float) -> Distribution:
        raise InputError(f"{type(self).__name__} has posteriors for denoiser kernels only: use a kernel with denoise()")

    def respaced(self, steps: int | Sequence[int]) -> ForwardProcess:
        """View the same process at fewer steps.

        Parameters
        ----------
        steps : int or increasing sequence of int
            The steps of this chain to keep, the last one T; or how many, spread evenly.

        Examples
        --------
        >>> from quasistatic.forward import GaussianDiffusion
        >>> q = GaussianDiffusion(torch.tensor([0.25, 0.5, 0.5]))
        >>> q.respaced([1, 3]).alpha_bar.tolist() == q.alpha_bar[[0, 1, 3]].tolist()
        True
        """
        if not isinstance(steps, tuple | list | Tensor) or (isinstance(steps, Tensor) and not steps.dim()):
            steps = whole_number("n_steps", steps, -MOST)
            if not 1 <= steps <= self.n_steps:
                raise InputError(f"steps must lie between 1 and n_steps = {self.n_steps}, got {steps}")
            steps = torch.linspace(0, self.n_steps, steps + 1).round().long()[1:].tolist()
        kept = [whole_number("a step", t, 0) for t in steps]
        if not kept or sorted(set(kept)) != kept or kept[0] < 1 or kept[-1] != self.n_steps:
            raise InputError(f"steps must increase from at least 1 to n_steps = {self.n_steps}, got {kept}")
        log_alpha_bar = torch.log1p(-self.beta).cumsum(0)
        return self.with_beta(-torch.expm1(log_alpha_bar[[0, *kept]].diff()))
