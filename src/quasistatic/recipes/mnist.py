"""Binarised handwritten digits of 28 x 28 pixels, in nats per image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.datasets.augment import binarise
from quasistatic.datasets.images import load_binarised_mnist, load_mnist
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Splits
from quasistatic.recipes.images import UNetRecipe, image_training
from quasistatic.reverse import BernoulliDenoiser, CategoricalDenoiser, ReverseKernel
from quasistatic.schedules import constant_erasure
from quasistatic.train import Augment, TrainConfig
from quasistatic.transforms import Chain

__all__ = ["BinaryMnist"]

MASK = 2.0  # code of a masked bit


@dataclass(frozen=True)
class BinaryMnist(UNetRecipe):
    """Diffusion of bits by masking or by flips, with a U-Net."""

    kind: Literal["absorbing", "flip"] = "absorbing"
    rho: float = 0.5
    """Rate of ones in the stationary distribution of flipped bits."""
    binarisation: Literal["static", "dynamic"] = "static"
    """Training rows binarised once, or drawn from the grey levels for each batch."""
    train: TrainConfig = field(
        default_factory=lambda: image_training(8000, learning_rate=2e-3, clip=300.0, validation_pairs=4000)
    )

    unit = "nats"

    def splits(self, seed: int) -> Splits:
        images = load_binarised_mnist()
        if self.binarisation == "static":
            return self.limited(images.train, images.validation, images.test)
        # the static validation rows come from images of the grey training set, so they cannot be used here
        grey = load_mnist()
        once = Generator().manual_seed(0)
        train, validation = (binarise(torch.tensor(x), once).numpy() for x in (grey.train, grey.validation))
        return replace(self.limited(train, validation, images.test), source=grey.train)

    def augment(self, splits: Splits) -> Augment | None:
        return binarise if self.binarisation == "dynamic" else None

    def build(self, splits: Splits) -> DiffusionModel:
        beta = constant_erasure(self.n_steps)
        rate = (splits.train.double().sum(0) + 0.5) / (len(splits.train) + 1.0)
        kernel: ReverseKernel
        shape = tuple(splits.train.shape[1:])
        if self.kind == "absorbing":
            both = torch.stack([1.0 - rate, rate], -1)
            masked = CategoricalDiffusion(beta, 2, "absorbing", both.mean((0, 1, 2)))
            kernel = CategoricalDenoiser(masked, self.unet(2, 1), both)
            return DiffusionModel(Chain(), masked, kernel, shape)
        flipped = BernoulliDiffusion(beta, self.rho)
        return DiffusionModel(Chain(), flipped, BernoulliDenoiser(flipped, self.unet(1, 1), rate), shape)

    def to_grey(self, x: Tensor, splits: Splits | None) -> Tensor:
        return 255.0 * x

    def shown(self, x: Tensor, splits: Splits | None) -> NDArray[Any]:
        ink = x[:, 0].double().numpy()
        # masked pixels are grey; other values above 1 come from noise or from rounding a mean
        return np.where(ink == MASK, np.nan, (1.0 - ink).clip(0.0, 1.0))
