r"""Two toy problems whose truth is known exactly.

**Swiss roll.** A point moves along the spiral :math:`c(t) = (t\cos t,\ t\sin t)` with :math:`t` uniform on
:math:`[\tfrac32\pi, \tfrac92\pi]`, and Gaussian noise of standard deviation :math:`s` (``noise``, in these
raw units) is added. The canonical data are :math:`x = (c(t) + s\,\xi - m) / \lambda` with the exact mean
:math:`m` and the one scalar :math:`\lambda` that gives unit variance on average over the two axes. Both are
population values, so the density of :math:`x` is a fixed function: an integral along the spiral, done by
quadrature.

**Binary heartbeat.** Twenty bits with a one in every fifth place, the phase uniform over five: the entropy is
log 5 nats. Every noisy marginal is a mixture of five products, so the best that a factorised reverse kernel
can do is found by enumeration.

Log quantities are in nats.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasistatic.errors import InputError

__all__ = [
    "heartbeat",
    "heartbeat_atoms",
    "heartbeat_log_prob",
    "heartbeat_optimal_bound",
    "swiss_roll",
    "swiss_roll_entropy",
    "swiss_roll_frame",
    "swiss_roll_log_density",
]

Array = NDArray[np.float64]

_START, _END = 1.5 * math.pi, 4.5 * math.pi
_BINS, _PERIOD = 20, 5
_PULSES = _BINS // _PERIOD


# ---------------------------------------------------------------------------------------------- swiss roll


def swiss_roll_frame(noise: float = 0.02) -> tuple[Array, float]:
    r"""Mean and scale that carry the raw spiral to the canonical one, ``x = (raw - mean) / scale``.

    .. math:: m = \left(2, \frac{2}{3\pi}\right), \qquad
              \lambda^2 = \tfrac12 \operatorname{tr}\operatorname{Cov}
                        = \tfrac12\left(\tfrac{39}{4}\pi^2 - |m|^2\right) + s^2,

    from :math:`E[t\cos t]`, :math:`E[t\sin t]` and :math:`E[t^2]` over :math:`[\tfrac32\pi, \tfrac92\pi]`.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise in raw units, 0 or more.

    Returns
    -------
    mean : ndarray, shape (2,)
    scale : float

    Examples
    --------
    >>> mean, scale = swiss_roll_frame()
    >>> mean.round(5).tolist(), round(scale, 4)
    ([2.0, 0.21221], 6.7891)
    """
    _check_noise(noise, zero_allowed=True)
    mean = np.array([2.0, 2.0 / (3.0 * math.pi)])
    return mean, math.sqrt((9.75 * math.pi**2 - float(mean @ mean)) / 2.0 + noise**2)


def swiss_roll(n: int, noise: float = 0.02, seed: int | np.random.Generator = 0) -> Array:
    """Draw points of the canonical swiss roll: mean 0, mean variance per axis 1.

    The law is that of ``sklearn.datasets.make_swiss_roll(noise=noise)[0][:, [0, 2]]``, shifted and divided by
    :func:`swiss_roll_frame`.

    Parameters
    ----------
    n : int
        Number of points, at least 1.
    noise : float
        Standard deviation of the noise in raw units (before division by 6.789), 0 or more.
    seed : int or numpy.random.Generator
        The same seed gives the same points.

    Returns
    -------
    ndarray of float64, shape (n, 2)

    Raises
    ------
    InputError
        If ``n`` or ``noise`` is out of range.

    Examples
    --------
    >>> x = swiss_roll(10_000, seed=1)
    >>> x.shape, bool(abs(x.var(axis=0).mean() - 1) < 0.03)
    ((10000, 2), True)
    """
    _check_count(n)
    mean, scale = swiss_roll_frame(noise)
    rng = np.random.default_rng(seed)
    raw = _spiral(rng.uniform(_START, _END, n)) + noise * rng.standard_normal((n, 2))
    return (raw - mean) / scale


def swiss_roll_log_density(x: ArrayLike, noise: float = 0.02) -> Array:
    r"""True log density of the canonical swiss roll, in nats.

    .. math:: \log p(x) = 2\log\lambda + \log \frac{1}{3\pi} \int_{3\pi/2}^{9\pi/2}
              \mathcal{N}(\lambda x + m;\ c(t),\ s^2 I)\, dt,

    by Gauss-Legendre panels laid where the integrand lives, for each point anew. The error is below 1e-9 nats
    near the data for noise of at least 0.001, and nothing underflows far from it.

    Parameters
    ----------
    x : array_like, shape (n, 2)
        Canonical points, finite.
    noise : float
        Standard deviation of the noise in raw units, above 0.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    InputError
        If ``x`` is not a finite array of shape (n, 2) or ``noise`` is not above 0.

    Examples
    --------
    On the spiral, and far from it:

    >>> swiss_roll_log_density([[0.629188, -0.031173], [9.0, 9.0]], noise=0.5).round(3).tolist()
    [-0.482, -11207.016]
    """
    _check_noise(noise)
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != 2:
        raise InputError(f"swiss roll points must have shape (n, 2), got {x.shape}")
    if not np.isfinite(x).all():
        first = x[~np.isfinite(x).all(axis=1)][0]
        raise InputError(f"swiss roll points must be finite, got {first.tolist()}")
    mean, scale = swiss_roll_frame(noise)
    raw = scale * x + mean
    blocks = [_raw_log_density(raw[i : i + 4096], noise) for i in range(0, len(raw), 4096)]
    return np.concatenate([np.empty(0), *blocks]) + 2.0 * math.log(scale)


@lru_cache(maxsize=64)
def swiss_roll_entropy(noise: float = 0.02) -> float:
    r"""Differential entropy of the canonical swiss roll, :math:`H = -E[\log p(x)]`, in nats.

    Quadrature along the spiral (Gauss-Legendre, panels graded towards both ends, where the density falls off
    within a few ``noise``) times quadrature over the noise (Gauss-Hermite, along tangent and normal).
    No model can have a mean log density above -H. The error is below 1e-9 nats up to noise 0.5, and below
    1e-4 above it.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise in raw units, above 0.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If ``noise`` is not above 0.

    Examples
    --------
    >>> round(-swiss_roll_entropy(0.02) / math.log(2), 3)
    2.704
    """
    _check_noise(noise)
    mean, scale = swiss_roll_frame(noise)
    t, weight = _graded_nodes(noise)
    cos, sin, speed = np.cos(t), np.sin(t), np.hypot(1.0, t)
    tangent = np.stack([cos - t * sin, sin + t * cos], axis=-1) / speed[:, None]
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=-1)

    xi, xi_weight = np.polynomial.hermite_e.hermegauss(16)
    xi_weight = xi_weight / xi_weight.sum()
    along, across = (grid.ravel() for grid in np.meshgrid(xi, xi))
    both = np.outer(xi_weight, xi_weight).ravel()

    offset = along[:, None] * tangent[:, None, :] + across[:, None] * normal[:, None, :]
    raw = _spiral(t)[:, None, :] + noise * offset
    log_p = swiss_roll_log_density(((raw - mean) / scale).reshape(-1, 2), noise).reshape(len(t), -1)
    return float(-(weight @ log_p @ both))


def _spiral(t: Array) -> Array:
    return np.stack([t * np.cos(t), t * np.sin(t)], axis=-1)


def _raw_log_density(y: Array, noise: float) -> Array:
    """Log density of raw points; the exponent is ``|y - c(t)|^2 / 2 s^2``, its least value is taken out."""
    point, mid, half = _panels(y, noise)
    node, weight = np.polynomial.legendre.leggauss(12)
    t = mid[:, None] + half[:, None] * node
    exponent = ((y[point, :1] - t * np.cos(t)) ** 2 + (y[point, 1:] - t * np.sin(t)) ** 2) / (2.0 * noise**2)
    least = np.full(len(y), np.inf)
    np.minimum.at(least, point, exponent.min(axis=1))
    mass = half * (np.exp(least[point, None] - exponent) @ weight)
    total = np.bincount(point, weights=mass, minlength=len(y))
    return np.log(total) - least - math.log(2.0 * math.pi * noise**2) - math.log(_END - _START)


def _panels(y: Array, noise: float) -> tuple[NDArray[np.intp], Array, Array]:
    """Pieces of the spiral that matter to each point, short enough for twelve Gauss-Legendre nodes.

    Returns index of the point, middle and half length of each piece. A piece is halved until a bound on the
    change of the exponent from its middle is below 4, and dropped once the integrand on it is below exp(-45)
    times the peak.
    """
    edges = np.linspace(_START, _END, 33)
    n, pieces = len(y), len(edges) - 1
    point = np.repeat(np.arange(n), pieces)
    mid = np.tile((edges[1:] + edges[:-1]) / 2.0, n)
    half = np.full(n * pieces, (edges[1] - edges[0]) / 2.0)
    least = np.full(n, np.inf)
    done: list[tuple[NDArray[np.intp], Array, Array]] = []
    while point.size:
        cos, sin = np.cos(mid), np.sin(mid)
        dx, dy = y[point, 0] - mid * cos, y[point, 1] - mid * sin
        exponent = (dx**2 + dy**2) / (2.0 * noise**2)
        slope = np.abs(dx * (cos - mid * sin) + dy * (sin + mid * cos)) / noise**2
        end = mid + half
        speed = np.hypot(1.0, end)  # |c'| grows along the spiral, and so does |c''| = hypot(2, t)
        bend = (speed**2 + (np.hypot(dx, dy) + half * speed) * np.hypot(2.0, end)) / noise**2
        change = half * (slope + half * bend)  # of the exponent, from the middle to any place in the piece
        np.minimum.at(least, point, exponent)
        keep = exponent - change <= least[point] + 45.0
        fine = keep & (change <= 4.0)
        done.append((point[fine], mid[fine], half[fine]))
        split = keep & ~fine
        point, quarter = np.repeat(point[split], 2), np.repeat(half[split] / 2.0, 2)
        mid = np.repeat(mid[split], 2) + quarter * np.tile([-1.0, 1.0], int(split.sum()))
        half = quarter
    point, mid, half = (np.concatenate(parts) for parts in zip(*done, strict=True))
    return point, mid, half


def _graded_nodes(noise: float) -> tuple[Array, Array]:
    """Nodes and weights for a mean over t, in panels that double in length away from both ends."""
    middle = (_START + _END) / 2.0
    steps = [noise / _END * 2.0**k for k in range(64)]
    reach = np.array([0.0, *(step for step in steps if step < 0.75 * (middle - _START)), middle - _START])
    edges = np.unique(np.concatenate([_START + reach, _END - reach]))
    node, weight = np.polynomial.legendre.leggauss(6)
    mid, half = (edges[1:] + edges[:-1]) / 2.0, (edges[1:] - edges[:-1]) / 2.0
    t = (mid[:, None] + half[:, None] * node).ravel()
    return t, (half[:, None] * weight).ravel() / (_END - _START)


def _check_noise(noise: float, *, zero_allowed: bool = False) -> None:
    if not (math.isfinite(noise) and (noise > 0.0 or (zero_allowed and noise == 0.0))):
        rule = "finite and at least 0" if zero_allowed else "finite and above 0"
        raise InputError(f"noise must be {rule}, got {noise!r}")


def _check_count(n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise InputError(f"n must be an integer of at least 1, got {n!r}")


# ----------------------------------------------------------------------------------------------- heartbeat


def heartbeat_atoms() -> NDArray[np.uint8]:
    """The five sequences of the binary heartbeat, one per phase.

    Returns
    -------
    ndarray of uint8, shape (5, 20)

    Examples
    --------
    >>> heartbeat_atoms()[1].tolist()
    [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]
    """
    return np.tile(np.eye(_PERIOD, dtype=np.uint8), (1, _PULSES))


def heartbeat(n: int, seed: int | np.random.Generator = 0) -> NDArray[np.uint8]:
    """Draw heartbeats: twenty bits, a one every fifth bin, the phase uniform over the first five bins.

    Parameters
    ----------
    n : int
        Number of sequences, at least 1.
    seed : int or numpy.random.Generator
        The same seed gives the same sequences.

    Returns
    -------
    ndarray of uint8, shape (n, 20)

    Raises
    ------
    InputError
        If ``n`` is not an integer of at least 1.

    References
    ----------
    Sohl-Dickstein et al. (2015), Section 3.1.2.

    Examples
    --------
    >>> x = heartbeat(1000, seed=1)
    >>> x.shape, float(x.mean())
    ((1000, 20), 0.2)
    """
    _check_count(n)
    return heartbeat_atoms()[np.random.default_rng(seed).integers(_PERIOD, size=n)]


def heartbeat_log_prob(x: ArrayLike) -> Array:
    """True log probability in nats: -log 5 on the five sequences, minus infinity elsewhere.

    Parameters
    ----------
    x : array_like, shape (n, 20)

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    InputError
        If the rows of ``x`` do not have twenty entries.

    Examples
    --------
    >>> heartbeat_log_prob([[1, 0, 0, 0, 0] * 4, [0] * 20]).round(4).tolist()
    [-1.6094, -inf]
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != _BINS:
        raise InputError(f"heartbeats must have shape (n, {_BINS}), got {x.shape}")
    is_atom = (x[:, None, :] == heartbeat_atoms()).all(axis=-1).any(axis=-1)
    return np.where(is_atom, -math.log(_PERIOD), -np.inf)


