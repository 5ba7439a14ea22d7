"""Checks of the values of an observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from quasistatic.checks import LARGEST
from quasistatic.errors import InputError

__all__ = ["batch_first", "require_finite"]


def batch_first(x: Any, event: Sequence[int], what: str, device: torch.device | str) -> tuple[Tensor, bool]:
    """Return values with a batch axis, in float64.

    The result is (1 or B, *event), and whether there was a batch.

    Parameters
    ----------
    x : array or Tensor, shape (*event) or (B, *event)
        The values.
    event : sequence of int
        Shape of one event.
    what : str
        Name of the values in messages.
    device : device
        Where the values go.
    """
    value = torch.as_tensor(x, device=device)
    value = value if value.dtype == torch.bool else value.double()
    event = tuple(event)
    if tuple(value.shape) == event:
        return value.unsqueeze(0), False
    if tuple(value.shape[1:]) == event and len(value) >= 1:
        return value, True
    raise InputError(f"{what} has shape {tuple(value.shape)}, but must have shape {event}, or (n, *{event}) for a batch")


def require_finite(x: Tensor, what: str) -> None:
    """Refuse nan, infinity and numbers too large.

    The message has the place of the first, and the name ``what``.
    """
    bad = ~torch.isfinite(x)
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise InputError(f"{what} holds {x[tuple(where)].item()} at index {where}, but must be finite everywhere")
    if x.numel() and x.abs().max() > LARGEST:
        raise InputError(f"{what} holds {x.abs().max().item()}, but no number may be above {LARGEST:g} in size: rescale it")
