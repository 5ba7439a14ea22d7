"""The bound over a whole chain against as many bare forward passes: 16 points, T = 100.

Below one because (point, step) pairs go through the network stacked, where the base takes step after step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.measure import Row, against, round_robin
from benchmarks.networks import PlainMLP
from benchmarks.sampling_step import SAMPLES, STEPS, bare
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.reverse import GaussianDenoiser
from quasistatic.schedules import geometric


def rows(rounds: int) -> list[Row]:
    process = GaussianDiffusion(geometric(STEPS))
    x_0 = torch.randn(SAMPLES, 2)
    diagonal, full = (
        GaussianDenoiser(process, PlainMLP(2, n_out), 2, covariance) for n_out, covariance in ((4, "diagonal"), (5, "full"))
    )

    def bound(kernel: GaussianDenoiser, x_0: Tensor, method: str) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad():
                elbo(process, kernel, x_0, method=method)

        return run

    cases = {
        "diagonal": bound(diagonal, x_0, "marginal"),
        "diagonal, float64": bound(diagonal, x_0.double(), "marginal"),
        "full, float64": bound(full, x_0.double(), "marginal"),
        "diagonal, float64, by trajectory": bound(diagonal, x_0.double(), "trajectory"),
    }
    seconds = round_robin({"bare": bare(diagonal.network), **cases}, rounds, repeats=3)
    targets = {"diagonal": 0.85, "diagonal, float64": 0.85}  # model.bound asks for float64
    return [against(f"whole bound, MLP, {name}", seconds[name], seconds["bare"], targets.get(name)) for name in cases]
