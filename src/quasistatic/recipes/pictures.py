"""Figures of an image model: forward process, samples, denoising."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.sample import reverse_trajectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Show = Callable[[Tensor], NDArray[Any]]

__all__ = ["denoised_figure", "forward_figure", "on_fewer_steps", "reverse_figure", "sample_from_state"]

TIMES, ROWS = 8, 4


def on_fewer_steps(model: DiffusionModel, n_steps: int, keep: int | None = None) -> DiffusionModel:
    """Shorten the chain to fewer steps.

    One of them ends at step ``keep``. A kernel with parameters for each step keeps its chain.
    """
    if n_steps >= model.process.n_steps:
        return model
    even = torch.linspace(0, model.process.n_steps, n_steps + 1).round().long()[1:].tolist()
    try:
        return model.on(model.process.respaced(sorted({*even, keep or even[-1]})))
    except ValueError:
        return model


def sample_from_state(model: DiffusionModel, x_t: Tensor, t: int, generator: Generator | None = None) -> Tensor:
    """Sample x_0 given a state at step t, in model units.

    For a noisy image this is the exact posterior of the model.
    """
    with torch.inference_mode():
        for step in range(t, 0, -1):
            x_t = model.kernel(x_t, step).sample(generator)
    return x_t.clone()


def _times(n_steps: int) -> list[int]:
    return sorted({round(k * n_steps / (TIMES - 1)) for k in range(TIMES)})


def forward_figure(model: DiffusionModel, x: Tensor, show: Show, generator: Generator) -> Figure:
    """Draw data at steps 0 to T of the forward process."""
    from quasistatic.plots import image_panels

    z, _ = model.encode(x[:ROWS], generator)
    panels = []
    for t in _times(model.process.n_steps):
        state = z if t == 0 else model.process.marginal(z, t).sample(generator)
        panels.append((f"t = {t}", show(model.transform.inverse(state))))
    return image_panels(panels, "Held-out data turns into noise, q(x_t | x_0), from left to right.", columns=1)


def reverse_figure(model: DiffusionModel, show: Show, generator: Generator) -> Figure:
    """Draw samples at steps T to 0 of the reverse chain."""
    from quasistatic.plots import image_panels

    shown, panels = _times(model.process.n_steps), []
    for t, state in reverse_trajectory(model.process, model.kernel, (ROWS, *model.event_shape), generator=generator):
        if t in shown:
            panels.append((f"t = {t}", show(model.transform.inverse(state))))
    return image_panels(panels, "Noise turns into data, x_t of the reverse chain, from left to right.", columns=1)


def denoised_figure(
    model: DiffusionModel, n_steps: int, x: Tensor, samples: Tensor, show: Show, generator: Generator
) -> Figure:
    """Draw noisy, denoised and sampled images (paper: Figure 3)."""
    from quasistatic.plots import image_panels

    assert isinstance(model.process, GaussianDiffusion)
    z, _ = model.encode(x, generator)
    variance = z.var().item()
    wanted = -torch.tensor(variance).log()
    model = on_fewer_steps(model, n_steps, int((model.process.log_snr[1:] - wanted).abs().argmin()) + 1)
    t = int((model.process.log_snr[1:] - wanted).abs().argmin()) + 1
    ratio = variance * model.process.log_snr[t].exp().item()
    noisy = model.process.marginal(z, t).sample(generator)
    clean = sample_from_state(model, noisy.float(), t, generator)
    pixels = model.transform.inverse(noisy / model.process.alpha_bar[t].sqrt())
    panels = [
        ("held out", show(x)),
        (f"noise, SNR {ratio:.2f}", show(pixels)),
        ("denoised", show(model.transform.inverse(clean))),
        ("samples", show(samples)),
    ]
    caption = (
        f"Held-out images; with noise of {1.0 / ratio:.2f} times the variance of the data; a draw of the model's posterior "
        f"of each clean image; and samples. The noisy image is the state at t = {t} of {model.process.n_steps}, from "
        "which the reverse chain starts, so the posterior is that of the model without approximation."
    )
    return image_panels(panels, caption)
