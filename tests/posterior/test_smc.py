"""Weighted posteriors against closed forms and enumeration, and what must not change them."""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Generator, Tensor

from chance import check_frequencies, check_mean
from oracles import RandomBits, all_bits, index_of, model_log_prob, roughen
from quasistatic.datasets.heartbeat import heartbeat_atoms
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.likelihood.exact import ExactBernoulliKernel, ExactGaussianMixtureKernel
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.posterior.observations import BitFlipChannel, GaussianMeasurement, KnownEntries, LogFactor, Observation
from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning
from quasistatic.posterior.smc import posterior_sample, systematic
from quasistatic.posterior.twisting import TwistedKernel
from quasistatic.reverse import GaussianDenoiser, PaperKernel, ReverseKernel
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.transforms import Affine, Transform

Q = GaussianDiffusion(geometric(10, 8.0, -14.0))  # ends where a millionth of the signal is left
CENTRES = torch.tensor([[-1.0, 0.5], [1.0, -0.2], [0.3, 1.2]], dtype=torch.float64)
SHARES = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
VAR = 0.15
Y, STD = torch.tensor([0.6, 0.1], dtype=torch.float64), 0.5


def seed(n: int) -> Generator:
    return Generator().manual_seed(n)


class Truth(NamedTuple):
    log_evidence: float
    mean: Tensor
    cov: Tensor


def mixture_truth(centres: Tensor, shares: Tensor, var: float, y: Tensor, std: float) -> Truth:
    """Posterior of a mixture of round normals, seen with round noise."""
    total = var + std**2
    log_joint = shares.log() - 0.5 * (y - centres).square().sum(1) / total - 0.5 * len(y) * math.log(2 * math.pi * total)
    log_z = torch.logsumexp(log_joint, 0)
    share, each = (log_joint - log_z).exp(), centres + var / total * (y - centres)
    mean = share @ each
    cov = ((each - mean).T * share) @ (each - mean) + var * std**2 / total * torch.eye(len(y))
    return Truth(log_z.item(), mean, cov)


def prior(family: str = "mixture") -> ReverseKernel:
    return ExactGaussianMixtureKernel(Q, CENTRES, VAR, SHARES, family)


def check_moments(p: PosteriorSamples, truth: Truth) -> None:
    """Mean and covariance within 4 of their standard errors, which the weights tell (false alarm 6e-5 each, two-sided)."""
    off = p.x - truth.mean
    products = (off.unsqueeze(2) * off.unsqueeze(1)).flatten(1)
    for values, expected in ((p.x, truth.mean), (products, truth.cov.flatten())):
        weights = p.weights.unsqueeze(1)
        error = (weights * (values - expected)).square().sum(0).sqrt()
        assert ((weights * values).sum(0) - expected).abs().le(4 * error + 1e-3 * (values is products)).all()


# ------------------------------------------------------------------------------------------- closed forms: normals


@pytest.mark.parametrize(
    ("centres", "shares", "kernel"),
    [(torch.zeros(1, 2), torch.ones(1), "diagonal"), (CENTRES, SHARES, "mixture")],
)
def test_exact_kernels_give_the_closed_form_at_ten_thousand_particles(centres: Tensor, shares: Tensor, kernel: str) -> None:
    exact = ExactGaussianMixtureKernel(Q, centres, VAR, shares, kernel)
    truth = mixture_truth(centres.double(), shares.double(), VAR, Y, STD)
    p = posterior_sample(Q, exact, GaussianMeasurement(Y, STD), 10_000, shape=(2,), generator=seed(0))
    check_moments(p, truth)
    # the noise end keeps a millionth of the signal, so the model's own evidence differs by as little
    assert abs(p.log_evidence.item() - truth.log_evidence) < 4 * p.log_evidence_error.item() + 2e-5
    assert p.ess.item() > 9999
    assert p.n_resampled.item() == 0


