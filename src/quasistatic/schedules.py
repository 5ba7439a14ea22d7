r"""Schedules: the diffusion rates beta_1 .. beta_T for any T.

All return ``beta`` as a float64 tensor of shape (T,), in the order of the steps. After step t the remaining signal is
:math:`\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)`, and the log signal-to-noise ratio is
:math:`\lambda_t = \log \bar\alpha_t / (1 - \bar\alpha_t)`.

Use ``geometric`` for continuous data: at T = 40 on the swiss roll with ideal diagonal kernels it reaches 2.29 bits, where
``cosine`` reaches 0.42 and ``linear`` -0.48. Use ``constant_erasure``, the paper's, for bits. After training,
:func:`quasistatic.optimal_schedule` finds a better one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.checks import MOST_STEPS, real_number, shown, tensor_of, whole_number
from quasistatic.errors import InputError

__all__ = ["beta_from_log_snr", "constant_erasure", "cosine", "geometric", "linear", "respaced"]


def constant_erasure(n_steps: int) -> Tensor:
    r"""Erase the same share 1/T of the signal at each step.

    The rates are :math:`\beta_t = 1 / (T - t + 1)`, so that :math:`\bar\alpha_t = (T - t) / T`. The last step erases all
    that is left. A Gaussian process, which needs beta < 1, cannot use it.

    Parameters
    ----------
    n_steps : int
        T, at least 2.

    References
    ----------
    Sohl-Dickstein et al. (2015), Section 2.4.1.

    Examples
    --------
    >>> constant_erasure(4).tolist()
    [0.25, 0.3333333333333333, 0.5, 1.0]
    """
    return 1.0 / torch.arange(_checked(n_steps), 0, -1, dtype=torch.float64)


def linear(n_steps: int, beta_1: float | None = None, beta_T: float | None = None) -> Tensor:
    """Increase the rates linearly from ``beta_1`` to ``beta_T``.

    The default ends are 1e-4 and 0.02 at T = 1000 (Ho et al. 2020, Section 4). They scale as 1000 / T, at most 0.999, so
    that the process is about the same for every T.

    Parameters
    ----------
    n_steps : int
        T, at least 2.
    beta_1, beta_T : float, optional
        First and last rate.

    Examples
    --------
    >>> linear(1000)[[0, -1]].tolist()
    [0.0001, 0.02]
    """
    scale = 1000.0 / _checked(n_steps)
    for name, rate in (("beta_1", beta_1), ("beta_T", beta_T)):
        if rate is not None:
            real_number(name, rate, above=0.0, most=1.0)
    low = min(1e-4 * scale, 0.999) if beta_1 is None else beta_1
    high = min(0.02 * scale, 0.999) if beta_T is None else beta_T
    return torch.linspace(low, high, n_steps, dtype=torch.float64)


def cosine(n_steps: int, offset: float = 0.008, beta_max: float = 0.999) -> Tensor:
    r"""Return the rates of a squared-cosine schedule.

    See Nichol and Dhariwal (2021), eq. 17.

    .. math:: \bar\alpha(u) \propto \cos^2\Bigl(\frac{\pi}{2} \frac{u + o}{1 + o}\Bigr)

    Parameters
    ----------
    n_steps : int
        T, at least 2.
    offset : float
        o, which keeps the first rates above zero.
    beta_max : float
        Largest rate.

    Examples
    --------
    >>> cosine(3)[-1].item()
    0.999
    """
    real_number("offset", offset, above=0.0)
    real_number("beta_max", beta_max, above=0.0, most=1.0)
    u = torch.arange(_checked(n_steps) + 1, dtype=torch.float64) / n_steps
    log_signal = 2.0 * ((u + offset) / (1.0 + offset) * (math.pi / 2.0)).cos().clamp_min(1e-12).log()
    return (-torch.expm1(log_signal.diff())).clamp_max(beta_max)


def geometric(n_steps: int, log_snr_max: float = 13.0, log_snr_min: float = -6.0) -> Tensor:
    """Let the log signal-to-noise ratio fall linearly in t.

    Parameters
    ----------
    n_steps : int
        T, at least 2.
    log_snr_max : float
        Log-SNR after the first step. It should be some units above minus the log of the data's smallest variance.
    log_snr_min : float
        Log-SNR after the last step. It leaves a terminal KL of about exp(2 log_snr_min) / 4 nats for each dimension of unit
        variance.

    Raises
    ------
    InputError
        If ``log_snr_max`` is not above ``log_snr_min``.

    Examples
    --------
    >>> beta = geometric(3, log_snr_max=4.0, log_snr_min=-2.0)
    >>> alpha_bar = (1 - beta).cumprod(0)
    >>> (alpha_bar / (1 - alpha_bar)).log().round(decimals=6).tolist()
    [4.0, 1.0, -2.0]
    """
    log_snr_max, log_snr_min = real_number("log_snr_max", log_snr_max), real_number("log_snr_min", log_snr_min)
    if not log_snr_max > log_snr_min:
        raise InputError(f"log_snr_max must exceed log_snr_min, got {log_snr_max} and {log_snr_min}")
    return beta_from_log_snr(torch.linspace(log_snr_max, log_snr_min, _checked(n_steps), dtype=torch.float64))


def beta_from_log_snr(log_snr: Tensor) -> Tensor:
    r"""Return the rates for given log signal-to-noise ratios.

    It uses :math:`\log \bar\alpha = -\mathrm{softplus}(-\lambda)`, which is exact where little signal is lost.

    Parameters
    ----------
    log_snr : Tensor, shape (T,)
        Log-SNR after each step, strictly decreasing; ``-inf`` at the last step is total erasure.

    Returns
    -------
    Tensor, shape (T,), float64

    Raises
    ------
    InputError
        If the values do not decrease strictly.
    """
    log_snr = tensor_of("log_snr", log_snr)
    if log_snr.dim() != 1 or not len(log_snr) or not (log_snr.diff() < 0).all():
        raise InputError("log_snr must fall strictly from step to step")
    log_alpha_bar = torch.nn.functional.logsigmoid(log_snr.double())
    steps = torch.diff(log_alpha_bar, prepend=log_alpha_bar.new_zeros(1))
    return -torch.expm1(steps)


def respaced(beta: Tensor, n_steps: int) -> Tensor:
    """Return a schedule like ``beta`` with another number of steps.

    The log-SNR is interpolated linearly. Its first and its last value stay.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Rates, at least 2.
    n_steps : int
        Steps of the result, at least 2.

    Examples
    --------
    >>> respaced(geometric(3, 4.0, -2.0), 5).allclose(geometric(5, 4.0, -2.0))
    True
    """
    beta = tensor_of("beta", beta)
    if beta.dim() != 1 or len(beta) < 2 or not ((beta > 0) & (beta <= 1)).all() or (beta[:-1] == 1).any():
        raise InputError(
            f"beta must be a vector of at least 2 rates in (0, 1], one only at its end, got {shown(beta.tolist())}"
        )
    log_alpha_bar = torch.log1p(-beta.double()).cumsum(0)
    log_snr = log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))
    erased = bool(torch.isinf(log_snr[-1]))
    log_snr = log_snr.clamp_min(min(-30.0, log_snr[-2].item() - 1.0) if erased else -torch.inf)
    place = torch.linspace(0, len(beta) - 1, _checked(n_steps), dtype=torch.float64)
    left = place.floor().long().clamp(0, len(beta) - 2)
    share = place - left
    levels = torch.lerp(log_snr[left], log_snr[left + 1], share)
    if erased:
        levels[-1] = -torch.inf
    return beta_from_log_snr(levels)


def _checked(n_steps: int) -> int:
    return whole_number("n_steps", n_steps, 2, MOST_STEPS)
