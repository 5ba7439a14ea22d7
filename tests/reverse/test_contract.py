"""What every reverse kernel has, and every kernel that wraps another hands on."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

import quasistatic
from quasistatic.distributions import Distribution, Mixture
from quasistatic.forward import (
    BernoulliDiffusion,
    CategoricalDiffusion,
    ForwardProcess,
    GaussianDiffusion,
    MixedDiffusion,
)
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.estimators import estimate_elbo
from quasistatic.likelihood.exact import ExactBernoulliKernel, ExactGaussianMixtureKernel
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.networks.unet import UNet
from quasistatic.posterior.observations import LogFactor
from quasistatic.posterior.twisting import TwistedKernel
from quasistatic.reverse import (
    BernoulliDenoiser,
    CategoricalDenoiser,
    FixedFirstStep,
    GaussianDenoiser,
    ImageDenoiser,
    MixedDenoiser,
    PaperKernel,
    ReverseKernel,
    WienerBase,
)
from quasistatic.reverse import kernel as base
from quasistatic.reverse.mixed import _SharpBits, _SharpClasses
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.train import TrainConfig, fit
from quasistatic.transforms import Chain

REAL, BITS = GaussianDiffusion(geometric(6)), BernoulliDiffusion(constant_erasure(6), 0.3)
CLASSES = CategoricalDiffusion(constant_erasure(6), 3)
TABLE = MixedDiffusion([REAL, BernoulliDiffusion(REAL.beta[1:], 0.3)], [[0], [1]])


def mlp(n_in: int, n_out: int) -> ResidualMLP:
    return ResidualMLP(n_in, n_out, width=8, depth=1)


def kernels() -> dict[str, ReverseKernel]:
    """One of every kind of kernel, mixtures of three where there are mixtures."""
    unet = UNet(ImageDenoiser.n_inputs(1), ImageDenoiser.n_outputs(1), widths=(8,))
    third = torch.full((3,), 1 / 3)
    return {
        "GaussianDenoiser": GaussianDenoiser(REAL, mlp(2, GaussianDenoiser.n_outputs(2, "diagonal", 3)), 2, "diagonal", 3),
        "BernoulliDenoiser": BernoulliDenoiser(BITS, mlp(2, BernoulliDenoiser.n_outputs(2, 3)), torch.full((2,), 0.3), 3),
        "CategoricalDenoiser": CategoricalDenoiser(CLASSES, mlp(6, 6), third),
        "_SharpBits": _SharpBits(BITS, mlp(2, 2), torch.full((2,), 0.3)),
        "_SharpClasses": _SharpClasses(CLASSES, mlp(6, 6), third),
        "MixedDenoiser": MixedDenoiser(TABLE, mlp(2, MixedDenoiser.n_outputs(TABLE, "diagonal", 3)), n_components=3),
        "ImageDenoiser": ImageDenoiser(REAL, unet, WienerBase(torch.zeros(1, 2, 2), torch.ones(4), torch.eye(4))),
        "PaperKernel": PaperKernel(REAL, mlp(2, 4)),
        "ExactBernoulliKernel": ExactBernoulliKernel(BITS, torch.tensor([[0, 1], [1, 0], [1, 1]])),
        "ExactGaussianMixtureKernel": ExactGaussianMixtureKernel(REAL, torch.randn(3, 2), 0.1),
    }  # fmt: skip


KERNELS = kernels()
WRAPPERS: dict[str, Callable[[ReverseKernel], Any]] = {
    "FixedFirstStep": FixedFirstStep,
    "TwistedKernel": lambda kernel: TwistedKernel(kernel, kernel.process, LogFactor(lambda x: x.flatten(1).sum(1))),
}  # fmt: skip


def states(process: ForwardProcess, image: bool) -> Tensor:
    shape = (4, 1, 2, 2) if image else (4, 2)
    return process.stationary(shape).sample(Generator().manual_seed(0))


def concrete(cls: Any = ReverseKernel) -> set[str]:
    """Names of all kernels of the library that can be made."""
    for module in pkgutil.walk_packages(quasistatic.__path__, "quasistatic."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)
    below = {name for sub in cls.__subclasses__() for name in concrete(sub)} if cls is not None else set()
    own = {cls.__name__} if cls.__module__.startswith("quasistatic.") and not cls.__abstractmethods__ else set()
    return own | below


def test_every_kernel_of_the_library_is_in_this_file() -> None:
    assert concrete() == KERNELS.keys() | WRAPPERS.keys()


@pytest.mark.parametrize("name", KERNELS)
def test_what_every_kernel_has(name: str) -> None:
    kernel = KERNELS[name]
    x = states(kernel.process, name == "ImageDenoiser")
    p = kernel(x, 3)
    assert kernel.first_step == "learned"
    assert kernel.n_components == (p.n_components if isinstance(p, Mixture) else 1)
    data = kernel.denoise(x, 3)
    assert (data is None) == (name == "PaperKernel")
    assert data is None or isinstance(data, Distribution)
    moved = kernel.on(kernel.process.respaced(2))
    assert (moved.process.n_steps, kernel.process.n_steps) == (2, 6)
    assert kernel.on(kernel.process) is kernel
    assert moved(x, 2).sample().shape == x.shape


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper_hands_it_on(name: str, wrapper: str) -> None:
    kernel = KERNELS[name]
    wrapped = WRAPPERS[wrapper](kernel)
    assert wrapped.n_components == kernel.n_components
    assert wrapped.first_step == ("fixed" if wrapper == "FixedFirstStep" else kernel.first_step)
    assert wrapped.process is kernel.process
    moved = wrapped.on(kernel.process.respaced(2))
    assert type(moved) is type(wrapped)
    assert moved.process is moved.kernel.process
    assert (moved.process.n_steps, wrapped.process.n_steps, kernel.process.n_steps) == (2, 6, 6)
    data = wrapped.denoise(states(kernel.process, name == "ImageDenoiser"), 3)
    assert (data is None) == (wrapper == "TwistedKernel" or name == "PaperKernel")
    twice = TwistedKernel(FixedFirstStep(kernel), kernel.process, LogFactor(lambda x: x.flatten(1).sum(1)))
    assert (twice.n_components, twice.first_step) == (kernel.n_components, "fixed")


def test_a_kernel_of_a_user_has_all_of_it_from_the_base_class() -> None:
    class Own(ReverseKernel):
        def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
            return self.process.step(x_t, t)

    kernel = Own(REAL)
    assert (kernel.n_components, kernel.first_step, kernel.process) == (1, "learned", REAL)
    assert kernel.denoise(torch.zeros(1, 2), 2) is None
    model = DiffusionModel(Chain(), REAL.respaced(3), kernel, (2,))
    assert model.process.n_steps == model.kernel.process.n_steps == 3
    assert kernel.process is REAL


def test_the_model_has_the_process_of_its_kernel() -> None:
    model = DiffusionModel(Chain(), REAL, KERNELS["GaussianDenoiser"], (2,))
    assert model.process is model.kernel.process is REAL
    coarse = REAL.respaced(3)
    model.kernel = model.kernel.on(coarse)
    assert model.process is coarse
    with pytest.raises(AttributeError):
        model.process = 3  # type: ignore[assignment,misc]


def test_moving_in_place_reaches_through_a_wrapper() -> None:
    kernel, coarse = FixedFirstStep(GaussianDenoiser(REAL, mlp(2, 4), 2)), REAL.respaced(3)
    kernel.move_to(coarse)
    assert kernel.process is kernel.kernel.process is coarse


def test_a_network_of_a_user_takes_the_log_snr_unless_it_says_else() -> None:
    assert base.clock_of(nn.Linear(1, 1)) == "log_snr"
    assert base.fixed_n_steps(nn.Linear(1, 1)) is None


# ----------------------------------------------------------------------------- mixtures under the paper's first step


def mixture(seed: int = 0, n_steps: int = 8) -> tuple[GaussianDiffusion, GaussianDenoiser]:
    torch.manual_seed(seed)
    q = GaussianDiffusion(geometric(n_steps, 5.0, -4.0))
    network = ResidualMLP(2, GaussianDenoiser.n_outputs(2, "diagonal", 3), width=16, depth=1)
    return q, GaussianDenoiser(q, network, 2, "diagonal", 3)


def test_a_mixture_under_a_fixed_first_step_trains() -> None:
    q, kernel = mixture()
    model = DiffusionModel(Chain(), q, FixedFirstStep(kernel), (2,))
    x = torch.randn(300, 2, generator=Generator().manual_seed(0))
    before = model.elbo(x, generator=Generator().manual_seed(1)).total.mean().item()
    config = TrainConfig(n_updates=40, batch_size=64, evaluate_every=20, validation_pairs=2000, warmup=5)
    fit(model, x[:200], x[200:], config, quiet=True)
    assert model.elbo(x, generator=Generator().manual_seed(1)).total.mean().item() > before + 0.1


def test_an_estimate_of_a_whole_chain_goes_along_trajectories() -> None:
    # the bound of a mixture under a fixed first step: 20 repeats of a row's; marginal draws vary three times as much
    q, kernel = mixture()
    model = DiffusionModel(Chain(), q, FixedFirstStep(kernel), (2,))
    x = torch.randn(50, 2, generator=Generator().manual_seed(0))
    fit(model, x, x, TrainConfig(n_updates=30, batch_size=64, evaluate_every=30, validation_pairs=500), quiet=True)
    z = x.double()
    with torch.no_grad():
        a = estimate_elbo(q, model.kernel, z, n_timesteps=7, generator=Generator().manual_seed(2))
        b = elbo(q, model.kernel, z, method="trajectory", generator=Generator().manual_seed(2))
        assert torch.equal(a.total, b.total)
        assert a.first_step == "fixed"

        def deviation(**settings: Any) -> float:
            return torch.stack([settings["f"](seed) for seed in range(20)]).std(0).mean().item()

        def draws(seed: int) -> Generator:
            return Generator().manual_seed(seed)

        estimated = deviation(f=lambda s: estimate_elbo(q, model.kernel, z, n_timesteps=7, generator=draws(s)).total)
        marginal = deviation(f=lambda s: elbo(q, model.kernel, z, method="marginal", generator=draws(s)).total)
    assert estimated < 0.7 * marginal


@pytest.mark.parametrize(("method", "count"), [("trajectory", 0), ("marginal", 1)])
def test_the_terminal_kl_is_computed_where_it_is_used(method: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    q, kernel = mixture()
    x = torch.zeros(3, 2, dtype=torch.float64)
    calls = []
    distribution = type(q.stationary((1, 2)))
    real = distribution.kl

    def counted(p: Any, other: Any) -> Tensor:
        calls.append(1)
        return real(p, other)

    monkeypatch.setattr(distribution, "kl", counted)
    with torch.no_grad():
        elbo(q, kernel, x, method=method)
    assert len(calls) == count