def heartbeat_optimal_bound(
    alpha_bar: ArrayLike, rho: float = 0.2, first_step: Literal["learned", "stationary"] = "learned"
) -> float:
    r"""Best bound that any factorised reverse kernel can reach on the heartbeat, in nats.

    Given :math:`x_t`, the phase has a posterior that depends only on how many of the four bits of each
    residue class are one. Let :math:`P` be the probability that a bit with :math:`x_t = v` was one in
    :math:`x_0`, and :math:`q_{v1}, q_{v0}` the forward posteriors :math:`q(x_{t-1} = 1 \mid x_t = v, x_0)`.
    The best Bernoulli is :math:`p^* = P q_{v1} + (1-P) q_{v0}`, and the bit costs

    .. math:: P\,\mathrm{KL}(q_{v1} \| p^*) + (1-P)\,\mathrm{KL}(q_{v0} \| p^*).

    The bound is minus these costs, summed over bits and steps and averaged over all counts, minus the
    terminal :math:`\mathrm{KL}(q(x_T \mid x_0) \| \pi)`. Nothing is sampled.

    Parameters
    ----------
    alpha_bar : array_like, shape (T+1,)
        Share of the signal left after each step: 1 at entry 0, then strictly falling, at least 0.
    rho : float
        Rate of ones in the stationary law, strictly between 0 and 1.
    first_step : {"learned", "stationary"}
        ``"learned"``: p(x_0 | x_1) is the best factorised kernel too. ``"stationary"``: it is the paper's
        edge, the forward kernel run backwards, Bernoulli(x_1 (1 - beta_1) + rho beta_1).

    Returns
    -------
    float

    Raises
    ------
    InputError
        If an argument breaks its rule.

    References
    ----------
    Sohl-Dickstein et al. (2015), Appendix B; the forward posterior is Bayes' rule.

    Examples
    --------
    Constant erasure, twenty steps; the truth is -2.3219 bits:

    >>> erasure = np.linspace(1, 0, 21)
    >>> round(heartbeat_optimal_bound(erasure) / math.log(2), 4)
    -2.5813
    >>> round(heartbeat_optimal_bound(erasure, first_step="stationary") / math.log(2), 4)
    -4.8426
    """
    table = _check_alpha_bar(alpha_bar)
    if not 0.0 < rho < 1.0:
        raise InputError(f"rho must lie strictly between 0 and 1, got {rho!r}")
    if first_step not in ("learned", "stationary"):
        raise InputError(f'first_step must be "learned" or "stationary", got {first_step!r}')
    one, zero = _rates(table[-1:], rho)
    terminal = float((_PULSES * _kl(one, rho) + (_BINS - _PULSES) * _kl(zero, rho))[0])
    first = 1 if first_step == "learned" else 2
    cost = 0.0 if first_step == "learned" else _stationary_edge_cost(table[1], rho)
    for start in range(first, len(table), 1024):
        cost += float(_step_costs(table[start - 1 : start + 1024], rho).sum())
    return -terminal - cost


