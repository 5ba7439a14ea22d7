"""Binary heartbeat: bits whose distribution is known exactly."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasistatic.datasets.swiss_roll import Array, _check_count
from quasistatic.errors import InputError

__all__ = ["heartbeat", "heartbeat_atoms", "heartbeat_log_prob", "heartbeat_optimal_bound"]

_BINS, _PERIOD = 20, 5

_PULSES = _BINS // _PERIOD


def heartbeat_atoms() -> NDArray[np.uint8]:
    """Return the five sequences of the binary heartbeat.

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
    """Draw sequences of the binary heartbeat.

    Each has twenty bits with a one every fifth bin. The phase is uniform over the first five bins.

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
    """Compute the true log probability, nats.

    It is -log 5 on the five sequences and minus infinity elsewhere.

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
    alpha_bar: ArrayLike, rho: float = 0.2, first_step: Literal["learned", "fixed"] = "learned"
) -> float:
    r"""Compute the best bound of factorised reverse kernels, nats.

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
        Rate of ones in the stationary distribution, strictly between 0 and 1.
    first_step : {"learned", "fixed"}
        ``"learned"``: p(x_0 | x_1) is the best factorised kernel too. ``"fixed"``: it is the paper's
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
    >>> round(heartbeat_optimal_bound(erasure, first_step="fixed") / math.log(2), 4)
    -4.8426
    """
    table = _check_alpha_bar(alpha_bar)
    if not 0.0 < rho < 1.0:
        raise InputError(f"rho must lie strictly between 0 and 1, got {rho!r}")
    if first_step not in ("learned", "fixed"):
        raise InputError(f'first_step must be "learned" or "fixed", got {first_step!r}')
    one, zero = _rates(table[-1:], rho)
    terminal = float((_PULSES * _kl(one, rho) + (_BINS - _PULSES) * _kl(zero, rho))[0])
    first = 1 if first_step == "learned" else 2
    cost = 0.0 if first_step == "learned" else _stationary_edge_cost(table[1], rho)
    for start in range(first, len(table), 1024):
        cost += float(_step_costs(table[start - 1 : start + 1024], rho).sum())
    return -terminal - cost


def _step_costs(alpha_bar: Array, rho: float) -> Array:
    """Return the cost of each step under the best factorised kernel, nats."""
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
    """Return the states of the counts with their posteriors.

    The arrays are log probability, P(phase = 0), P(phase != 0), and the count of class 0.

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
    """Return q(x_{t-1} = 1 | x_t = value, x_0) and its complement.

    Each step has a column.
    """
    keep = alpha_bar[1:] / alpha_bar[:-1]
    beta = (alpha_bar[:-1] - alpha_bar[1:]) / alpha_bar[:-1]
    one, zero = _rates(alpha_bar[:-1], rho)
    prior, prior_not = (one, (1.0 - alpha_bar[:-1]) * (1.0 - rho)) if x_0 else (zero, 1.0 - zero)
    from_one, from_zero = (keep + rho * beta, rho * beta) if value else ((1.0 - rho) * beta, 1.0 - rho * beta)
    joint, joint_not = prior * from_one, prior_not * from_zero
    observation = joint + joint_not
    return (joint / observation)[:, None], (joint_not / observation)[:, None]


def _stationary_edge_cost(alpha_bar_1: float, rho: float) -> float:
    """Return -E log p(x_0 | x_1) under the fixed first step."""
    beta = 1.0 - alpha_bar_1
    one, zero = _rates(np.array([alpha_bar_1]), rho)
    kept, lit = math.log(alpha_bar_1 + rho * beta), math.log(rho * beta)
    dimmed, dark = math.log((1.0 - rho) * beta), math.log1p(-rho * beta)
    pulse = one * kept + (1.0 - one) * lit
    rest = zero * dimmed + (1.0 - zero) * dark
    return -float((_PULSES * pulse + (_BINS - _PULSES) * rest)[0])


def _rates(alpha_bar: Array, rho: float) -> tuple[Array, Array]:
    """Return the rates of ones in x_t given x_0."""
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
