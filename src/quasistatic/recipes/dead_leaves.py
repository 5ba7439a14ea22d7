"""Occluding discs with noise: a texture with the statistics of natural images, beside the best classical model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quasistatic.baselines.mcgsm import MCGSM
from quasistatic.data.augment import random_symmetry
from quasistatic.data.textures import load_dead_leaves, noisy_patches
from quasistatic.data.transforms import Chain
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Splits
from quasistatic.recipes.images import UNetRecipe
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.wiener import WienerBase
from quasistatic.schedules import geometric
from quasistatic.train import Augment, TrainConfig

__all__ = ["DeadLeaves"]


@dataclass(frozen=True)
class DeadLeaves(UNetRecipe):
    """Gaussian diffusion of patches of unit variance; a density, and so no number without the noise s."""

    noise: float = 0.06
    """s, of the data themselves: half of it is about one bit more."""
    size: int = 32
    widths: tuple[int, ...] = (48, 64, 128)
    log_snr_max: float = 10.6
    """Above -2 log s by five: then little of s is left to be guessed at the first step."""
    log_snr_min: float = -6.0
    n_images: int = 300
    symmetries: Literal["yes", "no"] = "yes"
    """Turned and mirrored training patches count as patches: the law of dead leaves has no up or left."""
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=9000,
            batch_size=32,
            learning_rate=1e-3,
            decay_from=0.5,
            clip=1000.0,
            evaluate_every=1000,
            validation_pairs=2000,
        )
    )

    unit = "bits_per_pixel"

    def splits(self, seed: int) -> Splits:
        clean = load_dead_leaves(n_train=self.n_images)
        cut = noisy_patches(*clean, size=self.size, noise=self.noise)
        mixed = np.random.default_rng(0)
        return self.parted(cut.train, mixed.permutation(cut.validation), mixed.permutation(cut.test))

    def augment(self, splits: Splits) -> Augment | None:
        return random_symmetry if self.symmetries == "yes" else None

    def build(self, splits: Splits) -> DiffusionModel:
        diffusion = GaussianDiffusion(geometric(self.n_steps, self.log_snr_max, self.log_snr_min))
        network = self.unet(ImageDenoiser.n_inputs(1), ImageDenoiser.n_outputs(1))
        kernel = ImageDenoiser(diffusion, network, WienerBase.fit(splits.train))
        return DiffusionModel(Chain(), diffusion, kernel, (1, self.size, self.size))

    def baseline(self, splits: Splits, x: Tensor) -> tuple[str, Tensor]:
        model = MCGSM.fit(splits.train, splits.validation)
        with torch.no_grad():
            return "MCGSM, 12 components x 4 scales, same patches", model.log_prob(x)

    def shown(self, x: Tensor, splits: Splits) -> NDArray:  # type: ignore[type-arg]
        return ((x[:, 0] + 2.0) / 4.0).clamp(0, 1).numpy()
