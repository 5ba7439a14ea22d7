"""Draws follow their generator, not the device they are for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from chance import check_frequencies, check_mean, check_same_mean
from quasistatic.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Gaussian,
    Joint,
    Masked,
    Mixture,
    MultivariateGaussian,
)
from quasistatic.errors import InputError
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.bound import elbo
from quasistatic.likelihood.estimators import estimate_elbo
from quasistatic.likelihood.importance import importance_weighted_log_prob
from quasistatic.networks import ResidualMLP
from quasistatic.posterior.resampling import systematic
from quasistatic.random import RowStreams, choice, normal, repeated, rng_of, uniform
from quasistatic.reverse import GaussianDenoiser
from quasistatic.sample import sample_ancestral
from quasistatic.schedules import geometric


def seeded() -> Generator:
    return Generator().manual_seed(0)


def test_on_the_cpu_the_draws_are_torchs_own() -> None:
    like = torch.empty(3, 2, dtype=torch.float64)
    assert torch.equal(normal(like, seeded()), torch.randn(3, 2, generator=seeded(), dtype=torch.float64))
    assert torch.equal(uniform((4,), seeded(), like=like), torch.rand(4, generator=seeded(), dtype=torch.float64))
    assert uniform((4,), seeded(), like=torch.empty(0), dtype=torch.float64).dtype == torch.float64


def test_without_a_generator_the_global_one_is_drawn_from() -> None:
    like = torch.empty(5)
    for strided in (like, torch.empty(10)[::2]):
        torch.manual_seed(3)
        drawn = normal(strided, None)
        torch.manual_seed(3)
        assert torch.equal(drawn, torch.randn(5))
    torch.manual_seed(3)
    drawn = uniform((5,), None, like=like)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(5))


def laws(like: Tensor) -> list[Distribution]:
    """One law of each family, as far as tensors without numbers can tell."""
    half = torch.full_like(like, 0.5)
    log_probs = half.log().unsqueeze(-1).expand(*like.shape, 2)
    masked = Masked(like, 2, half, half)
    return [Gaussian(like, half), Bernoulli(half), Categorical(log_probs), masked]


@pytest.mark.parametrize("family", range(4))
def test_a_generator_on_the_cpu_serves_tensors_on_another_device(family):
    # the meta device stands for a GPU: it has shapes and no numbers, so what is drawn on it leaves the generator alone
    here, there = (laws(torch.zeros(3, 2, device=device))[family] for device in ("cpu", "meta"))
    a, b = seeded(), seeded()
    x = there.sample(a)
    here.sample(b)
    assert x.device.type == "meta"
    assert torch.equal(a.get_state(), b.get_state())
    assert not torch.equal(a.get_state(), seeded().get_state())


@pytest.mark.gpu
def test_a_generator_on_the_cpu_gives_the_same_numbers_on_a_gpu() -> None:
    for here, there in zip(laws(torch.ones(64, 3)), laws(torch.ones(64, 3, device="cuda")), strict=True):
        assert torch.equal(there.sample(seeded()).cpu(), here.sample(seeded()))
    weights = torch.full((64, 2), 0.5).log()
    parts = Gaussian(torch.zeros(128, 2), torch.ones(128, 2))
    on_gpu = Mixture(weights.cuda(), Gaussian(parts.mean.cuda(), parts.var.cuda()))
    assert torch.equal(on_gpu.sample(seeded()).cpu(), Mixture(weights, parts).sample(seeded()))
    assert normal(torch.empty(3, device="cuda"), Generator("cuda").manual_seed(0)).device.type == "cuda"


def test_noise_of_rows_is_that_of_splitmix() -> None:
    # the first three numbers after seed 0, of the authors' own program
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    told = RowStreams([0]).numbers((1, 3))[0]
    assert told.tolist() == [((number >> 11) + 0.5) * 2.0**-53 for number in known]


def test_a_row_s_noise_is_its_own_and_goes_on() -> None:
    seeds = [3, -(2**62), 2**61 + 5]
    many = RowStreams(seeds)
    first, then = uniform((3, 4), many, like=torch.zeros(0)), normal(torch.zeros(3, 2), many)
    for k, seed in enumerate(seeds):
        alone = RowStreams([seed])
        assert torch.equal(uniform((1, 4), alone, like=torch.zeros(0))[0], first[k])
        assert torch.equal(normal(torch.zeros(1, 2), alone)[0], then[k])


def test_noise_of_rows_is_even_within_rows_and_across_them() -> None:
    seeds = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 400).tolist()
    u = RowStreams(seeds).numbers((400, 250))
    for cells in (u, u[:, :1], u[:1]):
        counts = torch.histc(cells, bins=20, min=0.0, max=1.0)
        check_frequencies(counts, torch.full((20,), 0.05, dtype=torch.float64))
    check_mean(torch.special.ndtri(u[:, 0]) * torch.special.ndtri(u[:, 1]), 0.0)
    check_mean(torch.special.ndtri(u[0, :-1]) * torch.special.ndtri(u[0, 1:]), 0.0)


# ------------------------------------------------------------------------------------------- a stream for each row


def streams(rows: slice = slice(None), n: int = 6) -> RowStreams:
    return RowStreams([17 * k - 5 for k in range(n)][rows])


def test_torch_refuses_streams_instead_of_ignoring_them() -> None:
    with pytest.raises(TypeError):
        torch.rand(3, 2, generator=RowStreams([1, 2, 3]))  # type: ignore[call-overload]
    assert not isinstance(RowStreams([1]), Generator)
    with pytest.raises(InputError, match="4 rows: the rows must be a multiple of the streams"):
        uniform((4, 2), RowStreams([1, 2, 3]), like=torch.zeros(0))
    with pytest.raises(InputError, match=r"generator must be a torch.Generator, RowStreams or None, got 3"):
        rng_of("generator", 3)


def families(n: int) -> dict[str, Distribution]:
    generator = Generator().manual_seed(0)
    mean = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    probs, classes = torch.sigmoid(mean), torch.log_softmax(mean.unsqueeze(-1) * torch.arange(4), -1)
    each = Gaussian(mean.repeat_interleave(2, 0), torch.ones(2 * n, 3).double())
    columns = [torch.tensor([2, 0, 1]), torch.tensor([3, 5, 4])]
    return {
        "Gaussian": Gaussian(mean, torch.ones_like(mean)),
        "MultivariateGaussian": MultivariateGaussian(mean, torch.eye(3).double().expand(n, 3, 3)),
        "Bernoulli": Bernoulli(probs),
        "Categorical": Categorical(classes),
        "Masked": Masked(mean.round().clamp(0, 3), 4, probs, 1 - probs),
        "Mixture": Mixture(torch.log_softmax(mean[:, :2], 1), each),
        "Joint": Joint([Gaussian(mean, torch.ones_like(mean)), Bernoulli(probs)], columns),
    }


@pytest.mark.parametrize("name", families(1))
def test_every_draw_of_a_distribution_honours_the_streams(name: str) -> None:
    together, other = families(6)[name].sample(streams()), families(6)[name].sample(RowStreams(range(6)))
    assert not torch.equal(together, other)
    assert torch.equal(together, families(6)[name].sample(streams()))
    for row in (0, 3):
        alone = families(6)[name][row : row + 1].sample(streams(slice(row, row + 1)))
        assert torch.equal(alone, together[row : row + 1])


def test_choices_have_their_probabilities_and_streams_of_repeats_differ() -> None:
    probs = torch.tensor([[0.2, 0.0, 0.5, 0.3]], dtype=torch.float64)
    # chi-square, 1e-6
    index = choice(probs.expand(20_000, 4), RowStreams(range(20_000)))
    check_frequencies(torch.bincount(index, minlength=4)[[0, 2, 3]], probs[0, [0, 2, 3]])
    u = uniform((4000, 5), repeated(RowStreams([1, 2, 3, 4]), 1000), like=torch.zeros(0).double())
    assert len(u.unique()) == u.numel()
    check_mean(u.flatten(), 0.5)


def test_systematic_resampling_honours_the_streams() -> None:
    weights = torch.randn(6, 50, generator=seeded(), dtype=torch.float64)
    together = systematic(weights, streams())
    assert torch.equal(systematic(weights[3:4], streams(slice(3, 4))), together[3:4])
    assert not torch.equal(systematic(weights, RowStreams(range(6))), together)


def chain() -> tuple[GaussianDiffusion, GaussianDenoiser, Tensor]:
    q = GaussianDiffusion(geometric(6, 5.0, -4.0))
    torch.manual_seed(0)
    network = ResidualMLP(2, GaussianDenoiser.n_outputs(2, "diagonal", 2), width=8, depth=1)
    kernel = GaussianDenoiser(q, network, 2, "diagonal", 2).double().requires_grad_(False)
    return q, kernel, torch.randn(6, 2, generator=seeded(), dtype=torch.float64)


@pytest.mark.parametrize("estimate", ["importance", "trajectory", "marginal", "some timesteps", "sample"])
def test_a_row_s_number_does_not_depend_on_the_rows_beside_it(estimate: str) -> None:
    # but for rounding: sums of a network's layers come in another order for other sizes of batch
    q, kernel, x = chain()

    def measured(rows: slice) -> Tensor:
        rng = streams(rows)
        if estimate == "importance":
            return importance_weighted_log_prob(q, kernel, x[rows], n_trajectories=9, generator=rng)
        if estimate == "some timesteps":
            return estimate_elbo(q, kernel, x[rows], n_timesteps=3, generator=rng).total
        if estimate == "sample":
            return sample_ancestral(q, kernel, tuple(x[rows].shape), generator=rng)
        return elbo(q, kernel, x[rows], method=estimate, generator=rng).total  # type: ignore[arg-type]

    together = measured(slice(None))
    for row in (0, 4):
        torch.testing.assert_close(measured(slice(row, row + 1)), together[row : row + 1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(measured(slice(2, 5)), together[2:5], rtol=1e-9, atol=1e-9)
    if estimate == "importance":
        many = importance_weighted_log_prob(q, kernel, x, n_trajectories=3000, generator=seeded())
        streamed = importance_weighted_log_prob(q, kernel, x, n_trajectories=3000, generator=streams())
        torch.testing.assert_close(streamed, many, rtol=0.0, atol=0.3)


def test_estimates_by_streams_are_unbiased(generator: Generator) -> None:
    # 1e-6: 4000 rows of the same x, each with a stream, against the mean over a generator's draws
    q, kernel, x = chain()
    rows = x[:1].expand(4000, 2)
    a = estimate_elbo(q, kernel, rows, n_timesteps=2, generator=RowStreams(range(4000))).total
    b = elbo(q, kernel, rows, generator=generator, method="trajectory").total
    check_same_mean(a, b)


def test_calls_of_the_same_streams_draw_other_numbers() -> None:
    q, kernel, x = chain()
    for method in ("trajectory", "marginal"):
        rng = streams()
        first, then = (elbo(q, kernel, x, method=method, generator=rng).total for _ in range(2))  # type: ignore[arg-type]
        assert (first - then).abs().min().item() > 0
