"""Draw the picture of ``docs/posteriors.md``: exact posterior, the paper's two rules, and weighted particles.

    PYTHONPATH=src python dev/posterior_picture.py        writes docs/pictures/posteriors.png

The kernels are the best full-covariance ones there are for the swiss roll with noise 0.25, by moments over 600 points of
the spiral, so that what goes wrong is the rule and not the learning.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from quasistatic.datasets.swiss_roll import swiss_roll_frame
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
from quasistatic.plots.style import DATA, MODEL, NULL, TRUTH, drawn, new_figure
from quasistatic.posterior.observations import GaussianMeasurement
from quasistatic.posterior.smc import posterior_sample
from quasistatic.schedules import geometric

NOISE, N, Y, STD = 0.25, 2000, (1.4, -0.9), 0.5
OUT = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "posteriors.png"


def spiral(n: int) -> tuple[Tensor, float]:
    mean, scale = swiss_roll_frame(NOISE)
    t = 1.5 * math.pi + 3.0 * math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return (torch.stack([t * t.cos(), t * t.sin()], 1) - torch.as_tensor(mean)) / scale, NOISE / scale


def exact(y: Tensor) -> tuple[Tensor, float]:
    """Draws of the posterior by quadrature along the spiral, and its log evidence."""
    nodes, sd = spiral(20_000)
    total = sd**2 + STD**2
    log_w = -0.5 * (nodes - y).square().sum(1) / total - math.log(2 * math.pi * total)
    generator = Generator().manual_seed(0)
    at = nodes[torch.multinomial(torch.softmax(log_w, 0), N, replacement=True, generator=generator)]
    noise = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    x = at + sd**2 / total * (y - at) + sd * STD / math.sqrt(total) * noise
    return x, (torch.logsumexp(log_w, 0) - math.log(len(nodes))).item()


def panels() -> list[tuple[str, Tensor, str]]:
    y = torch.tensor(Y, dtype=torch.float64)
    q, (nodes, sd) = GaussianDiffusion(geometric(40, 9.0, -6.0)), spiral(600)
    kernel, seen = ExactGaussianMixtureKernel(q, nodes, sd**2, family="full"), GaussianMeasurement(y, STD)

    def sampled(twist: str, weights: bool) -> tuple[Tensor, float, float]:
        generator = Generator().manual_seed(1)
        p = posterior_sample(q, kernel, seen, N, shape=(2,), twist=twist, weighted=weights, chunk=500, generator=generator)
        return p.resample(N, generator=generator), p.log_evidence.item(), p.log_evidence_error.item()

    truth, log_z = exact(y)
    weighted, estimate, error = sampled("lookahead", True)
    return [
        (f"exact, by quadrature\nlog evidence {log_z:.3f}", truth, TRUTH),
        ("paper: r at every step\nno evidence", sampled("constant", False)[0], NULL),
        ("paper: powers of r\nno evidence", sampled("power", False)[0], NULL),
        (f"weights\nlog evidence {estimate:.3f} ± {error:.3f}", weighted, MODEL),
    ]


@drawn
def draw() -> Figure:
    nodes = spiral(2000)[0].numpy()
    figure = new_figure(9.6, 2.75, "Posteriors of a point of the swiss roll seen at the cross with noise 0.5.")
    for axes, (title, x, colour) in zip(figure.subplots(1, 4, sharey=True), panels(), strict=True):
        axes.plot(*nodes.T, color="#C9CED6", lw=1, zorder=0)
        axes.scatter(*x.numpy().T, s=2, c=colour, alpha=0.5, lw=0)
        axes.plot(*Y, "+", color=DATA, ms=9, mew=2)
        axes.set(xlim=(-0.4, 2.2), ylim=(-2.2, 0.9), aspect="equal")
        axes.set_title(title, fontsize=9)
    return figure


def main() -> None:
    torch.set_num_threads(1)
    np.seterr(all="raise", under="ignore")
    OUT.parent.mkdir(exist_ok=True)
    figure = draw()
    figure.savefig(OUT, dpi=110)
    print(f"{OUT.name}: {OUT.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
