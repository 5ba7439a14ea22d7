"""Models in data units: what they refuse, what they keep, and the laws of changing units."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

import tiny
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.model_files import load_model
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import BernoulliDenoiser, GaussianDenoiser
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.storage.modules import save_module, saveable
from quasistatic.train import TrainConfig
from quasistatic.transforms import Affine, Chain, Dequantise, HistogramGaussianizer, Whiten


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def normal(transform: Any, d: int = 2, covariance: str = "full", n_components: int = 1, move: float = 0.3) -> DiffusionModel:
    torch.manual_seed(0)
    process = GaussianDiffusion(geometric(10, 5.0, -4.0))
    network = ResidualMLP(d, GaussianDenoiser.n_outputs(d, covariance, n_components), width=8, depth=1)
    nn.init.normal_(network.last.weight, std=move)
    kernel = GaussianDenoiser(process, network, d, covariance, n_components)
    return DiffusionModel(transform, process, kernel, (d,)).eval()


def bits(d: int = 3, n_components: int = 1) -> DiffusionModel:
    torch.manual_seed(0)
    rate = torch.full((d,), 0.3)
    process = BernoulliDiffusion(constant_erasure(8), rate)
    network = ResidualMLP(d, BernoulliDenoiser.n_outputs(d, n_components), width=8, depth=1)
    nn.init.normal_(network.last.weight, std=0.3)
    kernel = BernoulliDenoiser(process, network, rate, n_components)
    return DiffusionModel(Chain(), process, kernel, (d,)).eval()


def points(n: int, d: int = 2, seed: int = 5) -> Tensor:
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


ASKED: dict[str, Any] = {
    "bound": lambda model, x: model.elbo(x, generator=seeded(0)).total,
    "log_prob": lambda model, x: model.log_prob(x, 2, generator=seeded(0)),
    "null_log_prob": lambda model, x: model.null_log_prob(x, generator=seeded(0)),
}


# What is refused


@pytest.mark.parametrize("question", sorted(ASKED))
@pytest.mark.parametrize("shape", [(2,), (5, 3), (5, 2, 1), (5,), ()])
def test_a_wrong_shape_is_one_sentence(question, shape):
    with pytest.raises(InputError) as raised:
        ASKED[question](normal(Chain()), torch.zeros(shape))
    assert str(raised.value) == f"data has shape {shape}, but this model takes (n, 2,)"


@pytest.mark.parametrize("question", sorted(ASKED))
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_named_with_its_place(question, bad):
    x = points(5)
    x[3, 1] = x[4, 0] = bad
    with pytest.raises(InputError) as raised:
        ASKED[question](normal(Chain()), x)
    assert str(raised.value) == f"data holds {bad} at index [3, 1], but every value must be finite"


@pytest.mark.parametrize("question", sorted(ASKED))
@pytest.mark.parametrize("bad", [0.5, 2.0, -1.0, 1.0 + 1e-12])
def test_bits_that_are_not_bits_are_named_with_their_place(question, bad):
    x = torch.zeros(5, 3, dtype=torch.float64)
    x[2, 1] = bad
    with pytest.raises(InputError) as raised:
        ASKED[question](bits(), x)
    assert str(raised.value) == f"data holds {bad} at index [2, 1], but bits must be 0 or 1"


def test_after_bad_input_the_model_answers_as_before():
    model, x = normal(Chain()), points(5)
    before = model.elbo(x, generator=seeded(0)).total
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    for bad in (torch.full((5, 2), math.nan), torch.zeros(5, 7)):
        with pytest.raises(InputError):
            model.elbo(bad)
    assert torch.equal(model.elbo(x, generator=seeded(0)).total, before)
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("kind", ["numpy float32", "numpy int", "list", "torch bool"])
def test_all_ways_to_write_the_same_bits_are_the_same_data(kind):
    x = (points(6, 3) > 0).double()
    written: Any = {
        "numpy float32": x.numpy().astype(np.float32),
        "numpy int": x.numpy().astype(np.int64),
        "list": x.tolist(),
        "torch bool": x.bool(),
    }[kind]
    for ask in ASKED.values():
        assert torch.equal(ask(bits(), written), ask(bits(), x))


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples_cannot_be_drawn(n):
    with pytest.raises(InputError, match=f"the number of samples must be at least 1, got {n}"):
        bits().sample(n)


def test_an_unknown_first_step_is_an_error():
    with pytest.raises(ValueError, match='first_step must be "learned" or "fixed", got \'paper\''):
        bits().elbo(torch.zeros(1, 3), first_step="paper")


# Changing units


@pytest.mark.parametrize("question", sorted(ASKED))
def test_the_scale_law(question):
    """Data c times as large, and a model that knows it, is less likely by d log c for every example."""
    x, ask = points(20), ASKED[question]
    unit = ask(normal(Chain(Affine(torch.zeros(2), torch.ones(2)))), x)
    for c in (1e-3, 7.0, 1e6):
        scaled = ask(normal(Chain(Affine(torch.zeros(2), torch.full((2,), c, dtype=torch.float64)))), c * x)
        torch.testing.assert_close(scaled, unit - 2 * math.log(c), rtol=1e-6, atol=1e-6)


def test_a_shift_changes_nothing():
    x, shift = points(20), torch.tensor([3.0, -100.0], dtype=torch.float64)
    there = normal(Chain(Affine(shift, torch.ones(2)))).elbo(x + shift, generator=seeded(0))
    here = normal(Chain()).elbo(x, generator=seeded(0))
    torch.testing.assert_close(there.total, here.total, rtol=1e-6, atol=1e-6)


def test_the_log_det_is_in_the_data_term_and_nowhere_else():
    x = points(20)
    plain = normal(Chain()).elbo(x, generator=seeded(0))
    scaled = normal(Chain(Affine(torch.zeros(2), torch.full((2,), 0.5)))).elbo(0.5 * x, generator=seeded(0))
    assert torch.equal(plain.terminal, scaled.terminal)
    assert torch.equal(plain.transitions, scaled.transitions)
    torch.testing.assert_close(scaled.data, plain.data + 2 * math.log(2.0))
    assert scaled.event_shape == (2,)


def test_a_zero_network_is_the_gaussian_that_whitening_knows():
    """Untrained, in data units, log p of every example is that of the fitted normal, by all three questions."""
    factor = torch.tensor([[2.0, 0.0], [1.5, 0.3]], dtype=torch.float64)
    x = points(500) @ factor.T + torch.tensor([10.0, -3.0])
    whiten = Whiten.fit(x, ridge=0.0)
    cov = torch.linalg.inv(whiten.matrix) @ torch.linalg.inv(whiten.matrix).T
    truth = torch.distributions.MultivariateNormal(whiten.mean, cov).log_prob(x)
    model = normal(Chain(whiten), move=0.0)
    # the chain ends at log-SNR -4, short of pure noise; along trajectories even that cancels for white data
    bound = model.elbo(x, generator=seeded(0), method="trajectory").total
    torch.testing.assert_close(bound, truth, rtol=0, atol=1e-4)
    torch.testing.assert_close(model.log_prob(x, 3, generator=seeded(0)), truth, rtol=0, atol=1e-4)
    torch.testing.assert_close(model.null_log_prob(x), truth, rtol=0, atol=1e-9)


def test_samples_are_in_data_units():
    n, scale = 20000, torch.tensor([2.0, 50.0], dtype=torch.float64)
    model = normal(Chain(Affine(torch.tensor([10.0, -300.0]), scale)), move=0.0)
    x = model.sample(n, generator=seeded(0))
    assert x.shape == (n, 2)
    z = (x.double() - torch.tensor([10.0, -300.0])) / scale
    # z is exactly white: means have deviation 1/sqrt(n), mean squares sqrt(2/n). Two-sided at 4.5 deviations, four
    # numbers: false alarm 3e-5.
    assert (z.mean(0).abs() < 4.5 / math.sqrt(n)).all()
    assert ((z.square().mean(0) - 1).abs() < 4.5 * math.sqrt(2 / n)).all()


def test_samples_of_integers_are_integers_and_of_bits_bits():
    x = torch.randint(5, (200, 2), generator=seeded(0))
    transform = Chain(Dequantise(5), HistogramGaussianizer.fit(x, 5))
    drawn = normal(transform).sample(300, generator=seeded(1))
    assert set(drawn.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert set(bits().sample(300, generator=seeded(1)).unique().tolist()) == {0.0, 1.0}


def test_draws_follow_the_generator():
    model, x = normal(Chain(Dequantise(5), Affine(torch.full((2,), 2.5), torch.ones(2)))), torch.ones(4, 2)
    for ask in (*ASKED.values(), lambda model, _: model.sample(4, generator=seeded(0))):
        assert torch.equal(ask(model, x), ask(model, x))
    other = model.elbo(x, generator=seeded(1)).total
    assert not torch.equal(other, ASKED["bound"](model, x))


def test_samples_on_fewer_steps_use_fewer_steps():
    # one step from pure noise with a zero network is still exactly white
    x = normal(Chain(), move=0.0).sample(20000, generator=seeded(0), n_steps=1)
    assert ((x.double().square().mean(0) - 1).abs() < 4.5 * math.sqrt(2 / 20000)).all()


def test_on_another_grid_the_parameters_are_shared():
    model = normal(Chain())
    fine = model.on(GaussianDiffusion(geometric(25, 5.0, -4.0)))
    assert fine.elbo(points(3)).transitions.shape == (3, 24)
    assert model.elbo(points(3)).transitions.shape == (3, 9)
    assert {p.data_ptr() for p in fine.parameters()} == {p.data_ptr() for p in model.parameters()}


@pytest.mark.parametrize("make", [bits, lambda: normal(Chain())])
def test_the_paper_s_first_step_changes_the_data_term_only(make):
    model = make()
    x = torch.zeros(4, *model.event_shape)
    learned, fixed = (model.elbo(x, generator=seeded(0), first_step=convention) for convention in ("learned", "fixed"))
    assert (learned.first_step, fixed.first_step) == ("learned", "fixed")
    assert torch.equal(learned.terminal, fixed.terminal)
    assert torch.equal(learned.transitions, fixed.transitions)
    x_1 = model.process.marginal(x.double(), 1)
    assert x_1 is not None
    assert not torch.equal(learned.data, fixed.data)


@pytest.mark.parametrize("make", [lambda: bits(3, 4), lambda: normal(Chain(), n_components=3)])
def test_a_mixture_is_scored_along_trajectories(make):
    model = make()
    x = torch.zeros(4, *model.event_shape)
    by_default = model.elbo(x, generator=seeded(0)).total
    assert torch.equal(by_default, model.elbo(x, generator=seeded(0), method="trajectory").total)
    assert not torch.equal(by_default, model.elbo(x, generator=seeded(0), method="marginal").total)


def test_no_gradient_is_kept():
    model = normal(Chain())
    for ask in ASKED.values():
        assert not ask(model, points(3)).requires_grad
    assert not model.sample(3).requires_grad


# Saving and loading

MODELS: dict[str, Any] = {
    "normal": lambda: normal(Chain(Affine(torch.ones(2), torch.full((2,), 3.0)))),
    "mixture of normals": lambda: normal(Chain(), n_components=3),
    "bits": bits,
    "mixture of bits": lambda: bits(3, 4),
    "integers": lambda: normal(Chain(Dequantise(3), Affine(torch.ones(2), torch.ones(2)))),
}


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_saved_and_loaded_a_model_answers_bit_for_bit_the_same(tmp_path, kind):
    model = MODELS[kind]()
    x = torch.ones(4, *model.event_shape)
    model.save(tmp_path / "model", note="mine")
    again = load_model(str(tmp_path / "model"))
    for ask in (*ASKED.values(), lambda model, _: model.sample(5, generator=seeded(0))):
        assert torch.equal(ask(model, x), ask(again, x))
    assert again.event_shape == model.event_shape
    assert not again.training


def test_saving_again_replaces_the_old_model_and_saving_elsewhere_leaves_it(tmp_path):
    first, second = normal(Chain(), move=0.1), normal(Chain(), move=0.5)
    first.save(tmp_path / "a")
    first.save(tmp_path / "b")
    second.save(tmp_path / "a")
    x = points(3)
    assert torch.equal(ASKED["bound"](load_model(tmp_path / "a"), x), ASKED["bound"](second, x))
    assert torch.equal(ASKED["bound"](load_model(tmp_path / "b"), x), ASKED["bound"](first, x))


def test_a_folder_of_something_else_is_not_saved_over(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years")
    with pytest.raises(InputError, match=r"would delete thesis\.tex there"):
        normal(Chain()).save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "ten years"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_folder_loads_its_best_model(tmp_path):
    config = TrainConfig(n_updates=4, batch_size=8, evaluate_every=2, validation_pairs=50)
    trained = tiny.train(tmp_path / "run", config)
    loaded = load_model(tmp_path / "run")
    x = tiny.rows(5, 0)
    for ask in ASKED.values():
        assert torch.equal(ask(trained, x), ask(loaded, x))


def test_nothing_to_load_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"there is no run or model at .*missing"):
        load_model(tmp_path / "missing")
    with pytest.raises(InputError, match="holds neither a saved model nor a run with a best checkpoint"):
        load_model(tmp_path)


def test_a_truncated_model_is_one_sentence(tmp_path):
    normal(Chain()).save(tmp_path / "model")
    os.truncate(tmp_path / "model" / "model.safetensors", 1000)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged: it has 1000 bytes and should have \d+"):
        load_model(tmp_path / "model")


def test_a_truncated_best_model_of_a_run_is_one_sentence(tmp_path):
    tiny.train(tmp_path / "run", TrainConfig(n_updates=2, batch_size=8, evaluate_every=2, validation_pairs=50))
    (best,) = (tmp_path / "run" / "checkpoint").glob("best-*")
    os.truncate(best / "model.safetensors", 1000)
    with pytest.raises(InputError, match=r"best-0000000\d/model\.safetensors is damaged"):
        load_model(tmp_path / "run")


@saveable
class Lonely(nn.Module):
    """Not a model."""


def test_a_folder_of_another_module_is_one_sentence(tmp_path):
    save_module(Lonely(), tmp_path)
    with pytest.raises(InputError, match="holds a Lonely, not a DiffusionModel"):
        load_model(tmp_path)
