"""Independent blocks of columns, each with a family of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution
from quasistatic.distributions.factors import EntryFactor
from quasistatic.random import Rng

__all__ = ["Joint"]


class Joint(Distribution):
    r"""Independent blocks of the columns of a table, :math:`\prod_b p_b(x_b)`.

    Parameters
    ----------
    parts : sequence of Distribution
        Distributions over vectors, (batch, d_b).
    columns : sequence of Tensor of int
        Columns of the event, (batch, d), of each part; together they are 0 to d - 1, each once.

    Examples
    --------
    A number and a bit, where the bit is the first column:

    >>> import torch
    >>> from quasistatic.distributions import Bernoulli, Gaussian
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

    # ---- rows and columns

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.parts[0]._parameters()

    def _with(self, *parameters: Tensor) -> Joint:
        raise NotImplementedError  # the rows of every part are selected

    def __getitem__(self, rows: slice) -> Joint:
        return Joint([part[rows] for part in self.parts], self.columns)

    def take(self, rows: Tensor) -> Joint:
        return Joint([part.take(rows) for part in self.parts], self.columns)

    def repeat(self, m: int) -> Joint:
        return Joint([part.repeat(m) for part in self.parts], self.columns)

    def _concat(self, parts: Sequence[Joint]) -> Joint:
        blocks = zip(*(p.parts for p in parts), strict=True)
        return Joint([Distribution.concat(each) for each in blocks], self.columns)

    def joined(self, blocks: Sequence[Tensor]) -> Tensor:
        """Put blocks (batch, d_b) into their columns, (batch, d)."""
        order = torch.cat(self.columns)
        return torch.cat(list(blocks), 1).index_select(1, torch.argsort(order))

    def blocks(self, x: Tensor) -> list[tuple[Distribution, Tensor]]:
        """Pair each part with its columns of ``x``, (batch, d_b)."""
        return [(part, x.index_select(1, c)) for part, c in zip(self.parts, self.columns, strict=True)]

    # ---- draws and densities

    def sample(self, generator: Rng | None = None) -> Tensor:
        return self.joined([part.sample(generator) for part in self.parts])

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.stack([part.log_prob(block) for part, block in self.blocks(x)]).sum(0)

    def entropy(self) -> Tensor:
        return torch.stack([part.entropy() for part in self.parts]).sum(0)

    def kl(self, other: Distribution) -> Tensor:
        each = [p.kl(q) for p, q in zip(self.parts, self._blocks_of(other, "kl"), strict=True)]
        return torch.stack(each).sum(0)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        each = [p.cost(q, n_points) for p, q in zip(self.parts, self._blocks_of(other, "cost"), strict=True)]
        return torch.stack(each).sum(0)

    def _blocks_of(self, other: Distribution, what: str) -> list[Distribution]:
        """Return the parts of another distribution over the same blocks."""
        other = self._like(other, what)
        same = len(other.parts) == len(self.parts)
        if not same or any(not torch.equal(a, b) for a, b in zip(self.columns, other.columns, strict=True)):
            raise self._no_closed_form(what, other)
        return other.parts

    # ---- moments and values

    @property
    def mean(self) -> Tensor:
        return self.joined([part.mean for part in self.parts])

    @property
    def variance(self) -> Tensor:
        return self.joined([part.variance for part in self.parts])

    def covariance_times(self, v: Tensor) -> Tensor:
        return self.joined([part.covariance_times(block) for part, block in self.blocks(v)])

    @property
    def support(self) -> tuple[float, float] | None:
        ends = [part.support for part in self.parts]
        known = [end for end in ends if end is not None]
        return (min(low for low, _ in known), max(high for _, high in known)) if len(known) == len(ends) else None

    def step_inside(self, x: Tensor, step: Tensor) -> Tensor:
        pairs = zip(self.blocks(x), self.blocks(step), strict=True)
        return self.joined([part.step_inside(block, change) for (part, block), (_, change) in pairs])

    def centre(self) -> Tensor:
        return self.joined([part.centre() for part in self.parts])

    def states(self, most: int) -> Tensor | None:
        lists = [part.states(most) for part in self.parts]
        known = [states for states in lists if states is not None]
        if len(known) < len(lists) or torch.tensor([len(states) for states in known]).prod() > most:
            return None
        index = torch.cartesian_prod(*[torch.arange(len(states), device=states.device) for states in known])
        index = index.view(-1, len(known))
        return self.joined([states[index[:, b]] for b, states in enumerate(known)])

    def point_masses(self, x: Tensor) -> Joint:
        return Joint([part.point_masses(block) for part, block in self.blocks(x)], self.columns)

    def masked(self, x: Tensor) -> Tensor | None:
        each = [(part.masked(block), block) for part, block in self.blocks(x)]
        if all(mask is None for mask, _ in each):
            return None
        return self.joined([torch.zeros_like(block, dtype=torch.bool) if m is None else m for m, block in each])

    def unmasked(self) -> Joint:
        return Joint([part.unmasked() for part in self.parts], self.columns)

    def offset(self, x: Tensor, at: Tensor) -> Tensor:
        pairs = zip(self.blocks(x), self.blocks(at), strict=True)
        return self.joined([part.offset(block, origin) for (part, block), (_, origin) in pairs])

    # ---- products

    def _together(self, each: Sequence[tuple[Distribution, Tensor]]) -> tuple[Joint, Tensor]:
        """Join products of the parts with their log normalisers."""
        return Joint([p for p, _ in each], self.columns), torch.stack([log_z for _, log_z in each]).sum(0)

    def product(self, other: Distribution) -> tuple[Distribution, Tensor]:
        return self._together([p.product(q) for p, q in zip(self.parts, self._blocks_of(other, "product"), strict=True)])

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        columns = zip(self.parts, self.columns, strict=True)
        return self._together([part.condition(factor.columns(c)) for part, c in columns])

    def observe_entries(self, mask: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        each = [(part, mask[:, c], y[:, c], noise[:, c]) for part, c in zip(self.parts, self.columns, strict=True)]
        return self._together([part.observe_entries(*block) for part, *block in each])

    def _blocks_of_rows(self, matrix: Tensor) -> Tensor:
        """Return which blocks each row acts on.

        The matrix has shape (m, d), and the result (m, number of blocks).
        """
        used = matrix != 0
        return torch.stack([used.index_select(1, c).any(1) for c in self.columns], 1)

    def has_linear_product(self, matrix: Tensor) -> bool:
        if matrix.dim() != 2 or (self._blocks_of_rows(matrix).sum(1) > 1).any():
            return False
        return all(
            part.has_linear_product(matrix[rows][:, c])
            for part, c, rows in zip(self.parts, self.columns, self._blocks_of_rows(matrix).unbind(1), strict=True)
            if rows.any()
        )

    def observe_linear(self, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        """Condition each block on its rows of the matrix.

        No row may act on two blocks.

        Parameters
        ----------
        matrix : Tensor, shape (m, d)
            A in y = A x + e.
        y, noise : Tensor, shape (batch or 1, m)
            Measurements, and variances of their errors.
        """
        owner = self._blocks_of_rows(matrix)
        owner[~owner.any(1), 0] = True  # rows of zeros count as densities too
        each: list[tuple[Distribution, Tensor]] = []
        for part, c, rows in zip(self.parts, self.columns, owner.unbind(1), strict=True):
            if rows.any():
                each.append(part.observe_linear(matrix[rows][:, c], y[:, rows], noise[:, rows]))
            else:
                each.append((part, part.mean.new_zeros(len(part))))
        return self._together(each)

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        pairs = zip(self.blocks(g), self.blocks(at), strict=True)
        return self._together([part.tilt(slope, origin) for (part, slope), (_, origin) in pairs])

    def each_block(self, f: Callable[[Distribution, Tensor], Distribution], x: Tensor) -> Joint:
        """Apply a function to each part and its columns of x.

        Parameters
        ----------
        f : callable
            (part, columns (batch, d_b)) -> distribution.
        x : Tensor, shape (batch, d)
            Rows of all columns.
        """
        return Joint([f(part, block) for part, block in self.blocks(x)], self.columns)
