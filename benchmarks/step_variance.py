"""How much better the sum over t is estimated from the same number of network evaluations.

The estimate is a batch mean of L_t / p(t). Against independent, uniform t stands :class:`TimestepSampler`:
stratified, and by
importance once it has learned from its own draws. The kernel is the best diagonal one for a swiss roll of 2000 atoms, so the
L_t are those of a perfectly trained model. Each round computes a fresh pool of L_t at forward draws and estimates both
variances by drawing batches from it; a ratio is uniform / ours, so higher is better.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from benchmarks.measure import Row, against
from quasistatic.datasets.swiss_roll import swiss_roll_frame
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
from quasistatic.likelihood.scores import step_log_ratio
from quasistatic.schedules import geometric, linear

N_STEPS, POOL, BATCH, REPEATS, LEARN = 40, 200, 512, 1000, 200
NOISE = 0.02

Draw = Callable[[], tuple[Tensor, Tensor]]


# From the first level of the geometric schedule, so that both see the same data term; linear() alone starts a thousand times
# higher at T = 40, spares itself the one step that costs most, and leaves less to gain.
SCHEDULES = {
    "geometric": (geometric(N_STEPS), 1.5),
    "linear beta": (linear(N_STEPS, geometric(N_STEPS)[0].item(), 0.5), 50.0),
    "linear(40)": (linear(N_STEPS), None),
}


def rows(rounds: int) -> list[Row]:
    found = []
    for name, (beta, target) in SCHEDULES.items():
        generator = Generator().manual_seed(0)
        seen: dict[str, list[float]] = {"uniform": [], "ours": []}
        for _ in range(rounds):
            for case, value in variances(GaussianDiffusion(beta), generator).items():
                seen[case].append(value)
        title = f"variance of the sum over t, {name}, uniform / ours"
        found.append(against(title, seen["uniform"], seen["ours"], target, at_least=True, unit=""))
    return found


def variances(process: GaussianDiffusion, generator: Generator) -> dict[str, float]:
    """Variance of the batch mean under each way of drawing t, on one fresh pool of losses."""
    losses = pool(process, generator)
    sampler = TimestepSampler(N_STEPS)
    for i in range(LEARN):
        t, _ = sampler.draw(BATCH, generator)
        sampler.record(t, pick(losses, t, generator), refresh=i % 20 == 19)  # as the training loop does

    def uniform() -> tuple[Tensor, Tensor]:
        t = torch.randint(2, N_STEPS + 1, (BATCH,), generator=generator)
        return t, torch.full((BATCH,), N_STEPS - 1.0, dtype=torch.float64)

    ways: dict[str, Draw] = {"uniform": uniform, "ours": lambda: sampler.draw(BATCH, generator)}
    return {name: spread(losses, draw, generator) for name, draw in ways.items()}


def spread(losses: Tensor, draw: Draw, generator: Generator) -> float:
    """Variance of the batch mean over many batches."""
    means = []
    for _ in range(REPEATS):
        t, weight = draw()
        means.append((weight * pick(losses, t, generator)).mean())
    return torch.stack(means).var().item()


def pick(losses: Tensor, t: Tensor, generator: Generator) -> Tensor:
    """Draw a loss seen at each step."""
    return losses[t - 2, torch.randint(POOL, t.shape, generator=generator)]


def pool(process: GaussianDiffusion, generator: Generator) -> Tensor:
    """Losses of the best diagonal kernel at forward draws, (T - 1, POOL)."""
    mean, scale = swiss_roll_frame(NOISE)
    angle = torch.linspace(1.5 * torch.pi, 4.5 * torch.pi, 2000, dtype=torch.float64)
    curve = angle.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], 1)
    atoms = (curve - torch.as_tensor(mean)) / scale
    kernel = ExactGaussianMixtureKernel(process, atoms, (NOISE / scale) ** 2, family="diagonal")
    losses = []
    for t in range(2, N_STEPS + 1):
        at = atoms[torch.randint(len(atoms), (POOL,), generator=generator)]
        x_0 = at + NOISE / scale * torch.randn(POOL, 2, generator=generator, dtype=torch.float64)
        x_t = process.marginal(x_0, t).sample(generator)
        losses.append(-step_log_ratio(process.posterior(x_0, x_t, t), kernel(x_t, t)))
    return torch.stack(losses)
