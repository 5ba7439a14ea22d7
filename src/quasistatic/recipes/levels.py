"""Images of integer levels: bits per dimension of the integers themselves, and the paper's K beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import NDArray
from torch import Tensor

from quasistatic.data.transforms import Affine, Chain, Levels
from quasistatic.errors import InputError
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Splits
from quasistatic.recipes.images import UNetRecipe
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.wiener import WienerBase
from quasistatic.schedules import geometric

__all__ = ["LevelRecipe"]

LARGEST = 4096  # numbers of an image: their covariance has the square of it


@dataclass(frozen=True)
class LevelRecipe(UNetRecipe):
    """Gaussian diffusion on top of the exact one of Gaussian data; the last step tells levels."""

    log_snr_max: float = 12.0
    log_snr_min: float = -5.0

    unit = "bits_per_dim"

    def n_levels(self) -> int:
        """Levels of each number."""
        return 256

    def build(self, splits: Splits) -> DiffusionModel:
        shape, levels = tuple(splits.train.shape[1:]), self.n_levels()
        if math.prod(shape) > LARGEST:
            raise InputError(
                f"images of {shape[2]} x {shape[1]} pixels and {shape[0]} channel{'s' * (shape[0] > 1)} are too large for "
                f"the covariance of all their numbers, {math.prod(shape)} where {LARGEST} can be: set "
                f"crop={math.isqrt(LARGEST // shape[0]) // 4 * 4} or less to train on squares of that side"
            )
        transform = Chain(Levels(levels))
        diffusion = GaussianDiffusion(geometric(self.n_steps, self.log_snr_max, self.log_snr_min))
        base = WienerBase.fit(splits.train.float() / (0.5 * (levels - 1)) - 1.0)
        network = self.unet(ImageDenoiser.n_inputs(shape[0], levels), ImageDenoiser.n_outputs(shape[0]))
        return DiffusionModel(transform, diffusion, ImageDenoiser(diffusion, network, base, levels), shape)

    def converted(self, splits: Splits, value: float) -> dict[str, float]:
        """K of the paper: bits per pixel of dequantised levels of unit variance. It may be higher, never lower."""
        sd = float(Affine.fit_scalar(splits.train, dequantised=True).scale)
        return {"bits_per_pixel_at_unit_variance": len(splits.train[0]) * (math.log2(sd) + value)}

    def shown(self, x: Tensor, splits: Splits) -> NDArray:  # type: ignore[type-arg]
        grey = x.float() / (self.n_levels() - 1)
        return (grey[:, 0] if x.shape[1] == 1 else grey.movedim(1, -1)).numpy()
