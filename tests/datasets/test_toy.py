"""The toys against their definitions: quadrature, enumeration and scikit-learn.

Statistical checks are two-sided, with fixed seeds; the false-alarm rate of each is for a fresh seed.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_swiss_roll

from quasistatic.datasets.heartbeat import heartbeat, heartbeat_atoms, heartbeat_log_prob, heartbeat_optimal_bound
from quasistatic.datasets.swiss_roll import swiss_roll, swiss_roll_entropy, swiss_roll_frame, swiss_roll_log_density
from quasistatic.errors import InputError

BITS = 1.0 / math.log(2.0)
NULL_BITS = 20 * (0.2 * math.log2(0.2) + 0.8 * math.log2(0.8))  # independent bits of rate 0.2


def gauss_legendre(a: float, b: float, panels: int, nodes: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the composite rule on [a, b], as an oracle."""
    z, w = np.polynomial.legendre.leggauss(nodes)
    edges = np.linspace(a, b, panels + 1)
    half = (b - a) / (2 * panels)
    return ((edges[:-1] + half)[:, None] + half * z).ravel(), np.tile(half * w, panels)


# ---------------------------------------------------------------------------------------------- swiss roll


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.5])
def test_frame_is_the_population_mean_and_scale(noise):
    t, weight = gauss_legendre(1.5 * np.pi, 4.5 * np.pi, 20)
    weight = weight / (3 * np.pi)
    curve = np.stack([t * np.cos(t), t * np.sin(t)])
    centre = curve @ weight
    trace = (((curve - centre[:, None]) ** 2).sum(0) * weight).sum() + 2 * noise**2
    mean, scale = swiss_roll_frame(noise)
    np.testing.assert_allclose(mean, centre, atol=1e-12)
    assert scale == pytest.approx(math.sqrt(trace / 2), abs=1e-12)


def test_frame_has_the_published_values():
    mean, scale = swiss_roll_frame(0.0)
    np.testing.assert_allclose(mean, [2.0, 0.21221], atol=5e-6)
    assert scale == pytest.approx(6.78909, abs=5e-6)


def test_samples_have_mean_zero_and_unit_mean_variance():
    n = 100_000
    x = swiss_roll(n, noise=0.5, seed=11)
    square = (x**2).sum(1) / 2
    # Three z statistics, each within 4.4 standard errors: false-alarm rate 3.3e-5.
    assert np.all(np.abs(x.mean(0)) < 4.4 * x.std(0) / math.sqrt(n))
    assert abs(square.mean() - 1) < 4.4 * square.std() / math.sqrt(n)


def test_samples_have_the_law_of_scikit_learn():
    noise = 0.3
    mean, scale = swiss_roll_frame(noise)
    ours = swiss_roll(20_000, noise, seed=3)
    theirs = (make_swiss_roll(20_000, noise=noise, random_state=4)[0][:, [0, 2]] - mean) / scale

    def views(x):
        raw = x * scale + mean
        winding = np.hypot(*raw.T) - np.arctan2(raw[:, 1], raw[:, 0])  # constant along one turn: the offset
        offset = winding - 2 * np.pi * np.round(winding / (2 * np.pi))
        return [x[:, 0], x[:, 1], np.hypot(*raw.T), offset, swiss_roll_log_density(x, noise)]

    # Kolmogorov-Smirnov on five views, each at 2e-5: false-alarm rate at most 1e-4.
    p_values = [stats.ks_2samp(a, b).pvalue for a, b in zip(views(ours), views(theirs), strict=True)]
    assert min(p_values) > 2e-5


def test_seed_decides_the_points():
    np.testing.assert_array_equal(swiss_roll(50, seed=5), swiss_roll(50, seed=5))
    assert not np.array_equal(swiss_roll(50, seed=5), swiss_roll(50, seed=6))


def test_noiseless_points_lie_on_the_spiral():
    mean, scale = swiss_roll_frame(0.0)
    raw = swiss_roll(200, noise=0.0, seed=2) * scale + mean
    t = np.hypot(*raw.T)
    assert t.min() >= 1.5 * np.pi
    assert t.max() <= 4.5 * np.pi
    np.testing.assert_allclose(raw, np.stack([t * np.cos(t), t * np.sin(t)], -1), atol=1e-12)


def oracle_log_density(x: np.ndarray, noise: float) -> float:
    """One point: a fine grid finds where the integrand lives, and 400 panels integrate there."""
    mean, scale = swiss_roll_frame(noise)
    y = x * scale + mean

    def exponent(t):
        return ((y[0] - t * np.cos(t)) ** 2 + (y[1] - t * np.sin(t)) ** 2) / (2 * noise**2)

    grid = np.linspace(1.5 * np.pi, 4.5 * np.pi, 400_001)
    values = exponent(grid)
    least = values.min()
    live = np.flatnonzero(values < least + 50)
    total = 0.0
    for piece in np.split(live, np.flatnonzero(np.diff(live) > 1) + 1):
        t, weight = gauss_legendre(grid[max(piece[0] - 1, 0)], grid[min(piece[-1] + 1, len(grid) - 1)], 400)
        total += weight @ np.exp(least - exponent(t))
    normaliser = math.log(2 * math.pi * noise**2) + math.log(3 * math.pi)
    return math.log(total) - least - normaliser + 2 * math.log(scale)


