"""Classes that are forgotten: drawn afresh, or masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import embedding

from quasistatic.checks import MOST_WIDTH, one_of, shown, tensor_of, whole_number
from quasistatic.distributions import Categorical, Distribution, Masked, one_hot
from quasistatic.errors import InputError
from quasistatic.forward.base import ForwardProcess
from quasistatic.storage.modules import saveable

__all__ = ["CategoricalDiffusion"]


@saveable
class CategoricalDiffusion(ForwardProcess):
    r"""Fixed process on entries of K classes that forgets them one by one.

    Each step keeps an entry with probability 1 - beta_t, so that :math:`\bar\alpha_t` is the share of entries that
    were never touched. One that is not kept

    ``"uniform"``
        is drawn afresh from the base rates,
        :math:`q(x_t = k \mid x_{t-1}) = (1 - \beta_t)\,[k = x_{t-1}] + \beta_t\,\rho_k`.
        With two classes it is :class:`BernoulliDiffusion`.
    ``"absorbing"``
        is masked, and stays so: it takes the state K. Back in time an entry once shown does not change again, and a
        masked one is shown with probability :math:`(\bar\alpha_{t-1} - \bar\alpha_t) / (1 - \bar\alpha_t)`.

    States hold the index of the class, 0 to K - 1, or K for the mask, as numbers of any floating precision.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Rates in (0, 1], one only at the last step, and there it must be one for ``"absorbing"``.
    n_classes : int
        K, at least 2.
    kind : {"uniform", "absorbing"}
    rho : Tensor, shape (K,) or (\*event, K), optional
        Base rates: the share of each class in the data, for all entries or for each; by default 1 / K. They are the
        noise of ``"uniform"``, and the null model of both kinds.

    References
    ----------
    Austin et al. (2021), Structured denoising diffusion models in discrete state-spaces, Section 3.1; for two classes
    Sohl-Dickstein et al. (2015), Table App. 1.

    Examples
    --------
    A class 2 of three that has lost half its signal:

    >>> x, beta = torch.full((1, 1), 2.0), torch.tensor([0.5, 1.0])
    >>> q = CategoricalDiffusion(beta, 3, rho=torch.tensor([0.2, 0.2, 0.6]))
    >>> [round(p, 4) for p in q.marginal(x, t=1).log_probs.exp()[0, 0].tolist()]
    [0.1, 0.1, 0.8]
    >>> q = CategoricalDiffusion(beta, 3, "absorbing")
    >>> [round(p, 4) for p in q.marginal(x, t=1).dense().log_probs.exp()[0, 0].tolist()]
    [0.0, 0.0, 0.5, 0.5]
    """

    rho: Tensor
    _groups: ClassVar[dict[str, slice]] = {
        "step": slice(0, 2), "marginal": slice(2, 4), "posterior": slice(0, 9), "show": slice(9, 11),
        "ratio": slice(11, 12),
    }  # fmt: skip

    def __init__(self, beta: Tensor, n_classes: int, kind: str = "uniform", rho: Tensor | None = None) -> None:
        super().__init__(beta, total_erasure=True)
        whole_number("n_classes", n_classes, 2, MOST_WIDTH)
        one_of("kind", kind, ("uniform", "absorbing"))
        if kind == "absorbing" and self.beta[-1] < 1:
            raise InputError(
                f"an absorbing process must mask everything at its last step, beta_T = 1, got {self.beta[-1].item()}"
            )
        rates = torch.full((n_classes,), 1.0 / n_classes) if rho is None else tensor_of("rho", rho)
        rates = rates.to(self.beta)
        if rates.dim() < 1 or rates.shape[-1] != n_classes:
            raise InputError(f"rho must have one rate for each of {n_classes} classes, got shape {tuple(rates.shape)}")
        if not (rates > 0).all() or ((rates.sum(-1) - 1).abs() > 1e-4).any():
            raise InputError(f"rho must be positive and sum to one over classes, got {shown(rates.tolist())}")
        self.n_classes = n_classes
        self.kind = kind
        self.register_buffer("rho", rates / rates.sum(-1, keepdim=True), persistent=False)

        now, before = slice(1, None), slice(None, -1)
        signal, noise, rate = self.alpha_bar, self.noise_bar, self.beta

        def after_data(values: Tensor, at_data: float) -> Tensor:
            return torch.cat([values.new_full((1,), at_data), values])

        signal_before, noise_before = after_data(signal[before], 1.0), after_data(noise[before], 0.0)
        # of the entries that were touched by t: those of the last step, and those touched before it
        first = after_data(signal[before] * rate[now] / noise[now], 1.0)
        earlier = after_data(noise[before] / noise[now], 0.0)
        whole = first + earlier  # one, but for rounding
        columns = [
            1 - rate, rate, signal, noise, signal_before, noise_before,
            first.log(), earlier.log(), (earlier * rate).log(), earlier / whole, first / whole, signal / noise,
        ]  # fmt: skip
        self.register_buffer("_table", torch.stack(columns, 1), persistent=False)

    def with_beta(self, beta: Tensor) -> CategoricalDiffusion:
        return CategoricalDiffusion(beta.to(self.beta.device), self.n_classes, self.kind, self.rho)

    def stationary(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Categorical | Masked:
        if self.kind == "uniform":
            return self.null(shape, dtype)
        masked = torch.full(tuple(shape), float(self.n_classes), dtype=dtype, device=self.beta.device)
        return Masked(masked, self.n_classes, torch.ones_like(masked), torch.zeros_like(masked))

    def null(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Categorical:
        """Independent entries with the base rates, the data's null model."""
        log_rho = self.rho.log().to(dtype or torch.get_default_dtype())
        return Categorical(log_rho.expand(*shape, self.n_classes))

    def step(self, x_prev: Tensor, t: int | Tensor) -> Categorical | Masked:
        return self._touched(x_prev, *self._at(t, x_prev, "step"))

    def marginal(self, x_0: Tensor, t: int | Tensor) -> Categorical | Masked:
        return self._touched(x_0, *self._at(t, x_0, "marginal"))

    def _touched(self, x: Tensor, keep: Tensor, touch: Tensor) -> Categorical | Masked:
        """Law of entries of which a share was touched."""
        if self.kind == "uniform":
            probs = keep.unsqueeze(-1) * one_hot(x, self.n_classes) + touch.unsqueeze(-1) * self.rho.to(x.dtype)
            return Categorical(probs.log())
        gone = x == self.n_classes
        return Masked(x, self.n_classes, touch.where(~gone, 1.0), keep.where(~gone, 0.0))

    def posterior(self, x_0: Tensor | Categorical, x_t: Tensor, t: int | Tensor) -> Categorical | Masked:
        """One step back when the data is known, or known to be of a law of independent classes.

        The law given to an absorbing process must be sure of the entries that ``x_t`` shows.
        """
        if self.kind == "uniform":
            law = x_0 if isinstance(x_0, Categorical) else Categorical.points(x_0, self.n_classes)
            return self._drawn_back(law, x_t, t)
        stay, show = self._at(t, x_t, "show")
        masked = x_t == self.n_classes
        return Masked(x_0, self.n_classes, stay.where(masked, 0.0), show.where(masked, 1.0))

    def _posterior_over(self, given: Distribution, x_t: Tensor, t: int) -> Categorical | Masked:
        if not isinstance(given, Categorical):
            raise InputError(f"data of classes needs a Categorical distribution, got a {type(given).__name__}")
        return self.posterior(given, x_t, t)

    def _data_given_step(self, step: Distribution, x_t: Tensor, t: int, least: float) -> Distribution:
        if self.kind == "absorbing":
            return step.unmasked()
        return super()._data_given_step(step, x_t, t, least)

    def _drawn_back(self, x_0: Categorical, x_t: Tensor, t: int | Tensor) -> Categorical:
        r"""Average of the posterior over the law p of x_0, in a number of operations linear in K.

        With i the class of x_t and a the signal at t - 1,

        .. math::

            q(x_{t-1} = j \mid x_t) &= \frac{a \beta}{1 - \bar\alpha} p_j
              + \frac{(1 - a) \beta}{1 - \bar\alpha} \rho_j
                \Bigl[ 1 - p_i + \tfrac{(1 - \bar\alpha) \rho_i}{\bar\alpha + (1 - \bar\alpha) \rho_i} p_i \Bigr],
              \quad j \ne i \\
            q(x_{t-1} = i \mid x_t) &= (1 - \beta + \beta \rho_i) \Bigl[
              \tfrac{a + (1 - a) \rho_i}{\bar\alpha + (1 - \bar\alpha) \rho_i} p_i
              + \tfrac{1 - a}{1 - \bar\alpha} (1 - p_i) \Bigr]

        all of it sums of positive numbers, which are taken in logs so that no class is lost.
        """
        columns = self._at(t, x_t.unsqueeze(-1), "posterior")
        keep, rate, signal, noise, signal_before, noise_before, log_first, log_earlier, log_again = columns
        here = one_hot(x_t, self.n_classes)
        rho = self.rho.to(x_t.dtype)
        rho_here = (rho * here).sum(-1, keepdim=True)
        log_here = x_0.log_probs.gather(-1, x_t.long().unsqueeze(-1))
        log_others = x_0.log_probs.masked_fill(here, -torch.inf).logsumexp(-1, keepdim=True)
        seen = signal + noise * rho_here  # q(x_t = i | x_0 = i)
        redrawn = torch.logaddexp(log_others, log_here + (noise * rho_here / seen).log())
        elsewhere = torch.logaddexp(log_first + x_0.log_probs, log_again + rho.log() + redrawn)
        stayed = ((signal_before + noise_before * rho_here) / seen).log() + log_here
        return Categorical(torch.where(
            here, (keep + rate * rho_here).log() + torch.logaddexp(stayed, log_earlier + log_others), elsewhere
        ))  # fmt: skip

    def log_likelihood(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        r"""How far each noisy entry speaks for each class of x_0, (batch, \*event, K).

        :math:`\log q(x_t \mid x_0 = k)` less what is the same for all k.
        """
        if self.kind == "uniform":
            return one_hot(x_t, self.n_classes) * self._own_evidence(x_t, t)
        # a row for each state: one that is shown rules out all classes but its own, the mask none
        table = torch.full((self.n_classes + 1, self.n_classes), -torch.inf, dtype=x_t.dtype, device=x_t.device)
        table.fill_diagonal_(0.0)[-1] = 0.0
        return embedding(x_t.long(), table)

    def evidence_of_one_class(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        r"""How much further a noisy entry speaks for its own class than another would: the unit of evidence at step t.

        The mean over pairs of classes of
        :math:`\log q(k \mid k) / q(k \mid l) - \log q(l \mid k) / q(l \mid l)`, broadcastable to
        (batch, \*event, K). It falls from infinity at the data to zero where all is erased. What an absorbing process
        shows leaves no doubt at any step; there it is one.
        """
        if self.kind == "absorbing":
            return x_t.new_ones(())
        return 2.0 * self._own_evidence(x_t, t).mean(-1, keepdim=True)

    def _own_evidence(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """How far each class speaks for itself, log q(k | k) / q(k | l), the same against every other l."""
        return torch.log1p(self._at(t, x_t.unsqueeze(-1), "ratio")[0] / self.rho.to(x_t.dtype))

    def check(self, x: Tensor) -> None:
        allowed = (x >= 0) & (x < self.n_classes) & (x == x.round())
        if not allowed.all():
            where = (~allowed).nonzero()[0].tolist()
            raise InputError(
                f"data holds {x[tuple(where)].item()} at index {where}, "
                f"but classes must be whole numbers from 0 to {self.n_classes - 1}"
            )
