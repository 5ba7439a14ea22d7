"""Linear measurements: operators and their adjoints, and products without a matrix against those with one."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from quasistatic.distributions import Gaussian
from quasistatic.distributions.operations import mean
from quasistatic.errors import InputError
from quasistatic.forward import GaussianDiffusion
from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
from quasistatic.posterior.observations import Blur, Downsample, GaussianMeasurement, KnownEntries
from quasistatic.posterior.observations import gaussian as module
from quasistatic.posterior.smc import posterior_sample
from quasistatic.schedules import geometric

EVENT = (2, 4, 6)
OPERATORS: dict[str, Blur | Downsample] = {
    "blur": Blur(torch.tensor([[0.1, 0.5, 0.2], [0.0, 0.3, 0.1], [0.2, 0.0, 0.4]])),
    "gaussian": Blur.gaussian(0.8),
    "downsample": Downsample(2),
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_adjoint_is_the_transpose(name: str) -> None:
    operator = OPERATORS[name]
    x = normal(3, *EVENT)
    a_x = operator(x)
    u = normal(*a_x.shape, seed=1)
    torch.testing.assert_close((a_x * u).sum(), (x * operator.adjoint(u)).sum())


def test_a_blur_is_a_convolution_and_a_round_one_keeps_brightness() -> None:
    point = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    point[..., 2, 2] = 1.0
    kernel = normal(3, 3)
    torch.testing.assert_close(Blur(kernel)(point)[0, 0, 1:4, 1:4], kernel)  # the answer to a point is the kernel itself
    flat = Blur.gaussian(0.5)(torch.ones(1, 9, 9, dtype=torch.float64))
    assert flat[0, 4, 4].item() == pytest.approx(1.0)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_callable_and_its_matrix_are_one_measurement(name: str) -> None:
    operator, d = OPERATORS[name], math.prod(EVENT)
    y = operator(normal(3, *EVENT, seed=2))
    columns = operator(torch.eye(d, dtype=torch.float64).view(d, *EVENT)).flatten(1).T
    p = Gaussian(normal(3, *EVENT), normal(3, *EVENT, seed=1).exp())
    free, fixed = GaussianMeasurement(y, 0.4, operator), GaussianMeasurement(y.flatten(1), 0.4, columns)
    (law, log_z), (other, other_log_z) = free.tilt(p), fixed.tilt(p)
    torch.testing.assert_close(log_z, other_log_z)
    torch.testing.assert_close(mean(law), mean(other))


@pytest.mark.parametrize("name", OPERATORS)
def test_without_a_matrix_the_mean_is_the_same_and_the_gap_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = OPERATORS[name]
    y = operator(normal(3, *EVENT, seed=2))
    p, x = Gaussian(normal(3, *EVENT), normal(3, *EVENT, seed=1).exp()), normal(3, *EVENT, seed=4)
    exact = GaussianMeasurement(y, 0.4, operator).on(EVENT).product(p)
    monkeypatch.setattr(module, "DENSE", 10)
    seen = GaussianMeasurement(y, 0.4, operator).on(EVENT)
    assert not seen.closed
    tilt = seen.product(p)
    torch.testing.assert_close(mean(tilt.law), mean(exact.law), rtol=1e-6, atol=1e-6)
    left = tilt.law.log_prob(x) + tilt.log_weight(x)
    torch.testing.assert_close(left, p.log_prob(x) + seen.log_r(x))
    # the guess of log E r lacks the determinant, the same for laws with the same variance
    same = Gaussian(p.mean, p.var[:1].expand_as(p.var))
    guess = seen.product(same).log_lookahead
    monkeypatch.undo()
    missing = guess - GaussianMeasurement(y, 0.4, operator).on(EVENT).product(same).log_z
    torch.testing.assert_close(missing, missing[:1].expand(3), rtol=1e-6, atol=1e-6)


def test_a_large_measurement_without_a_matrix_has_the_closed_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    # a mixture of two pictures, seen blurred: known evidence, and weights that make good the stand-in
    monkeypatch.setattr(module, "DENSE", 4)
    event, var, std = (1, 2, 4), 0.3, 0.6
    q = GaussianDiffusion(geometric(12, 6.0, -12.0))
    centres = torch.stack([normal(8, seed=1), normal(8, seed=2)])
    operator = Blur.gaussian(0.7)

    class Images(ExactGaussianMixtureKernel):
        def _line(self, x_t: Tensor, t: int | Tensor, *line: Tensor):  # type: ignore[no-untyped-def]
            law = super()._line(x_t.flatten(1), t, *line)
            return Gaussian(law.mean.view_as(x_t), law.var.view_as(x_t))  # type: ignore[attr-defined]

    kernel = Images(q, centres, var, family="diagonal")
    y = operator(centres[:1].view(1, *event))[0] + 0.1
    seen = GaussianMeasurement(y, std, operator)
    p = posterior_sample(q, kernel, seen, 6000, shape=event, generator=Generator().manual_seed(0))
    plain = posterior_sample(
        q, kernel, GaussianMeasurement(torch.zeros(event), 1e9), 60_000, shape=event, generator=Generator().manual_seed(1)
    )
    each = seen.on(event).log_r(plain.x).exp()
    truth, error = each.mean().log().item(), (each.std() / each.mean() / 60_000**0.5).item()
    assert abs(p.log_evidence.item() - truth) < 4 * math.hypot(error, p.log_evidence_error.item())
    assert p.ess.item() > 300


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: Blur(torch.ones(2, 3)), r"must be a matrix with odd sides, got shape \(2, 3\)"),
        (lambda: Blur.gaussian(0.0), "must be positive, got 0.0"),
        (lambda: Downsample(0), "must be at least 1, got 0"),
        (lambda: Downsample(4)(torch.zeros(1, 1, 4, 6)), "images of 6 x 4 pixels do not fall into blocks of 4 x 4"),
        (
            lambda: GaussianMeasurement(torch.zeros(2), 1.0, lambda x: x**2, lambda u: u).on((2,)),
            "the operator is not linear, or its adjoint",
        ),
        (
            lambda: GaussianMeasurement(torch.zeros(2), 1.0, lambda x: x, lambda u: u[:, :1]).on((2,)),
            r"the adjoint must return \(n, \*\(2,\)\)",
        ),
    ],
)
def test_bad_operators_are_refused_in_one_sentence(wrong: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        wrong()


def test_parts_with_a_gap_come_after_those_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE", 3)
    blurred = GaussianMeasurement(torch.zeros(1, 2, 2), 1.0, Blur.gaussian(0.5))
    known = KnownEntries(torch.ones(1, 2, 2, dtype=torch.bool), torch.zeros(1, 2, 2))
    both = (blurred & known).on((1, 2, 2))
    assert [type(part).__name__ for part in both.parts] == ["KnownEntries", "GaussianMeasurement"]