def test_looking_ahead_leaves_no_variance_in_a_linear_normal_model() -> None:
    # at every step: stop the chain anywhere, and the weights so far are all those of the first step
    kernel = TwistedKernel(
        ExactGaussianMixtureKernel(Q, torch.tensor([[0.3, -0.5]]), VAR, family="diagonal"), Q, GaussianMeasurement(Y, STD)
    )
    observation, x = kernel.observation.on((2,)), Q.stationary((200, 2), torch.float64).sample(seed(1))
    log_w = kernel.evaluate(x, 10, observation).log_potential
    for t in range(10, 0, -1):
        sight = kernel.evaluate(x, t, observation)
        move = kernel.proposal(sight, x, t, observation)
        x_before, x = x, move.distribution.sample(seed(t))
        after = kernel.evaluate(x, t - 1, observation).log_potential if t > 1 else torch.zeros(200)
        increment = move.log_weight(x) + after - sight.log_potential
        assert increment.abs().max().item() < 1e-9, (t, x_before.shape)
    assert log_w.std().item() < 1e-3  # and at the noise end there is hardly any signal


@pytest.mark.parametrize("twist", ["lookahead", "power", "constant"])
@pytest.mark.parametrize("free", [False, True])
def test_the_evidence_is_unbiased_whatever_the_spread(twist: str, free: bool) -> None:
    # an exact chain of wide data over few steps, so that even "constant" has weights of finite variance;
    # 200 repeats in one batch of observations, 30 particles each: resampling happens, bias would show at 2 %
    q = GaussianDiffusion(geometric(3, 2.0, -14.0))
    kernel = ExactGaussianMixtureKernel(q, CENTRES, VAR, SHARES, "mixture")
    y, std, repeats = Y, 1.5, 200
    truth = mixture_truth(CENTRES, SHARES, VAR, y, std)
    closed = GaussianMeasurement(y.expand(repeats, 2), std)
    observation: Observation = closed
    if free:
        single = GaussianMeasurement(y, std).on((2,))
        nothing = GaussianMeasurement(torch.zeros(repeats, 2), 1e6)  # says nothing, but comes in a batch
        level = nothing.on((2,)).log_r(torch.zeros(repeats, 2, dtype=torch.float64))[0].item()
        observation = LogFactor(lambda x: single.log_r(x) - level) & nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        p = posterior_sample(q, kernel, observation, 30, shape=(2,), twist=twist, generator=seed(3))
    # false alarm 1e-6, two-sided
    check_mean((p.log_evidence - truth.log_evidence).exp(), 1.0, resolves=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["mixture", "full", "diagonal"])
def test_the_evidence_is_unbiased_over_a_thousand_repeats(kernel: str) -> None:
    # an inexact kernel is a model of its own, whose evidence is estimated by plain draws
    observation = GaussianMeasurement(Y.expand(1000, 2), STD)
    p = posterior_sample(Q, prior(kernel), observation, 100, shape=(2,), generator=seed(4))
    z = p.log_evidence.exp()
    if kernel == "mixture":
        check_mean(z, math.exp(mixture_truth(CENTRES, SHARES, VAR, Y, STD).log_evidence), false_alarm=1e-4)
    else:
        plain = posterior_sample(
            Q, prior(kernel), LogFactor(lambda x: x.new_zeros(len(x)), False), 100_000, shape=(2,), generator=seed(5)
        )
        r = GaussianMeasurement(Y, STD).on((2,)).log_r(plain.x).exp()
        error = math.hypot(z.std().item() / 1000**0.5, r.std().item() / 100_000**0.5)
        assert abs(z.mean().item() - r.mean().item()) < 4.0 * error
    assert 0.5 < p.log_evidence.std().item() / p.log_evidence_error.mean().item() < 2.0 or kernel == "mixture"


def test_the_papers_rule_is_biased_and_weights_repair_it() -> None:
    truth = mixture_truth(CENTRES, SHARES, VAR, Y, STD)
    sharp = posterior_sample(
        Q, prior(), GaussianMeasurement(Y, STD), 4000, shape=(2,), twist="constant", weighted=False, generator=seed(6)
    )
    assert sharp.log_evidence.isnan().item()
    assert sharp.ess.item() == pytest.approx(4000)
    error = truth.cov.diagonal().sqrt() / 4000**0.5
    assert ((sharp.std - truth.cov.diagonal().sqrt()).abs() > 6 * error).all()  # evidence is counted again and again


def test_a_sampler_without_weights_is_the_tilted_kernels_chain() -> None:
    from quasistatic.sample import sample_ancestral

    observation = GaussianMeasurement(Y, STD)
    x = sample_ancestral(Q, TwistedKernel(prior(), Q, observation, "power"), (4000, 2), generator=seed(1)).double()
    p = posterior_sample(Q, prior(), observation, 4000, shape=(2,), twist="power", weighted=False, generator=seed(2))
    error = x.std(0) * (2 / 4000) ** 0.5
    assert ((x.mean(0) - p.mean).abs() < 5 * error).all()


