"""Wrong numbers at every public entry are one sentence that names the argument; so are requests for too much memory."""

from __future__ import annotations

import dataclasses
import inspect
import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import quasistatic as qs
from quasistatic.checks import instance_of, one_of, real_number, shown, tensor_of, true_or_false, whole_number
from quasistatic.errors import InputError
from quasistatic.memory import catching_memory_errors, out_of_memory, require_memory
from quasistatic.model import DiffusionModel
from quasistatic.networks import MultiscaleNetwork, NormalisedRBF, PerStepMLP, ResidualMLP, UNet
from quasistatic.reverse import GaussianDenoiser
from quasistatic.runs.settings import make_recipe
from quasistatic.train import Engine, TrainConfig, fit
from quasistatic.transforms import Chain

WORDS = (2.5, "seven", None, math.nan, True, 1j, [3], object(), np.array([1, 2]))
NO_COUNTS = (*WORDS, 0, -7)
QUICK = {"max_updates": 1, "width": 4, "depth": 1, "n_members": 1, "n_steps": 3, "n_components": 1, "random_state": 0}


@pytest.mark.parametrize("value", [*NO_COUNTS, pytest.param(10**40, id="large"), pytest.param(10**5000, id="huge")])
def test_what_is_no_count_is_one_sentence(value):
    with pytest.raises(InputError, match=r"^size must be ") as said:
        whole_number("size", value, 1)
    assert "\n" not in str(said.value)
    assert len(str(said.value)) < 200


@pytest.mark.parametrize("value", [3, np.int16(3), np.uint64(3), torch.tensor(3), np.array(3)])
def test_whole_numbers_of_any_library_are_taken(value):
    number = whole_number("size", value, 1)
    assert (number, type(number)) == (3, int)


@pytest.mark.parametrize("value", ["1", None, True, math.nan, math.inf, -math.inf, 0, -2.0, 1j, [0.5], 10**400])
def test_what_is_no_positive_number_is_one_sentence(value):
    with pytest.raises(InputError, match=r"^rate must be "):
        real_number("rate", value, above=0.0)


def test_bounds_of_numbers_are_named():
    assert real_number("share", np.float32(0.5), least=0.0, below=1.0) == 0.5
    with pytest.raises(InputError, match=r"^share must be at least 0 and below 1, got 1\.0$"):
        real_number("share", 1.0, least=0.0, below=1.0)
    assert real_number("seconds", math.inf, above=0.0, infinite=True) == math.inf
    with pytest.raises(InputError, match=r"^n must be at most 9, got 10$"):
        whole_number("n", 10, 0, 9)


def test_choices_truth_and_classes():
    assert one_of("kind", "b", ("a", "b")) == "b"
    with pytest.raises(InputError, match=r'^kind must be "a", "b" or "c", got 1$'):
        one_of("kind", 1, ("a", "b", "c"))
    assert true_or_false("flag", np.True_) is True
    with pytest.raises(InputError, match=r"^flag must be True or False, got 1$"):
        true_or_false("flag", 1)
    with pytest.raises(InputError, match=r"^it must be a word, got 5$"):
        instance_of("it", 5, str, "a word")


@pytest.mark.parametrize(
    "value", [None, "abc", [1 + 1j], [["a"]], [[1], [2, 3]], object(), {}, torch.eye(2).to_sparse(), [10**400]]
)
def test_what_is_no_array_of_numbers_is_one_sentence(value):
    with pytest.raises(InputError, match=r"^x must be "):
        tensor_of("x", value)


def test_a_value_is_shown_short_and_without_control_characters():
    assert shown("a\x1b[31m\nb") == r"'a\\x1b[31m\\nb'".replace("\\\\", "\\")
    assert len(shown("x" * 1000)) == 80

    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(Rude()) == "a Rude"


# ---------------------------------------------------------------------------------------------------- the entries


@cache
def model() -> DiffusionModel:
    process = qs.GaussianDiffusion(qs.schedules.geometric(4))
    return DiffusionModel(Chain(), process, GaussianDenoiser(process, ResidualMLP(2, 4, 4, 1), 2), (2,))


@cache
def density() -> qs.DiffusionDensity:
    return qs.DiffusionDensity(**QUICK).fit(rows())


def rows() -> Any:
    return np.random.default_rng(5).normal(size=(30, 2))


def seen() -> Any:
    return qs.GaussianMeasurement(torch.zeros(2), std=1.0)


