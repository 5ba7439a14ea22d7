r"""What evidence is: a positive r(x), and products of laws with it.

A posterior :math:`\tilde p(x_0) \propto p(x_0)\, r(x_0)` asks for the product of r with every kernel of the chain
(Sohl-Dickstein et al. 2015, Section 2.5). Where that product has a closed form it is taken. Elsewhere r is replaced by
:math:`r(\mu)\, e^{g \cdot (x - \mu)}` with :math:`g = \nabla \log r(\mu)`, the paper's perturbation (eq. 61), and the
``gap`` between the two goes into the weights, so that nothing is lost but efficiency.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from quasistatic.checks import LARGEST, instance_of
from quasistatic.distributions import Bernoulli, Categorical, Distribution, Mixture
from quasistatic.distributions.conditioning import observe_bits, observe_classes, reweighted
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.distributions.operations import mean
from quasistatic.distributions.weighted_levels import ObservedLevels
from quasistatic.errors import InputError
from quasistatic.printing import Described

__all__ = ["JointObservation", "Observation", "Tilt", "as_observation"]

E = TypeVar("E", bound="Observation")


class Tilt(NamedTuple):
    """A law multiplied by a power of r, or by a stand-in for it.

    Attributes
    ----------
    law : Distribution
        The product, renormalised.
    log_z : Tensor, shape (batch,)
        Log normaliser of that very product.
    log_lookahead : Tensor, shape (batch,)
        The best guess of the log of E r; ``log_z`` where the product is with r itself.
    gap : callable or None
        x -> log r - log stand-in, (batch,); None where the product is with r itself.
    """

    law: Distribution
    log_z: Tensor
    log_lookahead: Tensor
    gap: Callable[[Tensor], Tensor] | None = None

    def log_weight(self, x: Tensor) -> Tensor:
        """Log of p(x) r(x) / law(x) at draws x of the law, (batch,)."""
        return self.log_z if self.gap is None else self.log_z + self.gap(x)


class Observation(Described, ABC):
    """What is known about x, told by log r(x). ``a & b`` is both, if their errors are independent.

    It is made of tensors of one event, or of a batch of B observations; :meth:`on` checks them against an event shape.

    Attributes
    ----------
    n_observations : int
        B, known after :meth:`on`; 1 for a single observation.
    versions : int
        More than 1 if each observation stands there once for each of N particles, B * N rows, that differ in
        something random about it.
    batched : bool
        Whether a batch axis was given.
    vanishes : bool
        Whether r is zero somewhere, as it is for entries known exactly.
    closed : bool
        Whether products with the kernels it suits have a closed form.
    """

    event: tuple[int, ...] | None = None
    n_observations: int = 1
    versions: int = 1
    batched: bool = False
    vanishes: bool = False
    closed: bool = True

    def on(self: E, event: Sequence[int], device: torch.device | str = "cpu") -> E:
        """Check the evidence against an event shape, and put a batch axis (1 or B) first, in float64."""
        event = tuple(event)
        return self if self.event == event else self._bound_to(event, device)

    @abstractmethod
    def _bound_to(self: E, event: tuple[int, ...], device: torch.device | str) -> E:
        """Do what :meth:`on` does, for evidence that is not bound yet."""

    @abstractmethod
    def rows(self: E, index: Tensor) -> E:
        """The observations of some rows; a single one stays as it is, and serves any number of rows."""

    @abstractmethod
    def log_r(self, x: Tensor) -> Tensor:
        """Log r of each row in nats, (batch,)."""

    @abstractmethod
    def product(self, p: Distribution, share: float = 1.0, refined: bool = False) -> Tilt:
        """Multiply each row's law with r to the power ``share`` > 0.

        Where there is no closed form it is the paper's first order (eq. 61), or, ``refined``, something better.
        """

    def lookahead(self, p: Distribution) -> Tensor:
        """Best guess of log E r under each row's law, (batch,): of the ``refined`` product what a look ahead needs."""
        return self.product(p, refined=True).log_lookahead

    def entry_logs(self, values: Tensor) -> Tensor:
        r"""Log :math:`r_i(v)` of each entry at each of K values, (batch or 1, \*event, K), for evidence of entries."""
        raise InputError(f"evidence of type {type(self).__name__} is not about entries one by one")

    def tilt(self, p: Distribution, t: int = 0, n_steps: int | None = None) -> tuple[Distribution, Tensor]:
        r"""Product kernel :math:`p\, r_t / Z` and log Z.

        Without a closed form it is the product with the paper's first-order stand-in for r.

        Parameters
        ----------
        p : Distribution
            Law of x_t, one row for each observation, or any number of rows for a single one.
        t : int
        n_steps : int, optional
            T, for :math:`r_t = r^{(T-t)/T}`; if not given :math:`r_t = r`, the choice of the paper's experiments (eq. 23).

        Examples
        --------
        >>> from quasistatic.distributions import Bernoulli
        >>> from quasistatic.posterior.observations import BitFlipChannel
        >>> law, log_z = BitFlipChannel(torch.tensor([1.0]), rate=0.1).tilt(Bernoulli(torch.tensor([[0.5]])))
        >>> round(law.probs.item(), 4), round(log_z.exp().item(), 4)
        (0.9, 0.5)
        """
        event = mean(p).shape[1:]
        here = self.on(event, mean(p).device)
        share = 1.0 if n_steps is None else 1.0 - t / n_steps
        if share == 0.0:
            return p, mean(p).new_zeros(len(mean(p)))
        product = here.product(p, share)
        return product.law, product.log_z

    def __and__(self, other: Observation | Callable[[Tensor], Tensor]) -> JointObservation:
        return JointObservation(self, as_observation(other, "what stands after &"))

    def __rand__(self, other: Callable[[Tensor], Tensor]) -> JointObservation:
        return JointObservation(as_observation(other, "what stands before &"), self)

    def _of_mixture(self, p: Mixture, share: float) -> Tilt:
        """Products with each component, in closed form."""
        index = torch.arange(len(p.log_weights), device=p.log_weights.device).repeat_interleave(p.n_components)
        parts = self.rows(index).product(p.components, share)
        law, log_z = reweighted(p, parts.law, parts.log_z)
        return Tilt(law, log_z, log_z)

    def _of_values(self, p: Distribution, share: float) -> Tilt | None:
        """Product with a law of bits, classes or levels by :meth:`entry_logs`; None for a law of numbers."""
        log_z: Tensor
        law: Distribution
        if isinstance(p, Bernoulli):
            log_zero, log_one = (share * self.entry_logs(p.probs.new_tensor([0.0, 1.0]))).unbind(-1)
            law, log_z = observe_bits(p, log_one, log_zero)
        elif isinstance(p, Categorical):
            index = torch.arange(p.n_classes, dtype=p.log_probs.dtype, device=p.log_probs.device)
            law, log_z = observe_classes(p, share * self.entry_logs(index))
        elif isinstance(p, DiscretisedGaussian | ObservedLevels):

            def log_r(rows: slice, values: Tensor) -> Tensor:
                return share * self.rows(torch.arange(rows.start, rows.stop, device=values.device)).entry_logs(values)

            law, log_z = ObservedLevels.of(p, log_r)
        else:
            return None
        return Tilt(law, log_z, log_z)