def _step_costs(alpha_bar: Array, rho: float) -> Array:
    """Cost in nats of each step between entries of ``alpha_bar``, under the best factorised kernel."""
    log_p, p_one, p_zero, ones = _phase_posterior(alpha_bar[1:], rho)
    cost = np.zeros_like(log_p)
    for value, bits in ((1, ones), (0, _PULSES - ones)):
        # Row by row: a column per step, to broadcast against the states of counts.
        (q1, q1_not), (q0, q0_not) = (_forward_posterior(alpha_bar, rho, value, x_0) for x_0 in (1, 0))
        best, best_not = p_one * q1 + p_zero * q0, p_one * q1_not + p_zero * q0_not
        divergence = p_one * (_xlogy_ratio(q1, best) + _xlogy_ratio(q1_not, best_not))
        divergence += p_zero * (_xlogy_ratio(q0, best) + _xlogy_ratio(q0_not, best_not))
        cost += bits * divergence
    return _PERIOD * (np.exp(log_p) * cost).sum(axis=1)  # the five classes are alike; class 0 was counted


def _phase_posterior(alpha_bar: Array, rho: float) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    """States of the counts: log probability, P(phase = 0), P(phase != 0), and the count of class 0.

    The four other classes are exchangeable, so 5 x 70 states with multiplicities stand for 5^5. The posterior
    is a softmax over classes of ``n log(a/b) + (4-n) log((1-a)/(1-b))``, a and b the rates of ones in and off
    the pulse.
    """
    others = list(combinations_with_replacement(range(_PULSES + 1), _PERIOD - 1))
    counts = np.array([(k, *rest) for k in range(_PULSES + 1) for rest in others])
    repeats = [math.prod(math.factorial(c) for c in np.bincount(state[1:])) for state in counts]
    orders = math.factorial(_PERIOD - 1) / np.array(repeats)
    choose = np.array([math.comb(_PULSES, k) for k in range(_PULSES + 1)])
    k = np.arange(_PULSES + 1)
    one, zero = (rate[:, None] for rate in _rates(alpha_bar, rho))
    fade = (1.0 - alpha_bar)[:, None]
    log_not_one, log_not_zero = np.log(fade * (1.0 - rho)), np.log1p(-zero)
    off = np.log(choose) + k * np.log(zero) + (_PULSES - k) * log_not_zero
    ratio = k * (np.log(one) - np.log(zero)) + (_PULSES - k) * (log_not_one - log_not_zero)
    base = off[:, counts].sum(axis=-1) + np.log(orders) - math.log(_PERIOD)
    score = ratio[:, counts]
    rest = np.logaddexp.reduce(score[..., 1:], axis=-1)
    total = np.logaddexp(score[..., 0], rest)
    return base + total, np.exp(score[..., 0] - total), np.exp(rest - total), counts[:, 0]


