"""The product of a distribution with an observation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from quasistatic.distributions import Distribution

__all__ = ["Tilt"]


class Tilt(NamedTuple):
    """A distribution multiplied by r or a stand-in.

    Attributes
    ----------
    distribution : Distribution
        The product, renormalised.
    log_z : Tensor, shape (batch,)
        Log normaliser of that product.
    log_lookahead : Tensor, shape (batch,)
        Best estimate of the log of E r; ``log_z`` where the product is with r itself.
    difference : callable or None
        x -> log r - log stand-in, (batch,); None where the product is with r itself.
    """

    distribution: Distribution
    log_z: Tensor
    log_lookahead: Tensor
    difference: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def exact(cls, product: tuple[Distribution, Tensor]) -> Tilt:
        """Build the tilt of a closed-form product and its log normaliser."""
        distribution, log_z = product
        return cls(distribution, log_z, log_z)

    def plus(self, log_constant: Tensor | None) -> Tilt:
        """Multiply r by a constant of each row, given as its log."""
        if log_constant is None:
            return self
        return self._replace(log_z=self.log_z + log_constant, log_lookahead=self.log_lookahead + log_constant)

    def log_weight(self, x: Tensor) -> Tensor:
        """Return the log weight of draws, (batch,).

        It is log p(x) r(x) / distribution(x), for draws x of the distribution.
        """
        return self.log_z if self.difference is None else self.log_z + self.difference(x)