def as_observation(value: Any, name: str = "evidence") -> Observation:
    r"""Take evidence as it is, and a function log r(x) as :class:`LogFactor`.

    Parameters
    ----------
    value : Evidence or callable
        A function takes (n, \*event) to (n,), nats.
    name : str
        What to call it in the message.
    """
    if isinstance(value, Observation):
        return value
    if callable(value) and not isinstance(value, type):
        from quasistatic.posterior.observations.function import LogFactor  # which needs this module

        return LogFactor(value)
    rule = "evidence, such as a GaussianMeasurement or KnownEntries, or a function log r(x)"
    raise InputError(f"{name} must be {rule}, got {type(value).__name__}")


class JointObservation(Observation):
    """Several pieces of evidence at once.

    Parameters
    ----------
    *parts : Evidence
        Those with closed forms are multiplied in first, whatever the order.
    """

    def __init__(self, *parts: Observation) -> None:
        if not parts:
            raise InputError("a product of evidence needs at least one part")
        flat: list[Observation] = []
        for part in parts:
            instance_of("each part", part, Observation, "evidence")
            flat.extend(part.parts if isinstance(part, JointObservation) else (part,))
        self.parts: tuple[Observation, ...] = tuple(sorted(flat, key=lambda part: not part.closed))
        self.vanishes = any(part.vanishes for part in flat)
        self.closed = all(part.closed for part in flat)

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> JointObservation:
        product = JointObservation(*(part.on(event, device) for part in self.parts))
        counts = {part.n_observations for part in product.parts} - {1}
        if len(counts) > 1:
            raise InputError(f"the parts of the evidence hold {sorted(counts)} observations, but must hold as many or one")
        product.event = event
        product.n_observations = max(counts, default=1)
        product.versions = max(part.versions for part in product.parts)
        product.batched = any(part.batched for part in product.parts)
        _refuse_known_twice(product.parts)
        return product

    def rows(self, index: Tensor) -> JointObservation:
        product = JointObservation(*(part.rows(index) for part in self.parts))
        product.event, product.versions = self.event, self.versions
        product.n_observations = len(index) if self.n_observations > 1 else 1
        return product

    def log_r(self, x: Tensor) -> Tensor:
        return torch.stack([part.log_r(x) for part in self.parts]).sum(0)

    def product(self, p: Distribution, share: float = 1.0, refined: bool = False) -> Tilt:
        tilts: list[Tilt] = []
        for part in self.parts:
            tilts.append(part.product(tilts[-1].law if tilts else p, share, refined))
        gaps = [tilt.gap for tilt in tilts if tilt.gap is not None]
        return Tilt(
            tilts[-1].law,
            torch.stack([tilt.log_z for tilt in tilts]).sum(0),
            torch.stack([tilt.log_lookahead for tilt in tilts]).sum(0),
            (lambda x: torch.stack([gap(x) for gap in gaps]).sum(0)) if gaps else None,
        )


