"""Common parts of the image recipes."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks.unet import UNet
from quasistatic.recipes.base import Recipe, Splits, seeded
from quasistatic.train import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ImageRecipe", "UNetRecipe", "UnitVariance", "grey_levels", "image_training"]


def image_training(n_updates: int, **others: Any) -> TrainConfig:
    """Return training settings for a U-Net on images.

    They are for a CPU: small batches, gradients of thousands of nats, and a long decay.
    """
    usual: dict[str, Any] = {
        "batch_size": 32, "learning_rate": 1e-3, "decay_from": 0.5, "clip": 1000.0, "evaluate_every": 1000,
        "validation_pairs": 2000,
    }  # fmt: skip
    return TrainConfig(n_updates=n_updates, **{**usual, **others})


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """An experiment on images.

    The chain is too long to evaluate every step of every row.
    """

    n_steps: int = 1000
    n_validation: int = 1000
    """Maximum number of validation rows."""
    n_test: int = 10_000
    """Maximum number of test rows."""
    n_timesteps: int = 8

    has_fixed_first_step = False
    denoised: ClassVar[str] = "denoised"
    """Name of the figure of denoised images."""

    n_trajectories: int = 0
    sample_steps: int = 200
    """Steps of the chain for samples in figures."""
    samples_every: int = 1
    """Evaluations from one figure of samples to the next during the training; 0 for none."""

    def limited(
        self,
        train: NDArray[Any],
        validation: NDArray[Any],
        test: NDArray[Any],
        mean: float = 0.0,
        sd: float = 1.0,
    ) -> Splits:
        """Limit the rows to the numbers in the settings."""
        parts = (train, validation[: self.n_validation], test[: self.n_test])
        with warnings.catch_warnings():  # the array may be a file mapped into memory, to which nothing is written
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            first, second, third = (torch.as_tensor(np.ascontiguousarray(part)) for part in parts)
        return Splits(first, second, third, mean=mean, sd=sd)

    @abstractmethod
    def shown(self, x: Tensor, splits: Splits | None) -> NDArray[Any]:
        """Convert rows to pictures with values from 0 to 1.

        Returns (n, height, width) or (n, height, width, 3).
        """

    def draw(self, model: DiffusionModel, n: int, generator: Generator, n_steps: int | None = None) -> Tensor:
        """Draw samples with fewer steps than the chain has."""
        steps = min(n_steps or self.sample_steps, self.n_steps)
        device = model.process.beta.device.type
        with torch.autocast(device, torch.bfloat16, self.train.amp):
            parts = [model.sample(min(100, n - k), generator=generator, n_steps=steps) for k in range(0, n, 100)]
        return torch.cat(parts)

    def progress_figure(self, model: DiffusionModel, splits: Splits, step: int) -> Figure | None:
        if not self.samples_every or step % (self.samples_every * self.train.evaluate_every):
            return None
        from quasistatic.plots import image_grid

        drawn = self.draw(model, 25, seeded(0), self._preview_steps())
        heading = f"Samples after {step} updates"
        return image_grid(self.shown(drawn, splits), columns=5, vmin=0, vmax=1, heading=heading)

    def _steps_in_words(self) -> str:
        taken = min(self.sample_steps, self.n_steps)
        return (
            f"25 samples in {self.n_steps} steps"
            if taken == self.n_steps
            else (f"25 samples in {taken} of the chain's {self.n_steps} steps")
        )

    def _preview_steps(self) -> int:
        """Return the number of steps of samples during the training."""
        return 25

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        from quasistatic.plots import image_grid
        from quasistatic.recipes.pictures import denoised_figure, forward_figure, on_fewer_steps, reverse_figure

        def show(x: Tensor) -> NDArray[Any]:
            return self.shown(x, splits)

        some = on_fewer_steps(model, self.sample_steps)
        samples, held_out = self.draw(model, 25, generator), splits.test[:25]
        figures = {
            name: image_grid(show(x), columns=5, vmin=0, vmax=1, heading=heading, caption=caption)
            for name, x, heading, caption in (
                ("samples", samples, "Samples of the model", f"Drawn by the model: {self._steps_in_words()}."),
                ("test-images", held_out, "Test pictures, for comparison", "Pictures of the data, held out of training."),
            )
        }
        with torch.autocast(model.process.beta.device.type, torch.bfloat16, self.train.amp):
            if isinstance(model.process, GaussianDiffusion):
                figures[self.denoised] = denoised_figure(
                    model, self.sample_steps, held_out[:16], samples[:16], show, generator
                )
            figures["forward"] = forward_figure(some, held_out, show, generator)
            figures["reverse"] = reverse_figure(some, show, generator)
        return figures


@dataclass(frozen=True)
class UNetRecipe(ImageRecipe):
    """An image recipe with a U-Net."""

    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the U-Net at full resolution, at half resolution, and so on."""
    blocks: int = 1
    """Residual blocks at each resolution, in the encoder and again in the decoder."""
    attention: Literal["yes", "no"] = "yes"
    """Attention at the coarsest resolution."""
    dropout: float = 0.0

    def unet(self, channels_in: int, channels_out: int) -> nn.Module:
        """Build the network of the settings."""
        return UNet(channels_in, channels_out, self.widths, self.blocks, self.attention == "yes", self.dropout)


class UnitVariance:
    """Grey levels plus uniform noise, scaled to variance 1."""

    scaled_by_data = True

    def to_grey(self, x: Tensor, splits: Splits | None) -> Tensor:
        assert splits is not None
        return (x * splits.sd + splits.mean).floor()

    def from_grey(self, pixels: Tensor, splits: Splits | None) -> Tensor:
        """Convert each pixel to the middle of its level."""
        assert splits is not None
        return (pixels + 0.5 - splits.mean) / splits.sd


def grey_levels(x: Tensor, splits: Splits | None) -> NDArray[Any]:
    """Convert rows at unit variance to pictures."""
    assert splits is not None
    grey = ((x * splits.sd + splits.mean) / 256.0).clamp(0, 1)
    return (grey[:, 0] if grey.shape[1] == 1 else grey.movedim(1, -1)).numpy()
