"""Images: the U-Net of the recipe mnist-binary, and that of cifar10 on its exact base, against nothing but themselves.

A step of training is the loop's own against forward + backward of its network on as many rows. The bound of images is
measured by a few n_timesteps of their chain, against as many bare forward passes of 32 images each, about the fastest
size on a CPU. Memory is the peak of a process that takes three steps, over what it held before the first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, nn

from benchmarks.measure import Row, against, peak_bytes, round_robin
from benchmarks.training_step import stepper
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Splits
from quasistatic.recipes.cifar10 import Cifar10
from quasistatic.recipes.mnist import BinaryMnist
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.wiener import WienerBase
from quasistatic.schedules import geometric
from quasistatic.transforms import Chain, Levels

BATCH, MEASURED, VISITS = 32, 64, 4
CHUNK = 32


def rows(rounds: int) -> list[Row]:
    digits, bits = binary_digits()
    cases = {"bare": bare(digits, 2, BATCH, (28, 28)), "step": stepper(digits, bits, BATCH)}
    seconds = round_robin(cases, rounds)
    found = [against("training step, U-Net of mnist-binary", seconds["step"], seconds["bare"], 1.05)]
    memory = {name: [float(peak_bytes(case, 3)) / 2**20] for name, case in cases.items()}
    found.append(against("peak memory of it", memory["step"], memory["bare"], None, unit="MiB"))
    passes = {"bare": forwards(digits, 2, (28, 28)), "bound": bound(digits, bits[:MEASURED])}
    seconds = round_robin(passes, rounds)
    found.append(against("bound of images, U-Net of mnist-binary", seconds["bound"], seconds["bare"], 1.05))

    photographs, levels = colours()
    n_inputs = ImageDenoiser.n_inputs(3, 256)
    cases = {"bare": bare(photographs, n_inputs, BATCH, (32, 32)), "step": stepper(photographs, levels, BATCH)}
    passes = {"forwards": forwards(photographs, n_inputs, (32, 32)), "bound": bound(photographs, levels[:MEASURED])}
    seconds = round_robin(cases | passes, max(2, rounds // 2))
    found.append(against("training step, U-Net of cifar10", seconds["step"], seconds["bare"], None))
    return [*found, against("bound of images, U-Net of cifar10", seconds["bound"], seconds["forwards"], None)]


def binary_digits() -> tuple[DiffusionModel, torch.Tensor]:
    """Make the model of the recipe as it stands, and random bits in place of its data."""
    bits = torch.randint(2, (256, 1, 28, 28), generator=Generator().manual_seed(0), dtype=torch.uint8)
    return BinaryMnist().build(Splits(bits, bits, bits)), bits


def colours() -> tuple[DiffusionModel, torch.Tensor]:
    """Make the model of the recipe on a base of white noise, which costs what another would."""
    levels = torch.randint(256, (256, 3, 32, 32), generator=Generator().manual_seed(0), dtype=torch.uint8)
    recipe, d = Cifar10(), 3 * 32 * 32
    process = GaussianDiffusion(geometric(recipe.n_steps, recipe.log_snr_max, recipe.log_snr_min))
    base = WienerBase(torch.zeros(3, 32, 32), torch.full((d,), 0.25), torch.eye(d))
    network = recipe.unet(ImageDenoiser.n_inputs(3, 256), ImageDenoiser.n_outputs(3))
    kernel = ImageDenoiser(process, network, base, 256)
    return DiffusionModel(Chain(Levels(256)), process, kernel, (3, 32, 32)), levels


def _network(model: DiffusionModel) -> nn.Module:
    return model.kernel.network  # type: ignore[return-value]


def bare(model: DiffusionModel, channels: int, batch: int, sides: tuple[int, int]) -> Callable[[], None]:
    """Forward and backward of the network alone, and the gradients dropped as any loop must."""
    network, x = _network(model), torch.randn(batch, channels, *sides)
    log_snr, parameters = torch.randn(batch), list(network.parameters())
    gradient = torch.randn_like(network(x, log_snr))

    def run() -> None:
        network(x, log_snr).backward(gradient)
        for p in parameters:
            p.grad = None

    return run


def forwards(model: DiffusionModel, channels: int, sides: tuple[int, int]) -> Callable[[], None]:
    """As many forward passes as a bound takes: its n_timesteps, and the first step."""
    network, x, log_snr = _network(model), torch.randn(CHUNK, channels, *sides), torch.randn(CHUNK)

    def run() -> None:
        with torch.no_grad():
            for _ in range((VISITS + 1) * MEASURED // CHUNK):
                network(x, log_snr)

    return run


def bound(model: DiffusionModel, x: torch.Tensor) -> Callable[[], None]:
    """Measure rows as ``quasistatic evaluate`` does, once it knows which steps to visit."""
    sampler = TimestepSampler(model.process.n_steps)

    def run() -> None:
        model.estimate_elbo(x, VISITS, sampler=sampler)

    return run