@pytest.mark.parametrize("noise", [0.01, 0.02, 0.1, 0.5, 2.0])
def test_log_density_is_the_integral_along_the_spiral(noise):
    mean, scale = swiss_roll_frame(noise)
    # Data, anywhere in the square, the centre of the spiral, beyond both ends, and far away.
    special = (np.array([[0.0, 0.0], [0.1, -4.6], [0.5, 14.3], [0.0, 14.137], [300.0, 2.0]]) - mean) / scale
    anywhere = np.random.default_rng(1).uniform(-2.4, 2.4, (8, 2))
    x = np.concatenate([swiss_roll(12, noise, seed=8), anywhere, special])
    truth = np.array([oracle_log_density(point, noise) for point in x])
    np.testing.assert_allclose(swiss_roll_log_density(x, noise), truth, atol=1e-7, rtol=1e-10)


def test_density_integrates_to_one():
    # The density is a measure blurred by a Gaussian of width 0.037, so a sum at spacing 0.025 is exact
    # to about exp(-2 (pi 0.037 / 0.025)^2) = 2e-19, and the square reaches 11 widths beyond the spiral.
    noise, spacing = 0.25, 0.025
    axis = np.arange(-2.9, 2.9, spacing)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    assert np.exp(swiss_roll_log_density(grid, noise)).sum() * spacing**2 == pytest.approx(1.0, abs=1e-9)


def test_overwhelming_noise_leaves_a_standard_normal():
    x = np.random.default_rng(0).normal(size=(50, 2))
    normal = stats.norm.logpdf(x).sum(1)
    np.testing.assert_allclose(swiss_roll_log_density(x, noise=1e4), normal, atol=1e-5)
    assert swiss_roll_entropy(1e4) == pytest.approx(math.log(2 * math.pi * math.e), abs=1e-5)


def test_density_does_not_underflow_far_away():
    mean, scale = swiss_roll_frame(0.01)
    far = swiss_roll_log_density([[1e3, 0.0]], noise=0.01)[0]
    distance = 1e3 * scale + mean[0] - 4 * np.pi  # the spiral comes nearest about there
    assert far == pytest.approx(-(distance**2) / (2 * 0.01**2), rel=1e-4)


def test_density_of_no_points_is_empty():
    assert swiss_roll_log_density(np.empty((0, 2))).shape == (0,)


# Bits per point, from the design: quadrature along the curve, checked there by Monte Carlo.
NEGATIVE_ENTROPY_BITS = {
    0.01: 3.704,
    0.02: 2.704,
    0.025: 2.382,
    0.03: 2.119,
    0.05: 1.381,
    0.1: 0.379,
    0.25: -0.946,
    0.5: -1.949,
}


@pytest.mark.parametrize(("noise", "bits"), NEGATIVE_ENTROPY_BITS.items())
def test_entropy_has_the_golden_values(noise, bits):
    assert -swiss_roll_entropy(noise) * BITS == pytest.approx(bits, abs=6e-4)


@pytest.mark.parametrize("noise", [0.01, 0.02, 0.25, 1.0])
def test_entropy_is_the_mean_of_minus_log_density(noise):
    log_p = swiss_roll_log_density(swiss_roll(20_000, noise, seed=21), noise)
    error = log_p.std() / math.sqrt(len(log_p))  # about 0.006 nats
    # Within 4 standard errors: false-alarm rate 6e-5 for each noise.
    assert abs(-log_p.mean() - swiss_roll_entropy(noise)) < 4 * error


def test_no_other_density_beats_the_truth():
    # Gibbs: under data of noise 0.1, densities of other noises have a lower mean log density.
    # The mean gap exceeds ten standard errors on both sides, so the false-alarm rate is below 1e-15.
    x = swiss_roll(5_000, 0.1, seed=9)
    truth = swiss_roll_log_density(x, 0.1).mean()
    assert truth > swiss_roll_log_density(x, 0.08).mean()
    assert truth > swiss_roll_log_density(x, 0.13).mean()


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan, math.inf])
def test_noise_must_be_positive_for_a_density(noise):
    with pytest.raises(InputError, match="noise must be finite and above 0, got"):
        swiss_roll_log_density([[0.0, 0.0]], noise)
    with pytest.raises(InputError, match="noise must be finite and above 0, got"):
        swiss_roll_entropy(noise)


