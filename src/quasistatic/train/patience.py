"""When to stop: the validation bound has not improved beyond noise for a while."""

from __future__ import annotations

import math

from torch import Tensor

from quasistatic.estimate import paired_difference

__all__ = ["Patience"]


class Patience:
    """Count of evaluations without an improvement, row by row against the last one that was.

    The bounds compared are of the same rows with the same draws, so noise is what rows differ in: a mean gain of more than
    its standard error is an improvement. What creeps up is one too, once it has added up.

    Parameters
    ----------
    limit : int
        Evaluations without improvement after which to stop; 0 for never.

    Examples
    --------
    >>> import torch
    >>> patience = Patience(2)
    >>> for bounds in ([0.0, 1.0], [2.0, 3.1], [2.0, 3.0], [1.0, 4.0]):
    ...     patience.see(torch.tensor(bounds))
    ...     print(patience.waited, patience.over)
    0 False
    0 False
    1 False
    2 True
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waited = 0
        self.reference: Tensor | None = None  # bounds of the rows at the last improvement

    @property
    def over(self) -> bool:
        """Whether it is."""
        return 0 < self.limit <= self.waited

    def see(self, bounds: Tensor) -> None:
        """Take in the bounds of the validation rows, (n,)."""
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
