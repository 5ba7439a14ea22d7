"""What changes the speed and the memory of a training, and its numbers by rounding only."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest
import torch
from torch import Generator, Tensor, nn

import tiny
from quasistatic.errors import InputError
from quasistatic.forward import CategoricalDiffusion, GaussianDiffusion
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.model import DiffusionModel
from quasistatic.networks.unet import UNet
from quasistatic.reverse import CategoricalDenoiser
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.wiener import WienerBase
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.train import Engine, TrainConfig
from quasistatic.train.engine import compiled, eagerly, find_device
from quasistatic.train.objective import Objective, draw_batch

SHORT = dataclasses.replace(tiny.CONFIG, n_updates=10, evaluate_every=5)


def unet(n_in: int, n_out: int) -> nn.Module:
    torch.manual_seed(0)
    network = UNet(n_in, n_out, widths=(8, 16))
    for p in network.parameters():
        nn.init.normal_(p, std=0.1)
    return network


def levels() -> tuple[Objective, Tensor]:
    """Images of 16 levels: rows at t = 1 are of another kind than the rest."""
    q = GaussianDiffusion(geometric(9, 6.0, -5.0))
    base = WienerBase(torch.zeros(1, 4, 4), torch.linspace(0.1, 2.0, 16), torch.eye(16))
    kernel = ImageDenoiser(q, unet(ImageDenoiser.n_inputs(1, 16), 2), base, 16)
    x = torch.randint(16, (30, 1, 4, 4), generator=Generator().manual_seed(1)) / 7.5 - 1.0
    return Objective(kernel.double()), x.double()


def masks() -> tuple[Objective, Tensor]:
    q = CategoricalDiffusion(constant_erasure(9), 2, "absorbing")
    kernel = CategoricalDenoiser(q, unet(2, 1), torch.tensor([0.6, 0.4]))
    return Objective(kernel.double()), torch.randint(2, (30, 1, 4, 4), generator=Generator().manual_seed(1)).double()


@pytest.mark.parametrize("case", [levels, masks])
@pytest.mark.parametrize("n_first", [1, 5, 12])
@pytest.mark.parametrize("micro_batch", [1, 4, 5, 29, 31])
def test_gradients_added_up_over_parts_of_a_batch_are_those_of_the_whole(case, n_first, micro_batch):
    objective, x_0 = case()
    generator = Generator().manual_seed(0)
    sampler = TimestepSampler(9)
    sampler.record(torch.arange(2, 10), torch.linspace(1.0, 3.0, 8))
    batch = draw_batch(objective.kernel.process, x_0, sampler, n_first, generator, draw_previous=False)

    def gradient(n_rows: int) -> tuple[list[Tensor], Tensor, Tensor]:
        objective.zero_grad()
        parts = [objective(part) for part in batch.parts(n_rows)]
        for loss, _ in parts:
            loss.backward()
        grads = [p.grad.clone() for p in objective.parameters() if p.grad is not None]
        return grads, torch.stack([loss for loss, _ in parts]).sum(), torch.cat([each for _, each in parts])

    whole, parted = gradient(0), gradient(micro_batch)
    assert len(whole[0]) == len(list(objective.parameters()))
    # float64: all that differs is the order of sums of 30 rows of 16 pixels
    torch.testing.assert_close(parted, whole, rtol=1e-9, atol=1e-11)


def test_a_training_in_parts_is_the_training_as_a_whole():
    a, b = (tiny.train(None, SHORT, dropout=0.0, engine=Engine(micro_batch=n)).state_dict() for n in (0, 7))
    for name, value in a.items():
        # sums of 32 float32 terms in another order differ by 1e-7 of them, over 10 steps of at most 2e-3 each
        torch.testing.assert_close(b[name], value, rtol=1e-5, atol=1e-5)
    assert any(not torch.equal(a[k], b[k]) for k in a)  # it was indeed another order


def test_on_the_cpu_nothing_is_compiled_unless_asked_for():
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert [Engine(compile=how).compiles_on(cpu) for how in ("auto", "yes", "no")] == [False, True, False]  # type: ignore[arg-type]
    assert [Engine(compile=how).compiles_on(cuda) for how in ("auto", "yes", "no")] == [True, True, False]  # type: ignore[arg-type]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is compiled; traced only, without a code generator, which takes its time."""
    real, calls = torch.compile, []

    def traced(call: Any, **options: Any) -> Any:
        calls.append(call)
        return real(call, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", traced)
    return calls


def is_compiled(model: DiffusionModel) -> bool:
    return cast(nn.Module, model.kernel.network)._compiled_call_impl is not None


def test_compiled_a_training_differs_by_rounding_and_leaves_the_network_as_it_was(calls):
    evaluated: list[bool] = []

    def look(model):
        return lambda told: evaluated.append(is_compiled(model))

    models = [tiny.model(0.0) for _ in range(2)]
    for model, how in zip(models, ("no", "yes"), strict=True):
        tiny.fit(
            model, tiny.rows(300, 1), tiny.rows(50, 2), SHORT, quiet=True,
            engine=Engine(compile=how), on_evaluation=look(model),  # type: ignore[arg-type]
        )  # fmt: skip
    assert len(calls) == 1
    assert not any(evaluated)  # another size of batch and no gradient: measured as it is
    assert not is_compiled(models[1])
    a, b = (model.state_dict() for model in models)
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-5, atol=1e-5)


