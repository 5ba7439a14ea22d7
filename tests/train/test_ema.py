"""The running mean of the weights, against its formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from quasistatic.train.ema import Ema


def walk(p: Tensor, generator: Generator) -> None:
    with torch.no_grad():
        p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype))


@settings(deadline=None, max_examples=30)
@given(decay=st.floats(0, 1), n=st.integers(0, 40), seed=st.integers(0, 1000))
def test_the_mean_follows_its_formula(decay, n, seed):
    generator = Generator().manual_seed(seed)
    p = nn.Parameter(torch.randn(5, generator=generator, dtype=torch.float64))
    ema, expected = Ema([p], decay), p.detach().clone()
    for k in range(n):
        walk(p, generator)
        memory = min(decay, (1 + k) / (10 + k))
        expected = memory * expected + (1 - memory) * p.detach()
        ema.update()
    assert ema.updates == n
    torch.testing.assert_close(ema.mean[0], expected, rtol=1e-12, atol=1e-12)


def test_without_memory_the_mean_is_the_weights():
    p = nn.Parameter(torch.zeros(3))
    ema = Ema([p], 0.0)
    walk(p, Generator().manual_seed(0))
    ema.update()
    assert torch.equal(ema.mean[0], p)


def test_the_mean_of_constant_weights_is_those_weights():
    p = nn.Parameter(torch.randn(100))
    ema = Ema([p], 0.999)
    for _ in range(50):
        ema.update()
    assert torch.equal(ema.mean[0], p)


def test_the_random_start_is_soon_forgotten():
    # the start keeps a share of the product of (1 + k) / (10 + k), k < 20, which is 9! 20! / 29!, under 1e-6
    p = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    ema = Ema([p], 0.999)
    with torch.no_grad():
        p.zero_()
    for _ in range(20):
        ema.update()
    assert 0 < ema.mean[0].item() < 1e-6


def test_within_the_block_the_weights_are_the_means_and_after_it_themselves():
    layer = nn.Linear(4, 3)
    ema = Ema(layer.parameters(), 0.9)
    generator = Generator().manual_seed(0)
    for p in layer.parameters():
        walk(p, generator)
    ema.update()
    live = [p.detach().clone() for p in layer.parameters()]
    means = [mean.clone() for mean in ema.mean]
    with ema.weights():
        assert all(torch.equal(p, m) for p, m in zip(layer.parameters(), means, strict=True))
        assert not any(torch.equal(p, x) for p, x in zip(layer.parameters(), live, strict=True))
    assert all(torch.equal(p, x) for p, x in zip(layer.parameters(), live, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ema.mean, means, strict=True))


def test_the_weights_come_back_after_an_error_too():
    p = nn.Parameter(torch.zeros(3))
    ema = Ema([p], 0.5)
    with torch.no_grad():
        p.fill_(2.0)
    with pytest.raises(KeyboardInterrupt), ema.weights():
        raise KeyboardInterrupt
    assert p.tolist() == [2.0] * 3


def test_the_optimiser_goes_on_with_the_same_tensors():
    # the block must write into the parameters, not replace them: optimiser and DDP hold references
    p = nn.Parameter(torch.ones(2))
    ema, storage = Ema([p], 0.5), p.data_ptr()
    with ema.weights():
        assert p.data_ptr() == storage
        assert p.requires_grad
    assert p.data_ptr() == storage