def _refuse_known_twice(parts: Sequence[Observation]) -> None:
    masks: list[Tensor] = [part.mask for part in parts if part.vanishes and hasattr(part, "mask")]
    total = sum(mask.long() for mask in masks)
    if isinstance(total, Tensor) and (total > 1).any():
        where = (total > 1).nonzero()[0, 1:].tolist()
        raise InputError(f"the entry at index {where} is given as known twice")


def batch_first(x: Any, event: Sequence[int], what: str, device: torch.device | str) -> tuple[Tensor, bool]:
    """Values of one event, or of a batch, as (1 or B, *event) in float64, and whether there was a batch."""
    value = torch.as_tensor(x, device=device)
    value = value if value.dtype == torch.bool else value.double()
    event = tuple(event)
    if tuple(value.shape) == event:
        return value.unsqueeze(0), False
    if tuple(value.shape[1:]) == event and len(value) >= 1:
        return value, True
    raise InputError(f"{what} has shape {tuple(value.shape)}, but must have shape {event}, or (n, *{event}) for a batch")


def require_finite(x: Tensor, what: str) -> None:
    """Refuse nan and infinity, and say where."""
    bad = ~torch.isfinite(x)
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise InputError(f"{what} holds {x[tuple(where)].item()} at index {where}, but must be finite everywhere")
    if x.numel() and x.abs().max() > LARGEST:
        raise InputError(f"{what} holds {x.abs().max().item()}, but no number may be above {LARGEST:g} in size: rescale it")
