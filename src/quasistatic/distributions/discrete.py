"""Bits, classes, and classes that may be masked."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution, _sum
from quasistatic.random import Rng, uniform

__all__ = ["Bernoulli", "Categorical", "Masked", "one_hot"]


class Bernoulli(Distribution):
    """Independent bits, one for each entry of ``probs``.

    Parameters
    ----------
    probs : Tensor, shape (batch, *event)
        Probability of a one, from 0 to 1, both ends allowed.
    complement : Tensor, optional
        Probability of a zero, 1 - probs if not given. Whoever knows it to more digits should give it: where a bit
        is nearly sure, ``1 - probs`` has none left, and its logarithm and gradient are lost with them.

    Examples
    --------
    >>> p = Bernoulli(torch.tensor([[0.2, 1.0]]))
    >>> [round(v, 4) for v in p.log_prob(torch.tensor([[0.0, 1.0]])).exp().tolist()]
    [0.8]
    """

    def __init__(self, probs: Tensor, complement: Tensor | None = None) -> None:
        self.probs = probs
        self.complement = 1.0 - probs if complement is None else complement

    @property
    def mean(self) -> Tensor:
        """Expected bits, the probabilities themselves."""
        return self.probs

    def __getitem__(self, rows: slice) -> Bernoulli:
        return Bernoulli(self.probs[rows], self.complement[rows])

    def sample(self, generator: Rng | None = None) -> Tensor:
        p = self.probs
        u = uniform(p.shape, generator, like=p)
        return (u < p).to(p.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        return _sum(torch.xlogy(x, self.probs) + torch.xlogy(1.0 - x, self.complement))

    def entropy(self) -> Tensor:
        return -_sum(torch.xlogy(self.probs, self.probs) + torch.xlogy(self.complement, self.complement))

    def kl(self, other: Distribution) -> Tensor:
        if not isinstance(other, Bernoulli):
            raise self._unsupported("kl", other)
        one, zero = self.probs, self.complement
        own = torch.xlogy(one, one) + torch.xlogy(zero, zero)
        return _sum(own - torch.xlogy(one, other.probs) - torch.xlogy(zero, other.complement))

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        if not isinstance(other, Bernoulli):
            raise self._unsupported("times", other)
        one, zero = self.probs * other.probs, self.complement * other.complement
        total = one + zero
        return Bernoulli(one / total, zero / total), _sum(total.log())


class Categorical(Distribution):
    r"""Independent classes, one for each entry of the event.

    Events hold the index of the class, 0 to K - 1, as a number of the precision of the probabilities.

    Parameters
    ----------
    log_probs : Tensor, shape (batch, \*event, K)
        Normalised log-probabilities; -inf is allowed.

    Examples
    --------
    >>> p = Categorical(torch.tensor([[[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]]).log())
    >>> [round(v, 4) for v in p.log_prob(torch.tensor([[2.0, 0.0]])).exp().tolist()]
    [0.5]
    >>> p.kl(p).item()
    0.0
    """

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs

    @classmethod
    def points(cls, x: Tensor, n_classes: int) -> Categorical:
        r"""Laws that are sure of the classes ``x``, (batch, \*event)."""
        return cls(one_hot(x, n_classes).to(x.dtype).log())

    @property
    def n_classes(self) -> int:
        """Number K of classes."""
        return self.log_probs.shape[-1]

    def __getitem__(self, rows: slice) -> Categorical:
        return Categorical(self.log_probs[rows])

    def sample(self, generator: Rng | None = None) -> Tensor:
        # as many classes as have been passed when u of the whole is; one of probability zero is never the next
        below = self.log_probs.exp().cumsum(-1)
        u = uniform(below.shape[:-1], generator, like=below)
        return (below <= (u * below[..., -1]).unsqueeze(-1)).sum(-1).to(below.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        return _sum(self._each_log_prob(x))

    def _each_log_prob(self, x: Tensor) -> Tensor:
        return self.log_probs.gather(-1, x.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        return _sum(self._each_entropy())

    def _each_entropy(self) -> Tensor:
        return -self._mean_of(self.log_probs)

    def kl(self, other: Distribution) -> Tensor:
        if isinstance(other, Masked):
            other = other.dense()
        if not isinstance(other, Categorical):
            raise self._unsupported("kl", other)
        return _sum(self._mean_of(self.log_probs - other.log_probs))

    def _mean_of(self, values: Tensor) -> Tensor:
        """Expectation of (batch, *event, K) values that do not count where the probability is zero."""
        return (self.log_probs.exp() * values.masked_fill(self.log_probs == -math.inf, 0.0)).sum(-1)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        return self.kl(other)  # which for a point is -log other(point)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        if isinstance(other, Masked):
            other = other.dense()
        if not isinstance(other, Categorical):
            raise self._unsupported("times", other)
        both = self.log_probs + other.log_probs
        total = torch.logsumexp(both, -1)
        return Categorical(both - total.unsqueeze(-1)), _sum(total)


class Masked(Distribution):
    r"""Entries that are masked with a probability of their own and show a class else.

    The mask is one more class, of index K: the law of all that an absorbing process does. It is a family of its own,
    because data that is known needs no table of K classes here, and because a KL leaves only what is shown.

    Parameters
    ----------
    shown : Tensor, shape (batch, \*event), or Categorical
        The class that is shown, or its law.
    n_classes : int
        K.
    mask, show : Tensor, shape (batch, \*event)
        Probability of the mask, and one minus it.

    Examples
    --------
    >>> p = Masked(torch.tensor([[1.0, 0.0]]), 2, torch.tensor([[0.25, 1.0]]), torch.tensor([[0.75, 0.0]]))
    >>> p.log_prob(torch.tensor([[1.0, 2.0]])).exp().item(), p.log_prob(torch.tensor([[0.0, 2.0]])).exp().item()
    (0.75, 0.0)
    """

    def __init__(self, shown: Tensor | Categorical, n_classes: int, mask: Tensor, show: Tensor) -> None:
        self.shown = shown
        self.n_classes = n_classes
        self.mask, self.show = mask, show

    def __getitem__(self, rows: slice) -> Masked:
        return Masked(self.shown[rows], self.n_classes, self.mask[rows], self.show[rows])

    def _shown_law(self) -> Categorical:
        known = self.shown
        # a state that is masked is never shown, whatever stands for it
        return Categorical.points(known % self.n_classes, self.n_classes) if isinstance(known, Tensor) else known

    def dense(self) -> Categorical:
        """The same law as one of K + 1 classes."""
        shown = self.show.log().unsqueeze(-1) + self._shown_law().log_probs
        return Categorical(torch.cat([shown, self.mask.log().unsqueeze(-1)], -1))

    def sample(self, generator: Rng | None = None) -> Tensor:
        x = self.shown if isinstance(self.shown, Tensor) else self.shown.sample(generator)
        u = uniform(x.shape, generator, like=x)
        return x.masked_fill(u < self.mask, float(self.n_classes))

    def log_prob(self, x: Tensor) -> Tensor:
        return _sum(torch.where(x == self.n_classes, self.mask.log(), self.show.log() + self._log_shown(x)))

    def _log_shown(self, x: Tensor) -> Tensor:
        """Log-probability of each entry's class if it is shown, and any number where ``x`` is the mask."""
        if isinstance(self.shown, Tensor):
            return torch.where(x == self.shown, 0.0, -math.inf).to(x.dtype)
        return self.shown._each_log_prob(x % self.n_classes)

    def entropy(self) -> Tensor:
        own = torch.xlogy(self.mask, self.mask) + torch.xlogy(self.show, self.show)
        return _sum((0.0 if isinstance(self.shown, Tensor) else self.show * self.shown._each_entropy()) - own)

    def kl(self, other: Distribution) -> Tensor:
        if isinstance(other, Categorical):
            return self.dense().kl(other)
        if not isinstance(other, Masked):
            raise self._unsupported("kl", other)
        if isinstance(self.shown, Tensor):
            of_shown = -other._log_shown(self.shown)
        else:
            law, other_law = self.shown, other._shown_law()
            of_shown = law._mean_of(law.log_probs - other_law.log_probs)
        return _sum(
            _x_log_ratio(self.mask, other.mask)
            + _x_log_ratio(self.show, other.show)
            + self.show * of_shown.masked_fill(self.show == 0, 0.0)
        )

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        return self.kl(other)  # which for a point is -log other(point)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        return self.dense().times(other)


def _x_log_ratio(p: Tensor, q: Tensor) -> Tensor:
    """Share of a KL, p log p / q, zero where p is."""
    if p.device.type == "cpu" and torch.equal(p, q):  # as in all steps of an absorbing process; to see it costs GPUs a wait
        return p.new_zeros(())
    return p * (p.log() - q.log()).masked_fill(p == 0, 0.0)


def one_hot(x: Tensor, n_classes: int) -> Tensor:
    """Whether each entry is of each class, (batch, *event, K); nowhere for the mask."""
    return x.unsqueeze(-1) == torch.arange(n_classes, dtype=x.dtype, device=x.device)
