"""Dead leaves: occluding discs with noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.baselines.mcgsm import MCGSM
from quasistatic.datasets.augment import random_symmetry
from quasistatic.datasets.textures import load_dead_leaves, noisy_patches
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Splits
from quasistatic.recipes.compose import compose
from quasistatic.recipes.images import UNetRecipe, image_training
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.wiener import WienerBase
from quasistatic.schedules import geometric
from quasistatic.train import Augment, TrainConfig
from quasistatic.transforms import Chain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DeadLeaves"]


@dataclass(frozen=True)
class DeadLeaves(UNetRecipe):
    """Gaussian diffusion of dead-leaves patches of unit variance.

    The result is a density, so that it depends on the noise s.
    """

    noise: float = 0.06
    """Standard deviation s of the noise in the data; half of it adds about one bit."""
    size: int = 32
    widths: tuple[int, ...] = (48, 64, 128)
    log_snr_max: float = 10.6
    """Above -2 log s by five, so that little noise is left at the first step."""
    log_snr_min: float = -6.0
    n_images: int = 300
    symmetries: Literal["yes", "no"] = "yes"
    """Use rotated and mirrored training patches; the distribution of dead leaves has these symmetries."""
    picture: int = 128
    """Side of the pictures of Figure 4."""
    sample_steps: int = 100
    train: TrainConfig = field(default_factory=lambda: image_training(9000))

    unit = "bits_per_pixel"

    def splits(self, seed: int) -> Splits:
        clean = load_dead_leaves(n_train=self.n_images)
        cut = noisy_patches(*clean, size=self.size, noise=self.noise)
        mixed = np.random.default_rng(0)
        return self.limited(cut.train, mixed.permutation(cut.validation), mixed.permutation(cut.test))

    def augment(self, splits: Splits) -> Augment | None:
        return random_symmetry if self.symmetries == "yes" else None

    def build(self, splits: Splits) -> DiffusionModel:
        process = GaussianDiffusion(geometric(self.n_steps, self.log_snr_max, self.log_snr_min))
        network = self.unet(ImageDenoiser.n_inputs(1), ImageDenoiser.n_outputs(1))
        kernel = ImageDenoiser(process, network, WienerBase.fit(splits.train))
        return DiffusionModel(Chain(), process, kernel, (1, self.size, self.size))

    def baseline(self, splits: Splits, x: Tensor) -> tuple[str, Tensor]:
        fitted = _fitted(splits)
        with torch.no_grad():
            return "MCGSM, 12 components x 4 scales, same patches", fitted.log_prob(x)

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        figures = super().figures(model, splits, generator)
        return figures | {"figure-4": self._large(model, splits, generator)}

    def _large(self, model: DiffusionModel, splits: Splits, generator: Generator) -> Figure:
        """Draw a training image, an MCGSM sample and a composed sample."""
        from quasistatic.plots import image_panels

        clean = load_dead_leaves(n_train=self.n_images)
        side = min(self.picture, clean[0].shape[1])
        whole = noisy_patches(*clean, size=None, noise=self.noise)
        shape = (1, side, side)
        with torch.autocast(model.process.beta.device.type, torch.bfloat16, self.train.amp):
            nothing = torch.zeros(shape), torch.zeros(shape[1:], dtype=torch.bool)
            ours = compose(model, *nothing, generator=generator)
        panels = {
            "training image": torch.as_tensor(whole.train[0, :, :side, :side]),
            "MCGSM": _fitted(splits).sample(1, (side, side), generator=generator),
            "diffusion": ours,
        }
        caption = (
            f"{side} x {side} pixels of dead leaves with noise {self.noise}: a training image; a draw of the MCGSM, pixel "
            f"by pixel; and one of a model of {self.size} x {self.size} patches, composed."
        )
        return image_panels([(name, self.shown(x.view(1, *shape), splits)) for name, x in panels.items()], caption)

    def to_grey(self, x: Tensor, splits: Splits | None) -> Tensor:
        return (x + 2.0) * (255.0 / 4.0)

    def from_grey(self, pixels: Tensor, splits: Splits | None) -> Tensor:
        return pixels * (4.0 / 255.0) - 2.0

    def shown(self, x: Tensor, splits: Splits | None) -> NDArray[Any]:
        return ((x[:, 0] + 2.0) / 4.0).clamp(0, 1).numpy()


@lru_cache(maxsize=1)
def _fitted(splits: Splits) -> MCGSM:
    """Fit the MCGSM to the training patches, once."""
    return MCGSM.fit(splits.train, splits.validation)
