"""One posterior step against one prior step of the same chain, and memory against the number of chunks."""

from __future__ import annotations

import os
import resource
import warnings
from collections.abc import Callable

import torch

from benchmarks.measure import Row, against, round_robin
from quasistatic.forward import GaussianDiffusion
from quasistatic.networks import ResidualMLP
from quasistatic.networks.unet import UNet
from quasistatic.posterior.observations import GaussianMeasurement, KnownEntries, LogFactor, Observation
from quasistatic.posterior.result import PosteriorWarning
from quasistatic.posterior.smc import posterior_sample
from quasistatic.reverse import GaussianDenoiser, ImageDenoiser, ReverseKernel
from quasistatic.reverse.wiener import WienerBase
from quasistatic.sample import sample_ancestral
from quasistatic.schedules import geometric

STEPS, PARTICLES, SIDE = 10, 32, 16
IMAGE = (1, SIDE, SIDE)


def rows(rounds: int) -> list[Row]:
    warnings.simplefilter("ignore", PosteriorWarning)
    process = GaussianDiffusion(geometric(STEPS))
    y = torch.zeros(IMAGE)
    seen = GaussianMeasurement(y, 1.0)
    known = KnownEntries(torch.arange(SIDE).expand(IMAGE) < SIDE // 2, y)
    free = LogFactor(lambda x: -0.5 * x.flatten(1).square().sum(1))
    kernel = images(process)
    found = compared("posterior step, U-Net", rounds, process, kernel, IMAGE, {
        "measured": (seen, 1.15), "known entries": (known, 1.15), "log r with its gradient": (free, 3.2),
    })  # fmt: skip
    network = ResidualMLP(2, GaussianDenoiser.n_outputs(2, "full"), width=64)
    plane = GaussianDenoiser(process, network, 2, "full")
    found += compared("posterior step, small MLP", rounds, process, plane, (2,), {
        "measured": (GaussianMeasurement(torch.zeros(2), 1.0), None),
    })  # fmt: skip
    return [*found, memory(process, kernel)]


def images(process: GaussianDiffusion) -> ImageDenoiser:
    d = SIDE * SIDE
    base = WienerBase(torch.zeros(IMAGE), torch.ones(d), torch.eye(d))
    network = UNet(ImageDenoiser.n_inputs(1), ImageDenoiser.n_outputs(1), widths=(32, 64, 128))  # that of the image recipes
    return ImageDenoiser(process, network, base)


def compared(
    name: str,
    rounds: int,
    process: GaussianDiffusion,
    kernel: ReverseKernel,
    shape: tuple[int, ...],
    observation: dict[str, tuple[Observation, float | None]],
) -> list[Row]:
    """Whole chains, so that the start counts as well."""

    def posterior(about: Observation) -> Callable[[], object]:
        return lambda: posterior_sample(process, kernel, about, PARTICLES, shape=shape)

    cases: dict[str, Callable[[], object]] = {"prior": lambda: sample_ancestral(process, kernel, (PARTICLES, *shape))}
    seconds = round_robin(cases | {what: posterior(about) for what, (about, _) in observation.items()}, rounds)
    return [against(f"{name}, {what}", seconds[what], seconds["prior"], target) for what, (_, target) in observation.items()]


def memory(process: GaussianDiffusion, kernel: ReverseKernel, chunks: int = 8) -> Row:
    """Peak memory of as many chunks of observations, each of its own, against that of one."""

    def peak(n: int) -> float:
        y = torch.zeros(n, *IMAGE)
        return in_a_process(
            lambda: posterior_sample(process, kernel, GaussianMeasurement(y, 1.0), PARTICLES, shape=IMAGE, chunk=PARTICLES)
        )

    one, many = peak(1), peak(chunks)
    return Row(f"memory, {chunks} chunks", many / one, many / one, many / one, 1.2, base=f"{one / 1024:.0f} MB")


def in_a_process(work: Callable[[], object]) -> float:
    """Run in a child and return by how many kB its peak memory rose."""
    read, write = os.pipe()
    if os.fork() == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        os.write(write, str(max(1, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)).encode())
        os._exit(0)
    os.wait()
    return float(os.read(read, 100))
