"""Handwritten digits of 8 x 8 pixels and 17 levels.

A Gaussian mixture on the same split is the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.baselines import GaussianMixtureBaseline
from quasistatic.datasets.digits import load_digits
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.reverse import GaussianDenoiser
from quasistatic.schedules import geometric
from quasistatic.train import TrainConfig
from quasistatic.transforms import Chain, Dequantise, HistogramGaussianizer, Transform, Whiten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Digits"]

LEVELS = 17


@dataclass(frozen=True)
class Digits(Recipe):
    """Gaussian diffusion of dequantised digits.

    Each pixel is first transformed to a normal by its own histogram.
    """

    split: int = 0
    """Number of the random split: 1200 training, 197 validation and at least 397 test rows."""
    n_steps: int = 200
    width: int = 256
    depth: int = 3
    dropout: float = 0.3
    prior: float = 0.5
    """Pseudo-count of every level in a pixel's histogram."""
    ridge: float = 1e-3
    log_snr_max: float = 8.0
    log_snr_min: float = -6.0
    n_draws: int = 10
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            n_updates=6000, batch_size=256, learning_rate=1e-3, weight_decay=1e-2, evaluate_every=500
        )
    )

    n_trajectories: int = 20
    log_prob_rows: int = 100

    unit = "bits_per_pixel"

    def splits(self, seed: int) -> Splits:
        parts = load_digits(self.split)
        train, validation, test = (torch.as_tensor(x).double() for x in (parts.train, parts.validation, parts.test))
        return Splits(train, validation, test)

    def _marginals(self, splits: Splits) -> list[Transform]:
        return [Dequantise(LEVELS), HistogramGaussianizer.fit(splits.train, LEVELS, self.prior)]

    def build(self, splits: Splits) -> DiffusionModel:
        marginals = self._marginals(splits)
        z, _ = Chain(*marginals)(splits.train.repeat(10, 1), Generator().manual_seed(0))
        transform = Chain(*marginals, Whiten.fit(z, self.ridge))
        process = GaussianDiffusion(geometric(self.n_steps, self.log_snr_max, self.log_snr_min))
        network = ResidualMLP(64, GaussianDenoiser.n_outputs(64), self.width, self.depth, dropout=self.dropout)
        return DiffusionModel(transform, process, GaussianDenoiser(process, network, 64), (64,))

    def baseline(self, splits: Splits, x: Tensor) -> tuple[str, Tensor]:
        marginals = Chain(*self._marginals(splits))
        fitted = GaussianMixtureBaseline.fit(marginals, splits.train, splits.validation)
        draws = [fitted.log_prob(x, generator=Generator().manual_seed(i)) for i in range(self.n_draws)]
        return f"Gaussian mixture after the same histograms ({fitted.choice})", torch.stack(draws).mean(0)

    def to_grey(self, x: Tensor, splits: Splits | None) -> Tensor:
        return (x * (255.0 / (LEVELS - 1))).view(-1, 1, 8, 8)

    def shown(self, x: Tensor, splits: Splits | None) -> NDArray[Any]:
        return (x / (LEVELS - 1)).view(-1, 8, 8).numpy()

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        from quasistatic.plots import image_grid

        made = model.sample(64, generator=generator).view(-1, 8, 8).numpy()
        real = splits.test[:64].view(-1, 8, 8).numpy()
        return {
            "samples": image_grid(
                made, columns=8, vmin=0, vmax=LEVELS - 1, heading="Samples of the model", caption="Drawn by the model."
            ),
            "test-digits": image_grid(
                real,
                columns=8,
                vmin=0,
                vmax=LEVELS - 1,
                heading="Test digits, for comparison",
                caption="Digits of the data, held out of training.",
            ),
        }
