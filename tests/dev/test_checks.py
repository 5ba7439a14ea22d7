"""Checks pass where the code is right, whatever the inputs, and fail where it is not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Generator, nn

from gpu.ceilings import ceilings
from gpu.checks import LIMITS, Check, check_all, gradient_of, relative_error
from gpu.clock import Deadline, milliseconds
from gpu.flops import flops_per_row
from gpu.models import model_of, network_inputs, random_rows, stirred, tiny_settings
from gpu.variants import Way, best_way, measure_ways
from quasistatic.distributions import Gaussian
from quasistatic.networks.unet import UNet
from quasistatic.recipes.base import Recipe
from quasistatic.runs.settings import make_recipe

CPU = torch.device("cpu")


def recipe(name: str) -> Recipe:
    preset = None if name.endswith("-paper") else "base"
    return make_recipe(name, tiny_settings(name), {} if preset is None else {"dropout": 0.0}, preset=preset)


@pytest.mark.parametrize("name", ["mnist-binary", "mnist-binary-flip", "cifar10", "dead-leaves", "cifar10-paper"])
def test_on_a_cpu_every_check_passes_with_room_to_spare(name):
    for seed in (1, 2):
        for check in check_all({name: recipe(name)}, CPU, seed, tiny=True):
            assert check.passed, check
            assert check.error < (1.0 if "bfloat16" in check.name else 0.5) * check.limit, check


def test_a_law_that_is_off_by_a_thousandth_fails(monkeypatch):
    right = Gaussian.log_prob

    def wrong(self: Gaussian, x: torch.Tensor) -> torch.Tensor:
        return right(self, x) * (1.001 if x.dtype == torch.float32 else 1.0)

    monkeypatch.setattr(Gaussian, "log_prob", wrong)
    failed = [
        check.name for check in check_all({"dead-leaves": recipe("dead-leaves")}, CPU, 0, tiny=True) if not check.passed
    ]
    assert failed == ["forward process, Gaussian", "kernel, dead-leaves"]


def test_what_is_not_finite_or_of_another_shape_never_passes():
    ones = torch.ones(3)
    for bad in (ones * torch.nan, ones / 0.0, torch.ones(4)):
        assert not Check("", relative_error(bad, ones), 1e9).passed
        assert not Check("", relative_error(ones, bad), 1e9).passed
    assert not Check("", float("nan"), 1.0).passed
    assert relative_error(ones, ones) == 0.0


def test_bfloat16_is_seen_and_within_its_limits():
    network = stirred(UNet(3, 2, (8, 16)))
    x, time = torch.randn(4, 3, 8, 8, generator=Generator().manual_seed(0)), torch.linspace(-3, 5, 4)
    ref = gradient_of(copy.deepcopy(network).double(), x.double(), time, amp=False)
    out = gradient_of(network, x, time, amp=True)
    for part, key in (("forward", "bfloat16"), ("gradient", "bfloat16 gradient")):
        assert 1e-3 < relative_error(out[part], ref[part]) < LIMITS[key]


def test_flops_of_a_convolution_are_those_of_its_formula():
    # at 8 x 8 pixels, a 3 x 3 convolution: 2 * 9 * c_in * c_out * 64; backward twice that, but nothing to the image itself
    one_level = UNet(3, 5, (4,), attention=False)
    forward, both = flops_per_row(one_level, torch.zeros(2, 3, 8, 8), torch.zeros(2))
    edge, inner = 2 * 9 * 64 * 4, 4 * 2 * 9 * 64 * 16
    dense = 2 * (17 * 8 + 2 * 8 * 8)  # the time: 17 features to 8, and those to scale and shift in both blocks
    assert forward == edge * (3 + 5) + inner + dense
    assert both == 3 * forward - edge * 3 - 2 * 17 * 8


def test_inputs_are_those_of_the_network_and_leave_it_as_it_was():
    made = recipe("cifar10")
    rows = random_rows(made, 5, tiny=True)
    model = model_of(made, rows)
    x, time = network_inputs(model, rows)
    assert x.shape == (5, 18, 8, 8)
    assert (time.diff() < 0).all()  # steps go up, and with them the noise
    assert not model.kernel.network._forward_pre_hooks  # type: ignore[union-attr]


def test_stirred_layers_are_felt_and_others_are_kept():
    before = UNet(1, 1, (8,), attention=False)
    after = stirred(copy.deepcopy(before))
    assert before(torch.ones(1, 1, 4, 4), torch.zeros(1)).abs().max() == 0
    assert after(torch.ones(1, 1, 4, 4), torch.zeros(1)).abs().max() > 0  # type: ignore[operator]
    assert all(torch.equal(p, q) for p, q in zip(before.parameters(), after.parameters(), strict=True) if p.any())


def test_every_way_of_a_step_that_a_cpu_knows_runs_and_is_right():
    lines = measure_ways(recipe("mnist-binary"), CPU, Deadline(60.0), tiny=True)
    assert [line["name"] for line in lines if "failed" in line] == []
    assert all(line["correct"] for line in lines)
    assert {line["way"]["batch"] for line in lines} == {2, 4, 8, 16}
    best = best_way(lines, 4)
    assert best is not None
    assert best.batch == 4
    again = measure_ways(recipe("mnist-binary"), CPU, Deadline(-1.0), tiny=True, known=lines)
    assert again == lines  # a later call measures nothing twice, and nothing when the time is up


def test_a_way_that_changes_the_numbers_is_never_chosen(monkeypatch):
    def wrong(network: nn.Module, x: torch.Tensor, time: torch.Tensor, *, amp: bool) -> dict[str, torch.Tensor]:
        found = gradient_of(network, x, time, amp=amp)
        return {part: 1.1 * value for part, value in found.items()} if amp else found

    monkeypatch.setattr("gpu.variants.gradient_of", wrong)
    lines = measure_ways(recipe("mnist-binary"), CPU, Deadline(60.0), tiny=True)
    assert [line["correct"] for line in lines if line["way"]["precision"] == "bfloat16"] == [False]
    best = best_way(lines, 4)
    assert best is not None
    assert best.precision == "float32"


def test_a_way_that_cannot_run_says_why_and_the_others_go_on(monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no kernel here")

    monkeypatch.setattr("gpu.variants.library_step", refuse)
    lines = measure_ways(recipe("mnist-binary"), CPU, Deadline(60.0), tiny=True)
    assert len(lines) > 2
    assert {line["failed"] for line in lines} == {"RuntimeError: no kernel here"}
    assert best_way(lines, 4) is None


def test_the_fastest_right_way_is_chosen():
    def line(ms: float, correct: bool = True, **how: object) -> dict[str, object]:
        way = Way(**how)  # type: ignore[arg-type]
        return {"name": way.name, "way": vars(way), "correct": correct, "step_ms": ms}

    lines = [
        line(5.0),
        line(4.0, compile="default"),
        line(1.0, False, foreach=True),
        line(2.0, batch=64),
        line(3.0, dropout=0.1),
    ]
    best = best_way(lines, 128)
    assert best is not None
    assert best.compile == "default"


def test_ceilings_are_measured_and_a_clock_takes_cases_in_turns():
    told = ceilings(CPU, tiny=True)
    assert all(rate > 0 for rate in told.values())
    seen: list[int] = []
    milliseconds([lambda k=k: seen.append(k) for k in range(3)], CPU, rounds=5, repeats=2)  # type: ignore[misc]
    assert seen == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]
