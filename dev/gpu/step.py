"""The training loop's own step, and as plain a one as there is round the same network: the floor.

The plain step knows no bound: rows of the network's own input are mixed with noise, the network is asked for what it must
answer of each pixel, and the mean square goes back. Clipping, AdamW and the running mean of the weights are torch's
own calls. What the loop has beyond it, and is to cost no more than a twentieth, is the forward process, what is known
before the network is asked, the law of a step and its KL, the sampler of steps and what it learns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import clip_grad_norm_

from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.train.ema import Ema
from quasistatic.train.source import Source
from quasistatic.train.trainer import Trainer

__all__ = ["Foreach", "graphed", "library_step", "plain_step"]

Step = Callable[[], None]


def library_step(model: DiffusionModel, recipe: Recipe, rows: Tensor, *, batch: int, amp: bool, foreach: bool) -> Step:
    """Make a step of the loop, past its warm-up, with all steps of the chain seen; ``foreach`` for an unfused optimiser."""
    config = dataclasses.replace(recipe.train, n_updates=10**9, batch_size=batch, amp=amp, learning_rate=1e-6)
    trainer = Trainer(model, Source(model, rows, recipe.augment(Splits(rows, rows, rows))), config)
    assert trainer.sampler is not None
    t = torch.arange(2, model.process.n_steps + 1)
    trainer.sampler.record(t, torch.rand(len(t), generator=Generator().manual_seed(0)))
    if foreach:
        trainer.update_weights = Foreach(trainer.ema, config.clip)  # type: ignore[assignment]
    model.train()

    def run() -> None:
        trainer.update()
        trainer.state.recent.clear()  # as every evaluation does

    return run


class Foreach:
    """The end of a step by torch's own calls, each over all weights at once, none of them fused."""

    def __init__(self, ema: Ema, clip: float) -> None:
        self.ema, self.clip = ema, clip
        self.optimiser = torch.optim.AdamW(ema.live, betas=(0.9, 0.99), weight_decay=0.0, foreach=True)

    def __call__(self, rate: float) -> None:
        self.optimiser.param_groups[0]["lr"] = rate
        clip_grad_norm_(self.ema.live, self.clip, foreach=True)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.ema.update()


def plain_step(
    network: nn.Module, x: Tensor, time: Tensor, n_out: int, *,
    batch: int, amp: bool, foreach: bool = False, capturable: bool = False,
) -> Step:  # fmt: skip
    """Make the plain step on ``batch`` of the rows, each answered by ``n_out`` numbers, all on one device."""
    parameters: list[Tensor] = list(network.parameters())
    device = x.device
    how = {"foreach": True} if foreach else {"fused": True}
    optimiser = torch.optim.AdamW(parameters, lr=1e-6, betas=(0.9, 0.99), weight_decay=0.0, capturable=capturable, **how)  # type: ignore[arg-type]
    mean = [p.detach().clone() for p in parameters]
    answers = torch.randn(len(x), n_out, device=device)
    network.train()

    def run() -> None:
        index = torch.randint(len(x), (batch,), device=device)
        signal = torch.rand(batch, *(1,) * (x.dim() - 1), device=device)
        x_t = signal.sqrt() * x[index] + (1.0 - signal).sqrt() * torch.randn(batch, *x.shape[1:], device=device)
        with torch.autocast(device.type, torch.bfloat16, amp):
            out = network(x_t, time[index])
        (out.float() - answers[index]).square().mean().backward()
        clip_grad_norm_(parameters, 1.0, foreach=True)
        optimiser.step()
        optimiser.zero_grad()
        torch._foreach_lerp_(mean, parameters, 1e-3)

    return run


def graphed(step: Step) -> Step:
    """Capture a plain step as one CUDA graph, and replay it: no launch is waited for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
