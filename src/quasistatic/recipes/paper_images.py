"""MNIST and CIFAR-10 with the paper's network and units.

See Sections 3.2 and D.2 of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.datasets.images import load_cifar10, load_mnist, unit_variance
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import MultiscaleNetwork
from quasistatic.recipes.base import Splits
from quasistatic.recipes.images import ImageRecipe, UnitVariance, grey_levels
from quasistatic.reverse import PaperKernel
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.train import Augment, TrainConfig
from quasistatic.transforms import Chain, bits_per_dim_from_k

__all__ = ["PaperImages"]


@dataclass(frozen=True)
class PaperImages(UnitVariance, ImageRecipe):
    """The paper's Gaussian kernel with its multi-scale network.

    Mean and variance are perturbations of the forward kernel; the read-out depends on the time.

    Rows are dequantised once by uniform noise and scaled to unit variance, so that every number is the paper's K. The
    paper learns the schedule or, "just as effective", uses that of its binomial models (footnote 2). The second is done
    here, with no rate above 1/2, as in the program of its authors. Then beta_1 = 1 / T. With the first step fixed, K is
    at most -1/2 log2(2 pi e / T), 2.94 bits for each number at T = 1000.

    """

    images: Literal["mnist", "cifar10"] = "mnist"
    schedule: Literal["erasure", "geometric"] = "erasure"
    """The paper's schedule, or log-SNRs in even steps from ``log_snr_max`` to ``log_snr_min``."""
    log_snr_max: float = 9.0
    log_snr_min: float = -6.0
    mean: Literal["released", "equation"] = "released"
    """Read-out of the mean: as in the authors' program, which learns faster here, or eq. (65)."""
    conv_layers: int = 0
    """Number of multi-scale layers; the paper has none for MNIST."""
    conv_width: int = 20
    n_scales: int = 3
    dense_layers: int = 4
    dense_width: int = 500
    dense_features: int = 2
    """Outputs of the dense layers for each pixel."""
    pixel_layers: int = 2
    pixel_width: int = 20
    n_bumps: int = 10
    sample_steps: int = 1000
    samples_every: int = 4
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            n_updates=16_000,
            batch_size=128,
            learning_rate=1e-3,
            decay_from=0.5,
            clip=1000.0,
            evaluate_every=2000,
            validation_pairs=8000,
        )
    )

    unit = "bits_per_pixel"
    has_fixed_first_step = True

    def splits(self, seed: int) -> Splits:
        scaled = unit_variance(load_mnist() if self.images == "mnist" else load_cifar10())
        return self.limited(scaled.train, scaled.validation, scaled.test, scaled.mean, scaled.sd)

    def augment(self, splits: Splits) -> Augment:
        """Draw the dequantisation noise anew.

        A value within rounding of a whole number may move by a level.
        """

        def dequantised(x: Tensor, generator: Generator) -> Tensor:
            level = (x * splits.sd + splits.mean).floor()
            noise = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            return (level + noise - splits.mean) / splits.sd

        return dequantised

    def build(self, splits: Splits) -> DiffusionModel:
        channels, height, width = splits.train.shape[1:]
        beta = constant_erasure(self.n_steps).clamp_max(0.5)
        if self.schedule == "geometric":
            beta = geometric(self.n_steps, self.log_snr_max, self.log_snr_min)
        process = GaussianDiffusion(beta)
        network = MultiscaleNetwork(
            channels,
            (height, width),
            self.n_steps,
            conv_layers=self.conv_layers,
            conv_width=self.conv_width,
            n_scales=self.n_scales,
            dense_layers=self.dense_layers,
            dense_width=self.dense_width,
            dense_features=self.dense_features,
            pixel_layers=self.pixel_layers,
            pixel_width=self.pixel_width,
            n_bumps=self.n_bumps,
        )
        kernel = PaperKernel(process, network, self.mean)
        return DiffusionModel(Chain(), process, kernel, (channels, height, width))

    def converted(self, splits: Splits, value: float) -> dict[str, float]:
        """Convert the bound to bits of the 256 levels.

        This is a bound of their log probability, so the true value may be higher.
        """
        channels = splits.test.shape[1]
        return {"bits_per_dim_of_levels": -bits_per_dim_from_k(value, splits.sd, channels)}

    def paper(self) -> float | None:
        return 5.4 if self.images == "cifar10" else None  # Table 1, since version 8

    def _preview_steps(self) -> int:
        return self.n_steps  # each step of the whole chain has its own read-out

    def shown(self, x: Tensor, splits: Splits | None) -> NDArray[Any]:
        return grey_levels(x, splits)
