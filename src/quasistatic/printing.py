"""Short descriptions of objects that hold many numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Described", "brief"]


def brief(value: Any) -> str:
    """Describe a value briefly.

    Tensors of more than four numbers are described by type and shape.

    Examples
    --------
    >>> brief(torch.zeros(50, 2)), brief(torch.tensor([0.5, 1.0])), brief("text")
    ('float32(50, 2)', '[0.5, 1]', "'text'")
    """
    match value:
        case Tensor():
            return _brief_tensor(value)
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return f"[{', '.join(map(brief, value))}]" if len(value) <= 4 else f"{type(value).__name__} of {len(value)}"
        case torch.nn.Module():
            return type(value).__name__
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    text = repr(value)
    return text if len(text) <= 80 else f"{type(value).__name__}(...)"


def _brief_tensor(value: Tensor) -> str:
    if value.numel() > 4 or value.dim() > 1:
        return f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}"
    numbers = [f"{number:.4g}" for number in value.detach().double().flatten().tolist()]
    return numbers[0] if value.dim() == 0 else f"[{', '.join(numbers)}]"


class Described:
    """An object that prints its attributes in brief."""

    def __repr__(self) -> str:
        shown = {name: value for name, value in vars(self).items() if not name.startswith("_") and value is not None}
        fields = [f"{name}={brief(value)}" for name, value in list(shown.items())[:6]]
        return f"{type(self).__name__}({', '.join(fields)}{', ...' if len(shown) > 6 else ''})"
