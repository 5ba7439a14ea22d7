"""Images of integer levels, in bits per dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Splits
from quasistatic.recipes.images import UNetRecipe
from quasistatic.reverse import CosineBase
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.shrinkage import fit_shrunk
from quasistatic.schedules import geometric
from quasistatic.transforms import Affine, Chain, Levels

__all__ = ["LevelRecipe"]

LARGEST = 4096  # numbers of an image whose whole covariance, the square of it, fits into memory


@dataclass(frozen=True)
class LevelRecipe(UNetRecipe):
    """Gaussian diffusion with a discretised last step.

    The kernel starts as the exact reverse chain of Gaussian data.
    """

    log_snr_max: float = 12.0
    log_snr_min: float = -5.0

    unit = "bits_per_dim"

    def n_levels(self) -> int:
        """Return the number of levels of a pixel."""
        return 256

    def build(self, splits: Splits) -> DiffusionModel:
        shape, levels = tuple(splits.train.shape[1:]), self.n_levels()
        transform = Chain(Levels(levels))
        process = GaussianDiffusion(geometric(self.n_steps, self.log_snr_max, self.log_snr_min))
        x, step = splits.train.float() / (0.5 * (levels - 1)) - 1.0, 2.0 / (levels - 1)
        base = fit_shrunk(x, step**2 / 12.0)[0] if math.prod(shape) <= LARGEST else CosineBase.fit(x, least=step**2 / 12.0)
        network = self.unet(ImageDenoiser.n_inputs(shape[0], levels), ImageDenoiser.n_outputs(shape[0]))
        return DiffusionModel(transform, process, ImageDenoiser(process, network, base, levels), shape)

    def null_log_prob(self, model: DiffusionModel, x: Tensor, generator: Generator) -> Tensor:
        """Compute the probability of the levels under the null model.

        The bound is one of probabilities, and a density could not be compared with it.
        """
        z, _ = model.encode(x, generator)
        unit = torch.zeros_like(z)
        return DiscretisedGaussian(unit, unit + 1.0, 2.0 / (self.n_levels() - 1), -1.0, 1.0).log_prob(z)

    def converted(self, splits: Splits, value: float) -> dict[str, float]:
        """Convert the bound to the paper's K.

        K is in bits per pixel of dequantised levels of unit variance. The true value may be higher.
        """
        sd = float(Affine.fit_scalar(splits.train, dequantised=True).scale)
        return {"bits_per_pixel_at_unit_variance": len(splits.train[0]) * (math.log2(sd) + value)}

    def to_grey(self, x: Tensor, splits: Splits | None) -> Tensor:
        return x * (255.0 / (self.n_levels() - 1))

    def shown(self, x: Tensor, splits: Splits | None) -> NDArray[Any]:
        grey = x.float() / (self.n_levels() - 1)
        return (grey[:, 0] if x.shape[1] == 1 else grey.movedim(1, -1)).numpy()
