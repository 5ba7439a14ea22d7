"""Distributions of independent bits and classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution, _sum
from quasistatic.distributions.factors import EntryFactor
from quasistatic.linalg import LOG_2PI
from quasistatic.random import Rng, uniform

__all__ = ["Bernoulli", "Categorical", "one_hot"]

BITS = (0.0, 1.0)


def one_hot(x: Tensor, n_classes: int) -> Tensor:
    """Return whether each entry is of each class.

    The result has shape (batch, *event, K) and is False for the mask.
    """
    return x.unsqueeze(-1) == torch.arange(n_classes, dtype=x.dtype, device=x.device)


def all_events(values: Tensor, event: tuple[int, ...], most: int) -> Tensor | None:
    r"""List all events of these values, if there are few.

    They have shape (n, \*event). The result is None for more than ``most`` events.
    """
    d = math.prod(event)
    if len(values) ** d > most:
        return None
    return torch.cartesian_prod(*[values] * d).view(-1, *event)


def single_entries(matrix: Tensor) -> bool:
    """Return whether each row acts on one entry.

    At most one entry of each row of the matrix (m, d) is not zero.
    """
    return matrix.dim() == 2 and bool(((matrix != 0).sum(1) <= 1).all())


def logs_of_rows(matrix: Tensor, y: Tensor, noise: Tensor, values: Tensor) -> Tensor:
    r"""Return the log factors of measured single entries.

    They are the log of :math:`\mathcal{N}(y_j; a_j v, s_j^2)`, summed over the rows j that act on each entry.

    Parameters
    ----------
    matrix : Tensor, shape (m, d)
        At most one entry :math:`a_j` in each row.
    y, noise : Tensor, shape (batch or 1, m)
    values : Tensor, shape (K,)

    Returns
    -------
    Tensor, shape (batch or 1, d, K)
    """
    column = (matrix != 0).long().argmax(1)
    scale = matrix.gather(1, column.unsqueeze(1))
    noise = noise.unsqueeze(-1)
    each = -0.5 * ((y.unsqueeze(-1) - scale * values).square() / noise + noise.log() + LOG_2PI)
    return each.new_zeros(len(each), matrix.shape[1], len(values)).index_add(1, column, each)


class Bernoulli(Distribution):
    """Independent Bernoulli distribution of each entry.

    Parameters
    ----------
    probs : Tensor, shape (batch, *event)
        Probability of a one, from 0 to 1, both ends allowed.
    complement : Tensor, optional
        Probability of a zero, 1 - probs if not given. Give it where it is known more accurately:
        if ``probs`` is close to 1, ``1 - probs`` rounds to zero, and its logarithm and gradient are lost.

    Examples
    --------
    >>> import torch
    >>> p = Bernoulli(torch.tensor([[0.2, 1.0]]))
    >>> [round(v, 4) for v in p.log_prob(torch.tensor([[0.0, 1.0]])).exp().tolist()]
    [0.8]
    """

    def __init__(self, probs: Tensor, complement: Tensor | None = None) -> None:
        self.probs = probs
        self.complement = 1.0 - probs if complement is None else complement

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.probs, self.complement

    def _with(self, *parameters: Tensor) -> Bernoulli:
        return Bernoulli(*parameters)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * self.complement

    @property
    def support(self) -> tuple[float, float]:
        return BITS

    def centre(self) -> Tensor:
        return self.probs.round()

    def states(self, most: int) -> Tensor | None:
        return all_events(self.probs.new_tensor(BITS), tuple(self.probs.shape[1:]), most)

    def point_masses(self, x: Tensor) -> Bernoulli:
        return Bernoulli(x)

    def sample(self, generator: Rng | None = None) -> Tensor:
        p = self.probs
        u = uniform(p.shape, generator, like=p)
        return (u < p).to(p.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        return _sum(torch.xlogy(x, self.probs) + torch.xlogy(1.0 - x, self.complement))

    def entropy(self) -> Tensor:
        return -_sum(torch.xlogy(self.probs, self.probs) + torch.xlogy(self.complement, self.complement))

    def kl(self, other: Distribution) -> Tensor:
        other = self._like(other, "kl")
        one, zero = self.probs, self.complement
        own = torch.xlogy(one, one) + torch.xlogy(zero, zero)
        return _sum(own - torch.xlogy(one, other.probs) - torch.xlogy(zero, other.complement))

    def product(self, other: Distribution) -> tuple[Distribution, Tensor]:
        other = self._like(other, "product")
        one, zero = self.probs * other.probs, self.complement * other.complement
        total = one + zero
        return Bernoulli(one / total, zero / total), _sum(total.log())

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        return self.reweight_values(factor.logs(self.probs.new_tensor(BITS)))

    def has_linear_product(self, matrix: Tensor) -> bool:
        return single_entries(matrix)

    def observe_linear(self, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        table = logs_of_rows(matrix, y, noise, self.probs.new_tensor(BITS))
        return self.reweight_values(table.view(-1, *self.probs.shape[1:], 2))

    def reweight_values(self, log_r: Tensor) -> tuple[Distribution, Tensor]:
        log_zero, log_one = log_r.unbind(-1)
        return self._reweighted(log_one, log_zero)

    def _reweighted(self, log_one: Tensor, log_zero: Tensor) -> tuple[Bernoulli, Tensor]:
        top = torch.maximum(log_one, log_zero)
        one, zero = self.probs * (log_one - top).exp(), self.complement * (log_zero - top).exp()
        total = one + zero
        log_z = (total.log() + top).flatten(1).sum(1)
        possible = total > 0
        if possible.all():
            return Bernoulli(one / total, zero / total), log_z
        safe = torch.where(possible, total, 1.0)
        one, zero = torch.where(possible, one / safe, self.probs), torch.where(possible, zero / safe, self.complement)
        return Bernoulli(one, zero), log_z

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        return self._reweighted(g * (1.0 - at), -g * at)


class Categorical(Distribution):
    r"""Independent categorical distribution of each entry.

    Events hold the index of the class, 0 to K - 1, as a number of the precision of the probabilities. Mean and variance
    are those of the index.

    Parameters
    ----------
    log_probs : Tensor, shape (batch, \*event, K)
        Normalised log-probabilities; -inf is allowed.

    Examples
    --------
    >>> import torch
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
        r"""Return point masses at the classes ``x``, (batch, \*event)."""
        return cls(one_hot(x, n_classes).to(x.dtype).log())

    def _parameters(self) -> tuple[Tensor, ...]:
        return (self.log_probs,)

    def _with(self, *parameters: Tensor) -> Categorical:
        return Categorical(*parameters)

    @property
    def n_classes(self) -> int:
        """Number K of classes."""
        return self.log_probs.shape[-1]

    def _index(self) -> Tensor:
        return torch.arange(self.n_classes, dtype=self.log_probs.dtype, device=self.log_probs.device)

    @property
    def mean(self) -> Tensor:
        return self.log_probs.exp() @ self._index()

    @property
    def variance(self) -> Tensor:
        return (self.log_probs.exp() @ self._index().square()) - self.mean.square()

    @property
    def support(self) -> tuple[float, float]:
        return 0.0, self.n_classes - 1.0

    def centre(self) -> Tensor:
        return self.mean.round()

    def states(self, most: int) -> Tensor | None:
        return all_events(self._index(), tuple(self.log_probs.shape[1:-1]), most)

    def point_masses(self, x: Tensor) -> Categorical:
        return Categorical.points(x, self.n_classes)

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
        other = self._like(other.dense(), "kl")
        return _sum(self._mean_of(self.log_probs - other.log_probs))

    def _mean_of(self, values: Tensor) -> Tensor:
        """Average values, without those of probability zero."""
        return (self.log_probs.exp() * values.masked_fill(self.log_probs == -math.inf, 0.0)).sum(-1)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        return self.kl(other)  # which for a point is -log other(point)

    def product(self, other: Distribution) -> tuple[Distribution, Tensor]:
        other = self._like(other.dense(), "product")
        both = self.log_probs + other.log_probs
        total = torch.logsumexp(both, -1)
        return Categorical(both - total.unsqueeze(-1)), _sum(total)

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        return self.reweight_values(factor.logs(self._index()))

    def has_linear_product(self, matrix: Tensor) -> bool:
        return single_entries(matrix)

    def observe_linear(self, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        table = logs_of_rows(matrix, y, noise, self._index())
        return self.reweight_values(table.view(-1, *self.log_probs.shape[1:]))

    def reweight_values(self, log_r: Tensor) -> tuple[Distribution, Tensor]:
        result, log_z = self._each_reweighted(log_r)
        return result, log_z.flatten(1).sum(1)

    def _each_reweighted(self, log_r: Tensor) -> tuple[Categorical, Tensor]:
        r"""Reweight the classes, with the log normaliser of each entry, (batch, \*event)."""
        both = self.log_probs + log_r
        total = torch.logsumexp(both, -1, keepdim=True)
        possible = total > -torch.inf
        result = Categorical(torch.where(possible, both - torch.where(possible, total, 0.0), self.log_probs))
        return result, total.squeeze(-1)

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        return self.reweight_values(g.unsqueeze(-1) * (self._index().to(g) - at.unsqueeze(-1)))