def _forward_posterior(alpha_bar: Array, rho: float, value: int, x_0: int) -> tuple[Array, Array]:
    """q(x_{t-1} = 1 | x_t = value, x_0) and its complement, one column per step."""
    keep = alpha_bar[1:] / alpha_bar[:-1]
    beta = (alpha_bar[:-1] - alpha_bar[1:]) / alpha_bar[:-1]
    one, zero = _rates(alpha_bar[:-1], rho)
    prior, prior_not = (one, (1.0 - alpha_bar[:-1]) * (1.0 - rho)) if x_0 else (zero, 1.0 - zero)
    from_one, from_zero = (keep + rho * beta, rho * beta) if value else ((1.0 - rho) * beta, 1.0 - rho * beta)
    joint, joint_not = prior * from_one, prior_not * from_zero
    evidence = joint + joint_not
    return (joint / evidence)[:, None], (joint_not / evidence)[:, None]


def _stationary_edge_cost(alpha_bar_1: float, rho: float) -> float:
    """-E log p(x_0 | x_1) when the last reverse step is the forward kernel run backwards."""
    beta = 1.0 - alpha_bar_1
    one, zero = _rates(np.array([alpha_bar_1]), rho)
    kept, lit = math.log(alpha_bar_1 + rho * beta), math.log(rho * beta)
    dimmed, dark = math.log((1.0 - rho) * beta), math.log1p(-rho * beta)
    pulse = one * kept + (1.0 - one) * lit
    rest = zero * dimmed + (1.0 - zero) * dark
    return -float((_PULSES * pulse + (_BINS - _PULSES) * rest)[0])


