"""Transforms of some columns of a table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quasistatic.errors import InputError
from quasistatic.random import Rng
from quasistatic.storage.modules import saveable
from quasistatic.transforms.base import Chain, Elementwise, Transform

__all__ = ["OnColumns"]


@saveable
class OnColumns(Transform):
    """Transforms of blocks of the columns of a table.

    Columns that are in no block stay as they are.

    Parameters
    ----------
    parts : sequence of Transform
        Of vectors (batch, d_b). Those of entries on their own (:class:`Elementwise`, or a :class:`Chain` of them) let
        missing entries pass, as nan, and count the log-derivatives of observed ones only.
    columns : sequence of sequences of int
        The columns of each block.

    Examples
    --------
    >>> import torch
    >>> from quasistatic.transforms import Affine
    >>> halved = OnColumns([Affine(torch.zeros(1), torch.tensor([2.0]))], [[1]])
    >>> z, log_det = halved(torch.tensor([[4.0, 4.0], [4.0, float("nan")]]))
    >>> z.tolist(), [round(v, 4) for v in log_det.tolist()]
    ([[4.0, 2.0], [4.0, nan]], [-0.6931, 0.0])
    """

    def __init__(self, parts: list[Transform] | tuple[Transform, ...], columns: list[list[int]]) -> None:
        super().__init__()
        if len(parts) != len(columns):
            raise InputError(f"there must be a transform for each block, got {len(parts)} for {len(columns)} blocks")
        self.parts = nn.ModuleList(parts)
        self.columns = [torch.tensor(list(block)) for block in columns]

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether any part draws noise."""
        return any(part.random for part in self.parts)

    def _blocks(self, x: Tensor) -> list[tuple[Transform, Tensor]]:
        return [(part, c.to(x.device)) for part, c in zip(self.parts, self.columns, strict=True)]  # type: ignore[misc]

    def forward(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        z = x.double().clone()
        log_det = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for part, column in self._blocks(x):
            block = x.index_select(1, column).double()
            missing = block.isnan()
            if missing.any() and isinstance(part, Elementwise | Chain):
                # any observed value will do in place of a missing entry
                observed = block.nan_to_num(nan=-torch.inf).amax(0)
                observed = torch.where(torch.isfinite(observed), observed, 0.0)
                moved, log_slope = part.each(torch.where(missing, observed, block), generator)
                z[:, column] = moved.masked_fill(missing, torch.nan)
                log_det = log_det + log_slope.masked_fill(missing, 0.0).sum(1)
            else:
                z[:, column], part_log_det = part(block, generator)
                log_det = log_det + part_log_det
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        return self._inverted(z, "inverse")

    def smooth_inverse(self, z: Tensor) -> Tensor:
        return self._inverted(z, "smooth_inverse")

    def inverse_with_gradient(self, z: Tensor) -> Tensor:
        return self._inverted(z, "inverse_with_gradient")

    def _inverted(self, z: Tensor, method: str) -> Tensor:
        x = z.double().clone()
        for part, column in self._blocks(z):
            x[:, column] = getattr(part, method)(x.index_select(1, column))
        return x

    def pieces(self) -> list[Transform]:
        return [self] if len(self.parts) else []

    @property
    def is_elementwise(self) -> bool:
        return all(part.is_elementwise for part in self.parts)

    @property
    def is_linear(self) -> bool:
        return all(part.is_linear for part in self.parts)

    @property
    def mixed_columns(self) -> Tensor | None:
        """Columns of the block that is mixed.

        None unless there is one such block.
        """
        mixed = [c for part, c in zip(self.parts, self.columns, strict=True) if not part.is_elementwise]
        return mixed[0] if len(mixed) == 1 else None
