"""Small photographs, 3 x 32 x 32 pixels of 256 levels: bits per dimension of the integers themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from numpy.typing import NDArray
from torch import Tensor

from quasistatic.data.augment import random_flip
from quasistatic.data.images import load_cifar10
from quasistatic.data.transforms import Affine, Chain, Levels
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Splits
from quasistatic.recipes.images import UNetRecipe
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.wiener import WienerBase
from quasistatic.schedules import geometric
from quasistatic.train import Augment, TrainConfig

__all__ = ["Cifar10"]

LEVELS = 256


@dataclass(frozen=True)
class Cifar10(UNetRecipe):
    """Gaussian diffusion on top of the exact one of Gaussian data; the last step tells levels."""

    widths: tuple[int, ...] = (48, 96)
    log_snr_max: float = 12.0
    log_snr_min: float = -5.0
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=10_000,
            batch_size=32,
            learning_rate=1e-3,
            decay_from=0.5,
            clip=3000.0,
            evaluate_every=1000,
            validation_pairs=2000,
        )
    )

    unit = "bits_per_dim"

    def splits(self, seed: int) -> Splits:
        images = load_cifar10()
        return self.parted(images.train, images.validation, images.test)

    def augment(self, splits: Splits) -> Augment:
        return random_flip

    def build(self, splits: Splits) -> DiffusionModel:
        transform = Chain(Levels(LEVELS))
        diffusion = GaussianDiffusion(geometric(self.n_steps, self.log_snr_max, self.log_snr_min))
        base = WienerBase.fit(splits.train.float() / (0.5 * (LEVELS - 1)) - 1.0)
        network = self.unet(ImageDenoiser.n_inputs(3, LEVELS), ImageDenoiser.n_outputs(3))
        kernel = ImageDenoiser(diffusion, network, base, LEVELS)
        return DiffusionModel(transform, diffusion, kernel, tuple(splits.train.shape[1:]))

    def converted(self, splits: Splits, value: float) -> dict[str, float]:
        """K of the paper: bits per pixel of dequantised colours of unit variance. It may be higher, never lower."""
        sd = float(Affine.fit_scalar(splits.train, dequantised=True).scale)
        return {"K, bits_per_pixel at unit variance": 3.0 * (math.log2(sd) + value)}

    def paper(self) -> float:
        return -4.20  # Table 1: 5.4 bits per pixel at unit variance, in this unit

    def shown(self, x: Tensor, splits: Splits) -> NDArray:  # type: ignore[type-arg]
        return (x.float() / (LEVELS - 1)).movedim(1, -1).numpy()
