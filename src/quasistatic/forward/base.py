"""Base class of the forward processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from quasistatic.checks import MOST, MOST_STEPS, shown, tensor_of, whole_number
from quasistatic.distributions import Distribution
from quasistatic.errors import InputError
from quasistatic.forward.coefficients import CoefficientTable
from quasistatic.modules import FixedPrecision

__all__ = ["ForwardProcess"]


class ForwardProcess(FixedPrecision, ABC):
    r"""Markov chain that takes data to a stationary distribution.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Diffusion rates of steps 1 to T.
    total_erasure : bool
        Allow a rate of one at the last step, which erases all of the data.

    Attributes
    ----------
    n_steps : int
        T.
    beta, alpha_bar, noise_bar, log_snr : Tensor, shape (T + 1,), float64
        Rates, remaining signal :math:`\bar\alpha_t = \prod_{s \le t}(1 - \beta_s)`, noise :math:`1 - \bar\alpha_t` and
        :math:`\log \bar\alpha_t / (1 - \bar\alpha_t)`. Index 0 is the data.
    """

    beta: Tensor
    alpha_bar: Tensor
    noise_bar: Tensor
    log_snr: Tensor
    _groups: ClassVar[dict[str, tuple[str, ...]]]

    def __init__(self, beta: Tensor, *, total_erasure: bool = False) -> None:
        super().__init__()
        beta = tensor_of("beta", beta)
        rule = "in (0, 1], one only at the last step" if total_erasure else "strictly between 0 and 1"
        inside = (beta > 0) & (beta <= 1 if total_erasure else beta < 1)
        if beta.dim() != 1 or len(beta) < 1 or not inside.all() or (beta[:-1] >= 1).any():
            raise InputError(f"beta must be a vector of rates {rule}, got {shown(beta.tolist())}")
        if len(beta) > MOST_STEPS:
            raise InputError(f"beta has {len(beta)} steps, but at most {MOST_STEPS} are allowed: take fewer steps")
        # float64: alpha_bar is a product of up to thousands of factors near one.
        beta = torch.cat([beta.new_zeros(1), beta]).double()
        log_alpha_bar = torch.log1p(-beta).cumsum(0)
        self.n_steps = len(beta) - 1
        self.register_buffer("beta", beta, persistent=False)
        self.register_buffer("alpha_bar", log_alpha_bar.exp(), persistent=False)
        self.register_buffer("noise_bar", -torch.expm1(log_alpha_bar), persistent=False)
        self.register_buffer("log_snr", log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar)), persistent=False)
        self._keep_coefficients({})

    def _keep_coefficients(self, columns: Mapping[str, Tensor]) -> None:
        """Set the coefficients that the distributions need at each step."""
        self._table = CoefficientTable(columns, self._groups)
        self._times: dict[tuple[torch.dtype, int], Tensor] = {}
        self._log_snr_as: dict[torch.dtype, Tensor] = {}

    def extra_repr(self) -> str:
        return f"n_steps={self.n_steps}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):  # type: ignore[no-untyped-def]
        super()._apply(fn, recurse)
        self._table = self._table.to(self.beta.device)
        self._times, self._log_snr_as = {}, {}
        return self

    def coefficients(self, t: int | Tensor, like: Tensor | None = None) -> dict[str, Tensor]:
        """Read all coefficients of step t by name.

        Parameters
        ----------
        t : int or Tensor, shape (batch,)
            Step from 0 to T.
        like : Tensor, shape (batch, *event), optional
            State whose precision and number of dimensions the result takes; by default float64 and no event axes.

        Returns
        -------
        dict of str to Tensor
            Each of shape () for an ``int``, and (batch, 1, ..) for a tensor. The names are listed at the class.

        Examples
        --------
        >>> from quasistatic.forward import GaussianDiffusion
        >>> q = GaussianDiffusion(torch.tensor([0.75, 0.5]))
        >>> q.coefficients(1)["sqrt_alpha_bar"].item()
        0.5
        """
        return self._table.named(t, self.beta if like is None else like)

    def _at(self, t: int | Tensor, like: Tensor, group: str) -> Sequence[Tensor]:
        """Read a group of coefficients at step t (:meth:`CoefficientTable.read`)."""
        return self._table.read(group, t, like)

    def log_snr_at(self, t: int | Tensor, like: Tensor) -> Tensor:
        """Read the log signal-to-noise ratio at step t.

        Parameters
        ----------
        t : int or Tensor, shape (batch,)
            Step from 0 to T.
        like : Tensor, shape (batch, *event)
            State whose precision the result takes.

        Returns
        -------
        Tensor, shape (batch,)
        """
        if not isinstance(t, int):
            return self._log_snr(like.dtype).index_select(0, t)
        time = self._times.get((like.dtype, t))
        if time is None or len(time) != len(like):
            if not 0 <= t <= self.n_steps:
                raise InputError(f"t must lie between 0 and n_steps = {self.n_steps}, got {t}")
            with torch.inference_mode(False):
                time = self._log_snr(like.dtype)[t].expand(len(like))
            if not time.requires_grad:
                self._times[like.dtype, t] = time
        return time

    def _log_snr(self, dtype: torch.dtype) -> Tensor:
        kept = self._log_snr_as.get(dtype)
        if kept is None:
            if self.log_snr.requires_grad:  # the schedule is being learned
                return self.log_snr.to(dtype)
            with torch.inference_mode(False):
                kept = self._log_snr_as[dtype] = self.log_snr.to(dtype).contiguous()
        return kept

    @abstractmethod
    def with_beta(self, beta: Tensor) -> ForwardProcess:
        """Build a process of the same family with other rates (T,)."""

    def rates_as_block(self, beta: Tensor) -> Tensor:
        """Return the rates (T,) of this process as a block.

        ``beta`` are the rates of the table.
        """
        return beta

    @abstractmethod
    def stationary(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Distribution:
        r"""Return the stationary distribution :math:`\pi`.

        Parameters
        ----------
        shape : sequence of int
            (batch, *event).
        dtype : torch.dtype, optional
            Precision of the parameters; torch's default if not given.
        """

    def null(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Distribution:
        """Return the null model of the data.

        It is the stationary distribution, unless that is not one of data.

        Parameters
        ----------
        shape : sequence of int
            (batch, *event).
        dtype : torch.dtype, optional
            Precision of the parameters; torch's default if not given.
        """
        return self.stationary(shape, dtype)

    def check(self, x: Tensor) -> None:
        """Raise ``InputError`` if ``x`` (batch, *event) cannot be data of this process."""

    @abstractmethod
    def step(self, x_prev: Tensor, t: int | Tensor) -> Distribution:
        r"""Return the distribution of one step forwards, :math:`q(x_t \mid x_{t-1})`.

        Parameters
        ----------
        x_prev : Tensor, shape (batch, *event)
            State at t - 1.
        t : int or Tensor, shape (batch,)
            Step from 1 to T.
        """

    @abstractmethod
    def marginal(self, x_0: Tensor, t: int | Tensor) -> Distribution:
        r"""Return the distribution after t steps, :math:`q(x_t \mid x_0)`.

        Parameters
        ----------
        x_0 : Tensor, shape (batch, *event)
            Data.
        t : int or Tensor, shape (batch,)
            Step from 0 to T.
        """

    @abstractmethod
    def posterior(self, x_0: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        r"""Return the distribution of one step back given the data.

        .. math:: q(x_{t-1} \mid x_t, x_0)

        Parameters
        ----------
        x_0 : Tensor, shape (batch, *event)
            Data.
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 1 to T. At t = 1 the result is the point mass at ``x_0``.
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
        """Return the same process with fewer steps.

        Parameters
        ----------
        steps : int or increasing sequence of int
            The steps of this chain to keep, the last one T; or their number, spaced evenly.

        Raises
        ------
        InputError
            If the steps do not increase from at least 1 to T.

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
