"""Binary heartbeat: five sequences of 20 bits.

The true log likelihood is log2(1/5) (paper: Figure 2, Table 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Generator, Tensor

from quasistatic.datasets.heartbeat import heartbeat, heartbeat_atoms, heartbeat_log_prob, heartbeat_optimal_bound
from quasistatic.forward import BernoulliDiffusion
from quasistatic.likelihood.exact import ExactBernoulliKernel
from quasistatic.model import DiffusionModel
from quasistatic.networks import PerStepMLP, ResidualMLP
from quasistatic.recipes.base import FirstStep, Recipe, Splits
from quasistatic.reverse import BernoulliDenoiser, ReverseKernel
from quasistatic.sample import reverse_trajectory
from quasistatic.schedules import constant_erasure
from quasistatic.train import TrainConfig
from quasistatic.transforms import Chain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Heartbeat"]

N_BITS, RATE = 20, 0.2


@dataclass(frozen=True)
class Heartbeat(Recipe):
    """Bernoulli diffusion on the binary heartbeat."""

    n_steps: int = 2000
    network: Literal["residual", "paper"] = "residual"
    """The paper's network is a sigmoid perceptron, 3 x 50, with a read-out for each step."""
    readout: Literal["bumps", "per-step"] = "bumps"
    """Read-out of the paper's network: shared through temporal bumps (eq. 62), or separate for each step."""
    n_bumps: int = 24
    n_components: int = 1
    width: int = 128
    depth: int = 2
    n_train: int = 200_000
    """Training sequences. The phases of n sequences cost a KL divergence of about 2 / n nats."""
    n_validation: int = 500
    n_test: int = 1000
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(n_updates=13_500, batch_size=1024, learning_rate=2e-3, evaluate_every=2250)
    )

    n_trajectories: int = 10
    log_prob_rows: int = 50

    unit = "bits_per_sequence"

    def splits(self, seed: int) -> Splits:
        def draw(n: int, seed: int) -> Tensor:
            return torch.as_tensor(heartbeat(n, seed=seed)).float()

        names = tuple(f"bin {i}" for i in range(N_BITS))
        return Splits(draw(self.n_train, seed), draw(self.n_validation, 20151117), draw(self.n_test, 20151118), names)

    def build(self, splits: Splits) -> DiffusionModel:
        process = BernoulliDiffusion(constant_erasure(self.n_steps), RATE)
        n_out = BernoulliDenoiser.n_outputs(N_BITS, self.n_components)
        network: torch.nn.Module
        if self.network == "paper":
            network = PerStepMLP(N_BITS, n_out, self.n_steps, readout=self.readout, n_bumps=self.n_bumps)
        else:
            network = ResidualMLP(N_BITS, n_out, self.width, self.depth)
        kernel = BernoulliDenoiser(process, network, torch.full((N_BITS,), RATE), self.n_components)
        return DiffusionModel(Chain(), process, kernel, (N_BITS,))

    def true_log_prob(self, x: Tensor) -> Tensor:
        return torch.as_tensor(heartbeat_log_prob(x.numpy()))

    def truth(self) -> float:
        return float(torch.tensor(0.2, dtype=torch.float64).log())

    def exact_kernel(self, model: DiffusionModel) -> ReverseKernel | None:
        if self.n_components > 1:
            return None
        assert isinstance(model.process, BernoulliDiffusion)
        return ExactBernoulliKernel(model.process, torch.as_tensor(heartbeat_atoms()), factorised=True)

    def limit(self, model: DiffusionModel, first_step: FirstStep) -> float | None:
        if self.n_components > 1:
            return None
        return heartbeat_optimal_bound(model.process.alpha_bar.numpy(), RATE, first_step=first_step)

    def paper(self) -> float:
        return -2.414  # Table 1

    def check_samples(self, x: Tensor, splits: Splits) -> dict[str, Any]:
        """Test whether samples are valid sequences.

        Returns the share of samples that are one of the five sequences, and a chi-square test of uniform phases.
        """
        atoms = torch.as_tensor(heartbeat_atoms()).to(x)
        match = (x[:, None] == atoms).all(2)
        phases = match.sum(0).double()
        n, expected = len(x), phases.mean()
        valid = (phases.sum() / n).item()
        chi_square = ((phases - expected).square() / expected).sum()
        freedom = torch.tensor(len(atoms) - 1.0, dtype=torch.float64)
        return {
            "valid": valid,
            "valid_standard_error": (valid * (1 - valid) / n) ** 0.5,
            "phases": phases.long().tolist(),
            "chi_square": chi_square.item(),
            "p_value": torch.special.gammaincc(freedom / 2, chi_square / 2).item(),
        }

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        from quasistatic.plots import heartbeat_figure

        n_steps = model.process.n_steps
        path = {}
        for t, x in reverse_trajectory(model.process, model.kernel, (20, N_BITS), generator=generator):
            if t in (0, n_steps // 2, n_steps):
                path[t] = x.numpy()
        return {"figure-2": heartbeat_figure([(f"t = {t}", path[t]) for t in sorted(path)])}
