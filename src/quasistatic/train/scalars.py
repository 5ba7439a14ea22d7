"""Metrics of a training run for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from quasistatic.errors import InputError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Scalars"]


class Scalars:
    """Writer of loss and validation bound for TensorBoard.

    Give it to ``fit`` as ``on_evaluation``. A continued training hides what was written after its checkpoint.

    Parameters
    ----------
    folder : Path
        Where the event files go.

    Raises
    ------
    InputError
        If the package ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("TensorBoard is not installed: pip install 'quasistatic[tensorboard]'") from error
        self._make = SummaryWriter
        self._writer: SummaryWriter | None = None
        self.folder = folder

    def __call__(self, metrics: dict[str, Any]) -> None:
        if self._writer is None:
            self._writer = self._make(str(self.folder), purge_step=metrics["update"])
        for name in ("loss_nats", "validation"):
            if metrics[name] is not None:
                self._writer.add_scalar(name, metrics[name], metrics["update"])
        self._writer.flush()
