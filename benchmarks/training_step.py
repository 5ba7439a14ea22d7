"""One step of the training loop against forward + backward of its network on as many rows.

The step is the loop's own, private method and all: it draws rows, steps and noise, takes the KL of each visited step with
a learned covariance, goes back, clips, takes the AdamW step, follows the mean of the weights and learns which steps to draw.
The base hands the network its input and the gradient of its output, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from benchmarks.measure import Row, against, round_robin
from benchmarks.networks import PlainMLP, SmallUNet
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import GaussianDenoiser
from quasistatic.schedules import geometric
from quasistatic.train import TrainConfig
from quasistatic.train.source import Source
from quasistatic.train.trainer import Trainer
from quasistatic.train.workers import Workers
from quasistatic.transforms import Chain


def rows(rounds: int) -> list[Row]:
    mlp = {
        "diagonal": (PlainMLP(2, 4), "diagonal"),
        "full": (PlainMLP(2, 5), "full"),
        "residual": (ResidualMLP(2, 5, width=64), "full"),
    }
    cases = {}
    for name, (network, covariance) in mlp.items():
        cases[f"{name} bare"] = bare(network, torch.randn(512, 2))
        cases[f"{name} step"] = step(network, torch.randn(20_000, 2), 512, covariance)
    seconds = round_robin(cases, rounds, repeats=20)
    spent = [
        against("training step, MLP, diagonal", seconds["diagonal step"], seconds["diagonal bare"], 1.35),
        against("training step, MLP, full", seconds["full step"], seconds["full bare"], None),
        against("training step, ResidualMLP, full", seconds["residual step"], seconds["residual bare"], None),
    ]
    unet = SmallUNet()
    images = {
        "bare": bare(unet, torch.randn(64, 1, 28, 28)),
        "step": step(unet, torch.randn(512, 1, 28, 28), 64, "diagonal"),
    }
    seconds = round_robin(images, rounds)
    return [*spent, against("training step, U-Net, diagonal", seconds["step"], seconds["bare"], 1.05)]


def bare(network: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward and backward, and the gradients dropped as any loop must."""
    log_snr, parameters = torch.randn(len(x)), list(network.parameters())
    gradient = torch.randn_like(network(x, log_snr))

    def run() -> None:
        network(x, log_snr).backward(gradient)
        for p in parameters:
            p.grad = None

    return run


def step(network: nn.Module, data: Tensor, batch_size: int, covariance: str) -> Callable[[], None]:
    """A step of the loop, past its warm-up: T = 40, geometric schedule."""
    process = GaussianDiffusion(geometric(40))
    kernel = GaussianDenoiser(process, network, data[0].numel(), covariance)
    model = DiffusionModel(Chain(), process, kernel, tuple(data.shape[1:]))
    return stepper(model, data, batch_size)


def stepper(model: DiffusionModel, data: Tensor, batch_size: int, team: Workers | None = None) -> Callable[[], None]:
    """Make a step of the loop, past its warm-up, with all steps of the chain seen."""
    config = TrainConfig(n_updates=1_000_000, batch_size=batch_size, learning_rate=1e-6)
    trainer = Trainer(model, Source(model, data), config, team=team)
    t = torch.arange(2, model.process.n_steps + 1)
    trainer.sampler.record(t, torch.rand(len(t), generator=Generator().manual_seed(0)))

    def run() -> None:
        trainer.update()
        trainer.state.recent.clear()  # as every evaluation does

    return run
