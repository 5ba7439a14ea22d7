r"""Lower bound of log p(x).

With :math:`p(x_T) = \pi` and any normalised reverse kernels, Jensen's inequality over forward trajectories gives

.. math::

    \log p(x_0) \ge \underbrace{-\mathrm{KL}(q(x_T \mid x_0) \,\|\, \pi)}_{\text{terminal}}
    - \sum_{t=2}^{T}
    \underbrace{E_q\, \mathrm{KL}(q(x_{t-1} \mid x_t, x_0) \,\|\, p(x_{t-1} \mid x_t))}_{-\text{transitions}}
    + \underbrace{E_q \log p(x_0 \mid x_1)}_{\text{data}}

(Sohl-Dickstein et al. 2015, Section 2.4 and Appendix B, summed directly. The paper's entropy form is the same number
only for data of unit mean square, or of mean rate rho.) With ``first_step = "learned"`` the data term is the learned
:math:`p(x_0 \mid x_1)`. With ``"fixed"`` it is the forward step run backwards, the paper's convention of K.

There are two estimators of the same sum. ``marginal`` draws :math:`x_t` independently for each step and takes the KL in
closed form. ``trajectory`` draws whole forward trajectories and sums log-ratios. Its variance falls to zero as the
kernels become exact, and it needs no closed form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from quasistatic.checks import one_of, whole_number
from quasistatic.distributions import Distribution
from quasistatic.estimate import Estimate
from quasistatic.forward import ForwardProcess
from quasistatic.random import Rng, repeated, selected
from quasistatic.reverse import ReverseKernel
from quasistatic.reverse.kernel import FirstStep
from quasistatic.streams import bar

__all__ = [
    "Bound",
    "Method",
    "elbo",
    "importance_weighted_log_prob",
    "least_variance_method",
    "null_log_prob",
    "path_scores",
    "stacked_rows",
    "step_log_ratio",
]

Method = Literal["marginal", "trajectory"]


@dataclass(frozen=True, repr=False)
class Bound:
    """Lower bound of log p(x_0) in three parts, nats.

    Parameters
    ----------
    terminal : Tensor, shape (batch,)
        -KL(q(x_T | x_0) || pi).
    transitions : Tensor, shape (batch, T - 1)
        Steps t = 2..T: minus the KL of each, or its log-ratio at a draw.
    data : Tensor, shape (batch,)
        log p(x_0 | x_1) at a draw of x_1 (with the log-determinant of a transform, where there was one).
    event_shape : tuple of int
        Shape of one example, for units per dimension.
    first_step : {"learned", "fixed"}
        The convention of the data term.

    Examples
    --------
    >>> bound = Bound(torch.tensor([-0.1]), torch.tensor([[-0.2, -0.3]]), torch.tensor([-0.4]))
    >>> round(bound.total.item(), 4)
    -1.0
    """

    terminal: Tensor
    transitions: Tensor
    data: Tensor
    event_shape: tuple[int, ...] = ()
    first_step: FirstStep = "learned"

    def __repr__(self) -> str:
        return f"Bound({self.mean()}; data {self.data.mean():.4g}, {self.transitions.shape[1]} transitions)"

    @property
    def total(self) -> Tensor:
        """The bound of each example, (batch,)."""
        return self.terminal + self.transitions.sum(1) + self.data

    def mean(self, unit: str = "nats") -> Estimate:
        """Return the mean over examples with its standard error."""
        return Estimate.of(self.total, unit, self.event_shape)

    def terms(self, unit: str = "nats") -> dict[str, Estimate]:
        """Return the means of the three parts, in a named unit."""
        parts = {"terminal": self.terminal, "transitions": self.transitions.sum(1), "data": self.data}
        return {name: Estimate.of(part, unit, self.event_shape) for name, part in parts.items()}

    def plus_log_det(self, log_det: Tensor) -> Bound:
        """Add the log-determinant of a transform to the data term."""
        return replace(self, data=self.data + log_det)


def stacked_rows(x_0: Tensor) -> int:
    """Return how many (example, step) pairs the network evaluates at once.

    It is large enough to use the processor fully, and small enough for its cache. On the CPU the numbers are those of
    the least time of ``benchmarks/whole_bound.py`` and ``benchmarks/pictures.py``: a perceptron of 38 k parameters, and
    U-Nets, which were slower on 16 and on 128 images than on 32. On a GPU the limit is memory.
    """
    if x_0.device.type != "cpu":
        return max(16, min(4096, 2**22 // max(1, x_0[0].numel())))
    if x_0.dim() == 4:
        return 32
    return max(16, min(4096, 2**16 // max(1, x_0[0].numel())))


def least_variance_method(kernel: ReverseKernel) -> Method:
    """Return the estimator of the bound that suits a kernel.

    Mixtures have no closed-form KL. Log-ratios at draws vary far less along whole trajectories.
    """
    return "trajectory" if kernel.n_components > 1 else "marginal"


def step_log_ratio(q: Distribution, p: Distribution, generator: Rng | None = None) -> Tensor:
    """Return the log ratio of one step.

    It is -KL(q || p) where that has a closed form, and otherwise log p - log q at a draw of q.

    Parameters
    ----------
    q : Distribution
        Forward posterior of the step.
    p : Distribution
        Reverse kernel of the step.
    generator : Generator or RowStreams, optional
        Source of the draws.

    Returns
    -------
    Tensor, shape (batch,)
    """
    if q.has_kl and p.has_kl:
        return -q.kl(p)
    x = q.sample(generator)
    return p.log_prob(x) - q.log_prob(x)


def elbo(
    process: ForwardProcess,
    kernel: ReverseKernel,
    x_0: Tensor,
    *,
    generator: Rng | None = None,
    method: str = "marginal",
) -> Bound:
    """Compute the lower bound of log p(x_0) over all steps.

    Parameters
    ----------
    process : ForwardProcess
        The forward process; the kernel is moved to its steps.
    kernel : ReverseKernel
        The model.
    x_0 : Tensor, shape (batch, *event)
        Data in model units. With float64 data the arithmetic around the network is in float64.
    generator : Generator or RowStreams, optional
        Source of the draws.
    method : {"marginal", "trajectory"}
        How the steps are drawn; both are unbiased (module docstring).

    Returns
    -------
    Bound
        Per example, in nats. Gradients flow through it; wrap the call in ``torch.no_grad()`` to save their memory.

    Examples
    --------
    White data and its exact chain: the bound is log N(x; 0, I) for every example.

    >>> from quasistatic.networks import ResidualMLP
    >>> from quasistatic.reverse import GaussianDenoiser
    >>> from quasistatic.forward import GaussianDiffusion
    >>> from quasistatic.schedules import geometric
    >>> q, x = GaussianDiffusion(geometric(8)), torch.zeros(1, 2, dtype=torch.float64)
    >>> kernel = GaussianDenoiser(q, ResidualMLP(2, 4), 2)
    >>> with torch.no_grad():
    ...     bound = elbo(q, kernel, x, method="trajectory")
    >>> round(bound.total.item(), 5), round(-math.log(2 * math.pi), 5)
    (-1.83788, -1.83788)
    """
    kernel = kernel.on(process)
    one_of("method", method, ("marginal", "trajectory"))
    if method == "trajectory":
        scores, data = _by_trajectory(process, kernel, x_0, repeated(generator, 1))
        # the end of the trajectory is scored too, so that an exact model leaves no variance
        transitions, terminal = scores[:, :-1], scores[:, -1]
    else:
        transitions, data = _by_marginal(process, kernel, x_0, generator)
        terminal = -process.marginal(x_0, process.n_steps).kl(process.stationary(x_0.shape, x_0.dtype))
    return Bound(terminal, transitions, data, tuple(x_0.shape[1:]), kernel.first_step)


def _pairs(x_0: Tensor, n_steps: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Iterate over chunks of (example, step) pairs, t = 2..T.

    A chunk has at most :func:`stacked_rows` pairs. It is yielded as its slice of all pairs, the rows of the examples and
    the steps. The step varies fastest.
    """
    n_pairs, rows = len(x_0) * (n_steps - 1), stacked_rows(x_0)
    for start in bar(range(0, n_pairs, rows), "bound"):
        chunk = slice(start, min(start + rows, n_pairs))
        pair = torch.arange(chunk.start, chunk.stop, device=x_0.device)
        yield chunk, pair // (n_steps - 1), pair % (n_steps - 1) + 2