def test_bad_points_are_refused():
    with pytest.raises(InputError, match=r"shape \(n, 2\), got \(3,\)"):
        swiss_roll_log_density([0.0, 1.0, 2.0])
    with pytest.raises(InputError, match=r"finite, got \[0.0, nan\]"):
        swiss_roll_log_density([[1.0, 1.0], [0.0, math.nan]])


@pytest.mark.parametrize("n", [0, -3, 2.0, True])
def test_bad_counts_are_refused(n):
    for draw in (swiss_roll, heartbeat):
        with pytest.raises(InputError, match=r"n must be .*at least 1, got"):
            draw(n)


# ----------------------------------------------------------------------------------------------- heartbeat


def test_atoms_pulse_every_fifth_bin():
    atoms = heartbeat_atoms()
    assert atoms.shape == (5, 20)
    assert atoms.dtype == np.uint8
    for phase, atom in enumerate(atoms):
        assert np.flatnonzero(atom).tolist() == [phase, phase + 5, phase + 10, phase + 15]


def test_samples_are_atoms_with_uniform_phase():
    x = heartbeat(10_000, seed=13)
    assert x.dtype == np.uint8
    assert np.isfinite(heartbeat_log_prob(x)).all()
    counts = x[:, :5].sum(0, dtype=np.int64)
    assert counts.sum() == 10_000
    chi_square = ((counts - 2000.0) ** 2 / 2000.0).sum()
    # Two-sided, 4 degrees of freedom: false-alarm rate 1e-4.
    low, high = stats.chi2.ppf([5e-5, 1 - 5e-5], df=4)
    assert low < chi_square < high
    np.testing.assert_array_equal(x, heartbeat(10_000, seed=13))


def test_log_prob_is_normalised_and_sits_on_the_atoms():
    # All 4845 sequences with four ones; a sequence with another number of ones is no heartbeat.
    places = np.array(list(itertools.combinations(range(20), 4)))
    x = np.zeros((len(places), 20), dtype=np.uint8)
    np.put_along_axis(x, places, 1, axis=1)
    log_p = heartbeat_log_prob(x)
    assert np.exp(log_p).sum() == pytest.approx(1.0, abs=1e-15)
    assert np.isfinite(log_p).sum() == 5
    np.testing.assert_array_equal(heartbeat_log_prob(1 - x), np.full(len(x), -np.inf))
    np.testing.assert_allclose(heartbeat_log_prob(heartbeat_atoms() * 1.0), -math.log(5))


def test_log_prob_refuses_other_lengths():
    with pytest.raises(InputError, match=r"shape \(n, 20\), got \(2, 19\)"):
        heartbeat_log_prob(np.zeros((2, 19)))


def erasure(n_steps: int) -> np.ndarray:
    return np.arange(n_steps, -1, -1) / n_steps


# Bits per sequence at constant erasure and rho = 0.2, from an independent enumeration of the 3125 states.
GOLDEN = {
    "learned": [
        (20, -2.5813),
        (50, -2.4226),
        (100, -2.3718),
        (200, -2.3467),
        (500, -2.3318),
        (2000, -2.3244),
    ],
    "fixed": [(20, -4.8426), (50, -3.4980), (100, -2.9737), (500, -2.4820), (2000, -2.3683)],
}


@pytest.mark.parametrize("first_step", GOLDEN)
def test_optimal_bound_has_the_golden_values(first_step):
    for n_steps, bits in GOLDEN[first_step]:
        bound = heartbeat_optimal_bound(erasure(n_steps), first_step=first_step)
        assert bound * BITS == pytest.approx(bits, abs=6e-5), n_steps