def test_what_is_compiled_is_so_again_after_a_measurement(calls):
    model = tiny.model()
    with compiled(model.kernel, True):
        assert is_compiled(model)
        with pytest.raises(InputError), eagerly(model.kernel):  # noqa: PT012
            assert not is_compiled(model)
            raise InputError("a measurement that goes wrong")
        assert is_compiled(model)
    assert not is_compiled(model)
    assert len(calls) == 1


def devices(monkeypatch: pytest.MonkeyPatch, n: int, local_rank: int | None = None) -> None:
    """Make it look as if there were n of them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
    if local_rank is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", str(local_rank))


def test_the_device_is_the_cpu_where_there_is_no_other(monkeypatch):
    devices(monkeypatch, 0)
    assert find_device() == find_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="there is no device cuda:0 here, but 0"):
        find_device("cuda")


def test_each_process_takes_its_own_device(monkeypatch):
    devices(monkeypatch, 2)
    assert find_device() == torch.device("cuda", 0)
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("cuda:1") == torch.device("cuda", 1)
    devices(monkeypatch, 2, local_rank=1)
    assert find_device() == find_device("cuda") == torch.device("cuda", 1)
    devices(monkeypatch, 2, local_rank=2)
    with pytest.raises(InputError, match="there is no device cuda:2 here, but 2"):
        find_device()


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "mps", "meta"])
def test_a_device_that_is_none_is_one_sentence(name):
    with pytest.raises(InputError, match="device must be auto, cpu, cuda or cuda:N, got"):
        find_device(name)


@pytest.mark.parametrize(("name", "value"), [("compile", "maybe"), ("micro_batch", -1)])
def test_settings_of_the_engine_are_checked(name, value):
    with pytest.raises(InputError, match=f"{name} must be"):
        Engine(**{name: value})


def test_the_engine_is_no_part_of_what_is_trained():
    assert not {f.name for f in dataclasses.fields(Engine)} & {f.name for f in dataclasses.fields(TrainConfig)}


def test_noise_on_another_device_has_a_generator_of_its_own_and_steps_keep_theirs():
    q, x_0 = GaussianDiffusion(geometric(9)), torch.zeros(8, 2)
    steps, noise = Generator().manual_seed(0), Generator().manual_seed(1)
    batch = draw_batch(q, x_0, TimestepSampler(9), 2, steps, draw_previous=False, noise=noise)
    alone = Generator().manual_seed(0)
    assert torch.equal(batch.t[2:], TimestepSampler(9).draw(6, alone)[0])
    assert torch.equal(steps.get_state(), alone.get_state())
    assert torch.equal(batch.x_t, q.marginal(x_0, batch.t).sample(Generator().manual_seed(1)))


@pytest.mark.gpu
def test_on_a_gpu_a_training_learns_what_it_learns_on_the_cpu_and_continues_bit_for_bit(tmp_path):
    device = find_device("cuda")

    def run(name, **kwargs):
        model = tiny.model(0.0).to(device)
        return tiny.fit(
            model, tiny.rows(300, 1), tiny.rows(50, 2), tiny.CONFIG, folder=tmp_path / name, quiet=True, **kwargs
        )

    whole = run("whole")
    with pytest.raises(tiny.Interrupted):
        run("broken-off", on_evaluation=tiny.stop_at(30))
    run("broken-off")
    assert tiny.same(tmp_path / "whole", tmp_path / "broken-off")
    on_cpu = tiny.train(None, place_steps=None, dropout=0.0)
    test, draws = tiny.rows(500, 3), Generator().manual_seed(0)
    gap = whole.elbo(test, generator=draws).total.cpu() - on_cpu.elbo(test, generator=draws.manual_seed(0)).total
    assert abs(gap.mean().item()) < 0.1  # other noise, so other weights: as far as two seeds are apart
