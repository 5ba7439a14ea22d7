"""Early stopping by the validation bound."""

from __future__ import annotations

import math

from torch import Tensor

from quasistatic.estimate import paired_difference

__all__ = ["Patience"]


class Patience:
    """Count of evaluations without an improvement beyond noise.

    Bounds are compared row by row with those of the last improvement. They are of the same rows with the same draws, so a
    mean gain above its standard error is an improvement. Small gains count once they add up to one.

    Parameters
    ----------
    limit : int
        Evaluations without improvement after which training stops; 0 for never.

    Attributes
    ----------
    waited : int
        Evaluations since the last improvement.
    reference : Tensor or None
        Bounds of the rows at the last improvement.

    Examples
    --------
    >>> import torch
    >>> patience = Patience(2)
    >>> for bounds in ([0.0, 1.0], [2.0, 3.1], [2.0, 3.0], [1.0, 4.0]):
    ...     patience.record(torch.tensor(bounds))
    ...     print(patience.waited, patience.exhausted)
    0 False
    0 False
    1 False
    2 True
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waited = 0
        self.reference: Tensor | None = None

    @property
    def exhausted(self) -> bool:
        """True once no improvement was seen for ``limit`` evaluations."""
        return 0 < self.limit <= self.waited

    def record(self, bounds: Tensor) -> None:
        """Compare validation bounds with those of the last improvement.

        The bounds have shape (n,).
        """
        if not self.limit:
            return
        if self.reference is None or _better(bounds, self.reference):
            self.reference, self.waited = bounds.detach().cpu().clone(), 0
        else:
            self.waited += 1


def _better(bounds: Tensor, reference: Tensor) -> bool:
    bounds = bounds.detach().cpu()
    if not math.isfinite(reference.mean().item()):
        return math.isfinite(bounds.mean().item())
    gain = paired_difference(bounds, reference)
    noise = gain.standard_error if gain.n > 1 else 0.0
    return gain.value > noise
