"""Swiss roll in two dimensions, with a known true density.

Paper: Figure 1 and Table 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Generator, Tensor

from quasistatic.datasets.swiss_roll import swiss_roll, swiss_roll_entropy, swiss_roll_log_density
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess, GaussianDiffusion
from quasistatic.likelihood.schedule_search import learn_schedule, optimal_schedule
from quasistatic.model import DiffusionModel
from quasistatic.networks import NormalisedRBF, ResidualMLP
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.reverse import GaussianDenoiser, PaperKernel, ReverseKernel
from quasistatic.sample import reverse_trajectory
from quasistatic.schedules import geometric
from quasistatic.train import TrainConfig
from quasistatic.transforms import Chain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SwissRoll"]

TEST_SEED, VALIDATION_SEED = 20151118, 20151117


@dataclass(frozen=True)
class SwissRoll(Recipe):
    """Gaussian diffusion on the swiss roll."""

    noise: float = 0.02
    """Standard deviation of the noise in raw units; it determines the entropy."""
    n_steps: int = 40
    network: Literal["residual", "paper"] = "residual"
    """The paper's network has 16 normalised RBF units and a read-out for each step."""
    covariance: Literal["full", "diagonal"] = "full"
    n_components: int = 1
    width: int = 128
    depth: int = 3
    n_fourier: int = 6
    n_hidden: int = 16
    """Number of RBF units of the paper's network."""
    mean: Literal["released", "equation"] = "released"
    """Read-out of the paper's network: as in its authors' program, or eq. (65)."""
    log_snr_max: float = 13.0
    log_snr_min: float = -6.0
    place: Literal["optimal_schedule", "gradient", "no"] = "optimal_schedule"
    """Schedule: optimal by dynamic programming, by gradient ascent, or geometric without a change."""
    n_train: int = 200_000
    n_validation: int = 4000
    n_test: int = 40_000
    train: TrainConfig = field(default_factory=lambda: TrainConfig(n_updates=16_000, batch_size=512, evaluate_every=2000))

    def splits(self, seed: int) -> Splits:
        def draw(n: int, seed: int) -> Tensor:
            return torch.as_tensor(swiss_roll(n, self.noise, seed=seed))

        train, validation = draw(self.n_train, seed), draw(self.n_validation, VALIDATION_SEED)
        return Splits(train, validation, draw(self.n_test, TEST_SEED), ("x", "y"))

    def build(self, splits: Splits) -> DiffusionModel:
        process = GaussianDiffusion(geometric(self.n_steps, self.log_snr_max, self.log_snr_min))
        kernel: ReverseKernel
        if self.network == "paper":
            for name, value in {"covariance": "diagonal", "n_components": 1}.items():
                if getattr(self, name) != value:
                    raise InputError(f"network=paper needs {name}={value}, got {getattr(self, name)}")
            if self.place == "optimal_schedule":
                raise InputError("network=paper belongs to its own steps: set place=no or place=gradient")
            kernel = PaperKernel(process, NormalisedRBF(2, 4, self.n_steps, self.n_hidden), self.mean)
        else:
            if self.n_components > 1 and self.place == "optimal_schedule":
                raise InputError("mixtures are scored at draws, whose noise a placing of steps would follow: set place=no")
            n_out = GaussianDenoiser.n_outputs(2, self.covariance, self.n_components)
            network = ResidualMLP(2, n_out, self.width, self.depth, self.n_fourier)
            kernel = GaussianDenoiser(process, network, 2, self.covariance, self.n_components)
        return DiffusionModel(Chain(), process, kernel, (2,))

    def place_steps(self, model: DiffusionModel, splits: Splits, generator: Generator) -> ForwardProcess | None:
        if self.place == "gradient":
            assert isinstance(model.process, GaussianDiffusion)
            return learn_schedule(model.process, model.kernel, splits.train[:20_000], generator=generator)
        if self.place == "no":
            return None
        rows, n_levels = splits.train[:3000], max(60, 4 * self.n_steps)
        return optimal_schedule(model.process, model.kernel, rows, self.n_steps, n_levels=n_levels, generator=generator)

    def true_log_prob(self, x: Tensor) -> Tensor:
        return torch.as_tensor(swiss_roll_log_density(x.numpy(), self.noise))

    def truth(self) -> float:
        return -swiss_roll_entropy(self.noise)

    def paper(self) -> float:
        return 2.35  # Table 1; its noise is not stated

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        from quasistatic.plots import swiss_roll_figure

        process, kernel, n = model.process, model.kernel, 1500
        shown = (0, process.n_steps // 2, process.n_steps)
        x_0 = splits.test[:n]
        forward = [(f"t = {t}", process.marginal(x_0, t).sample(generator).numpy()) for t in shown]
        path = dict(reverse_trajectory(process, kernel, (n, 2), generator=generator))
        reverse = [(f"t = {t}", path[t].numpy()) for t in shown]
        side = torch.linspace(-2.0, 2.0, 15)
        grid = torch.cartesian_prod(side, side)
        drift = []
        for t in (max(1, t) for t in shown):
            with torch.no_grad():
                mean = _mean(kernel(grid, t))
            drift.append((f"t = {t}", grid.numpy(), (mean - grid).numpy()))
        return {"figure-1": swiss_roll_figure(forward, reverse, drift)}


def _mean(p: Any) -> Tensor:
    """Return the mean of a kernel's distribution."""
    if hasattr(p, "log_weights"):
        parts = p.components.mean.view(*p.log_weights.shape, -1)
        return (p.log_weights.exp().unsqueeze(-1) * parts).sum(1)
    return p.mean
