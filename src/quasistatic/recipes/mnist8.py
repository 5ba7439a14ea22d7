"""Handwritten digits of 28 x 28 pixels and 256 levels.

The bound is in bits per dimension; a Parzen-window number of older papers is computed too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from quasistatic.baselines import choose_sd, parzen_log_prob
from quasistatic.datasets.images import load_mnist
from quasistatic.recipes.base import Splits
from quasistatic.recipes.images import image_training
from quasistatic.recipes.levels import LevelRecipe
from quasistatic.train import TrainConfig

__all__ = ["Mnist", "parzen"]


@dataclass(frozen=True)
class Mnist(LevelRecipe):
    """MNIST with 256 levels."""

    widths: tuple[int, ...] = (32, 64, 128)
    sample_steps: int = 100
    train: TrainConfig = field(default_factory=lambda: image_training(12_000))

    def splits(self, seed: int) -> Splits:
        images = load_mnist()
        # the first half of the test set is easier, so that its first rows would not represent it
        mixed = np.random.default_rng(0).permutation(len(images.test))
        return self.limited(images.train, images.validation, images.test[mixed])

    def check_samples(self, x: Tensor, splits: Splits) -> dict[str, Any]:
        """Compute the Parzen-window number of samples.

        The same number is computed for as many training images. It is not a likelihood.
        """
        parts = parzen(x, splits)
        return parts | {"training_images_instead": parzen(splits.train[-len(x) :], splits)["parzen"]["value"]}


def parzen(samples: Tensor, splits: Splits) -> dict[str, Any]:
    """Compute Parzen-window log densities of test images.

    The unit is bits of an image whose pixels run from 0 to 1. The bandwidth is chosen on validation images, from ten
    values between 0.1 and 1 in equal ratios and as many below.

    The windows' deviation is chosen on validation images, of ten from 0.1 to 1 in equal ratios and as many below.
    """
    scaled, validation, test = (x.float() / 255.0 for x in (samples, splits.validation, splits.test))
    sd = choose_sd(scaled, validation[:1000], np.geomspace(0.03, 1.0, 15).tolist())
    bits = parzen_log_prob(scaled, test, sd) / math.log(2.0)
    error = bits.std() / math.sqrt(len(bits))
    pair = {"value": bits.mean().item(), "standard_error": error.item(), "n": len(bits)}
    return {"parzen": pair, "parzen_unit": "bits, of windows: no likelihood", "parzen_sd": sd}
