"""One ancestral step against the bare forward: 16 samples, 100 steps, both in inference mode."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.measure import Row, against, round_robin
from benchmarks.networks import PlainMLP
from quasistatic.forward import GaussianDiffusion
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import GaussianDenoiser
from quasistatic.sample import sample_ancestral
from quasistatic.schedules import geometric

STEPS, SAMPLES = 100, 16


def rows(rounds: int) -> list[Row]:
    process = GaussianDiffusion(geometric(STEPS))
    bodies = {
        "MLP, diagonal": (PlainMLP(2, 4), "diagonal", 1.25),
        "MLP, full": (PlainMLP(2, 5), "full", None),
        "ResidualMLP, full": (ResidualMLP(2, 5, width=64), "full", None),
    }
    found = []
    for name, (network, covariance, target) in bodies.items():
        kernel = GaussianDenoiser(process, network, 2, covariance)
        seconds = round_robin(
            {"bare": bare(network), "ours": lambda k=kernel: sample_ancestral(process, k, (SAMPLES, 2))}, rounds, repeats=3
        )
        found.append(against(f"sampling step, {name}", seconds["ours"], seconds["bare"], target))
    return found


def bare(network: nn.Module) -> Callable[[], None]:
    """As many forward passes as a chain has steps."""
    x, log_snr = torch.randn(SAMPLES, 2), torch.randn(SAMPLES)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(STEPS):
                network(x, log_snr)

    return run
