"""Networks: zero at the start, told the time in their own way, and no more than their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from oracles import roughen
from quasistatic.networks import BumpReadout, NormalisedRBF, PerStepMLP, PerStepReadout, ResidualMLP, bumps
from quasistatic.networks.mlp import FourierFeatures, LogSNREmbedding

T = 7


def networks() -> dict[str, nn.Module]:
    """One of each, from 3 inputs to 5 outputs."""
    torch.manual_seed(0)
    return {
        "residual": ResidualMLP(3, 5, width=8, depth=2),
        "residual, Fourier": ResidualMLP(3, 5, width=8, depth=1, n_fourier=3),
        "rbf": NormalisedRBF(3, 5, T),
        "stepped": PerStepMLP(3, 5, T),
        "stepped, bumps": PerStepMLP(3, 5, T, readout="bumps"),
    }


def times(network: nn.Module, n: int) -> Tensor:
    """Possible times of its clock."""
    if network.clock == "step":
        return torch.arange(n) % T + 1
    return torch.linspace(13.0, -6.0, n)


NAMES = list(networks())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_network_starts_at_zero(name: str, dtype: torch.dtype) -> None:
    network = networks()[name].to(dtype)
    t = times(network, 14)
    out = network(10.0 * torch.randn(14, 3, dtype=dtype), t if network.clock == "step" else t.to(dtype))
    assert out.shape == (14, 5)
    assert out.dtype == dtype
    assert not out.any()


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_see_each_other(name: str) -> None:
    network = roughen(networks()[name].double())
    x, t = torch.randn(14, 3, dtype=torch.float64), times(network, 14)
    t = t if network.clock == "step" else t.double()
    whole = network(x, t)
    parts = torch.cat([network(x[i : i + 1], t[i : i + 1]) for i in range(14)])
    torch.testing.assert_close(whole, parts)
    assert whole.std(0).min().item() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_every_network_hears_the_time(name: str) -> None:
    network = roughen(networks()[name])
    x = torch.randn(1, 3).expand(4, 3)
    t = torch.tensor([1, 3, 5, 7]) if network.clock == "step" else torch.tensor([8.0, 4.0, 0.0, -4.0])
    out = network(x, t)
    assert torch.pdist(out).min().item() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_can_learn(name: str) -> None:
    network = roughen(networks()[name])
    network(torch.randn(28, 3), times(network, 28)).square().sum().backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().max().item() > 0, label


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_flattened(name: str) -> None:
    network = roughen(networks()[name])
    x, t = torch.randn(4, 3), times(network, 4)
    assert torch.equal(network(x.view(4, 1, 3), t), network(x, t))


def test_total_erasure_and_no_noise_are_times_too() -> None:
    network = roughen(ResidualMLP(3, 5, width=8, depth=1))
    out = network(torch.randn(2, 3), torch.tensor([-math.inf, math.inf]))
    assert torch.isfinite(out).all()


# ------------------------------------------------------------------------------------------------------------- parts


@given(n_steps=st.integers(1, 3000), n_bumps=st.integers(1, 30), data=st.data())
def test_bumps_are_the_papers(n_steps: int, n_bumps: int, data: st.DataObject) -> None:
    t = data.draw(st.integers(1, n_steps))
    width = n_steps / n_bumps
    raw = [math.exp(-((t - (j + 0.5) * width) ** 2) / (2 * width**2)) for j in range(n_bumps)]
    expected = torch.tensor([g / sum(raw) for g in raw])
    torch.testing.assert_close(bumps(torch.tensor([t]), n_steps, n_bumps)[0], expected, rtol=1e-3, atol=1e-5)


def test_a_bump_read_out_mixes_its_read_outs() -> None:
    readout = roughen(BumpReadout(10, 4, 2, n_bumps=3))
    assert isinstance(readout, BumpReadout)
    h, t = torch.randn(6, 4), torch.tensor([1, 2, 5, 7, 9, 10])
    weights = bumps(t, 10, 3)
    w, b = readout.all.weight.view(3, 2, 4), readout.all.bias.view(3, 2)
    expected = torch.stack([
        sum((weights[i, j] * (w[j] @ h[i] + b[j]) for j in range(3)), torch.zeros(2)) for i in range(6)
    ])  # fmt: skip
    torch.testing.assert_close(readout(h, t), expected)


def test_a_read_out_for_each_step_has_nothing_in_common_with_another() -> None:
    readout = PerStepReadout(T, 4, 2)
    h, t = torch.randn(T, 4), torch.arange(1, T + 1)
    with torch.no_grad():
        readout.weight[2] += 1.0  # step 3
        readout.bias[2] += 0.5
    out = readout(h, t)
    torch.testing.assert_close(out[2], (h[2].sum() + 0.5).expand(2))
    assert not out[[0, 1, 3, 4, 5, 6]].any()


def test_the_radial_basis_is_normalised_as_written() -> None:
    network = NormalisedRBF(2, 3, T, n_hidden=4)
    with torch.no_grad():
        network.readout.weight[1] = torch.eye(4)[:, :3]  # step 2 reads out h_1, h_2, h_3
        network.log_width.add_(torch.randn(4))
    x = torch.randn(6, 2)
    raw = torch.stack([
        torch.exp(-(x - c).square().sum(1) / (2 * w**2))
        for c, w in zip(network.centre, network.log_width.exp(), strict=True)
    ], 1)  # fmt: skip
    torch.testing.assert_close(network(x, torch.full((6,), 2)), (raw / raw.sum(1, keepdim=True))[:, :3])


def test_the_radial_basis_does_not_underflow_far_away() -> None:
    network = NormalisedRBF(2, 3, T)
    with torch.no_grad():
        network.readout.weight[:] = 1.0
    torch.testing.assert_close(network(torch.full((1, 2), 1e4), torch.tensor([1])), torch.ones(1, 3))


@pytest.mark.parametrize("scale", [2.0, 4.0])
def test_fourier_features_double_their_frequency(scale: float) -> None:
    x = torch.randn(5, 2, generator=Generator().manual_seed(0))
    out = FourierFeatures(3, scale)(x)
    phase = torch.stack([x * math.pi * 2.0**k / scale for k in range(3)], -1).flatten(1)
    torch.testing.assert_close(out, torch.cat([x, phase.sin(), phase.cos()], 1))


def test_the_embedding_is_smooth_and_tells_times_apart() -> None:
    torch.manual_seed(0)
    embedding = LogSNREmbedding(16)
    lam = torch.linspace(-15, 15, 301)
    h = embedding(lam)
    assert (h[1:] - h[:-1]).norm(dim=1).max().item() < 1.0  # a tenth of a unit is a small step
    apart = torch.cdist(h[::10], h[::10]) + 9.0 * torch.eye(31)
    assert apart.min().item() > 0.1  # a whole unit is not


def test_dropout_is_off_in_evaluation() -> None:
    network = roughen(ResidualMLP(3, 5, width=32, depth=2, dropout=0.5))
    x, t = torch.randn(4, 3), torch.zeros(4)
    assert not torch.equal(network.train()(x, t), network(x, t))
    assert torch.equal(network.eval()(x, t), network(x, t))


def test_the_read_out_must_be_known() -> None:
    with pytest.raises(ValueError, match='readout must be "per-step" or "bumps", got \'shared\''):
        PerStepMLP(3, 5, T, readout="shared")
