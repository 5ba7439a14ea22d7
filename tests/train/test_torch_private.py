"""Private entries of torch and the public calls beside them give the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor, nn

from quasistatic.networks import ResidualMLP
from quasistatic.train import torch_private
from quasistatic.train.ema import Ema
from quasistatic.train.update import Update


def tensors(seed: int) -> list[Tensor]:
    draw = Generator().manual_seed(seed)
    return [torch.randn(4, 3, generator=draw), torch.randn(7, generator=draw), torch.randn((), generator=draw)]


def test_this_torch_has_all_of_them() -> None:
    assert torch_private.HAS_FOREACH
    assert torch_private.HAS_FUSED_ADAMW
    assert torch_private.HAS_COMPILED_CALL


def test_what_is_missing_or_raises_counts_as_missing() -> None:
    def missing() -> bool:
        raise RuntimeError

    assert not torch_private._tried(missing)
    assert not torch_private._tried(lambda: torch._no_such_entry())  # type: ignore[attr-defined]


def test_lists_of_tensors_are_the_same_to_the_bit_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for private in (True, False):
        monkeypatch.setattr(torch_private, "HAS_FOREACH", private)
        added, moved = tensors(0), tensors(1)
        torch_private.add_to_each(added, 1.5)
        torch_private.lerp_each(moved, tensors(2), 0.03)
        results.append([*added, *moved, torch_private.norm_of_each(tensors(3))])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("clip", [0.1, 1e6])
def test_updates_differ_by_rounding_only(clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for private in (True, False):
        monkeypatch.setattr(torch_private, "HAS_FUSED_ADAMW", private)
        weights = [nn.Parameter(x) for x in tensors(0)]
        update = Update(torch.optim.AdamW(weights, lr=0.01, weight_decay=0.1, fused=True), Ema(weights, 0.9), clip)
        for k in range(10):
            for p, gradient in zip(weights, tensors(k + 1), strict=True):
                p.grad = gradient
            update(0.01)
        results.append([p.detach() for p in weights] + update.ema.mean)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("private", [True, False])
def test_compiled_calls_are_suspended_and_resumed_either_way(private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def traced(call, **_):
        def compiled(*args, **kwargs):
            calls.append(1)
            return call(*args, **kwargs)

        return compiled

    monkeypatch.setattr(torch, "compile", traced)
    monkeypatch.setattr(torch_private, "HAS_COMPILED_CALL", private)
    network, x, time = ResidualMLP(2, 4, width=8, depth=1), torch.ones(3, 2), torch.zeros(3)
    nn.init.normal_(network.last.weight)
    names, plain = list(network.state_dict()), network(x, time)
    torch_private.compile_network(network)
    assert torch.equal(network(x, time), plain)
    assert len(calls) == 1
    kept = torch_private.suspend_compiled(network)
    assert torch.equal(network(x, time), plain)
    assert len(calls) == 1
    torch_private.resume_compiled(network, kept)
    network(x, time)
    assert len(calls) == 2
    torch_private.suspend_compiled(network)
    torch_private.resume_compiled(network, None)
    network(x, time)
    assert len(calls) == 2
    assert list(network.state_dict()) == names
