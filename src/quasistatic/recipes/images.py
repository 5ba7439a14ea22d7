"""What the image recipes share: their network, their settings, how they are measured and shown."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from quasistatic.model import DiffusionModel
from quasistatic.networks.unet import UNet
from quasistatic.recipes.base import Recipe, Splits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ImageRecipe"]


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """An experiment on images, whose chain is too long to be measured whole on every row."""

    n_steps: int = 1000
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the U-Net at full resolution, at half, and so on."""
    blocks: int = 1
    """Residual blocks of each resolution, on the way down and again on the way up."""
    attention: Literal["yes", "no"] = "yes"
    """At the coarsest resolution."""
    dropout: float = 0.0
    n_validation: int = 1000
    """Validation rows that training looks at."""
    n_test: int = 10_000
    """Test rows at most."""
    visits: int = 8

    has_edge = False

    n_trajectories: int = 0
    sample_steps: int = 200
    """Steps of the chain that the sheet of samples is drawn with."""

    def parted(self, train: NDArray, validation: NDArray, test: NDArray) -> Splits:  # type: ignore[type-arg]
        """Take as many rows as the settings ask for."""
        parts = (train, validation[: self.n_validation], test[: self.n_test])
        first, second, third = (torch.as_tensor(np.ascontiguousarray(part)) for part in parts)
        return Splits(first, second, third)

    def unet(self, channels_in: int, channels_out: int) -> nn.Module:
        """Make the network of the settings."""
        return UNet(channels_in, channels_out, self.widths, self.blocks, self.attention == "yes", self.dropout)

    @abstractmethod
    def shown(self, x: Tensor) -> NDArray:  # type: ignore[type-arg]
        """Turn rows in data units into pictures, (n, height, width) or (n, height, width, 3), from 0 to 1."""

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        from quasistatic.report import image_sheet

        with torch.autocast(model.diffusion.beta.device.type, torch.bfloat16, self.train.amp):
            drawn = model.sample(25, generator=generator, n_steps=min(self.sample_steps, self.n_steps))
        sheets = {"samples": drawn, "test-images": splits.test[:25]}
        return {name: image_sheet(self.shown(x), columns=5, vmin=0, vmax=1) for name, x in sheets.items()}
