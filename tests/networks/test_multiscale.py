"""The paper's image network: zero is the forward kernel, time comes in through the bumps, any size goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from oracles import roughen
from quasistatic.errors import InputError
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.bound import elbo, null_log_prob
from quasistatic.model import DiffusionModel
from quasistatic.networks import bumps
from quasistatic.networks.multiscale import MultiscaleConv, MultiscaleNetwork, PixelBumpReadout
from quasistatic.reverse import PaperKernel
from quasistatic.schedules import geometric
from quasistatic.storage.modules import load_module, save_module
from quasistatic.train import TrainConfig, fit
from quasistatic.transforms import Chain

T = 20
SMALL = {"conv_layers": 2, "conv_width": 4, "n_scales": 2, "dense_layers": 1, "dense_width": 8, "pixel_width": 5}
PATHS = {"both": {}, "convolutions": {"dense_layers": 0}, "dense": {"conv_layers": 0}}


def network(path: str = "both", channels: int = 1, size: object = 6, n_steps: int = T) -> MultiscaleNetwork:
    torch.manual_seed(0)
    return MultiscaleNetwork(channels, size, n_steps, **(SMALL | PATHS[path]))  # type: ignore[arg-type]


def images(n: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, *shape, generator=Generator().manual_seed(1), dtype=dtype)


def rough_readout(net: MultiscaleNetwork) -> MultiscaleNetwork:
    roughen(net.readout)
    return net


# --------------------------------------------------------------------------------------------------------- the kernel


@pytest.mark.parametrize("path", PATHS)
def test_the_untrained_network_is_the_forward_kernel(path: str) -> None:
    process = GaussianDiffusion(geometric(T))
    kernel = PaperKernel(process, network(path, channels=3).double())
    x, t = images(T, 3, 6, 6), torch.arange(1, T + 1)
    law, step = kernel(x, t), process.step(x, t)
    torch.testing.assert_close(law.mean, step.mean)
    torch.testing.assert_close(law.var, step.var)


def test_by_equation_65_it_is_so_up_to_the_square_root() -> None:
    process = GaussianDiffusion(geometric(T))
    kernel = PaperKernel(process, network().double(), mean="equation")
    x = images(1, 1, 6, 6)
    torch.testing.assert_close(kernel(x, 7).mean, (1 - process.beta[7]) * x)


def test_means_come_first_and_channels_stay_in_place() -> None:
    net = network(channels=2, size=(3, 4))
    with torch.no_grad():
        net.readout.bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))  # mean of two channels, variance of two channels
    mean, var = net(images(2, 2, 3, 4).float(), torch.tensor([1, T])).chunk(2, 1)
    expected = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(2, 2, 3, 4)
    torch.testing.assert_close(mean.view(2, 2, 3, 4), expected)
    torch.testing.assert_close(var.view(2, 2, 3, 4), expected + 2.0)


# ------------------------------------------------------------------------------------------------------------- time


def test_read_outs_are_mixed_pixel_by_pixel_as_equation_62_says() -> None:
    readout = roughen(PixelBumpReadout(T, 3, 2, n_bumps=4)).double()
    assert isinstance(readout, PixelBumpReadout)
    h, t = images(5, 3, 7), torch.tensor([1, 4, 9, 15, T])
    y = torch.einsum("jof,bfp->bjop", readout.weight, h) + readout.bias.unsqueeze(2)
    g = bumps(t, T, 4)
    torch.testing.assert_close(g.sum(1), torch.ones(5))
    torch.testing.assert_close(readout(h, t), torch.einsum("bj,bjop->bop", g.double(), y))


def test_equal_read_outs_do_not_hear_the_time() -> None:
    """Bumps sum to one: J copies of one read-out are that read-out at every t."""
    readout = PixelBumpReadout(1000, 3, 2)
    with torch.no_grad():
        readout.weight.copy_(torch.randn(2, 3))
    out = readout(torch.randn(1, 3, 4).expand(1000, 3, 4), torch.arange(1, 1001))
    torch.testing.assert_close(out, out[:1].expand_as(out))


def test_time_reaches_the_read_out_alone() -> None:
    net = rough_readout(network())
    x = images(1, 1, 6, 6).float().expand(T, 1, 6, 6)
    out = net(x, torch.arange(1, T + 1))
    assert torch.pdist(out).min().item() > 1e-3
    # the output at any t lies in the span of the J bumps' outputs
    coefficients = bumps(torch.arange(1, T + 1), T, net.readout.n_bumps)
    assert torch.linalg.lstsq(coefficients.double(), out.double()).solution.shape == (10, 72)
    fitted = coefficients.double() @ torch.linalg.lstsq(coefficients.double(), out.double()).solution
    torch.testing.assert_close(fitted.float(), out, rtol=1e-4, atol=1e-5)


def test_parameters_do_not_grow_with_the_steps() -> None:
    few, many = (sum(p.numel() for p in network(n_steps=n).parameters()) for n in (10, 1000))
    assert few == many


# ------------------------------------------------------------------------------------------------------------- space


@pytest.mark.parametrize("size", [(28, 28), (5, 7), (4, 9)])
def test_any_size_goes(size: tuple[int, int]) -> None:
    net = rough_readout(MultiscaleNetwork(2, size, T, **(SMALL | {"n_scales": 3})))  # type: ignore[arg-type]
    x = images(3, 2, *size, dtype=torch.float32)
    out = net(x, torch.tensor([1, 5, T]))
    assert out.shape == (3, 4 * size[0] * size[1])
    torch.testing.assert_close(net(x.flatten(1), torch.tensor([1, 5, T])), out)


def test_a_layer_is_the_sum_of_its_scales() -> None:
    """Against a layer written out: block means, a convolution of them, each value for its whole block."""
    torch.manual_seed(0)
    layer, x = MultiscaleConv(2, 3, n_scales=3, mean=0.8).double(), images(2, 2, 6, 7)
    total = layer.bias.view(1, 3, 1, 1).repeat(2, 1, 6, 7)
    for k, conv in enumerate(layer.scales):
        block = 2**k
        rows, columns = -(-6 // block), -(-7 // block)
        means = torch.stack([
            torch.stack([x[..., i * block : (i + 1) * block, j * block : (j + 1) * block].mean((2, 3))
                         for j in range(columns)], -1) for i in range(rows)], -2)  # fmt: skip
        seen = conv(means)
        for i in range(6):
            for j in range(7):
                total[..., i, j] += seen[..., i // block, j // block]
    torch.testing.assert_close(layer(x), (1.0 + total.exp()).log())


def test_coarse_scales_see_farther() -> None:
    def reach(n_scales: int) -> int:
        torch.manual_seed(0)
        layer, x = MultiscaleConv(1, 1, n_scales=n_scales).double(), torch.zeros(1, 1, 1, 33, dtype=torch.float64)
        layer.bias.data.zero_()
        x = x.expand(1, 1, 33, 33).clone().requires_grad_()
        (gradient,) = torch.autograd.grad(layer(x)[0, 0, 16, 16], x)
        return int((gradient[0, 0].abs().sum(0) > 0).sum())

    assert [reach(n) for n in (1, 2, 3)] == [3, 6, 12]


def test_convolutions_move_with_the_image_by_the_coarsest_block() -> None:
    net = rough_readout(network("convolutions", size=24)).double()
    x = torch.zeros(1, 1, 24, 24, dtype=torch.float64)
    x[..., 10:13, 9:12] = images(1, 1, 3, 3)
    t = torch.tensor([3])
    moved = net(x.roll((2, 4), (2, 3)), t).view(2, 24, 24)
    inside = slice(8, 18)  # farther from the edges than the layers reach
    torch.testing.assert_close(moved[:, inside, inside], net(x, t).view(2, 24, 24).roll((2, 4), (1, 2))[:, inside, inside])


def test_the_dense_path_sees_the_whole_image() -> None:
    net = rough_readout(network("dense", size=12)).double()
    x = images(1, 1, 12, 12).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x, torch.tensor([4]))[0, 0], x)
    assert gradient.abs().min().item() > 0


def test_rows_do_not_see_each_other() -> None:
    net = rough_readout(network()).double()
    x, t = images(6, 1, 6, 6), torch.tensor([1, 4, 9, 12, 15, T])
    alone = torch.cat([net(x[i : i + 1], t[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(net(x, t), alone)


def test_depth_neither_quiets_nor_drowns_the_image() -> None:
    """Log(1 + e^u) of a standard normal deviates by 0.52; six layers on a texture must not lose most of it."""
    torch.manual_seed(0)
    net = MultiscaleNetwork(1, 16, T, conv_layers=6, dense_layers=6, dense_width=64, pixel_layers=3)
    x = smooth_noise(64, 16, 0).float()
    conv, dense = net.conv(x), net.dense(x.flatten(1))
    assert 0.12 < conv.std(0).mean().item() < 1.0
    assert 0.2 < dense.std(0).mean().item() < 1.0
    assert conv.mean((0, 2, 3)).std().item() < 0.5  # and no channel is far from the others


@pytest.mark.parametrize("path", PATHS)
def test_every_parameter_can_learn(path: str) -> None:
    net = rough_readout(network(path))
    net(images(T, 1, 6, 6).float(), torch.arange(1, T + 1)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max().item() > 0, name


# ------------------------------------------------------------------------------------------------------------ in use


def test_it_works_in_half_precision() -> None:
    net = rough_readout(network(size=16))
    kernel = PaperKernel(GaussianDiffusion(geometric(T)), net)
    x, t = images(T, 1, 16, 16, dtype=torch.float32), torch.arange(1, T + 1)
    full = kernel(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x, t).dtype == torch.bfloat16
        half = kernel(x, t)
    assert half.mean.dtype == torch.float32
    torch.testing.assert_close(half.mean, full.mean, rtol=0.05, atol=0.05)


def test_it_is_saved_and_read(tmp_path: Path) -> None:
    net = rough_readout(network("both", 3, (5, 7)))
    save_module(net, tmp_path)
    again, _ = load_module(tmp_path)
    x, t = images(2, 3, 5, 7, dtype=torch.float32), torch.tensor([1, T])
    assert torch.equal(again(x, t), net(x, t))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"conv_layers": 0, "dense_layers": 0}, "needs conv_layers or dense_layers, but both are 0"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ({"n_scales": 4}, "n_scales = 4 pools 8 pixels, but size is 6 x 6"),
    ],
)
def test_what_cannot_be_built_is_told(settings: dict[str, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        MultiscaleNetwork(1, 6, T, **settings)  # type: ignore[arg-type]


def smooth_noise(n: int, size: int, seed: int) -> Tensor:
    """Noise smoothed by a 5 x 5 mean, scaled to unit variance, and a tenth of fresh noise added."""
    generator = Generator().manual_seed(seed)
    raw = torch.randn(n, 1, size + 4, size + 4, generator=generator, dtype=torch.float64)
    smooth = 5.0 * F.avg_pool2d(raw, 5, stride=1)
    noise = 0.1 * torch.randn(n, 1, size, size, generator=generator, dtype=torch.float64)
    return (smooth + noise) / 1.01**0.5


def textured(net: nn.Module, n_steps: int, size: int) -> DiffusionModel:
    process = GaussianDiffusion(geometric(n_steps, 6.0, -6.0))
    return DiffusionModel(Chain(), process, PaperKernel(process, net), (1, size, size))


@pytest.mark.slow
def test_it_learns_a_texture() -> None:
    """The bound starts below white noise's likelihood and ends well above it."""
    torch.manual_seed(0)
    net = MultiscaleNetwork(1, 8, 100, conv_layers=3, conv_width=16, dense_layers=0, pixel_layers=1)
    model = textured(net, 100, 8)
    data, test = smooth_noise(2000, 8, 0), smooth_noise(100, 8, 1)
    null = null_log_prob(model.process, test).mean().item()
    config = TrainConfig(n_updates=600, batch_size=64, evaluate_every=300, validation_pairs=2000)
    fit(model, data, smooth_noise(100, 8, 2), config, quiet=True)
    with torch.no_grad():
        after = elbo(model.process, model.kernel, test, generator=Generator().manual_seed(0)).total
    assert after.mean().item() > null + 10.0
