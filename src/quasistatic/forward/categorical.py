"""Categorical forward process, with redrawn or masked classes."""

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
from quasistatic.forward.coefficients import shifted
from quasistatic.storage.modules import saveable

__all__ = ["CategoricalDiffusion"]


@saveable
class CategoricalDiffusion(ForwardProcess):
    r"""Forward process that redraws or masks class labels.

    Each entry has one of K classes. A step keeps it with probability 1 - beta_t, so that :math:`\bar\alpha_t` is the
    share of entries that were never changed. An entry that is not kept is,

    for ``"uniform"``,
        drawn afresh from the base rates,
        :math:`q(x_t = k \mid x_{t-1}) = (1 - \beta_t)\,[k = x_{t-1}] + \beta_t\,\rho_k`.
        With two classes it is :class:`BernoulliDiffusion`.
    for ``"absorbing"``,
        masked in this and all later steps: it takes the state K. Backwards a masked entry is shown with probability
        :math:`(\bar\alpha_{t-1} - \bar\alpha_t) / (1 - \bar\alpha_t)`, and a shown entry does not change again.

    States hold the index of the class, 0 to K - 1, or K for the mask, as numbers of any floating precision.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Rates in (0, 1]; only the last may be one, and for ``"absorbing"`` it must be.
    n_classes : int
        K, at least 2.
    kind : {"uniform", "absorbing"}
        What happens to an entry that is not kept.
    rho : Tensor, shape (K,) or (\*event, K), optional
        Base rates: the share of each class in the data, for all entries or for each; by default 1 / K. They are the
        stationary distribution of ``"uniform"``, and the null model of both kinds.

    References
    ----------
    Austin et al. (2021), Structured denoising diffusion models in discrete state-spaces, Section 3.1; for two classes
    Sohl-Dickstein et al. (2015), Table App. 1.

    Examples
    --------
    Class 2 of three, after half of its signal is lost:

    >>> x, beta = torch.full((1, 1), 2.0), torch.tensor([0.5, 1.0])
    >>> q = CategoricalDiffusion(beta, 3, rho=torch.tensor([0.2, 0.2, 0.6]))
    >>> [round(p, 4) for p in q.marginal(x, t=1).log_probs.exp()[0, 0].tolist()]
    [0.1, 0.1, 0.8]
    >>> q = CategoricalDiffusion(beta, 3, "absorbing")
    >>> [round(p, 4) for p in q.marginal(x, t=1).dense().log_probs.exp()[0, 0].tolist()]
    [0.0, 0.0, 0.5, 0.5]
    """

    rho: Tensor
    _groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "step": ("keep", "rate"),
        "marginal": ("signal", "noise"),
        "posterior": (
            "keep", "rate", "signal", "noise", "signal_before", "noise_before", "log_first", "log_earlier", "log_again",
        ),
        "show": ("stay_share", "show_share"),
        "ratio": ("signal_over_noise",),
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
        # of the entries that are changed by t: those of the last step, and those changed before it
        first = shifted(signal[before] * rate[now] / noise[now], 1.0)
        earlier = shifted(noise[before] / noise[now], 0.0)
        whole = first + earlier  # one, but for rounding
        self._keep_coefficients({
            "keep": 1 - rate, "rate": rate, "signal": signal, "noise": noise,
            "signal_before": shifted(signal[before], 1.0), "noise_before": shifted(noise[before], 0.0),
            "log_first": first.log(), "log_earlier": earlier.log(), "log_again": (earlier * rate).log(),
            "stay_share": earlier / whole, "show_share": first / whole, "signal_over_noise": signal / noise,
        })  # fmt: skip

    def with_beta(self, beta: Tensor) -> CategoricalDiffusion:
        return CategoricalDiffusion(beta.to(self.beta.device), self.n_classes, self.kind, self.rho)

    def rates_as_block(self, beta: Tensor) -> Tensor:
        return torch.cat([beta[:-1], torch.ones_like(beta[-1:])]) if self.kind == "absorbing" else beta

    def stationary(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Categorical | Masked:
        if self.kind == "uniform":
            return self.null(shape, dtype)
        masked = torch.full(tuple(shape), float(self.n_classes), dtype=dtype, device=self.beta.device)
        return Masked(masked, self.n_classes, torch.ones_like(masked), torch.zeros_like(masked))

    def null(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Categorical:
        """Return independent entries with the base rates.

        Parameters
        ----------
        shape : sequence of int
            (batch, *event).
        dtype : torch.dtype, optional
            Precision of the parameters; torch's default if not given.
        """
        log_rho = self.rho.log().to(dtype or torch.get_default_dtype())
        return Categorical(log_rho.expand(*shape, self.n_classes))

    def step(self, x_prev: Tensor, t: int | Tensor) -> Categorical | Masked:
        return self._changed(x_prev, *self._at(t, x_prev, "step"))

    def marginal(self, x_0: Tensor, t: int | Tensor) -> Categorical | Masked:
        return self._changed(x_0, *self._at(t, x_0, "marginal"))

    def _changed(self, x: Tensor, keep: Tensor, change: Tensor) -> Categorical | Masked:
        """Return the distribution of entries of which a share is changed."""
        if self.kind == "uniform":
            probs = keep.unsqueeze(-1) * one_hot(x, self.n_classes) + change.unsqueeze(-1) * self.rho.to(x.dtype)
            return Categorical(probs.log())
        masked = x == self.n_classes
        return Masked(x, self.n_classes, change.where(~masked, 1.0), keep.where(~masked, 0.0))

    def posterior(self, x_0: Tensor | Categorical, x_t: Tensor, t: int | Tensor) -> Categorical | Masked:
        r"""Return the distribution of one step back given the data.

        .. math:: q(x_{t-1} \mid x_t, x_0)

        Parameters
        ----------
        x_0 : Tensor or Categorical, shape (batch, *event)
            Data, or independent classes over which the posterior is averaged. For an absorbing process the classes
            must be certain where ``x_t`` is not masked.
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 1 to T.
        """
        if self.kind == "uniform":
            given = x_0 if isinstance(x_0, Categorical) else Categorical.points(x_0, self.n_classes)
            return self._averaged_posterior(given, x_t, t)
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

    def _averaged_posterior(self, x_0: Categorical, x_t: Tensor, t: int | Tensor) -> Categorical:
        r"""Average the posterior over a distribution p of x_0.

        The time is linear in K. With i the class of x_t and a the signal at t - 1,

        .. math::

            q(x_{t-1} = j \mid x_t) &= \frac{a \beta}{1 - \bar\alpha} p_j
              + \frac{(1 - a) \beta}{1 - \bar\alpha} \rho_j
                \Bigl[ 1 - p_i + \tfrac{(1 - \bar\alpha) \rho_i}{\bar\alpha + (1 - \bar\alpha) \rho_i} p_i \Bigr],
              \quad j \ne i \\
            q(x_{t-1} = i \mid x_t) &= (1 - \beta + \beta \rho_i) \Bigl[
              \tfrac{a + (1 - a) \rho_i}{\bar\alpha + (1 - \bar\alpha) \rho_i} p_i
              + \tfrac{1 - a}{1 - \bar\alpha} (1 - p_i) \Bigr]

        All terms are positive, and they are summed in logs so that no class underflows.
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
        r"""Return the log likelihood of each class, up to a constant.

        It is :math:`\log q(x_t \mid x_0 = k)` for each entry and class k.

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 0 to T.

        Returns
        -------
        Tensor, shape (batch, *event, K)
        """
        if self.kind == "uniform":
            return one_hot(x_t, self.n_classes) * self._own_log_ratio(x_t, t)
        # a row for each state: a class that is shown excludes all others, the mask excludes none
        table = torch.full((self.n_classes + 1, self.n_classes), -torch.inf, dtype=x_t.dtype, device=x_t.device)
        table.fill_diagonal_(0.0)[-1] = 0.0
        return embedding(x_t.long(), table)

    def log_ratio_difference(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        r"""Return the mean difference of log likelihood ratios between two classes.

        The mean over pairs of classes k, l of
        :math:`\log q(k \mid k) / q(k \mid l) - \log q(l \mid k) / q(l \mid l)`. It falls from infinity at the data to
        zero where all is erased. Denoisers scale the network's logits by it. For an absorbing process it is one.

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 0 to T.

        Returns
        -------
        Tensor, broadcastable to (batch, *event, K)
        """
        if self.kind == "absorbing":
            return x_t.new_ones(())
        return 2.0 * self._own_log_ratio(x_t, t).mean(-1, keepdim=True)

    def _own_log_ratio(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """Return log q(k | k) / q(k | l) of each class k.

        It is the same for every l.
        """
        return torch.log1p(self._at(t, x_t.unsqueeze(-1), "ratio")[0] / self.rho.to(x_t.dtype))

    def check(self, x: Tensor) -> None:
        allowed = (x >= 0) & (x < self.n_classes) & (x == x.round())
        if not allowed.all():
            where = (~allowed).nonzero()[0].tolist()
            raise InputError(
                f"data holds {x[tuple(where)].item()} at index {where}, "
                f"but classes must be whole numbers from 0 to {self.n_classes - 1}"
            )
