"""Classes that may be masked, the states of an absorbing process."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.distributions.base import Distribution, _sum
from quasistatic.distributions.discrete import Categorical
from quasistatic.distributions.factors import EntryFactor
from quasistatic.random import Rng, uniform

__all__ = ["Masked"]


class Masked(Distribution):
    r"""Classes that may be masked.

    Each entry is masked with a probability of its own, and shows a class otherwise.

    The mask is one more class, of index K. The mask has no value: ``mean`` and ``variance`` are those of the class that
    is shown, and a factor of the values leaves a masked entry as it is. It is a family of its own because known data
    needs no table of K classes here, and because a KL depends only on what is shown.

    Parameters
    ----------
    shown : Tensor, shape (batch, \*event), or Categorical
        The class that is shown, or its distribution.
    n_classes : int
        K.
    mask, show : Tensor, shape (batch, \*event)
        Probability of the mask, and one minus it.

    Examples
    --------
    >>> import torch
    >>> p = Masked(torch.tensor([[1.0, 0.0]]), 2, torch.tensor([[0.25, 1.0]]), torch.tensor([[0.75, 0.0]]))
    >>> p.log_prob(torch.tensor([[1.0, 2.0]])).exp().item(), p.log_prob(torch.tensor([[0.0, 2.0]])).exp().item()
    (0.75, 0.0)
    """

    known: Tensor | None
    """The class that is shown, where it is known."""
    classes: Categorical | None
    """Distribution of the class that is shown, elsewhere."""

    def __init__(self, shown: Tensor | Categorical, n_classes: int, mask: Tensor, show: Tensor) -> None:
        self.known, self.classes = (shown, None) if isinstance(shown, Tensor) else (None, shown)
        self.n_classes = n_classes
        self.mask, self.show = mask, show

    @property
    def shown(self) -> Tensor | Categorical:
        """The class that is shown, or its distribution."""
        return self._known() if self.classes is None else self.classes

    def _known(self) -> Tensor:
        assert self.known is not None
        return self.known

    def _parameters(self) -> tuple[Tensor, ...]:
        return self._known() if self.classes is None else self.classes.log_probs, self.mask, self.show

    def _with(self, *parameters: Tensor) -> Masked:
        shown, mask, show = parameters
        return Masked(shown if self.classes is None else Categorical(shown), self.n_classes, mask, show)

    def _concat(self, parts: list[Masked]) -> Masked:  # type: ignore[override]
        if len({part.known is None for part in parts}) > 1:
            parts = [Masked(part.unmasked(), part.n_classes, part.mask, part.show) for part in parts]
        return super(Masked, parts[0])._concat(parts)

    def unmasked(self) -> Categorical:
        if self.classes is not None:
            return self.classes
        # a state that is masked is never shown, whatever stands for it
        return Categorical.points(self._known() % self.n_classes, self.n_classes)

    def dense(self) -> Categorical:
        shown = self.show.log().unsqueeze(-1) + self.unmasked().log_probs
        return Categorical(torch.cat([shown, self.mask.log().unsqueeze(-1)], -1))

    def masked(self, x: Tensor) -> Tensor:
        return x == self.n_classes

    def offset(self, x: Tensor, at: Tensor) -> Tensor:
        return torch.where(self.masked(x), 0.0, x - at)

    @property
    def mean(self) -> Tensor:
        """Mean index of the shown class, (batch, *event)."""
        return self.unmasked().mean

    @property
    def variance(self) -> Tensor:
        """Variance of its index, (batch, *event)."""
        return self.unmasked().variance

    @property
    def support(self) -> tuple[float, float]:
        """Lowest and highest index of a shown class."""
        return 0.0, self.n_classes - 1.0

    def centre(self) -> Tensor:
        return self.mean.round()

    def sample(self, generator: Rng | None = None) -> Tensor:
        x = self._known() if self.classes is None else self.classes.sample(generator)
        u = uniform(x.shape, generator, like=x)
        return x.masked_fill(u < self.mask, float(self.n_classes))

    def log_prob(self, x: Tensor) -> Tensor:
        return _sum(torch.where(x == self.n_classes, self.mask.log(), self.show.log() + self._log_shown(x)))

    def _log_shown(self, x: Tensor) -> Tensor:
        """Return the log-probability of each shown class.

        It is any number where ``x`` is the mask.
        """
        if self.classes is None:
            return torch.where(torch.eq(x, self._known()), 0.0, -math.inf).to(x.dtype)
        return self.classes._each_log_prob(x % self.n_classes)

    def entropy(self) -> Tensor:
        own = torch.xlogy(self.mask, self.mask) + torch.xlogy(self.show, self.show)
        return _sum((0.0 if self.classes is None else self.show * self.classes._each_entropy()) - own)

    def kl(self, other: Distribution) -> Tensor:
        if isinstance(other, Categorical):
            return self.dense().kl(other)
        other = self._like(other, "kl")
        if self.known is not None:
            of_shown = -other._log_shown(self.known)
        else:
            own = self.unmasked()
            of_shown = own._mean_of(own.log_probs - other.unmasked().log_probs)
        return _sum(
            _x_log_ratio(self.mask, other.mask)
            + _x_log_ratio(self.show, other.show)
            + self.show * of_shown.masked_fill(self.show == 0, 0.0)
        )

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        return self.kl(other)  # which for a point is -log other(point)

    def product(self, other: Distribution) -> tuple[Distribution, Tensor]:
        return self.dense().product(other)

    def condition(self, factor: EntryFactor) -> tuple[Distribution, Tensor]:
        return self.reweight_values(factor.logs(self.unmasked()._index()))

    def has_linear_product(self, matrix: Tensor) -> bool:
        return False  # a measurement of a sum has no value where an entry is masked

    def reweight_values(self, log_r: Tensor) -> tuple[Distribution, Tensor]:
        r"""Multiply the probabilities of shown classes.

        Parameters
        ----------
        log_r : Tensor, shape (batch or 1, \*event, K)
            Log of the factor of each class; the factor of the mask is one.
        """
        classes, log_shown = self.unmasked()._each_reweighted(log_r)
        log_mask, log_show = self.mask.log(), self.show.log() + log_shown
        total = torch.logaddexp(log_mask, log_show)
        possible = total > -torch.inf
        safe = torch.where(possible, total, 0.0)
        mask = torch.where(possible, (log_mask - safe).exp(), self.mask)
        show = torch.where(possible, (log_show - safe).exp(), self.show)
        return Masked(classes, self.n_classes, mask, show), _sum(total)

    def tilt(self, g: Tensor, at: Tensor) -> tuple[Distribution, Tensor]:
        """Multiply by an exponential of the shown classes.

        Masked entries have factor one, as in :meth:`offset`.
        """
        index = self.unmasked()._index()
        return self.reweight_values(g.unsqueeze(-1) * (index.to(g) - at.unsqueeze(-1)))


def _x_log_ratio(p: Tensor, q: Tensor) -> Tensor:
    """Return p log(p / q), zero where p is."""
    # equal in all steps of an absorbing process; on a GPU the comparison would wait for the device
    if p.device.type == "cpu" and torch.equal(p, q):
        return p.new_zeros(())
    return p * (p.log() - q.log()).masked_fill(p == 0, 0.0)
