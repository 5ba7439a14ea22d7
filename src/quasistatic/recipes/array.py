"""Recipe for a user's own array of numbers or bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Generator

from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.io.splits import split_rows
from quasistatic.io.table_checks import require_binary
from quasistatic.io.tables import column_names, read_array
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.reverse import BernoulliDenoiser, GaussianDenoiser
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.storage.files import digest_of
from quasistatic.train import TrainConfig
from quasistatic.transforms import Affine, Chain, Whiten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Array"]


@dataclass(frozen=True)
class Array(Recipe):
    """Diffusion on the rows of an array.

    ``family=gaussian`` is for numbers, ``family=binomial`` for 0 and 1.
    """

    data: str = ""
    """The file; ``--data`` sets it."""
    family: Literal["gaussian", "binomial"] = "gaussian"
    n_steps: int = 100
    covariance: Literal["auto", "full", "diagonal"] = "auto"
    """Of the Gaussian kernel; auto is full up to 8 columns."""
    n_components: int = 1
    width: int = 128
    depth: int = 3
    n_fourier: int = 0
    dropout: float = 0.1
    log_snr_max: float = 9.0
    log_snr_min: float = -6.0
    validation: float = 0.1
    test: float = 0.1
    """Shares of the rows held out, at random by ``split_seed``."""
    split_seed: int = 0
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            n_updates=3000, batch_size=256, learning_rate=1e-3, weight_decay=1e-2, evaluate_every=250
        )
    )

    n_trajectories: int = 50
    log_prob_rows: int = 500

    def _file(self) -> str:
        if not self.data:
            raise InputError("the array recipe needs a file of numbers: give --data PATH (.npy, .npz or .csv)")
        return self.data

    def fingerprint(self) -> str:
        return digest_of(self._file())

    def splits(self, seed: int) -> Splits:
        x = read_array(self._file())
        if self.family == "binomial":
            require_binary(x, self.data)
        rows = split_rows(len(x), self.split_seed, self.validation, self.test)
        train, validation, test = (torch.as_tensor(x[r]) for r in rows)
        return Splits(train, validation, test, tuple(column_names(self.data, x.shape[1])))

    def build(self, splits: Splits) -> DiffusionModel:
        n, d = splits.train.shape
        if self.family == "binomial":
            rate = (splits.train.sum(0) + 0.5) / (n + 1.0)  # never 0 or 1, so that no bit is impossible
            process = BernoulliDiffusion(constant_erasure(self.n_steps), rate)
            n_out = BernoulliDenoiser.n_outputs(d, self.n_components)
            network = ResidualMLP(d, n_out, self.width, self.depth, dropout=self.dropout)
            kernel = BernoulliDenoiser(process, network, rate, self.n_components)
            return DiffusionModel(Chain(), process, kernel, (d,))
        still = splits.train.amax(0) == splits.train.amin(0)
        if still.any():
            name = splits.names[int(still.nonzero()[0])]
            raise InputError(
                f"{name!r} of {self.data} is {splits.train[0, still][0].item():g} in all {n} training rows, "
                "so it has no density: leave that column out"
            )
        full = self.covariance == "full" or (self.covariance == "auto" and d <= 8)
        covariance = "full" if full else "diagonal"
        normal = GaussianDiffusion(geometric(self.n_steps, self.log_snr_max, self.log_snr_min))
        n_out = GaussianDenoiser.n_outputs(d, covariance, self.n_components)
        network = ResidualMLP(d, n_out, self.width, self.depth, self.n_fourier, self.dropout)
        denoiser = GaussianDenoiser(normal, network, d, covariance, self.n_components)
        # each column is scaled first, because the ridge of the whitening would dominate columns of small numbers
        own_scale = Affine(splits.train.mean(0), splits.train.std(0, correction=0))
        whiten = Whiten.fit(own_scale(splits.train)[0])
        return DiffusionModel(Chain(own_scale, whiten), normal, denoiser, (d,))

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        from quasistatic.plots import bit_rates, pair_plot

        real = splits.test.numpy()
        made = model.sample(max(500, len(real)), generator=generator).numpy()
        if self.family == "binomial":
            return {"bits": bit_rates(real, made)}
        return {"pairs": pair_plot(real[:2000], made[:2000], list(splits.names))}