def _stacked(scores: list[Tensor], x_0: Tensor, n_steps: int) -> Tensor:
    return torch.cat(scores).view(len(x_0), n_steps - 1) if scores else x_0.new_zeros(len(x_0), 0)


def _data_term(kernel: ReverseKernel, x_0: Tensor, x_1: Tensor) -> Tensor:
    """Return log p(x_0 | x_1) of each example."""
    return kernel(x_1, torch.ones(len(x_1), dtype=torch.long, device=x_1.device)).log_prob(x_0)


def _by_marginal(
    process: ForwardProcess, kernel: ReverseKernel, x_0: Tensor, generator: Rng | None
) -> tuple[Tensor, Tensor]:
    """Return the scores of all steps and the data term.

    Each step has its own draw of x_t.
    """
    n_steps, rows = process.n_steps, stacked_rows(x_0)
    streams, streams_of_data = repeated(generator, n_steps - 1), repeated(generator, 1)
    scores = []
    for chunk, i, t in _pairs(x_0, n_steps):
        x, rng = x_0[i], selected(streams, chunk)
        x_t = process.marginal(x, t).sample(rng)
        scores.append(step_log_ratio(process.posterior(x, x_t, t), kernel(x_t, t), rng))
    data = []
    for start in range(0, len(x_0), rows):
        chunk = slice(start, start + rows)
        x_1 = process.marginal(x_0[chunk], 1).sample(selected(streams_of_data, chunk))
        data.append(_data_term(kernel, x_0[chunk], x_1))
    return _stacked(scores, x_0, n_steps), torch.cat(data)