# ------------------------------------------------------------------------------------------------ closed forms: bits


def beats(n_steps: int = 3, factorised: bool = False) -> tuple[BernoulliDiffusion, ReverseKernel, Tensor]:
    q, atoms = BernoulliDiffusion(constant_erasure(n_steps), 0.2), torch.as_tensor(heartbeat_atoms()).double()
    return q, ExactBernoulliKernel(q, atoms, factorised=factorised), atoms


def phases(p: PosteriorSamples, atoms: Tensor) -> Tensor:
    return p._weigh((p.x.unsqueeze(-2) == atoms).all(-1).double())


def test_heartbeats_through_a_noisy_channel_have_the_enumerated_phases() -> None:
    q, kernel, atoms = beats()
    y = torch.stack([atoms[2], atoms[2], torch.zeros(20)])
    y[1, [2, 7, 12]] = 0.0
    y[1, [3, 8]] = 1.0
    observation = BitFlipChannel(y, 0.1)
    p = posterior_sample(q, kernel, observation, 150, shape=(20,), generator=seed(0))
    for b in range(3):
        joint = BitFlipChannel(y[b], 0.1).on((20,)).log_r(atoms) - math.log(5)
        torch.testing.assert_close(p.log_evidence[b], torch.logsumexp(joint, 0))  # total erasure: no variance at all
        check_frequencies((phases(p, atoms)[b] * 150).round(), torch.softmax(joint, 0))
    assert (p.ess > 149.9).all()


@pytest.mark.parametrize("n_known", [1, 3, 5])
def test_heartbeats_with_known_bits(n_known: int) -> None:
    q, kernel, atoms = beats()
    mask = torch.zeros(20, dtype=torch.bool)
    mask[torch.randperm(20, generator=seed(n_known))[:n_known]] = True
    p = posterior_sample(q, kernel, KnownEntries(mask, atoms[3]), 200, shape=(20,), generator=seed(1))
    agree = (atoms[:, mask] == atoms[3, mask]).all(1).double()
    assert p.log_evidence.item() == pytest.approx(math.log(agree.sum().item() / 5))
    assert torch.equal(p.x[:, mask], atoms[3, mask].expand(200, -1))
    assert phases(p, atoms)[agree == 0].sum() == 0
    if agree.sum() > 1:
        check_frequencies((phases(p, atoms) * 200).round(), agree / agree.sum())


def test_contradictory_bits_are_impossible_and_say_so() -> None:
    q, kernel, atoms = beats()
    mask = torch.zeros(20, dtype=torch.bool)
    mask[:2] = True  # two neighbours cannot both beat
    with pytest.warns(PosteriorWarning, match="contradicts the model: every particle has weight zero"):
        p = posterior_sample(q, kernel, KnownEntries(mask, torch.ones(20)), 100, shape=(20,), generator=seed(2))
    assert p.log_evidence.item() == -math.inf
    assert p.log_weights.isfinite().all()
    # the others of a batch are not harmed
    values = torch.stack([torch.ones(20), atoms[0]])
    with pytest.warns(PosteriorWarning, match=r"\(observations 0\)"):
        p = posterior_sample(q, kernel, KnownEntries(mask, values), 100, shape=(20,), generator=seed(2))
    assert p.log_evidence[1].item() == pytest.approx(math.log(0.2))


def test_evidence_that_noise_explains_better_is_called_a_contradiction() -> None:
    # bits that the model holds for equal but for one in ten thousand, and that differ
    q, n = BernoulliDiffusion(constant_erasure(2), 0.5), 6
    atoms = torch.cat([torch.zeros(1, n), torch.ones(1, n), torch.eye(n)[:1]]).double()
    kernel = ExactBernoulliKernel(q, atoms, torch.tensor([0.5, 0.4999999, 1e-7]))
    y = torch.stack([atoms[2], atoms[0]])
    with pytest.warns(PosteriorWarning, match=r"independent noise explains it e\^12 times better.*0\)"):
        p = posterior_sample(q, kernel, KnownEntries(torch.ones(n, dtype=torch.bool), y), 50, shape=(n,), generator=seed(0))
    assert p.log_evidence[0].item() == pytest.approx(math.log(1e-7), abs=1e-3)


