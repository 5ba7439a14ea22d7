"""Products with laws of classes, levels and bits, against sums over their values; chains against enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from oracles import all_bits, all_classes, model_log_prob, roughen
from quasistatic.distributions import Bernoulli, Categorical, Distribution, Gaussian
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.errors import InputError
from quasistatic.forward import CategoricalDiffusion, GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks.unet import UNet
from quasistatic.posterior.observations import BitFlipChannel, GaussianMeasurement, KnownEntries, LogFactor, Observation
from quasistatic.posterior.smc import posterior_sample
from quasistatic.reverse import CategoricalDenoiser, ImageDenoiser, ReverseKernel
from quasistatic.reverse.wiener import WienerBase
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.transforms import Levels

D = 3


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def laws(n: int) -> dict[str, tuple[Distribution, Tensor]]:
    """A law of each kind with all of its states."""
    classes = Categorical(torch.log_softmax(normal(n, D, 4, seed=1), -1))
    levels = DiscretisedGaussian(normal(n, D, seed=2), normal(n, D, seed=3).exp(), step=0.5, low=-1.0, high=1.0)
    return {
        "bits": (Bernoulli(torch.sigmoid(normal(n, D))), all_bits(D)),
        "classes": (classes, all_classes(D, 4)),
        "levels": (levels, -1.0 + 0.5 * all_classes(D, 5)),
    }


def pieces(states: Tensor, n: int) -> dict[str, Observation]:
    """Evidence of each kind that such a law can be multiplied with."""
    mask = torch.tensor([True, False, True])
    some = states[torch.randint(len(states), (n,), generator=Generator().manual_seed(3))]
    matrix = normal(2, D, seed=5)
    return {
        "known": KnownEntries(mask, some),
        "measured": GaussianMeasurement(normal(n, D, seed=4), torch.tensor([0.5, 1.0, 2.0])),
        "masked": GaussianMeasurement(normal(n, D, seed=4), 0.7, mask),
        "linear": GaussianMeasurement(normal(n, 2, seed=4), 0.7, matrix),
        "function": LogFactor(lambda x: torch.cos(x[:, 0]) - 0.3 * x[:, 1] * x[:, 2]),
    }


@pytest.mark.parametrize("family", ["bits", "classes", "levels"])
@pytest.mark.parametrize("kind", ["known", "measured", "masked", "linear", "function", "both"])
@pytest.mark.parametrize("improved", [False, True])
def test_a_product_with_values_is_bayes_rule_summed_over_all_of_them(family: str, kind: str, improved: bool) -> None:
    n = 3
    p, states = laws(n)[family]
    made = pieces(states, n)
    observation = (made["known"] & made["function"] if kind == "both" else made[kind]).on((D,))
    share = 0.6
    tilt = observation.product(p, share, improved)
    every = states.repeat_interleave(n, 0)
    rows = torch.arange(n).repeat(len(states))
    log_p = torch.cat([p.log_prob(x.expand(n, -1)) for x in states])
    log_r = share * observation.rows(rows).log_r(every)
    law = torch.stack([tilt.distribution.log_prob(x.expand(n, -1)) for x in states])
    # a law that is renormalised, and a weight that makes of it p r
    torch.testing.assert_close(torch.logsumexp(law, 0), torch.zeros(n, dtype=torch.float64), atol=1e-9, rtol=0)
    weight = torch.stack([tilt.log_weight(x.expand(n, -1)) for x in states])
    joint = (log_p + log_r).view(len(states), n)
    possible = joint > -math.inf
    torch.testing.assert_close((law + weight)[possible], joint[possible], rtol=1e-9, atol=1e-9)
    assert (law[~possible].exp() < 1e-12).all()


@pytest.mark.parametrize("family", ["classes", "levels"])
def test_draws_of_a_product_have_its_probabilities(family: str) -> None:
    n = 40_000
    p, states = laws(1)[family]
    seen = GaussianMeasurement(torch.tensor([0.5, 1.0, -0.3]), 0.8).on((D,))
    one = seen.product(p).distribution
    truth = torch.stack([one.log_prob(x[None]) for x in states]).exp().squeeze(1)
    x = seen.product(p.take(torch.zeros(n, dtype=torch.long))).distribution.sample(Generator().manual_seed(0))
    share = (x.unsqueeze(1) == states).all(2).double().mean(0)
    error = (truth * (1 - truth) / n).sqrt()
    assert ((share - truth).abs() < 5 * error + 1e-9).all()  # false alarm below 1e-4 for 125 states


def test_exponential_tilts_of_classes_are_the_derivatives_of_the_log_normaliser() -> None:
    p, _ = laws(1)["classes"]
    at, g, v = normal(1, D, seed=2), torch.zeros(1, D, dtype=torch.float64, requires_grad=True), normal(1, D, seed=4)
    (slope,) = torch.autograd.grad(p.tilt(g, at)[1].sum(), g, create_graph=True)
    torch.testing.assert_close(slope, p.mean - at)
    (bend,) = torch.autograd.grad((slope * v).sum(), g)
    torch.testing.assert_close(bend, p.covariance_times(v))


def test_impossible_classes_and_levels_have_evidence_zero_and_no_nan() -> None:
    p = Categorical(torch.tensor([[[0.0, 0.0, -math.inf], [0.0, -math.inf, -math.inf]]]).log_softmax(-1))
    law, log_z = KnownEntries(torch.tensor([True, False]), torch.tensor([2.0, 0.0])).tilt(p)
    assert log_z.item() == -math.inf
    assert law.sample(Generator().manual_seed(0)).isfinite().all()
    with pytest.raises(InputError, match=r"a known entry is 3, but must be one of the 3 values from 0 to 2"):
        KnownEntries(torch.tensor([True, False]), torch.tensor([3.0, 0.0])).tilt(p)


@pytest.mark.parametrize("kind", ["absorbing", "uniform"])
@pytest.mark.parametrize("observation", ["known", "measured", "function"])
def test_a_chain_of_classes_has_its_own_enumerated_posterior(kind: str, observation: str) -> None:
    # a network with random parameters: far from any reversal, so that weights do the work
    q = CategoricalDiffusion(constant_erasure(4), 3, kind)
    network = roughen(OneLayer(3 * 2, 3 * 2), seed=2, scale=0.7)
    kernel = CategoricalDenoiser(q, network, torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64))
    states = all_classes(2, 3)
    every = all_classes(2, 4) if kind == "absorbing" else states
    about: Observation = {
        "known": KnownEntries(torch.tensor([True, False]), torch.tensor([1.0, 0.0])),
        "measured": GaussianMeasurement(torch.tensor([0.4, 1.7]), 0.6),
        "function": LogFactor(lambda x: (x[:, 0] - x[:, 1]) ** 2 / 2.0),
    }[observation]
    log_model = model_log_prob(q, kernel, every)
    data = (every < 3).all(1)
    log_joint = log_model[data] + about.on((2,)).log_r(every[data])
    p = posterior_sample(q, kernel, about, 8000, shape=(2,), generator=Generator().manual_seed(1))
    assert abs(p.log_evidence.item() - torch.logsumexp(log_joint, 0).item()) < 4 * p.log_evidence_error.item()
    assert p.log_evidence_error.item() < 0.05
    truth = torch.softmax(log_joint, 0)
    seen = ((p.x.unsqueeze(1) == every[data]).all(2).double() * p.weights.unsqueeze(1)).sum(0)
    error = (truth * (1 - truth) / p.n_ancestors).sqrt()
    assert ((seen - truth).abs() <= 4.5 * error + 1e-12).all()


class OneLayer(torch.nn.Module):
    """A one-layer network of flat inputs; its weight is float64, so that enumeration sees the same numbers."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.line = torch.nn.Linear(n_in, n_out, dtype=torch.float64)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return torch.tanh(self.line(x) + 0.1 * time.clamp(-5, 5).unsqueeze(1))