def _by_trajectory(
    process: ForwardProcess, kernel: ReverseKernel, x_0: Tensor, generator: Rng | None
) -> tuple[Tensor, Tensor]:
    """Score whole forward trajectories (:func:`path_scores`)."""
    rows = max(1, 2**22 // ((process.n_steps + 1) * x_0[0].numel()))
    scores: list[Tensor] = []
    data: list[Tensor] = []
    for start in range(0, len(x_0), rows):
        chunk = slice(start, start + rows)
        rng, path = selected(generator, chunk), [x_0[chunk]]
        for t in range(1, process.n_steps + 1):  # cheap: no network here
            path.append(process.step(path[-1], t).sample(rng))
        scored, log_data = path_scores(process, kernel, torch.stack(path, 1))
        scores.append(scored)
        data.append(log_data)
    return torch.cat(scores), torch.cat(data)


def path_scores(process: ForwardProcess, kernel: ReverseKernel, states: Tensor) -> tuple[Tensor, Tensor]:
    """Score whole forward trajectories.

    Parameters
    ----------
    process : ForwardProcess
        The process that the trajectories are drawn from.
    kernel : ReverseKernel
        The model, on the same steps.
    states : Tensor, shape (batch, T + 1, *event)
        The trajectories x_0 .. x_T.

    Returns
    -------
    scores : Tensor, shape (batch, T)
        log p - log q of each step back, t = 2..T, and last log pi(x_T) - log q(x_T | x_0).
    data : Tensor, shape (batch,)
        log p(x_0 | x_1). The sum of both is the log weight of the trajectory, whose exponential is unbiased for p(x_0).
    """
    x, last, n_steps, rows = states[:, 0], states[:, -1], process.n_steps, stacked_rows(states[:, 0])
    log_end = process.stationary(x.shape, x.dtype).log_prob(last) - process.marginal(x, n_steps).log_prob(last)
    scores = []
    for _, i, t in _pairs(x, n_steps):
        x_t, x_prev = states[i, t], states[i, t - 1]
        back = process.posterior(x[i], x_t, t)
        scores.append(kernel(x_t, t).log_prob(x_prev) - back.log_prob(x_prev))
    data = [_data_term(kernel, x_0, x_1) for x_0, x_1 in zip(x.split(rows), states[:, 1].split(rows), strict=True)]
    return torch.cat([_stacked(scores, x, n_steps), log_end.unsqueeze(1)], 1), torch.cat(data)


def importance_weighted_log_prob(
    process: ForwardProcess,
    kernel: ReverseKernel,
    x_0: Tensor,
    *,
    n_trajectories: int,
    generator: Rng | None = None,
) -> Tensor:
    r"""Estimate log p(x_0) by importance sampling over forward trajectories.

    .. math:: \log \hat p(x_0) = \log \frac1N \sum_{k=1}^N
              \frac{\pi(x_T^k) \prod_t p(x_{t-1}^k \mid x_t^k)}{q(x_{1..T}^k \mid x_0)} \qquad (9)

    :math:`\hat p` is unbiased, so the log is a lower bound in expectation: the trajectory bound at N = 1, log p as N
    grows. Trajectories are drawn in chunks, so that memory does not grow with N.

    Parameters
    ----------
    process : ForwardProcess
        The forward process; the kernel is moved to its steps.
    kernel : ReverseKernel
        The model.
    x_0 : Tensor, shape (batch, *event)
        Data in model units.
    n_trajectories : int
        N, at least 1. Cost is N whole chains for each example.
    generator : Generator or RowStreams, optional
        Source of the draws. With a stream for each row the result of a row does not depend on the other rows, but for
        rounding.

    Returns
    -------
    Tensor, shape (batch,)
        Nats.

    Examples
    --------
    An exact chain needs one trajectory only:

    >>> from quasistatic.networks import ResidualMLP
    >>> from quasistatic.reverse import GaussianDenoiser
    >>> from quasistatic.forward import GaussianDiffusion
    >>> from quasistatic.schedules import geometric
    >>> q, x = GaussianDiffusion(geometric(8)), torch.zeros(1, 2, dtype=torch.float64)
    >>> kernel = GaussianDenoiser(q, ResidualMLP(2, 4), 2)
    >>> with torch.no_grad():
    ...     round(importance_weighted_log_prob(q, kernel, x, n_trajectories=3).item(), 5)
    -1.83788
    """
    whole_number("n_trajectories", n_trajectories, 1)
    kernel = kernel.on(process)
    copies = max(1, min(n_trajectories, 2 * stacked_rows(x_0) // max(1, len(x_0))))
    log_sum = x_0.new_full((len(x_0),), -math.inf)
    done = 0
    while done < n_trajectories:
        m = min(copies, n_trajectories - done)
        scores, data = _by_trajectory(process, kernel, x_0.repeat_interleave(m, 0), repeated(generator, m))
        log_weight = (scores.sum(1) + data).view(len(x_0), m)
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_weight, 1))
        done += m
    return log_sum - math.log(n_trajectories)


def null_log_prob(process: ForwardProcess, x_0: Tensor) -> Tensor:
    """Return the log likelihood of the null model, the paper's L_null.

    The null model is the stationary distribution taken as a model of the data. K - L_null is what diffusion has learned.
    For an absorbing process the base rates take its place, since its stationary distribution has no data.

    Parameters
    ----------
    process : ForwardProcess
        The forward process.
    x_0 : Tensor, shape (batch, *event)
        Data in model units.

    Returns
    -------
    Tensor, shape (batch,)
        Nats.
    """
    return process.null(x_0.shape, x_0.dtype).log_prob(x_0)


def paper_k(process: ForwardProcess, bound: Bound, x_0: Tensor) -> Tensor:
    r"""Return K by the paper's entropy form (14).

    .. math:: K = -\sum_{t=2}^T \mathrm{KL}_t + H_q(X_T \mid X_0) - H_q(X_1 \mid X_0) - H_p(X_T)

    It equals the bound under ``first_step="fixed"`` only in the mean over data of unit mean square (Gaussian) or mean
    rate rho (Bernoulli). For a larger mean square it is above the bound, and it is no bound itself.

    Parameters
    ----------
    process : ForwardProcess
        The forward process.
    bound : Bound
        Bound of the same data, whose transitions are used.
    x_0 : Tensor, shape (batch, *event)
        Data in model units.

    Returns
    -------
    Tensor, shape (batch,)
        Nats.
    """
    last = process.marginal(x_0, process.n_steps).entropy()
    first = process.marginal(x_0, 1).entropy()
    return bound.transitions.sum(1) + last - first - process.stationary(x_0.shape, x_0.dtype).entropy()
