"""The numbers of a training for TensorBoard, where that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from quasistatic.errors import InputError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Scalars"]


class Scalars:
    """Writes loss and validation bound of each evaluation under ``folder``; ``fit`` calls it as ``on_evaluation``.

    A training that goes on after a break hides what it had written beyond its checkpoint.

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

    def __call__(self, told: dict[str, Any]) -> None:
        if self._writer is None:
            self._writer = self._make(str(self.folder), purge_step=told["update"])
        for name in ("loss_nats", "validation"):
            if told[name] is not None:
                self._writer.add_scalar(name, told[name], told["update"])
        self._writer.flush()
