"""Mixtures of distributions, and independent blocks of columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution
from quasistatic.distributions.discrete import Bernoulli, Categorical
from quasistatic.distributions.gaussian import Gaussian, MultivariateGaussian
from quasistatic.random import Rng, choice

__all__ = ["Joint", "Mixture"]


class Mixture(Distribution):
    r"""Weighted sum of M laws of one family for each row, :math:`\sum_m w_m c_m(x)`.

    Parameters
    ----------
    log_weights : Tensor, shape (batch, M)
        Log weights; each row's weights sum to one.
    components : Distribution
        Laws with batch ``batch * M``: component m of row b stands at ``b * M + m``.

    Examples
    --------
    >>> parts = Bernoulli(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> p = Mixture(torch.tensor([[0.25, 0.75]]).log(), parts)
    >>> round(p.log_prob(torch.ones(1, 2)).exp().item(), 4)
    0.75
    """

    has_kl = False

    def __init__(self, log_weights: Tensor, components: Distribution) -> None:
        self.log_weights = log_weights
        self.components = components

    @property
    def n_components(self) -> int:
        """Number M of components of each row."""
        return self.log_weights.shape[1]

    def __getitem__(self, rows: slice) -> Mixture:
        start, stop, stride = rows.indices(len(self.log_weights))
        if stride != 1:
            raise ValueError(f"rows of a mixture are taken one after the other, got a stride of {stride}")
        m = self.n_components
        return Mixture(self.log_weights[rows], self.components[start * m : stop * m])

    def _choose(self, drawn: Tensor, generator: Rng | None) -> Tensor:
        """Of (batch * M, *event) draws keep one of each row's M, by the weights."""
        pick = choice(self.log_weights.exp(), generator)
        rows = torch.arange(len(pick), device=pick.device) * self.n_components
        return drawn[rows + pick]

    def sample(self, generator: Rng | None = None) -> Tensor:
        return self._choose(self.components.sample(generator), generator)

    def log_prob(self, x: Tensor) -> Tensor:
        each = self.components.log_prob(x.repeat_interleave(self.n_components, 0))
        return torch.logsumexp(self.log_weights + each.view_as(self.log_weights), 1)

    def entropy(self) -> Tensor:
        raise self._unsupported("entropy")

    def kl(self, other: Distribution) -> Tensor:
        raise self._unsupported("kl", other)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        m = self.n_components
        parts, log_z = self.components.times(_repeated(other, m))
        log_weights = self.log_weights + log_z.view_as(self.log_weights)
        total = torch.logsumexp(log_weights, 1)
        return Mixture(log_weights - total[:, None], parts), total


def _repeated(p: Distribution, m: int) -> Distribution:
    """Each row of a plain law m times in succession, as the components of a mixture stand."""
    if isinstance(p, Gaussian):
        return Gaussian(p.mean.repeat_interleave(m, 0), p.var.repeat_interleave(m, 0))
    if isinstance(p, MultivariateGaussian):
        return MultivariateGaussian(p.mean.repeat_interleave(m, 0), p.scale_tril.repeat_interleave(m, 0))
    if isinstance(p, Bernoulli):
        return Bernoulli(p.probs.repeat_interleave(m, 0), p.complement.repeat_interleave(m, 0))
    if isinstance(p, Categorical):
        return Categorical(p.log_probs.repeat_interleave(m, 0))
    if isinstance(p, Joint):
        return Joint([_repeated(part, m) for part in p.parts], p.columns)
    raise NotImplementedError(f"a mixture times {type(p).__name__} is not defined")


class Joint(Distribution):
    r"""Independent blocks of the columns of a table, each with a law of its own, :math:`\prod_b p_b(x_b)`.

    Parameters
    ----------
    parts : sequence of Distribution
        Laws over vectors, (batch, d_b).
    columns : sequence of Tensor of int
        Which columns of the event, (batch, d), each part is of; together they are 0 to d - 1, each once.

    Examples
    --------
    A number and a bit, the bit standing first:

    >>> number, bit = Gaussian(torch.zeros(1, 1), torch.ones(1, 1)), Bernoulli(torch.tensor([[0.25]]))
    >>> p = Joint([number, bit], [torch.tensor([1]), torch.tensor([0])])
    >>> round(p.log_prob(torch.tensor([[1.0, 0.0]])).item(), 4)      # log 0.25 + log N(0; 0, 1)
    -2.3052
    """

    def __init__(self, parts: Sequence[Distribution], columns: Sequence[Tensor]) -> None:
        self.parts, self.columns = list(parts), list(columns)

    @property
    def has_kl(self) -> bool:  # type: ignore[override]
        """Whether every part has a closed-form KL."""
        return all(part.has_kl for part in self.parts)

    def __getitem__(self, rows: slice) -> Joint:
        return Joint([part[rows] for part in self.parts], self.columns)

    def sample(self, generator: Rng | None = None) -> Tensor:
        return self.joined([part.sample(generator) for part in self.parts])

    def joined(self, blocks: Sequence[Tensor]) -> Tensor:
        """Put blocks (batch, d_b) where they belong, (batch, d)."""
        order = torch.cat(self.columns)
        return torch.cat(list(blocks), 1).index_select(1, torch.argsort(order))

    def log_prob(self, x: Tensor) -> Tensor:
        each = [part.log_prob(x.index_select(1, c)) for part, c in zip(self.parts, self.columns, strict=True)]
        return torch.stack(each).sum(0)

    def entropy(self) -> Tensor:
        return torch.stack([part.entropy() for part in self.parts]).sum(0)

    def kl(self, other: Distribution) -> Tensor:
        each = [p.kl(q) for p, q in zip(self.parts, self._blocks_of(other, "kl"), strict=True)]
        return torch.stack(each).sum(0)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        each = [p.cost(q, n_points) for p, q in zip(self.parts, self._blocks_of(other, "cost"), strict=True)]
        return torch.stack(each).sum(0)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        products = [p.times(q) for p, q in zip(self.parts, self._blocks_of(other, "times"), strict=True)]
        return Joint([p for p, _ in products], self.columns), torch.stack([log_z for _, log_z in products]).sum(0)

    def _blocks_of(self, other: Distribution, what: str) -> list[Distribution]:
        """The parts of another product over the same blocks."""
        same = isinstance(other, Joint) and len(other.parts) == len(self.parts)
        if not same or any(not torch.equal(a, b) for a, b in zip(self.columns, other.columns, strict=True)):  # type: ignore[attr-defined]
            raise self._unsupported(what, other)
        return other.parts  # type: ignore[attr-defined]
