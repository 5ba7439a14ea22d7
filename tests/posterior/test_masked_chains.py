"""Posteriors of absorbing chains and of mixed tables under every twist, against enumeration and closed forms."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Generator, Tensor

from chance import check_frequencies
from oracles import all_classes, law_table, model_log_prob, roughen, state_probs
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, GaussianDiffusion, MixedDiffusion
from quasistatic.networks import ResidualMLP
from quasistatic.posterior.observations import BitFlipChannel, GaussianMeasurement, KnownEntries, LogFactor, Observation
from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning
from quasistatic.posterior.smc import posterior_sample
from quasistatic.posterior.twisting import TwistedKernel
from quasistatic.reverse import CategoricalDenoiser, MixedDenoiser
from quasistatic.schedules import constant_erasure, geometric

TWISTS = ("lookahead", "constant", "power")


class OneLayer(torch.nn.Module):
    """A one-layer network of flat inputs in float64."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.line = torch.nn.Linear(n_in, n_out, dtype=torch.float64)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return torch.tanh(self.line(x) + 0.1 * time.clamp(-5, 5).unsqueeze(1))


def absorbing(k: int) -> tuple[CategoricalDiffusion, CategoricalDenoiser]:
    """Two entries of k classes under an absorbing chain, with a network of random parameters."""
    q = CategoricalDiffusion(constant_erasure(4), k, "absorbing")
    network = roughen(OneLayer(2 * k, CategoricalDenoiser.n_outputs(2, k)), seed=2, scale=0.7)
    rate = torch.arange(1.0, k + 1.0, dtype=torch.float64)
    return q, CategoricalDenoiser(q, network, rate / rate.sum())


def about(kind: str) -> Observation:
    """An observation of two entries of three classes, or of two where they are bits."""
    measured = GaussianMeasurement(torch.tensor([0.4, 1.7]), 0.9)
    flips = BitFlipChannel(torch.tensor([1.0, 0.0]), 0.2)
    function = LogFactor(lambda x: (x[:, 0] - x[:, 1]) ** 2 / 3.0)
    return {
        "known": KnownEntries(torch.tensor([True, False]), torch.tensor([1.0, 0.0])),
        "measured": measured,
        "some": GaussianMeasurement(torch.tensor([0.4, 1.7]), 0.7, torch.tensor([False, True])),
        "matrix": GaussianMeasurement(torch.tensor([1.2]), 0.8, torch.tensor([[1.0, -0.5]])),
        "function": function,
        "black box": LogFactor(function.function, differentiable=False),
        "flips": flips,
        "both": measured & function,
        "flips and more": flips & measured & function,
    }[kind]


KINDS = ["known", "measured", "some", "matrix", "function", "black box", "flips", "both", "flips and more"]