def oracle_bound(alpha_bar, rho, first_step):
    """Plain probabilities over all 3125 count states, and each bit's joint law as a table.

    The best factorised kernel is the true marginal of each bit given x_t, so its cost is the information that
    x_{t-1,i} and x_{0,i} share given x_t, here by its definition from the joint table of the two.
    """
    counts = np.array(list(itertools.product(range(5), repeat=5)))
    total = 0.0
    for rate in (alpha_bar[-1] + (1 - alpha_bar[-1]) * rho,) * 4 + ((1 - alpha_bar[-1]) * rho,) * 16:
        total -= stats.entropy([rate, 1 - rate], [rho, 1 - rho])
    for t in range(1, len(alpha_bar)):
        beta = 1 - alpha_bar[t] / alpha_bar[t - 1]
        # Tables of laws: step[x_prev, x_t], early[x_0, x_prev], late[x_0, x_t].
        step = np.array([[1 - rho * beta, rho * beta], [(1 - rho) * beta, 1 - beta + rho * beta]])
        early, late = (
            np.array([[1 - (1 - a) * rho, (1 - a) * rho], [1 - a - (1 - a) * rho, a + (1 - a) * rho]])
            for a in alpha_bar[t - 1 : t + 1]
        )
        if t == 1 and first_step == "fixed":
            rest = np.array([1 - rho, rho])
            back = np.log(step * rest[:, None] / rest)  # q(x_1 | x_0) pi(x_0) / pi(x_1)
            total += 4 * (late[1] @ back[1]) + 16 * (late[0] @ back[0])
            continue
        given_phase = np.ones((5, len(counts)))
        for phase, c in itertools.product(range(5), range(5)):
            given_phase[phase] *= stats.binom.pmf(counts[:, c], 4, late[int(c == phase), 1])
        p_state = given_phase.mean(0)
        for c in range(5):
            p_one = given_phase[c] / 5 / p_state
            for v in (0, 1):
                posterior = early * step[:, v] / late[:, v, None]  # q(x_prev | x_t = v, x_0): [x_0, x_prev]
                joint = np.stack([1 - p_one, p_one], 1)[:, :, None] * posterior
                best = joint.sum(1)
                with np.errstate(divide="ignore", invalid="ignore"):
                    gain = np.where(joint > 0, joint * np.log(posterior / best[:, None, :]), 0.0).sum((1, 2))
                total -= (p_state * (counts[:, c] if v else 4 - counts[:, c]) * gain).sum()
    return total


@pytest.mark.parametrize("first_step", ["learned", "fixed"])
@pytest.mark.parametrize("rho", [0.2, 0.37])
@pytest.mark.parametrize(
    "alpha_bar",
    [[1.0, 0.5, 0.0], [1.0, 0.999, 0.2, 0.1, 0.03], [1.0, 0.4]],
    ids=["erases", "remains", "one step"],
)
def test_optimal_bound_equals_plain_enumeration(alpha_bar, rho, first_step):
    bound = heartbeat_optimal_bound(alpha_bar, rho, first_step)
    assert bound == pytest.approx(oracle_bound(alpha_bar, rho, first_step), abs=1e-10)


@pytest.mark.parametrize("first_step", ["learned", "fixed"])
def test_one_step_of_full_erasure_is_the_null_model(first_step):
    # x_1 knows nothing of x_0, so the best product is independent bits of rate 0.2.
    bound = heartbeat_optimal_bound([1.0, 0.0], first_step=first_step)
    assert bound * BITS == pytest.approx(NULL_BITS, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_optimal_bound_stays_below_the_truth_and_the_edge_costs(seed):
    rng = np.random.default_rng(seed)
    alpha_bar = np.concatenate([[1.0], np.sort(rng.uniform(size=40))[::-1]])
    rho = rng.uniform(0.1, 0.9)
    learned = heartbeat_optimal_bound(alpha_bar, rho)
    assert learned < -math.log(5)
    assert heartbeat_optimal_bound(alpha_bar, rho, "fixed") < learned


def test_gap_to_the_truth_is_of_order_one_over_steps():
    # The design: 4.94 / T bits with a learned first step. A step count of many chunks is summed without loss.
    for n_steps in (1000, 5000):
        gap = -math.log2(5) - heartbeat_optimal_bound(erasure(n_steps)) * BITS
        assert gap * n_steps == pytest.approx(4.94, abs=0.01)


def test_tiny_first_steps_do_not_underflow():
    # A first step of 1e-12 costs -E log p(x_0|x_1) of about 1e-12 and takes nothing from the other steps.
    fine = heartbeat_optimal_bound(np.concatenate([[1.0, 1 - 1e-12], erasure(200)[1:]]))
    assert fine == pytest.approx(heartbeat_optimal_bound(erasure(200)), abs=1e-9)


@pytest.mark.parametrize(
    ("alpha_bar", "rule"),
    [
        ([1.0], "table of T\\+1 entries"),
        ([[1.0, 0.5]], "table of T\\+1 entries"),
        ([0.9, 0.5], "must start with 1"),
        ([1.0, 0.5, 0.5, 0.2], "must fall at every step, but goes from 0.5 to 0.5 at t = 2"),
        ([1.0, math.nan], "must fall at every step"),
        ([1.0, 0.5, -0.1], "must stay at or above 0, got -0.1 at t = 2"),
    ],
)
def test_bad_alpha_bar_is_refused(alpha_bar, rule):
    with pytest.raises(InputError, match=rule):
        heartbeat_optimal_bound(alpha_bar)


def test_bad_rate_and_first_step_are_refused():
    for rho in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match="rho must lie strictly between 0 and 1, got"):
            heartbeat_optimal_bound([1.0, 0.0], rho)
    with pytest.raises(InputError, match='must be "learned" or "fixed", got \'paper\''):
        heartbeat_optimal_bound([1.0, 0.0], first_step="paper")  # type: ignore[arg-type]
