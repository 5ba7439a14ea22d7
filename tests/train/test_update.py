"""Clipping: the first and every later update move the weights as torch's own clipping and AdamW would."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

from quasistatic.train.ema import Ema
from quasistatic.train.update import Update


def weights(seed: int) -> list[nn.Parameter]:
    draw = Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(4, 3, generator=draw)), nn.Parameter(torch.randn(7, generator=draw))]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("clip", [0.1, 1.0, 50.0])
def test_updates_are_those_of_clipped_gradients(clip: float, scale: float) -> None:
    """Gradients of changing size, so that AdamW, which forgets a common factor, cannot hide the clipping."""
    ours, theirs = weights(0), weights(0)
    module = nn.ParameterList(ours)
    update = Update(torch.optim.AdamW(ours, lr=0.01, fused=True), Ema(module, 0.9), clip)
    plain = torch.optim.AdamW(theirs, lr=0.01, fused=True)
    draw = Generator().manual_seed(1)
    for step in range(6):
        size = scale * 10.0 ** (step % 3 - 1)
        for p, q in zip(ours, theirs, strict=True):
            p.grad = size * torch.randn(p.shape, generator=draw)
            q.grad = p.grad.clone()
        update(0.01)
        norm = torch.cat([q.grad.flatten() for q in theirs if q.grad is not None]).norm()
        for q in theirs:
            assert q.grad is not None
            q.grad *= min(1.0, clip / norm.item())
        plain.step()
        for p, q in zip(ours, theirs, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
            assert p.grad is None
