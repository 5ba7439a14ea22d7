"""Several observations at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from quasistatic.checks import instance_of
from quasistatic.distributions import Distribution
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.posterior.observations.base import Observation
from quasistatic.posterior.observations.function import as_observation
from quasistatic.posterior.observations.tilt import Tilt
from quasistatic.transforms import Transform

__all__ = ["JointObservation"]


class JointObservation(Observation):
    """Several observations of one example, with independent errors.

    Parameters
    ----------
    *parts : Observation
        The observations, in any order. Those with closed forms are applied first.
    """

    def __init__(self, *parts: Observation) -> None:
        if not parts:
            raise InputError("a joint observation needs at least one part")
        flat: list[Observation] = []
        for part in parts:
            instance_of("each part", part, Observation, "an observation")
            flat.extend(part.parts if isinstance(part, JointObservation) else (part,))
        self.parts: tuple[Observation, ...] = tuple(sorted(flat, key=lambda part: not part.has_closed_form))
        self.has_zeros = any(part.has_zeros for part in flat)
        self.has_closed_form = all(part.has_closed_form for part in flat)

    def _with(self, parts: Sequence[Observation]) -> JointObservation:
        """Build the same joint observation of other parts."""
        other = JointObservation(*parts)
        other.event, other.batched = self.event, self.batched
        other.n_copies, other.n_observations = self.n_copies, self.n_observations
        return other

    def _bound_to(self, event: tuple[int, ...], device: torch.device | str) -> JointObservation:
        joint = self._with([part.on(event, device) for part in self.parts])
        counts = {part.n_observations for part in joint.parts} - {1}
        if len(counts) > 1:
            raise InputError(f"the parts hold {sorted(counts)} observations, but each must hold as many or one")
        joint.event = event
        joint.n_observations = max(counts, default=1)
        joint.n_copies = max(part.n_copies for part in joint.parts)
        joint.batched = any(part.batched for part in joint.parts)
        _refuse_known_twice([part.known_mask for part in joint.parts if part.known_mask is not None])
        return joint

    def rows(self, index: Tensor) -> JointObservation:
        joint = self._with([part.rows(index) for part in self.parts])
        joint.n_observations = len(index) if self.n_observations > 1 else 1
        return joint

    def log_r(self, x: Tensor) -> Tensor:
        return torch.stack([part.log_r(x) for part in self.parts]).sum(0)

    def on_states(self, process: ForwardProcess) -> JointObservation:
        return self._with([part.on_states(process) for part in self.parts])

    def log_potential(self, x: Tensor) -> Tensor:
        return torch.stack([part.log_potential(x) for part in self.parts]).sum(0)

    def product(self, p: Distribution, share: float = 1.0, improved: bool = False) -> Tilt:
        tilts: list[Tilt] = []
        for part in self.parts:
            tilts.append(part.product(tilts[-1].distribution if tilts else p, share, improved))
        differences = [tilt.difference for tilt in tilts if tilt.difference is not None]
        return Tilt(
            tilts[-1].distribution,
            torch.stack([tilt.log_z for tilt in tilts]).sum(0),
            torch.stack([tilt.log_lookahead for tilt in tilts]).sum(0),
            (lambda x: torch.stack([difference(x) for difference in differences]).sum(0)) if differences else None,
        )

    def _through(self, transform: Transform, generator: Generator | None, n_copies: int) -> JointObservation:
        assert self.event is not None
        parts = [part.through(transform, generator, n_copies) for part in self.parts]
        device = next((part.log_jacobian.device for part in parts if part.log_jacobian is not None), "cpu")
        log_jacobian = torch.zeros(1, dtype=torch.float64, device=device)
        for part in parts:
            log_jacobian = log_jacobian if part.log_jacobian is None else log_jacobian + part.log_jacobian
        if any(part.n_copies > 1 for part in parts):
            each = torch.arange(self.n_observations * n_copies) // n_copies
            parts = [part if part.n_copies > 1 else _copied(part, each) for part in parts]
        joint = JointObservation(*parts).on(self.event)
        joint.batched, joint.log_jacobian = self.batched, log_jacobian
        return joint

    def restore(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part.restore(x)
        return x


def both(
    first: Observation | Callable[[Tensor], Tensor], second: Observation | Callable[[Tensor], Tensor]
) -> JointObservation:
    """Join two observations or functions log r(x)."""
    return JointObservation(as_observation(first, "the left side of &"), as_observation(second, "the right side of &"))


Observation._joined = staticmethod(both)


def _copied(part: Observation, index: Tensor) -> Observation:
    """Repeat the rows of a part for the copies of another."""
    copied = copy.copy(part.rows(index))
    copied.log_jacobian = None
    return copied


def _refuse_known_twice(masks: Sequence[Tensor]) -> None:
    if not masks:
        return
    total = torch.stack(torch.broadcast_tensors(*masks)).sum(0)
    if (total > 1).any():
        where = (total > 1).nonzero()[0, 1:].tolist()
        raise InputError(f"the entry at index {where} is given as known twice: give it once")
