"""The U-Net: zero at its start, any size of picture, rows apart, and fit for the denoisers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from oracles import roughen
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.networks.unet import UNet
from quasistatic.reverse import BernoulliDenoiser
from quasistatic.schedules import constant_erasure
from quasistatic.storage.modules import load_module, save_module


def rough(*args: int, dtype: torch.dtype = torch.float64, **kwargs: object) -> UNet:
    """No longer zero, and in a precision in which equal means equal."""
    network = UNet(*args, **kwargs)  # type: ignore[arg-type]
    return roughen(network, scale=0.1).to(dtype).eval()  # type: ignore[return-value]


def pictures(*shape: int) -> tuple[Tensor, Tensor]:
    generator = Generator().manual_seed(4)
    return (
        torch.randn(*shape, generator=generator, dtype=torch.float64),
        4.0 * torch.randn(shape[0], generator=generator, dtype=torch.float64),
    )


@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 12, 16)])
@pytest.mark.parametrize("size", [(28, 28), (32, 32), (7, 9), (1, 1)])
def test_it_starts_at_zero_for_every_size(widths: tuple[int, ...], size: tuple[int, int]) -> None:
    out = UNet(3, 6, widths)(torch.randn(2, 3, *size), torch.zeros(2))
    assert out.shape == (2, 6 * size[0] * size[1])
    assert not out.any()


def test_its_blocks_start_as_the_identity() -> None:
    # then only the first, the way down and up, and the last layer are felt
    network = UNet(1, 1, (8, 8), blocks=(2, 1), dropout=0.3).double()
    h, time = torch.randn(2, 8, 4, 4, dtype=torch.float64), torch.randn(2, 16, dtype=torch.float64)
    for block in (*network.level.before, *network.level.after):
        assert torch.equal(block(h, time), h)


def test_channels_of_a_pixel_stand_one_after_the_other() -> None:
    # the first half of the answer is the first half of the channels, as the denoisers read it
    network, (x, time) = rough(2, 4, widths=(8, 8)), pictures(3, 2, 6, 5)
    whole = network(x, time).view(3, 4, 6, 5)
    with torch.no_grad():
        for parameter in network.last.parameters():
            parameter[2:] = 0.0
    kept = network(x, time).view(3, 4, 6, 5)
    torch.testing.assert_close(kept[:, :2], whole[:, :2])
    assert not kept[:, 2:].any()
    assert whole[:, 2:].abs().min() > 0


def test_rows_know_nothing_of_each_other() -> None:
    network, (x, time) = rough(1, 2, widths=(8, 16, 16)), pictures(4, 1, 9, 12)
    alone = torch.cat([network(x[i : i + 1], time[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(network(x, time), alone)


def test_memory_layout_changes_nothing() -> None:
    network, (x, time) = rough(3, 2, widths=(8, 16)), pictures(2, 3, 8, 8)
    expected = network(x.contiguous(memory_format=torch.channels_last), time)
    torch.testing.assert_close(network(x, time), expected)
    torch.testing.assert_close(network.to(memory_format=torch.contiguous_format)(x, time), expected)  # type: ignore[call-overload]


def test_every_pixel_is_told_the_time_and_every_other_pixel() -> None:
    network, (x, time) = rough(1, 1, widths=(8, 8, 8)), pictures(1, 1, 16, 16)
    out = network(x, time)
    assert (network(x, time + 1.0) != out).all()
    moved = x.clone()
    moved[0, 0, 0, 0] += 1.0
    assert (network(moved, time) != out).all()


def test_one_level_without_attention_is_local() -> None:
    # first, two convolutions of each of 2 * 1 blocks, and last: six steps of one pixel, but for what GroupNorm averages
    network, (x, time) = rough(1, 1, widths=(4,), attention=False), pictures(1, 1, 20, 20)
    for module in network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda h: h  # type: ignore[assignment, method-assign]
    moved = x.clone()
    moved[0, 0, 0, 0] += 1.0
    changed = (network(moved, time) != network(x, time)).view(20, 20)
    assert changed[:7, :7].all()
    assert changed.sum() == 49


def test_all_parameters_are_learned() -> None:
    network, (x, time) = rough(2, 2, widths=(8, 16), blocks=1), pictures(3, 2, 8, 8)
    network(x, time).square().sum().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().max() > 0, name


def test_dropout_is_for_training_only() -> None:
    network, (x, time) = rough(1, 1, widths=(8,), dropout=0.5), pictures(1, 1, 8, 8)
    assert torch.equal(network(x, time), network(x, time))
    network.train()
    assert not torch.equal(network(x, time), network(x, time))


def test_levels_must_be_named_alike() -> None:
    with pytest.raises(InputError, match=r"\[8, 16\] and \[1, 1, 1\]"):
        UNet(1, 1, (8, 16), (1, 1, 1))


def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    network, (x, time) = rough(2, 2, widths=(8, 16), blocks=(1, 2), dtype=torch.float32), pictures(2, 2, 7, 8)
    save_module(network, tmp_path)
    again, _ = load_module(tmp_path)
    x, time = x.float(), time.float()
    assert torch.equal(again(x, time), network(x, time))


def test_zero_bits_of_a_picture_are_independent_bits() -> None:
    # and a trained one may be anything: the bound of a rough network is below, on average
    rate = 0.1 + 0.8 * torch.rand(1, 6, 6, generator=Generator().manual_seed(5), dtype=torch.float64)
    q = BernoulliDiffusion(constant_erasure(8), 0.5)
    x = (torch.rand(20, 1, 6, 6, generator=Generator().manual_seed(6), dtype=torch.float64) < rate).double()
    kernel = BernoulliDenoiser(q, UNet(1, 1, (8, 8)), rate).requires_grad_(False)
    truth = (x * rate.log() + (1 - x) * (1 - rate).log()).flatten(1).sum(1)
    torch.testing.assert_close(elbo(q, kernel, x, method="trajectory").total, truth, rtol=0, atol=1e-9)
    roughen(kernel.network, scale=0.3)
    kernel.network.eval()
    assert elbo(q, kernel, x).total.mean() < truth.mean()