def _rates(alpha_bar: Array, rho: float) -> tuple[Array, Array]:
    """Probability of a one in x_t where x_0 is one, and where it is zero."""
    zero = (1.0 - alpha_bar) * rho
    return alpha_bar + zero, zero


def _kl(q: Array, p: float) -> Array:
    return _xlogy_ratio(q, np.full_like(q, p)) + _xlogy_ratio(1.0 - q, np.full_like(q, 1.0 - p))


def _xlogy_ratio(q: Array, p: Array) -> Array:
    """``q log(q / p)``, which is 0 where q is 0."""
    q, p = np.broadcast_arrays(q, p)
    live = q > 0.0
    return q * np.log(np.divide(q, p, out=np.ones_like(p), where=live))


def _check_alpha_bar(alpha_bar: ArrayLike) -> Array:
    table = np.asarray(alpha_bar, dtype=np.float64)
    if table.ndim != 1 or len(table) < 2:
        raise InputError(f"alpha_bar must be a table of T+1 entries, T at least 1, got shape {table.shape}")
    if table[0] != 1.0:
        raise InputError(f"alpha_bar must start with 1 (t = 0 is the data), got {table[0]}")
    falls = table[1:] < table[:-1]
    if not falls.all():
        t = int(np.argmin(falls)) + 1
        change = f"goes from {table[t - 1]} to {table[t]} at t = {t}"
        raise InputError(f"alpha_bar must fall at every step, but {change}")
    if table[-1] < 0.0:
        raise InputError(f"alpha_bar must stay at or above 0, got {table[-1]} at t = {len(table) - 1}")
    return table