HOLE = [[0.5, math.nan]]
PROCESS = qs.GaussianDiffusion(qs.schedules.geometric(4))
COUNTS: dict[str, Callable[[Any], Any]] = {
    "sample": lambda v: model().sample(v),
    "sample n_steps": lambda v: v is None or model().sample(2, n_steps=v),
    "log_prob": lambda v: model().log_prob([[0.0, 1.0]], v),
    "posterior": lambda v: model().posterior(seen(), v),
    "posterior n_steps": lambda v: v is None or model().posterior(seen(), 4, n_steps=v),
    "posterior chunk": lambda v: v is None or model().posterior(seen(), 4, chunk=v),
    "resample": lambda v: model().posterior(seen(), 4).resample(v),
    "density sample": lambda v: density().sample(v),
    "impute": lambda v: density().impute(HOLE, v),
    "impute n_particles": lambda v: v is None or density().impute(HOLE, 2, n_particles=v),
    "impute n_steps": lambda v: v is None or density().impute(HOLE, 2, n_steps=v),
    "condition": lambda v: density().condition({0: 0.5}, v),
    "geometric": qs.schedules.geometric,
    "linear": qs.schedules.linear,
    "cosine": qs.schedules.cosine,
    "constant_erasure": qs.schedules.constant_erasure,
    "schedules.respaced": lambda v: qs.schedules.respaced(qs.schedules.geometric(3), v),
    "respaced": lambda v: isinstance(v, list | np.ndarray) or model().process.respaced(v),
    "n_components": lambda v: GaussianDenoiser(PROCESS, ResidualMLP(2, 4, 4, 1), 2, n_components=v),
}  # fmt: skip
NETWORKS: dict[type, dict[str, Any]] = {
    ResidualMLP: {"n_in": 2, "n_out": 4},
    PerStepMLP: {"n_in": 2, "n_out": 4, "n_steps": 5},
    NormalisedRBF: {"n_in": 2, "n_out": 4, "n_steps": 5},
    UNet: {"channels_in": 1, "channels_out": 2},
    MultiscaleNetwork: {"channels": 1, "size": 8, "n_steps": 5},
}  # fmt: skip
for network, needed in NETWORKS.items():
    for name, parameter in inspect.signature(network).parameters.items():
        if parameter.annotation in ("int", int) and not name.endswith("layers") and name != "n_fourier":
            COUNTS[f"{network.__name__} {name}"] = lambda v, c=network, n=name, k=needed: c(**{**k, n: v})  # type: ignore[misc]
for field in dataclasses.fields(TrainConfig):
    if field.type == "int" and field.name not in ("warmup", "patience"):
        COUNTS[f"TrainConfig {field.name}"] = lambda v, n=field.name: TrainConfig(**{n: v})  # type: ignore[misc]
for name in ("n_steps", "n_components", "max_updates", "n_members", "width", "depth", "batch_size", "n_trajectories"):
    COUNTS[f"DiffusionDensity {name}"] = lambda v, n=name: qs.DiffusionDensity(**{**QUICK, n: v}).fit(rows())  # type: ignore[misc]
for name in ("n_steps", "width", "depth", "n_components", "log_prob_rows", "n_draws"):
    COUNTS[f"recipe {name}"] = lambda v, n=name: v is None or make_recipe("array", {n: v})  # type: ignore[misc]


@pytest.mark.parametrize("entry", COUNTS)
def test_every_entry_refuses_what_is_no_count(entry):
    for value in NO_COUNTS:
        try:
            done = COUNTS[entry](value)
        except InputError:
            continue
        assert done is True, f"{entry} took {value!r}"


@pytest.mark.parametrize("name", ["learning_rate", "clip", "ema", "decay_from", "first_share", "place_at", "beta_2"])
@pytest.mark.parametrize("value", ["x", None, math.nan, -1.0, 1j, True])
def test_real_settings_of_a_training_are_checked(name, value):
    with pytest.raises(InputError, match=f"^{name} must be "):
        TrainConfig(**{name: value})


REALS = {
    "dropout": (1.0, -0.1, math.nan, "x"), "learning_rate": (0, -1, math.nan, "x"),
    "validation_fraction": (0, 1, 2, math.nan),
    "max_time": (0, -1, math.nan, "x"), "marginals": ("loud", 5, None), "average": (1, "yes"), "patience": (0, 2.5),
    "types": (5, "numeric", {0: 5}, {"no": "numeric"}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REALS.items() for value in values])
def test_the_estimator_checks_its_parameters_when_it_is_fitted(name, value):
    wrong = qs.DiffusionDensity(**{**QUICK, name: value})  # type: ignore[arg-type]
    with (
        pytest.raises(InputError, match=r"type|column") if name == "types" else pytest.raises(InputError, match=f"^{name} ")
    ):
        wrong.fit(rows())


