"""Four photographs of tree bark, in patches of unit variance.

The paper uses other photographs (Section 3.2, Figure 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.datasets.augment import random_flip
from quasistatic.datasets.bark import bark_parts, load_bark
from quasistatic.errors import InputError
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Splits
from quasistatic.recipes.compose import compose
from quasistatic.recipes.images import UNetRecipe, UnitVariance, grey_levels, image_training
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.wiener import WienerBase
from quasistatic.schedules import geometric
from quasistatic.train import Augment, TrainConfig
from quasistatic.transforms import Chain, bits_per_dim_from_k

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Bark"]


@dataclass(frozen=True)
class Bark(UnitVariance, UNetRecipe):
    """Gaussian diffusion of grey patches of bark.

    The pixels are dequantised by uniform noise; the bound is the paper's K in bits per pixel.

    The test patches lie side by side in a part of each photograph that no training patch overlaps. The standard error
    assumes independent patches. Neighbours on one tree are not quite independent.
    """

    n_steps: int = 500
    size: int = 32
    n_train: int = 40_000
    """Number of training patches, anywhere in the training part."""
    flips: Literal["yes", "no"] = "yes"
    """Use mirror images of training patches."""
    widths: tuple[int, ...] = (48, 64, 128)
    log_snr_max: float = 12.0
    """The dequantisation noise has a log precision of about 10 in these units."""
    log_snr_min: float = -6.0
    n_timesteps: int = 32
    picture: int = 256
    """Side of the picture of Figure 5."""
    filled: int = 100
    """Side of the middle part that is filled in."""
    sample_steps: int = 100
    train: TrainConfig = field(default_factory=lambda: image_training(6000))

    unit = "bits_per_pixel"

    def splits(self, seed: int) -> Splits:
        cut = load_bark(self.size, self.n_train)
        return self.limited(cut.train, cut.validation, cut.test, cut.mean, cut.sd)

    def augment(self, splits: Splits) -> Augment | None:
        return random_flip if self.flips == "yes" else None

    def build(self, splits: Splits) -> DiffusionModel:
        process = GaussianDiffusion(geometric(self.n_steps, self.log_snr_max, self.log_snr_min))
        network = self.unet(ImageDenoiser.n_inputs(1), ImageDenoiser.n_outputs(1))
        kernel = ImageDenoiser(process, network, WienerBase.fit(splits.train))
        return DiffusionModel(Chain(), process, kernel, (1, self.size, self.size))

    def converted(self, splits: Splits, value: float) -> dict[str, float]:
        """Convert the bound to bits of the 256 levels.

        This is a bound of their log probability, so the true value may be higher.
        """
        return {"bits_per_dim_of_levels": -bits_per_dim_from_k(value, splits.sd)}

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        figures = super().figures(model, splits, generator)
        return figures | {"figure-5": self._filled(model, splits, generator)}

    def _filled(self, model: DiffusionModel, splits: Splits, generator: Generator) -> Figure:
        """Draw held-out bark with its middle filled in."""
        from quasistatic.plots import image_panels

        whole = torch.as_tensor(bark_parts().test)
        side = min(self.picture, *whole.shape[2:])
        image = whole[0, :, :side, :side]
        low = (side - self.filled) // 2
        if low < 1:
            raise InputError(f"filled must be below picture, got filled = {self.filled} and picture = {side}")
        known = torch.ones(side, side, dtype=torch.bool)
        known[low : low + self.filled, low : low + self.filled] = False
        noise = torch.randn(image.shape, generator=generator)
        with torch.autocast(model.process.beta.device.type, torch.bfloat16, self.train.amp):
            filled = compose(model, image, known, repeats=2, generator=generator)
        panels = {"held out": image, "middle lost": torch.where(known, image, noise), "filled in": filled}
        caption = (
            f"{side} x {side} pixels of held-out bark; the middle {self.filled} x {self.filled} replaced by noise, and "
            f"drawn given what is round it, by a model of {self.size} x {self.size} patches, composed."
        )
        return image_panels([(name, self.shown(x[None], splits)) for name, x in panels.items()], caption)

    def shown(self, x: Tensor, splits: Splits | None) -> NDArray[Any]:
        return grey_levels(x, splits)
