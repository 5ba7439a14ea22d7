r"""Observations as positive factors r(x).

A posterior :math:`\tilde p(x_0) \propto p(x_0)\, r(x_0)` needs the product of r with every kernel of the chain
(Sohl-Dickstein et al. 2015, Section 2.5). Where that product has a closed form it is taken. Elsewhere r is replaced by
:math:`r(\mu)\, e^{g \cdot (x - \mu)}` with :math:`g = \nabla \log r(\mu)`, the paper's perturbation (eq. 61). The
``difference`` between the two enters the weights, so only efficiency is lost.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from quasistatic.distributions import Distribution, EntryFactor
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.posterior.observations.tilt import Tilt
from quasistatic.printing import Described
from quasistatic.transforms import Transform

__all__ = ["EntryObservation", "Observation"]

E = TypeVar("E", bound="Observation")


class MaskedStates(NamedTuple):
    """States that may have masked entries."""

    stationary: Distribution
    """Where the chain starts; it has masks if the process is absorbing."""
    fill: Tensor
    """Values that stand for masked entries in a function of all entries: means of the null model, (1, *event)."""

    def mask(self, x: Tensor) -> Tensor | None:
        """Return which entries are masked.

        None if the process has no masks.
        """
        return self.stationary.masked(x)


class Observation(Described, ABC):
    r"""What is known about x.

    It is a positive function r(x), given by its log.

    ``a & b`` is both, if their errors are independent. An observation is made of tensors of one event, or of a batch
    of B observations; :meth:`on` checks them against an event shape.

    Attributes
    ----------
    n_observations : int
        B, set by :meth:`on`; 1 for a single observation.
    n_copies : int
        Copies of each observation, one for each of N particles, which differ in random noise. There are B * N rows.
    batched : bool
        Whether a batch axis was given.
    has_zeros : bool
        Whether r is zero somewhere, as it is for entries known exactly.
    has_closed_form : bool
        Whether products with the kernels it suits have a closed form.
    log_jacobian : Tensor, shape (1,), or None
        Log of the factor that :meth:`through` leaves to be added to the log evidence.
    """

    event: tuple[int, ...] | None = None
    n_observations: int = 1
    n_copies: int = 1
    batched: bool = False
    has_zeros: bool = False
    has_closed_form: bool = True
    log_jacobian: Tensor | None = None
    states: MaskedStates | None = None
    known_mask: Tensor | None = None
    """Entries that are known exactly, (1 or B, *event), where there are any."""

    def on(self: E, event: Sequence[int], device: torch.device | str = "cpu") -> E:
        """Check the observation against an event shape.

        Parameters
        ----------
        event : sequence of int
            Shape of one event.
        device : device
            Where the tensors go.

        Returns
        -------
        Observation
            With a batch axis (1 or B) first, in float64.
        """
        event = tuple(event)
        return self if self.event == event else self._bound_to(event, device)

    @abstractmethod
    def _bound_to(self: E, event: tuple[int, ...], device: torch.device | str) -> E:
        """Do what :meth:`on` does, for an observation without an event shape."""

    @abstractmethod
    def rows(self: E, index: Tensor) -> E:
        """Select observations by index.

        A single one stays as it is, and applies to any number of rows.
        """

    @abstractmethod
    def log_r(self, x: Tensor) -> Tensor:
        """Return log r of each row in nats, (batch,)."""

    @abstractmethod
    def product(self, p: Distribution, share: float = 1.0, improved: bool = False) -> Tilt:
        """Multiply a distribution by a power of r.

        Parameters
        ----------
        p : Distribution
            One row for each observation, or any number of rows for a single one.
        share : float
            Above 0.
        improved : bool
            Where there is no closed form, use something better than the paper's first order (eq. 61).
        """

    def lookahead(self, p: Distribution) -> Tensor:
        """Estimate log E r, (batch,)."""
        return self.product(p, improved=True).log_lookahead

    # ---- states with masked entries

    def on_states(self: E, process: ForwardProcess) -> E:
        """Define r for states with masked entries.

        A factor of single entries leaves out the entries that are masked. A function of all entries is evaluated with
        the mean of the process's null model in their place. Both are positive and equal r where nothing is masked, so
        weights stay exact.
        """
        assert self.event is not None
        shape = (1, *self.event)
        states = MaskedStates(process.stationary(shape, torch.float64), process.null(shape, torch.float64).mean)
        if states.mask(states.fill) is None:
            return self
        other = copy.copy(self)
        other.states = states
        return other

    def log_potential(self, x: Tensor) -> Tensor:
        """Return log r of states, (batch,).

        Some of their entries may be masked; see :meth:`on_states`.
        """
        mask = None if self.states is None else self.states.mask(x)
        if mask is None or self.states is None:
            return self.log_r(x)
        return self.log_r(torch.where(mask, self.states.fill, x))

    # ---- units

    def through(self, transform: Transform, generator: Generator | None = None, n_copies: int = 1) -> Observation:
        """Carry the observation from data units to model units.

        Parameters
        ----------
        transform : Transform
            From data units to model units.
        generator : Generator, optional
            For transforms that draw noise.
        n_copies : int
            Copies of each known integer that the transform dequantises, each with noise of its own.

        Returns
        -------
        Observation
            About z = transform(x). Its ``log_jacobian`` is to be added to the log evidence.

        Raises
        ------
        InputError
            If the observation has no form in model units.
        """
        if not transform.pieces():
            return self
        return self._through(transform, generator, n_copies)

    def _through(self, transform: Transform, generator: Generator | None, n_copies: int) -> Observation:
        raise InputError(
            f"a {type(self).__name__} cannot pass the transform of this model: give what is known as a LogFactor of x"
        )

    def restore(self, x: Tensor) -> Tensor:
        """Put known entries into samples (B, N, *event), free of rounding."""
        return x

    # ---- kernels, and other observations

    def tilt(self, p: Distribution, t: int = 0, n_steps: int | None = None) -> tuple[Distribution, Tensor]:
        r"""Return the product kernel :math:`p\, r_t / Z` and log Z.

        Without a closed form it is the product with the paper's first-order stand-in for r.

        Parameters
        ----------
        p : Distribution
            Distribution of x_t, one row for each observation, or any number of rows for a single one.
        t : int
            Step.
        n_steps : int, optional
            T, for :math:`r_t = r^{(T-t)/T}`; if not given :math:`r_t = r`, the choice of the paper's experiments (eq. 23).

        Examples
        --------
        >>> import torch
        >>> from quasistatic.distributions import Bernoulli
        >>> from quasistatic.posterior.observations import BitFlipChannel
        >>> p, log_z = BitFlipChannel(torch.tensor([1.0]), rate=0.1).tilt(Bernoulli(torch.tensor([[0.5]])))
        >>> round(p.probs.item(), 4), round(log_z.exp().item(), 4)
        (0.9, 0.5)
        """
        here = self.on(p.mean.shape[1:], p.mean.device)
        share = 1.0 if n_steps is None else 1.0 - t / n_steps
        if share == 0.0:
            return p, p.mean.new_zeros(len(p.mean))
        product = here.product(p, share)
        return product.distribution, product.log_z

    _joined: ClassVar[Callable[[Any, Any], Any]]
    """Builds a joint observation; set by the module that defines it, which needs this one."""

    def __and__(self, other: Observation | Callable[[Tensor], Tensor]) -> Any:
        return type(self)._joined(self, other)

    def __rand__(self, other: Callable[[Tensor], Tensor]) -> Any:
        return type(self)._joined(other, self)


class EntryObservation(Observation):
    """An observation that is a factor of each entry."""

    @abstractmethod
    def factor(self, share: float = 1.0) -> EntryFactor:
        """Return r to the power ``share`` as a factor of entries."""

    @abstractmethod
    def each_log_r(self, x: Tensor) -> Tensor:
        r"""Return the log factor of each entry, (batch, \*event)."""

    def log_r(self, x: Tensor) -> Tensor:
        return self.each_log_r(x).flatten(1).sum(1)

    def log_potential(self, x: Tensor) -> Tensor:
        mask = None if self.states is None else self.states.mask(x)
        each = self.each_log_r(x)
        return (each if mask is None else torch.where(mask, 0.0, each)).flatten(1).sum(1)

    def product(self, p: Distribution, share: float = 1.0, improved: bool = False) -> Tilt:
        return Tilt.exact(p.condition(self.factor(share)))