@pytest.mark.parametrize("twist", TWISTS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_absorbing_chain_with_weights_has_its_enumerated_posterior(kind: str, twist: str) -> None:
    if kind == "known" and twist != "lookahead":
        pytest.skip("refused, see below")
    k = 2 if "flips" in kind else 3
    q, kernel = absorbing(k)
    every = all_classes(2, k + 1)
    data = (every < k).all(1)
    observation = about(kind)
    with torch.no_grad():
        log_joint = model_log_prob(q, kernel, every)[data] + observation.on((2,)).log_r(every[data])
    generator = Generator().manual_seed(1)
    runs = [posterior_sample(q, kernel, observation, 2000, shape=(2,), twist=twist, generator=generator) for _ in range(16)]
    ratio = torch.stack([run.log_evidence - torch.logsumexp(log_joint, 0) for run in runs]).exp()
    error = (ratio.std() / 4.0).item()
    assert error < (0.03 if twist == "constant" else 0.01)
    assert abs(ratio.mean().item() - 1.0) < 6.0 * error + 1e-9  # false alarm 2e-5 for 16 runs
    truth = torch.softmax(log_joint, 0)
    share = torch.stack(
        [((run.x.unsqueeze(1) == every[data]).all(2).double() * run.weights.unsqueeze(1)).sum(0) for run in runs]
    )
    torch.testing.assert_close(share.sum(1), torch.ones(16, dtype=torch.float64))  # nothing is masked at the end
    off = ratio.unsqueeze(1) * (share - truth)
    assert (off.mean(0).abs() <= 7.0 * off.std(0) / 4.0 + 1e-12).all()  # false alarm 4e-5 for nine states


@pytest.mark.parametrize("twist", TWISTS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_absorbing_chain_without_weights_is_the_chain_of_its_twisted_kernel(kind: str, twist: str) -> None:
    k = 2 if "flips" in kind else 3
    q, kernel = absorbing(k)
    every = all_classes(2, k + 1)
    data = (every < k).all(1)
    observation, generator = about(kind), Generator().manual_seed(2)
    with torch.no_grad():
        chain = state_probs(q, twisted := TwistedKernel(kernel, q, observation, twist), every, 1)
        chain = chain @ law_table(twisted(every, 1), len(every), every[data])
    assert chain.sum().item() == pytest.approx(1.0)
    p = posterior_sample(q, kernel, observation, 20_000, shape=(2,), twist=twist, weighted=False, generator=generator)
    counts = (p.x.unsqueeze(1) == every[data]).all(2).sum(0)
    check_frequencies(counts, chain)
    if kind == "known":
        assert (p.x[:, 0] == 1.0).all()


@pytest.mark.parametrize("twist", ["constant", "power"])
def test_known_entries_with_weights_and_without_the_lookahead_are_refused(twist: str) -> None:
    q, kernel = absorbing(3)
    with pytest.raises(InputError, match="entries known exactly cannot be held at every step and weighted as well"):
        posterior_sample(q, kernel, about("known"), 10, shape=(2,), twist=twist)


# ------------------------------------------------------------------------------------------------- mixed tables

RATE, SHARES = 0.3, torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def mixed(n_components: int = 1, scale: float = 0.0) -> tuple[MixedDiffusion, MixedDenoiser]:
    """A bit, a number and a class of three, the class under an absorbing chain; independent columns at scale 0."""
    n = 6
    q = MixedDiffusion(
        [
            GaussianDiffusion(geometric(n, 6.0, -12.0)),
            BernoulliDiffusion(constant_erasure(n), torch.tensor([RATE])),
            CategoricalDiffusion(constant_erasure(n), 3, "absorbing", SHARES[None]),
        ],
        [[1], [0], [2]],
    )
    torch.manual_seed(0)
    n_out = MixedDenoiser.n_outputs(q, n_components=n_components)
    network = ResidualMLP(MixedDenoiser.n_inputs(q), n_out, width=8, depth=1)
    if scale:
        roughen(network, scale=scale)
    return q, MixedDenoiser(q, network, n_components=n_components)


def observations() -> dict[str, Observation]:
    measured = GaussianMeasurement(torch.tensor([0.6, 0.5, 1.2]), torch.tensor([0.8, 1.0, 1.1]))
    matrix = GaussianMeasurement(torch.tensor([1.4]), 1.2, torch.tensor([[1.0, 0.5, -0.7]]))
    block = GaussianMeasurement(torch.tensor([0.4, 0.2]), 1.5, torch.tensor([[0.0, 1.2, 0.0], [2.0, 0.0, 0.0]]))
    function = LogFactor(lambda x: -0.3 * (x[:, 0] + x[:, 1] - x[:, 2]) ** 2)
    return {
        "known": KnownEntries(torch.tensor([False, True, True]), torch.tensor([0.0, 0.4, 2.0])),
        "measured": measured,
        "matrix": matrix,
        "block": block,
        "function": function,
        "black box": LogFactor(function.function, differentiable=False),
        "both": measured & function,
        "known and more": KnownEntries(torch.tensor([True, False, False]), torch.tensor([1.0, 0.0, 0.0])) & function,
    }


def grid_truth(observation: Observation) -> tuple[float, Tensor]:
    """Log evidence and mean of independent columns, by a fine grid of the number and all bits and classes."""
    z = torch.linspace(-8.0, 8.0, 4001, dtype=torch.float64)
    bit, number, kind = torch.meshgrid(torch.arange(2.0).double(), z, torch.arange(3.0).double(), indexing="ij")
    x = torch.stack([bit.flatten(), number.flatten(), kind.flatten()], 1)
    log_p = torch.where(x[:, 0] == 1, math.log(RATE), math.log(1 - RATE)) + SHARES.log()[x[:, 2].long()]
    log_p = log_p - 0.5 * x[:, 1].square() - 0.5 * math.log(2 * math.pi) + math.log(16.0 / 4000)
    log_joint = log_p + observation.on((3,)).log_r(x)
    return torch.logsumexp(log_joint, 0).item(), torch.softmax(log_joint, 0) @ x


def check(p: PosteriorSamples, log_evidence: float, mean: Tensor, error: float) -> None:
    assert abs(p.log_evidence.item() - log_evidence) < 4 * error
    assert ((p.mean - mean).abs() < 4.5 * p.std / p.n_ancestors.sqrt() + 1e-9).all()


@pytest.mark.parametrize("twist", TWISTS)
@pytest.mark.parametrize("kind", [k for k in observations() if "known" not in k])
def test_a_mixed_chain_with_weights_has_the_posterior_of_independent_columns(kind: str, twist: str) -> None:
    q, kernel = mixed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        p = posterior_sample(
            q, kernel, observations()[kind], 5000, shape=(3,), twist=twist, n_runs=8, generator=Generator().manual_seed(3)
        )
    log_evidence, mean = grid_truth(observations()[kind])
    error = 0.02 if twist == "constant" else p.log_evidence_error.item()
    assert error < 0.03
    check(p, log_evidence, mean, error + 1e-4)


def test_known_entries_of_a_mixed_chain_have_their_probability() -> None:
    q, kernel = mixed()
    p = posterior_sample(q, kernel, observations()["known"], 5000, shape=(3,), generator=Generator().manual_seed(0))
    truth = -0.5 * 0.4**2 - 0.5 * math.log(2 * math.pi) + math.log(0.3)
    assert abs(p.log_evidence.item() - truth) < 4 * p.log_evidence_error.item() + 1e-4
    assert torch.equal(p.x[:, 1:], torch.tensor([0.4, 2.0], dtype=torch.float32).double().expand(5000, 2))
    assert abs(p.mean[0].item() - RATE) < 4.5 * p.std[0].item() / p.n_ancestors.sqrt().item()
    with pytest.raises(InputError, match="known exactly"):
        posterior_sample(q, kernel, observations()["known"], 10, shape=(3,), twist="power")
    for twist in TWISTS:
        p = posterior_sample(q, kernel, observations()["known"], 50, shape=(3,), twist=twist, weighted=False)
        assert torch.equal(p.x[:, 1:], torch.tensor([0.4, 2.0], dtype=torch.float32).double().expand(50, 2))


@pytest.mark.parametrize("kind", sorted(observations()))
@pytest.mark.parametrize("twist", ["lookahead", "power"])
@pytest.mark.parametrize("n_components", [1, 3])
def test_a_mixed_chain_of_any_network_has_the_moments_of_weighted_draws(kind: str, twist: str, n_components: int) -> None:
    if "known" in kind:
        pytest.skip("has no weight at draws")
    q, kernel = mixed(n_components, scale=0.3)
    observation, seed = observations()[kind], Generator().manual_seed(4)
    with torch.no_grad():
        x = q.stationary((50_000, 3), torch.float64).sample(seed)
        for t in range(q.n_steps, 0, -1):
            x = kernel(x, t).sample(seed)
        r = observation.on((3,)).log_r(x).exp()
    p = posterior_sample(q, kernel, observation, 2500, shape=(3,), twist=twist, n_runs=6, generator=seed)
    error = math.hypot((r.std() / r.mean() / len(r) ** 0.5).item(), p.log_evidence_error.item())
    assert error < 0.06
    mean = (r.unsqueeze(1) * x).sum(0) / r.sum()
    assert abs(p.log_evidence.item() - r.mean().log().item()) < 4.5 * error
    n = 1.0 / (1.0 / p.n_ancestors + (r / r.sum()).square().sum())
    assert ((p.mean - mean).abs() < 4.5 * p.std / n.sqrt() + 1e-9).all()
