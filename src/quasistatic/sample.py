"""Samples from the reverse chain, from noise to data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from quasistatic.forward import ForwardProcess
from quasistatic.memory import require_memory
from quasistatic.random import Rng
from quasistatic.reverse import ReverseKernel
from quasistatic.streams import bar

__all__ = ["require_room_for_samples", "reverse_trajectory", "sample_ancestral"]


def reverse_trajectory(
    process: ForwardProcess, kernel: ReverseKernel, shape: Sequence[int], *, generator: Rng | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Draw a trajectory of the reverse chain, step by step.

    Parameters
    ----------
    process : ForwardProcess
        The forward process; its steps are used. A respaced process has fewer.
    kernel : ReverseKernel
        The model. A :class:`~quasistatic.posterior.twisting.TwistedKernel` gives draws of the paper's approximate
        posterior.
    shape : sequence of int
        (batch, *event).
    generator : Generator or RowStreams, optional
        Source of the draws.

    Yields
    ------
    t : int
        T, T - 1, .., 0.
    x_t : Tensor, shape (batch, *event)
        State at t.
    """
    kernel = kernel.on(process)
    with torch.inference_mode():
        x = process.stationary(shape).sample(generator)
        yield process.n_steps, x
        for t in range(process.n_steps, 0, -1):
            x = kernel(x, t).sample(generator)
            yield t - 1, x


def sample_ancestral(
    process: ForwardProcess, kernel: ReverseKernel, shape: Sequence[int], *, generator: Rng | None = None
) -> Tensor:
    """Draw samples by running the reverse chain once.

    The last step is a draw and not a mean. So the samples have exactly the distribution whose log-likelihood the bound
    measures.

    Parameters
    ----------
    process : ForwardProcess
        The forward process; its steps are used. A respaced process has fewer.
    kernel : ReverseKernel
        The model.
    shape : sequence of int
        (batch, *event).
    generator : Generator or RowStreams, optional
        Source of the draws.

    Returns
    -------
    Tensor, shape (batch, *event)

    Examples
    --------
    >>> from quasistatic.networks import ResidualMLP
    >>> from quasistatic.reverse import GaussianDenoiser
    >>> from quasistatic.forward import GaussianDiffusion
    >>> from quasistatic.schedules import geometric
    >>> q = GaussianDiffusion(geometric(8))
    >>> kernel = GaussianDenoiser(q, ResidualMLP(2, 4), 2)
    >>> x = sample_ancestral(q, kernel, (20000, 2), generator=torch.Generator().manual_seed(0))
    >>> abs(x.var().item() - 1.0) < 0.04      # white: false alarm 1 in 15 000 for another seed
    True
    """
    x = torch.empty(0)
    steps = reverse_trajectory(process, kernel, shape, generator=generator)
    for _, x in bar(steps, "sampling", process.n_steps + 1):  # noqa: B007
        pass
    return x.clone()  # an ordinary tensor, outside inference mode


def require_room_for_samples(process: ForwardProcess, kernel: ReverseKernel, shape: Sequence[int]) -> None:
    """Refuse more samples than fit into the memory of the CPU.

    Parameters
    ----------
    process : ForwardProcess
        Whose device counts.
    kernel : ReverseKernel
        The model.
    shape : sequence of int
        (batch, *event).

    Raises
    ------
    InputError
        If they do not fit.
    """
    if process.beta.device.type == "cpu":
        n, *event = shape
        width = math.prod(event)
        n_bytes = n * (32.0 * width + _bytes_of_row(kernel, event))
        require_memory(f"{n} samples of {width} numbers", n_bytes, "draw fewer at once")


def _bytes_of_row(kernel: ReverseKernel, event: Sequence[int]) -> float:
    """Estimate the memory that one row needs in the network."""
    channels = next((p.shape[0] for p in kernel.parameters() if p.dim() == 4), None)  # at full resolution
    if channels is not None:
        return 24.0 * channels * math.prod(event[1:])
    return 24.0 * max((p.shape[0] for p in kernel.parameters() if p.dim() > 1), default=1)