@pytest.mark.parametrize(
    "call",
    [
        lambda: model().elbo(None), lambda: model().elbo([[1j, 2.0]]), lambda: model().posterior(None),  # type: ignore[arg-type]
        lambda: model().posterior("seen"), lambda: model().on(5), lambda: model().elbo([[0.0, 1.0]], generator=5),  # type: ignore[arg-type]
        lambda: seen() & 5, lambda: qs.GaussianDiffusion(None), lambda: qs.BernoulliDiffusion("x"),  # type: ignore[arg-type]
        lambda: qs.GaussianMeasurement(None, 1.0), lambda: qs.GaussianMeasurement(torch.zeros(2), 1.0, operator=5),  # type: ignore[arg-type]
        lambda: qs.KnownEntries(None, 5), lambda: qs.load(5), lambda: qs.load("a\0b"), lambda: model().save(""),  # type: ignore[arg-type]
        lambda: fit(model(), 5, torch.zeros(3, 2), TrainConfig()), lambda: Engine(micro_batch=1.5),  # type: ignore[arg-type]
        lambda: fit(model(), torch.zeros(9, 2), torch.zeros(3, 2), None), lambda: density().condition({0: [1, 2]}, 2),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_objects_of_another_kind_are_one_sentence(call):
    with pytest.raises(InputError) as said:
        call()
    assert "\n" not in str(said.value)


# --------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: model().sample(10**11), "100000000000 samples of 2 numbers would take .* of memory"),
        (lambda: model().posterior(seen(), 10**9), "1000000000 particles of 2 numbers would take"),
        (lambda: density().sample(10**10), "draw fewer at once"),
        (lambda: density().impute(HOLE, 10**9), "take fewer draws"),
        (lambda: density().impute(HOLE, 2, n_particles=10**9), "particles of 2 numbers would take"),
        (lambda: ResidualMLP(2, 4, 10**6, 5), "a network of .* parameters would take .*: make it smaller"),
        (lambda: UNet(1, 2, (10**5,)), "make it smaller"),
        (lambda: qs.schedules.geometric(10**9), "n_steps must be at most 1000000"),
        (
            lambda: fit(model(), torch.zeros(9, 2), torch.zeros(3, 2), TrainConfig(batch_size=10**9)),
            "make batch_size smaller",
        ),
    ],
)
def test_too_much_memory_is_refused_before_it_is_taken(call, said):
    with warnings.catch_warnings(), pytest.raises(InputError, match=said):
        call()


def test_the_limit_of_memory_can_be_set(monkeypatch):
    require_memory("a small thing", 1e6, "take less")
    monkeypatch.setenv("QUASISTATIC_MEMORY", "0.0001")
    with pytest.raises(InputError, match=r"^a small thing would take 1 MB of memory, but at most 100000 bytes may"):
        require_memory("a small thing", 1e6, "take less")
    monkeypatch.setenv("QUASISTATIC_MEMORY", "much")
    with pytest.raises(InputError, match="QUASISTATIC_MEMORY must be a number of GB above 0, got 'much'"):
        require_memory("a small thing", 1e6, "take less")


@pytest.mark.parametrize("make", [lambda: np.empty(2**58), lambda: torch.empty(2**50), lambda: bytearray(2**62)])
def test_errors_of_allocation_are_one_sentence(make):
    with pytest.raises(InputError, match=r"^this needs more memory than there is: take less$"):  # noqa: SIM117
        with catching_memory_errors("this", "take less"):
            make()
    assert not out_of_memory(RuntimeError("shapes differ"))


# ------------------------------------------------------------------------------------------------ far and small numbers


def test_numbers_too_far_or_too_small_are_refused_or_infinitely_unlikely():
    far = density().score_samples([[1e308, 0.0], [1e149, -1e149], [0.0, 0.0]])
    assert far[0] == -math.inf
    assert not np.isnan(far).any()
    assert np.isfinite(far[2])
    for factor, said in ((1e200, "1e\\+150 is the most: rescale it"), (1e-200, "1e-100 is the least: rescale it")):
        with pytest.raises(InputError, match=said):
            qs.DiffusionDensity(**QUICK).fit(rows() * factor)
    assert not np.isnan(qs.DiffusionDensity(**QUICK).fit(rows() * 1e-90).score_samples([[1e100, 0.0]])).any()
    with pytest.raises(InputError, match="no value may be above 1e\\+150 in size"):
        model().elbo(np.array([[1e308, 0.0]]))
    with pytest.raises(InputError, match="must lie between 1e-100 and 1e\\+150"):
        qs.GaussianMeasurement(torch.zeros(2), std=1e-300)
    with pytest.raises(InputError, match="above 1e\\+150"):
        qs.GaussianMeasurement(torch.full((2,), 1e200, dtype=torch.float64), std=1.0)