def test_a_kernel_that_does_not_tell_its_law_of_masked_data_is_read() -> None:
    q = CategoricalDiffusion(constant_erasure(3), 2, "absorbing")
    told = CategoricalDenoiser(q, roughen(OneLayer(2 * 3, 2 * 3)), torch.tensor([0.3, 0.7], dtype=torch.float64))

    class Silent(ReverseKernel):
        def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
            return told(x_t, t)

    known = KnownEntries(torch.tensor([False, True, True]), torch.tensor([0.0, 1.0, 0.0]))
    a, b = (posterior_sample(q, k, known, 300, shape=(3,), generator=Generator().manual_seed(0)) for k in (told, Silent(q)))
    assert torch.equal(a.x, b.x)
    torch.testing.assert_close(a.log_weights, b.log_weights)


def test_an_image_model_of_levels_scores_its_known_and_measured_pixels() -> None:
    # one pixel, four levels: the mass of every level by plain draws, and posteriors from it, all in data units
    q = GaussianDiffusion(geometric(6, 4.0, -8.0))
    base = WienerBase(torch.zeros(1, 1, 1), torch.ones(1), torch.eye(1))
    network = roughen(UNet(ImageDenoiser.n_inputs(1, 4), ImageDenoiser.n_outputs(1), widths=(8,)), scale=0.05)
    model = DiffusionModel(Levels(4), q, ImageDenoiser(q, network, base, levels=4), (1, 1, 1))
    n, grid = 20_000, torch.arange(4.0, dtype=torch.float64)
    nothing = LogFactor(lambda x: x.new_zeros(len(x)), differentiable=False)
    mass = (model.posterior(nothing, n, generator=Generator().manual_seed(0)).x.view(n, 1) == grid).double().mean(0)
    assert mass.sum().item() == pytest.approx(1.0)
    error = (mass * (1 - mass) / n).sqrt()
    one = torch.ones(1, 1, 1, dtype=torch.bool)
    known = model.posterior(KnownEntries(one, grid.view(4, 1, 1, 1)), 4000, generator=Generator().manual_seed(1))
    # four standard errors of both estimates: false alarm below 1e-3 for four levels
    z = known.log_evidence.exp()
    assert ((z - mass).abs() < 4 * torch.hypot(error, z * known.log_evidence_error)).all()
    assert (known.log_evidence_error < 0.05).all()
    assert (known.x.flatten(1) == grid.unsqueeze(1)).all()
    seen = GaussianMeasurement(torch.tensor([[[1.8]]]), 0.75)
    p = model.posterior(seen, 4000, generator=Generator().manual_seed(2))
    r = seen.on((1, 1, 1)).log_r(grid.view(4, 1, 1, 1)).exp()
    truth, total = mass * r / (mass @ r), (mass @ r).item()
    off = math.hypot((error @ r).item() / total, p.log_evidence_error.item())
    assert abs(p.log_evidence.item() - math.log(total)) < 4 * off
    share = (p.x.view(-1, 1) == grid).double().T @ p.weights
    assert ((share - truth).abs() < 4 * (truth / p.n_ancestors + error.square()).sqrt()).all()


