"""Small tools for modules of torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

__all__ = ["FixedPrecision", "shared_copy"]

M = TypeVar("M", bound=nn.Module)


class FixedPrecision(nn.Module):
    """A module whose buffers keep their precision.

    ``.to(device)`` moves the buffers; ``.to(dtype)``, ``.float()`` and ``.half()`` leave them as they are. A schedule or
    a covariance matrix then stays exact when the network beside it is cast.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):  # type: ignore[no-untyped-def]
        if recurse:
            for child in self.children():
                child._apply(fn)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self


def shared_copy(module: M) -> M:
    """Copy a module, sharing its parameters, buffers and parts.

    A part may be replaced in the copy without a change of the original.
    """
    other = copy.copy(module)
    other._modules = dict(module._modules)
    return other