@pytest.mark.parametrize("observation", ["flips", "known", "function", "black box"])
def test_any_kernel_of_bits_has_its_own_enumerated_posterior(observation: str) -> None:
    # a kernel without structure, far from any reversal: all of the work is done by the weights
    q, states = BernoulliDiffusion(constant_erasure(4), 0.4), all_bits(3)
    kernel = RandomBits(q, 3, seed=1, spread=0.7)
    odds = torch.tensor([1.0, -0.5, 0.7], dtype=torch.float64)
    about: Observation = {
        "flips": BitFlipChannel(torch.tensor([1.0, 0.0, 1.0]), 0.2),
        "known": KnownEntries(torch.tensor([True, False, False]), torch.tensor([1.0, 0.0, 0.0])),
        "function": LogFactor(lambda x: (x @ odds.to(x.dtype)) ** 2),
        "black box": LogFactor(lambda x: (x @ odds.to(x.dtype)) ** 2, differentiable=False),
    }[observation]
    log_joint = model_log_prob(q, kernel, states) + about.on((3,)).log_r(states)
    truth = torch.softmax(log_joint, 0)
    p = posterior_sample(q, kernel, about, 20_000, shape=(3,), generator=seed(7))
    assert abs(p.log_evidence.item() - torch.logsumexp(log_joint, 0).item()) < 4 * p.log_evidence_error.item()
    assert p.log_evidence_error.item() < (0.1 if observation == "known" else 0.03)
    seen = torch.zeros(8, dtype=torch.float64).index_add_(0, index_of(p.x), p.weights)
    # 4 standard errors, of lines of descent where there was resampling
    error = (truth * (1 - truth) / p.n_ancestors).sqrt()
    assert ((seen - truth).abs() <= 4 * error + 1e-12).all()


# ------------------------------------------------------------------------------------------------------- identities


def test_evidence_of_one_weighs_nothing() -> None:
    for twist in ("lookahead", "constant", "power"):
        p = posterior_sample(
            Q, prior("full"), LogFactor(lambda x: 0.0 * x.sum(1)), 300, shape=(2,), twist=twist, generator=seed(0)
        )
        torch.testing.assert_close(p.log_evidence.item(), 0.0, atol=1e-9, rtol=0)
        torch.testing.assert_close(p.weights, torch.full((300,), 1 / 300, dtype=torch.float64), atol=1e-9, rtol=0)


def test_scaling_r_moves_the_evidence_and_nothing_else() -> None:
    measured = GaussianMeasurement(Y, STD).on((2,))

    def scaled(c: float) -> PosteriorSamples:
        return posterior_sample(
            Q, prior("full"), LogFactor(lambda x: measured.log_r(x) + c), 500, shape=(2,), generator=seed(1)
        )

    a, b = scaled(0.0), scaled(50.0)
    torch.testing.assert_close(a.log_evidence + 50.0, b.log_evidence)
    torch.testing.assert_close(a.log_weights, b.log_weights)
    assert torch.equal(a.x, b.x)


def test_two_measurements_at_once_are_their_product() -> None:
    # y1 with s1 and y2 with s2 of the same x are one measurement at the weighted mean
    a, b = GaussianMeasurement(Y, 0.8), GaussianMeasurement(-Y, 1.1)
    p = posterior_sample(Q, prior(), a & b, 4000, shape=(2,), generator=seed(0))
    precision = 0.8**-2 + 1.1**-2
    y, std = (Y * 0.8**-2 - Y * 1.1**-2) / precision, precision**-0.5
    truth = mixture_truth(CENTRES, SHARES, VAR, y, std)
    # N(y1; x, s1^2) N(y2; x, s2^2) = N(y; x, s^2) N(y1; y2, s1^2 + s2^2)
    apart = 0.8**2 + 1.1**2
    log_apart = -0.5 * (2 * Y).square().sum().item() / apart - math.log(2 * math.pi * apart)
    assert p.log_evidence.item() == pytest.approx(truth.log_evidence + log_apart, abs=1e-4)
    check_moments(p, truth)


@pytest.mark.parametrize("family", ["mixture", "full", "diagonal"])
def test_known_entries_come_back_bit_for_bit(family: str) -> None:
    known = KnownEntries(torch.tensor([True, False]), torch.tensor([0.1, 0.0], dtype=torch.float64))
    p = posterior_sample(Q, prior(family), known, 400, shape=(2,), generator=seed(2))
    assert (p.x[:, 0] == 0.1).all()
    assert p.x[:, 1].std() > 0.1
    if family == "mixture":
        log_joint = SHARES.log() - 0.5 * (0.1 - CENTRES[:, 0]) ** 2 / VAR - 0.5 * math.log(2 * math.pi * VAR)
        assert p.log_evidence.item() == pytest.approx(torch.logsumexp(log_joint, 0).item(), abs=1e-4)


