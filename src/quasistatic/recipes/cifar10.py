"""CIFAR-10: colour photographs of 3 x 32 x 32 pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

from quasistatic.datasets.augment import random_flip
from quasistatic.datasets.images import load_cifar10
from quasistatic.recipes.base import Splits
from quasistatic.recipes.images import image_training
from quasistatic.recipes.levels import LevelRecipe
from quasistatic.train import Augment, TrainConfig

__all__ = ["Cifar10"]


@dataclass(frozen=True)
class Cifar10(LevelRecipe):
    """CIFAR-10 in bits per dimension of its 256 levels."""

    widths: tuple[int, ...] = (48, 96)
    train: TrainConfig = field(default_factory=lambda: image_training(10_000, clip=3000.0))

    denoised = "figure-3"

    def splits(self, seed: int) -> Splits:
        images = load_cifar10()
        return self.limited(images.train, images.validation, images.test)

    def augment(self, splits: Splits) -> Augment:
        return random_flip

    def paper(self) -> float:
        return -4.20  # Table 1: 5.4 bits per pixel at unit variance, in this unit
