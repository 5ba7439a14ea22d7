"""Mixtures of distributions of one family."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution
from quasistatic.distributions.factors import EntryFactor
from quasistatic.random import Rng, choice

__all__ = ["Mixture"]


class Mixture(Distribution):
    r"""Weighted sum of M distributions of one family, :math:`\sum_m w_m c_m(x)`.

    Parameters
    ----------
    log_weights : Tensor, shape (batch, M)
        Log weights; each row's weights sum to one.
    components : Distribution
        With batch ``batch * M``: component m of row b stands at ``b * M + m``.

    Examples
    --------
    >>> import torch
    >>> from quasistatic.distributions import Bernoulli
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

    # ---- rows of the batch

    def _parameters(self) -> tuple[Tensor, ...]:
        return (self.log_weights,)

    def _with(self, *parameters: Tensor) -> Mixture:
        raise NotImplementedError  # the rows of the components are selected too

    def __getitem__(self, rows: slice) -> Mixture:
        start, stop, stride = rows.indices(len(self.log_weights))
        if stride != 1:
            raise ValueError(f"rows of a mixture are taken one after the other, got a stride of {stride}")
        m = self.n_components
        return Mixture(self.log_weights[rows], self.components[start * m : stop * m])

    def take(self, rows: Tensor) -> Mixture:
        m = self.n_components
        each = (rows.unsqueeze(1) * m + torch.arange(m, device=rows.device)).flatten()
        return Mixture(self.log_weights[rows], self.components.take(each))

    def repeat(self, m: int) -> Mixture:
        return self.take(torch.arange(len(self), device=self.log_weights.device).repeat_interleave(m))

    def _concat(self, parts: Sequence[Mixture]) -> Mixture:
        components = Distribution.concat([part.components for part in parts])
        return Mixture(torch.cat([part.log_weights for part in parts]), components)

    # ---- draws and densities

    def _choose(self, drawn: Tensor, generator: Rng | None) -> Tensor:
        """Keep one of M draws of each row.

        The draws have shape (batch * M, *event), and one is kept by the weights.
        """
        pick = choice(self.log_weights.exp(), generator)
        rows = torch.arange(len(pick), device=pick.device) * self.n_components
        return drawn[rows + pick]

    def sample(self, generator: Rng | None = None) -> Tensor:
        return self._choose(self.components.sample(generator), generator)

    def log_prob(self, x: Tensor) -> Tensor:
        each = self.components.log_prob(x.repeat_interleave(self.n_components, 0))
        return torch.logsumexp(self.log_weights + each.view_as(self.log_weights), 1)

    # ---- moments and values

    def _average(self, values: Tensor) -> Tensor:
        """Average (batch * M, *event) values over the components."""
        weights = self.log_weights.exp()
        each = values.flatten(1).view(*weights.shape, -1)
        return (weights.unsqueeze(1) @ each).view(len(weights), *values.shape[1:])

    @property
    def mean(self) -> Tensor:
        return self._average(self.components.mean)

    def _offsets(self) -> Tensor:
        """Return the component means less the mean, (batch, M, d)."""
        mean = self.components.mean
        return mean.flatten(1).view(*self.log_weights.shape, -1) - self._average(mean).flatten(1).unsqueeze(1)

    @property
    def variance(self) -> Tensor:
        within = self.components.variance
        return self._average(within + self._offsets().square().view_as(within))

    def covariance_times(self, v: Tensor) -> Tensor:
        weights = self.log_weights.exp()
        within = self.components.covariance_times(v.repeat_interleave(self.n_components, 0))
        off = self._offsets()
        between = off * (off @ v.flatten(1).unsqueeze(-1))
        return (weights.unsqueeze(1) @ (within.flatten(1).view(*weights.shape, -1) + between)).view_as(v)

    @property
    def support(self) -> tuple[float, float] | None:
        return self.components.support

    def step_inside(self, x: Tensor, step: Tensor) -> Tensor:
        return self.components.step_inside(x, step)

    def centre(self) -> Tensor:
        rounded = self.components.centre() is not self.components.mean
        return self.mean.round() if rounded else self.mean

    def states(self, most: int) -> Tensor | None:
        return self.components.states(most)

    def point_masses(self, x: Tensor) -> Distribution:
        return self.components.point_masses(x)

    def masked(self, x: Tensor) -> Tensor | None:
        return self.components.masked(x)

    def unmasked(self) -> Mixture:
        return Mixture(self.log_weights, self.components.unmasked())

    def offset(self, x: Tensor, at: Tensor) -> Tensor:
        return self.components.offset(x, at)

    # ---- products

    def reweighted(self, components: Distribution, log_z: Tensor) -> tuple[Mixture, Tensor]:
        """Reweight components that were multiplied by a factor.

        Parameters
        ----------
        components : Distribution
            The components after multiplication, (batch * M) rows.
        log_z : Tensor, shape (batch * M,)
            Their log normalisers, nats.

        Returns
        -------
        Mixture
        Tensor, shape (batch,)
            Log normaliser of the mixture, nats.
        """
        log_weights = self.log_weights + log_z.view_as(self.log_weights)
        total = torch.logsumexp(log_weights, 1)
        possible = torch.isfinite(total).unsqueeze(1)
        return Mixture(torch.where(possible, log_weights - total.unsqueeze(1), self.log_weights), components), total

    def _rows(self, values: Tensor) -> Tensor:
        """Repeat each row for the components.

        A single one stays as it is.
        """
        return values.repeat_interleave(self.n_components, 0) if len(values) > 1 else values

    def product(self, other: Distribution) -> tuple[Distribution, Tensor]:
        m = self.n_components
        components, log_z = self.components.product(other.repeat(m))
        log_weights = self.log_weights + log_z.view_as(self.log_weights)
        total = torch.logsumexp(log_weights, 1)
        return Mixture(log_weights - total[:, None], components), total

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        return self.reweighted(*self.components.condition(factor.repeat(self.n_components)))

    def observe_entries(self, mask: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        return self.reweighted(*self.components.observe_entries(self._rows(mask), self._rows(y), self._rows(noise)))

    def observe_cells(self, mask: Tensor, y: Tensor, below: Tensor, above: Tensor) -> tuple[Distribution, Tensor]:
        rows = [self._rows(value) for value in (mask, y, below, above)]
        return self.reweighted(*self.components.observe_cells(*rows))

    def has_linear_product(self, matrix: Tensor) -> bool:
        return self.components.has_linear_product(matrix)

    def observe_linear(self, matrix: Tensor, y: Tensor, noise: Tensor) -> tuple[Distribution, Tensor]:
        matrix = matrix if matrix.dim() == 2 else self._rows(matrix)
        return self.reweighted(*self.components.observe_linear(matrix, self._rows(y), self._rows(noise)))

    def reweight_values(self, log_r: Tensor) -> tuple[Distribution, Tensor]:
        return self.reweighted(*self.components.reweight_values(self._rows(log_r)))

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        m = self.n_components
        return self.reweighted(*self.components.tilt(g.repeat_interleave(m, 0), at.repeat_interleave(m, 0)))

    def each_component(self, f: Callable[[Distribution, Tensor], Distribution], x: Tensor) -> Mixture:
        return Mixture(self.log_weights, f(self.components, x.repeat_interleave(self.n_components, 0)))