def test_chunks_and_observations_do_not_mix() -> None:
    # many chunks, across the borders of observations: each has its own truth
    y = torch.stack([Y, -Y, 2 * Y])
    p = posterior_sample(Q, prior(), GaussianMeasurement(y, STD), 600, shape=(2,), generator=seed(3), chunk=350)
    for b in range(3):
        truth = mixture_truth(CENTRES, SHARES, VAR, y[b], STD)
        assert p.log_evidence[b].item() == pytest.approx(truth.log_evidence, abs=1e-4)
        check_moments(p.observation(b), truth)


def test_the_same_seed_gives_the_same_posterior() -> None:
    a, b = (posterior_sample(Q, prior("full"), GaussianMeasurement(Y, STD), 50, shape=(2,), generator=seed(3)) for _ in "ab")
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.log_weights, b.log_weights)


def test_fewer_steps_of_a_denoiser_and_any_kernel_of_the_paper() -> None:
    torch.manual_seed(0)
    net = roughen(ResidualMLP(2, GaussianDenoiser.n_outputs(2, "full"), width=8, depth=1), scale=0.05)
    p = posterior_sample(
        Q, GaussianDenoiser(Q, net, 2, "full"), GaussianMeasurement(Y, 1.0), 300, shape=(2,), n_steps=5, generator=seed(0)
    )
    assert p.log_evidence.isfinite().item()
    paper = PaperKernel(Q, roughen(ResidualMLP(2, 4, width=8, depth=1), scale=0.02))
    r = GaussianMeasurement(Y, 1.0)
    p = posterior_sample(Q, paper, r, 4000, shape=(2,), generator=seed(0))
    plain = posterior_sample(
        Q, paper, LogFactor(lambda x: x.new_zeros(len(x)), False), 20_000, shape=(2,), generator=seed(1)
    )
    each = r.on((2,)).log_r(plain.x).exp()
    error = math.hypot((each.std() / 20_000**0.5 / each.mean()).item(), p.log_evidence_error.item())
    assert abs(p.log_evidence.item() - each.mean().log().item()) < 4 * error


# ----------------------------------------------------------------------------------------------------- systematic


@pytest.mark.parametrize("n", [None, 3, 20])
def test_systematic_resampling_keeps_floor_or_ceil_and_is_unbiased(n: int | None) -> None:
    log_w = torch.randn(1, 7, generator=seed(0), dtype=torch.float64).expand(4000, 7)
    counts = torch.nn.functional.one_hot(systematic(log_w, seed(1), n=n), 7).sum(1).double()
    expected = (n or 7) * torch.softmax(log_w[0], 0)
    assert ((counts == expected.floor()) | (counts == expected.ceil())).all()
    check_mean(counts, expected)


# ------------------------------------------------------------------------------------------------- what a posterior tells


def weighted(n: int = 200) -> PosteriorSamples:
    x, log_w = torch.randn(2, n, 3, generator=seed(0), dtype=torch.float64), torch.randn(2, n, generator=seed(1)).double()
    return PosteriorSamples.of(x, log_w, torch.tensor([-1.0, -2.0], dtype=torch.float64))


def test_a_posterior_does_not_know_the_order_of_its_particles() -> None:
    p, order = weighted(), torch.randperm(200, generator=seed(2))
    q = replace(p, x=p.x[:, order], log_weights=p.log_weights[:, order], ancestors=p.ancestors[:, order])
    for name in ("ess", "n_ancestors", "mean", "std", "log_evidence_error"):
        torch.testing.assert_close(getattr(p, name), getattr(q, name))
    assert torch.equal(p.quantile(0.3), q.quantile(0.3))


