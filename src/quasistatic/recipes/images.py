"""What the image recipes share: their settings, how they are measured and shown, and the U-Net of most of them."""

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

__all__ = ["ImageRecipe", "UNetRecipe", "grey_levels"]


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """An experiment on images, whose chain is too long to be measured whole on every row."""

    n_steps: int = 1000
    n_validation: int = 1000
    """Validation rows that training looks at."""
    n_test: int = 10_000
    """Test rows at most."""
    visits: int = 8

    has_edge = False

    n_trajectories: int = 0
    sample_steps: int = 200
    """Steps of the chain that pictures are drawn with."""

    def parted(
        self,
        train: NDArray,  # type: ignore[type-arg]
        validation: NDArray,  # type: ignore[type-arg]
        test: NDArray,  # type: ignore[type-arg]
        mean: float = 0.0,
        sd: float = 1.0,
    ) -> Splits:
        """Take as many rows as the settings ask for."""
        parts = (train, validation[: self.n_validation], test[: self.n_test])
        first, second, third = (torch.as_tensor(np.ascontiguousarray(part)) for part in parts)
        return Splits(first, second, third, mean=mean, sd=sd)

    @abstractmethod
    def shown(self, x: Tensor, splits: Splits) -> NDArray:  # type: ignore[type-arg]
        """Turn rows in data units into pictures, (n, height, width) or (n, height, width, 3), from 0 to 1."""

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        from quasistatic.report import image_sheet

        with torch.autocast(model.diffusion.beta.device.type, torch.bfloat16, self.train.amp):
            drawn = model.sample(25, generator=generator, n_steps=min(self.sample_steps, self.n_steps))
        sheets = {"samples": drawn, "test-images": splits.test[:25]}
        return {name: image_sheet(self.shown(x, splits), columns=5, vmin=0, vmax=1) for name, x in sheets.items()}


@dataclass(frozen=True)
class UNetRecipe(ImageRecipe):
    """An image recipe with a U-Net."""

    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the U-Net at full resolution, at half, and so on."""
    blocks: int = 1
    """Residual blocks of each resolution, on the way down and again on the way up."""
    attention: Literal["yes", "no"] = "yes"
    """At the coarsest resolution."""
    dropout: float = 0.0

    def unet(self, channels_in: int, channels_out: int) -> nn.Module:
        """Make the network of the settings."""
        return UNet(channels_in, channels_out, self.widths, self.blocks, self.attention == "yes", self.dropout)


def grey_levels(x: Tensor, splits: Splits) -> NDArray:  # type: ignore[type-arg]
    """Pictures of rows at unit variance, by the grey levels that they came from."""
    grey = ((x * splits.sd + splits.mean) / 256.0).clamp(0, 1)
    return (grey[:, 0] if grey.shape[1] == 1 else grey.movedim(1, -1)).numpy()