def test_a_normal_law_within_two_edges_has_the_mass_and_moments_of_the_truncated_one() -> None:
    p = Gaussian(normal(50, 1), normal(50, 1, seed=1).exp())
    below, above = torch.tensor([[-0.3]] * 40 + [[-math.inf]] * 10).double(), torch.tensor([[0.4]] * 30 + [[math.inf]] * 20)
    law, log_z = p.observe_cells(torch.ones(50, 1, dtype=torch.bool), p.mean, below, above.double())
    for i in range(50):
        a, b = ((e[i].item() - p.mean[i].item()) / p.var[i].item() ** 0.5 for e in (below, above))
        truth = stats.truncnorm(a, b, loc=p.mean[i].item(), scale=p.var[i].item() ** 0.5)
        assert law.mean[i].item() == pytest.approx(truth.mean(), abs=1e-6)
        assert law.variance[i].item() == pytest.approx(truth.var(), rel=1e-4)
        assert log_z[i].item() == pytest.approx(math.log(stats.norm.cdf(b) - stats.norm.cdf(a)), abs=1e-6)


def test_flipped_bits_are_evidence_about_two_classes() -> None:
    p = Bernoulli(torch.sigmoid(normal(2, 2)))
    two = Categorical(torch.stack([p.complement, p.probs], -1).log())
    flips = BitFlipChannel(torch.tensor([1.0, 0.0]), 0.2)
    (bits, log_a), (classes, log_b) = flips.tilt(p), flips.tilt(two)
    torch.testing.assert_close(log_a, log_b)
    torch.testing.assert_close(classes.log_probs[..., 1].exp(), bits.probs)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="have 2 values, but entries of this model have 3"):
        flips.tilt(Categorical(torch.zeros(1, 2, 3).log_softmax(-1)))