def test_moments_and_quantiles_are_those_of_repeated_draws() -> None:
    x = torch.tensor([[3.0], [1.0], [2.0]], dtype=torch.float64)
    p = PosteriorSamples.of(x, torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log(), torch.tensor(0.0))
    repeated = torch.tensor([3.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(p.mean, repeated.mean()[None])
    torch.testing.assert_close(p.std, repeated.std(correction=0)[None])
    assert [p.quantile(q).item() for q in (0.0, 0.25, 0.26, 0.875, 0.9, 1.0)] == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    draws = p.resample(8000, generator=seed(0))
    counts = torch.stack([(draws == v).sum() for v in (1.0, 2.0, 3.0)])
    check_frequencies(counts, torch.tensor([2.0, 5.0, 1.0]) / 8)


def test_saved_posteriors_come_back(tmp_path: Path) -> None:
    p = weighted()
    p.save(tmp_path / "p")
    back = PosteriorSamples.load(tmp_path / "p")
    for name in p.__dataclass_fields__:
        assert torch.equal(getattr(p, name), getattr(back, name))
    with pytest.raises(InputError, match=r"holds no posterior.json"):
        PosteriorSamples.load(tmp_path)


def test_arviz_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(InputError, match=r"install quasistatic\[arviz\]"):
        weighted().to_arviz()


def test_arviz_gets_equally_weighted_draws_of_one_chain() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its own future
        pytest.importorskip("arviz")
        data = weighted().to_arviz(150, generator=seed(0))
    x = data.posterior["x"]  # type: ignore[attr-defined]
    assert x.shape == (1, 150, 2, 3)
    p = weighted()
    error = p.std / p.ess.unsqueeze(1).sqrt()
    assert (abs(x.values[0].mean(0) - p.mean.numpy()) < 5 * (error + p.std / 150**0.5).numpy()).all()


@pytest.mark.parametrize("n", [8, 200])
def test_a_collapse_is_not_kept_quiet(n: int) -> None:
    # an observation forty deviations away, looked at by a kernel that hardly knows its data's width
    with pytest.warns(PosteriorWarning, match=f"of {n} particles are effective"):
        posterior_sample(
            Q, prior("diagonal"), LogFactor(lambda x: -400 * (x - 6.0).square().sum(1), differentiable=False),
            n, shape=(2,), generator=seed(0),
        )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- data units


def test_a_model_speaks_data_units() -> None:
    # x = 2 z + 1 of a standard normal z, seen with error 2: posterior and evidence by hand
    scale, shift = torch.full((2,), 2.0), torch.ones(2)
    model = DiffusionModel(
        Affine(shift, scale), Q, ExactGaussianMixtureKernel(Q, torch.zeros(1, 2), 1.0, family="diagonal"), (2,)
    )
    y = torch.tensor([[3.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    p = model.posterior(GaussianMeasurement(y, 2.0), 4000, generator=seed(0))
    truth = torch.distributions.Normal(1.0, 8**0.5).log_prob(y).sum(1)
    torch.testing.assert_close(p.log_evidence, truth.double(), atol=5e-4, rtol=0)
    error = 2**0.5 / 4000**0.5
    assert ((p.mean - (1.0 + (y - 1.0) / 2)).abs() < 4.5 * error).all()  # false alarm 3e-5 for four numbers
    known = KnownEntries(torch.tensor([True, False]), torch.tensor([0.3, 0.0]))
    p = model.posterior(known, 50, generator=seed(0))
    assert (p.x[:, 0] == torch.tensor(0.3).double()).all()
    assert p.log_evidence.item() == pytest.approx(
        torch.distributions.Normal(1.0, 2.0).log_prob(torch.tensor(0.3)).item(), abs=5e-4
    )


def test_a_model_of_bits_too() -> None:
    q, kernel, atoms = beats(3)
    p = DiffusionModel(Transform(), q, kernel, (20,)).posterior(BitFlipChannel(atoms[1], 0.05), 100, generator=seed(0))
    assert phases(p, atoms)[1].item() > 0.9


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"n_particles": 0}, "the number of particles must be at least 1, got 0"),
        ({"chunk": 0}, "in a chunk must be at least 1, got 0"),
        ({"twist": "late"}, 'twist must be "lookahead", "constant" or "power", got \'late\''),
        ({"twist": "constant", "observation": KnownEntries([True, False], [0.0, 0.0])}, "cannot be held at every step"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change: dict[str, object], sentence: str) -> None:
    arguments: dict[str, object] = {"observation": GaussianMeasurement(Y, STD), "n_particles": 5, "shape": (2,)} | change
    with pytest.raises(InputError, match=sentence):
        posterior_sample(Q, prior(), **arguments)  # type: ignore[arg-type]
