r"""The bound on log p(x), in its parts.

With :math:`p(x_T) = \pi` and any normalised reverse kernels, Jensen's inequality over forward trajectories gives

.. math::

    \log p(x_0) \ge \underbrace{-\mathrm{KL}(q(x_T \mid x_0) \,\|\, \pi)}_{\text{terminal}}
    - \sum_{t=2}^{T}
    \underbrace{E_q\, \mathrm{KL}(q(x_{t-1} \mid x_t, x_0) \,\|\, p(x_{t-1} \mid x_t))}_{-\text{transitions}}
    + \underbrace{E_q \log p(x_0 \mid x_1)}_{\text{data}}

(Sohl-Dickstein et al. 2015, Section 2.4 and Appendix B, summed directly: the paper's entropy form is the same number
only for data of unit mean square, or of mean rate rho). With ``first_step = "learned"`` the data term is scored; with
``"fixed"`` it belongs to the forward kernel run backwards, the paper's convention of K.

Two estimators of the same sum: ``marginal`` draws :math:`x_t` on its own for each step and takes the KL in closed
form; ``trajectory`` draws whole forward paths and sums log-ratios, whose variance falls to zero as the kernels
become exact, and which needs no closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from quasistatic.checks import one_of, whole_number
from quasistatic.distributions import Distribution
from quasistatic.estimate import Estimate
from quasistatic.forward import ForwardProcess
from quasistatic.reverse import ReverseKernel
from quasistatic.streams import bar

__all__ = [
    "Bound",
    "elbo",
    "importance_weighted_log_prob",
    "null_log_prob",
    "paper_k",
    "path_scores",
    "stacked_rows",
    "step_log_ratio",
]


@dataclass(frozen=True, repr=False)
class Bound:
    """Lower bound of log p(x_0) for each example, in its parts, in nats.

    Attributes
    ----------
    terminal : Tensor, shape (batch,)
        -KL(q(x_T | x_0) || pi).
    transitions : Tensor, shape (batch, T - 1)
        Steps t = 2..T: minus the KL of each, or its log-ratio at a draw.
    data : Tensor, shape (batch,)
        log p(x_0 | x_1) at a draw of x_1 (with the log-determinant of a transform, where there was one).
    event_shape : tuple of int
        Shape of one example, for the units.
    first_step : str
        "learned" or "fixed", the convention of the data term.

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
    first_step: str = "learned"

    def __repr__(self) -> str:
        return f"Bound({self.mean()}; data {self.data.mean():.4g}, {self.transitions.shape[1]} transitions)"

    @property
    def total(self) -> Tensor:
        """The bound of each example, (batch,)."""
        return self.terminal + self.transitions.sum(1) + self.data

    def mean(self, unit: str = "nats") -> Estimate:
        """Mean over examples with its standard error, in a named unit."""
        return Estimate.of(self.total, unit, self.event_shape)

    def terms(self, unit: str = "nats") -> dict[str, Estimate]:
        """Means of the three parts."""
        parts = {"terminal": self.terminal, "transitions": self.transitions.sum(1), "data": self.data}
        return {name: Estimate.of(part, unit, self.event_shape) for name, part in parts.items()}

    def plus_log_det(self, log_det: Tensor) -> Bound:
        """Change variables: add log |d transform / dx|, (batch,) or a number, to the data term."""
        return Bound(self.terminal, self.transitions, self.data + log_det, self.event_shape, self.first_step)


def stacked_rows(x_0: Tensor) -> int:
    """How many (example, step) pairs go through the network at once: enough to be busy, few enough for the cache."""
    if x_0.device.type != "cpu":
        return max(16, min(4096, 2**22 // max(1, x_0[0].numel())))
    if x_0.dim() == 4:
        return 32  # images: a U-Net is slower on 16 and on 128 of them
    return max(16, min(4096, 2**16 // max(1, x_0[0].numel())))


def step_log_ratio(q: Distribution, p: Distribution, generator: Generator | None = None) -> Tensor:
    """Score of one step, minus KL(q || p) where it has a closed form, else log p - log q at a draw of q, (batch,)."""
    if q.has_kl and p.has_kl:
        return -q.kl(p)
    x = q.sample(generator)
    return p.log_prob(x) - q.log_prob(x)


def elbo(
    process: ForwardProcess,
    kernel: ReverseKernel,
    x_0: Tensor,
    *,
    generator: Generator | None = None,
    method: str = "marginal",
) -> Bound:
    """Bound log p(x_0) over the whole chain.

    Parameters
    ----------
    diffusion : Diffusion
        The forward process; the kernel is moved to its grid of steps.
    kernel : ReverseKernel
    x_0 : Tensor, shape (batch, *event)
        Data in the model's units; float64 asks for float64 arithmetic around the network.
    generator : Generator, optional
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
    kernel = kernel.on(process) if isinstance(kernel, ReverseKernel) else kernel
    one_of("method", method, ("marginal", "trajectory"))
    terms = _by_trajectory if method == "trajectory" else _by_marginal
    transitions, data = terms(process, kernel, x_0, generator)
    n_steps = process.n_steps
    last = process.marginal(x_0, n_steps).kl(process.stationary(x_0.shape, x_0.dtype))
    if method == "trajectory":
        # the path's own end is scored too, so that an exact model leaves no variance
        transitions, end = transitions[:, :-1], transitions[:, -1]
        last = -end
    return Bound(-last, transitions, data, tuple(x_0.shape[1:]), getattr(kernel, "first_step", "learned"))


def _by_marginal(
    process: ForwardProcess, kernel: ReverseKernel, x_0: Tensor, generator: Generator | None
) -> tuple[Tensor, Tensor]:
    """Steps on their own: (example, step) pairs stacked into batches that keep the network busy."""
    n, n_steps, rows = len(x_0), process.n_steps, stacked_rows(x_0)
    scores = []
    for start in bar(range(0, n * (n_steps - 1), rows), "bound"):
        pair = torch.arange(start, min(start + rows, n * (n_steps - 1)), device=x_0.device)
        x, t = x_0[pair // (n_steps - 1)], pair % (n_steps - 1) + 2
        x_t = process.marginal(x, t).sample(generator)
        scores.append(step_log_ratio(process.posterior(x, x_t, t), kernel(x_t, t), generator))
    transitions = torch.cat(scores).view(n, n_steps - 1) if scores else x_0.new_zeros(n, 0)
    data = []
    for x in x_0.split(rows):
        one = torch.ones(len(x), dtype=torch.long, device=x.device)
        data.append(kernel(process.marginal(x, 1).sample(generator), one).log_prob(x))
    return transitions, torch.cat(data)


def _by_trajectory(
    process: ForwardProcess, kernel: ReverseKernel, x_0: Tensor, generator: Generator | None
) -> tuple[Tensor, Tensor]:
    """Whole forward paths: log p - log q of each step back along them.

    The last column of the transitions is log pi(x_T) - log q(x_T | x_0).
    """
    n_steps = process.n_steps
    per_path = (n_steps + 1) * x_0[0].numel()
    transitions: list[Tensor] = []
    data: list[Tensor] = []
    for x in x_0.split(max(1, 2**22 // per_path)):
        path = [x]
        for t in range(1, n_steps + 1):  # cheap: no network here
            path.append(process.step(path[-1], t).sample(generator))
        scored, log_data = path_scores(process, kernel, torch.stack(path, 1))
        transitions.append(scored)
        data.append(log_data)
    return torch.cat(transitions), torch.cat(data)


def path_scores(process: ForwardProcess, kernel: ReverseKernel, states: Tensor) -> tuple[Tensor, Tensor]:
    """Score whole forward paths x_0 .. x_T, (batch, T + 1, *event).

    Returns
    -------
    transitions : Tensor, shape (batch, T)
        log p - log q of each step back, t = 2..T, and last log pi(x_T) - log q(x_T | x_0).
    data : Tensor, shape (batch,)
        log p(x_0 | x_1). The sum of both is the log weight of the path, whose exponential is unbiased for p(x_0).
    """
    x, n, n_steps, rows = states[:, 0], len(states), process.n_steps, stacked_rows(states[:, 0])
    end = process.marginal(x, n_steps)
    last = states[:, -1]
    log_end = process.stationary(x.shape, x.dtype).log_prob(last) - end.log_prob(last)
    scores = []
    for start in bar(range(0, n * (n_steps - 1), rows), "bound"):
        pair = torch.arange(start, min(start + rows, n * (n_steps - 1)), device=x.device)
        i, at = pair // (n_steps - 1), pair % (n_steps - 1) + 2
        x_t, x_prev = states[i, at], states[i, at - 1]
        back = process.posterior(x[i], x_t, at)
        scores.append(kernel(x_t, at).log_prob(x_prev) - back.log_prob(x_prev))
    inner = torch.cat(scores).view(n, n_steps - 1) if scores else x.new_zeros(n, 0)
    one = torch.ones(n, dtype=torch.long, device=x.device)
    data = [
        kernel(x_1, t_1).log_prob(x_)
        for x_1, t_1, x_ in zip(states[:, 1].split(rows), one.split(rows), x.split(rows), strict=True)
    ]
    return torch.cat([inner, log_end.unsqueeze(1)], 1), torch.cat(data)


def importance_weighted_log_prob(
    process: ForwardProcess,
    kernel: ReverseKernel,
    x_0: Tensor,
    *,
    n_trajectories: int,
    generator: Generator | None = None,
) -> Tensor:
    r"""Estimate log p(x_0) by importance sampling over forward trajectories, (batch,), nats.

    .. math:: \log \hat p(x_0) = \log \frac1N \sum_{k=1}^N
              \frac{\pi(x_T^k) \prod_t p(x_{t-1}^k \mid x_t^k)}{q(x_{1..T}^k \mid x_0)} \qquad (9)

    :math:`\hat p` is unbiased, so the log is a lower bound in expectation: the trajectory bound at N = 1, log p as N
    grows. The sum is kept in log space and trajectories come one chunk at a time, so memory does not grow with N.

    Parameters
    ----------
    n_trajectories : int
        N, at least 1. Cost is N whole chains for each example.

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
    kernel = kernel.on(process) if isinstance(kernel, ReverseKernel) else kernel
    copies = max(1, min(n_trajectories, 2 * stacked_rows(x_0) // max(1, len(x_0))))
    log_sum = x_0.new_full((len(x_0),), -math.inf)
    done = 0
    while done < n_trajectories:
        m = min(copies, n_trajectories - done)
        transitions, data = _by_trajectory(process, kernel, x_0.repeat_interleave(m, 0), generator)
        log_weight = (transitions.sum(1) + data).view(len(x_0), m)
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_weight, 1))
        done += m
    return log_sum - math.log(n_trajectories)


def null_log_prob(process: ForwardProcess, x_0: Tensor) -> Tensor:
    """Log likelihood of the null model, the noise end pi taken as a model of the data, (batch,), nats.

    The paper's L_null; K - L_null is what diffusion has learned. Where pi holds no data (an absorbing process), the
    base rates stand for it.
    """
    return process.null(x_0.shape, x_0.dtype).log_prob(x_0)


def paper_k(process: ForwardProcess, bound: Bound, x_0: Tensor) -> Tensor:
    r"""K by the paper's entropy form (14), per example, nats.

    .. math:: K = -\sum_{t=2}^T \mathrm{KL}_t + H_q(X_T \mid X_0) - H_q(X_1 \mid X_0) - H_p(X_T)

    It equals the direct sum under ``first_step="fixed"`` only in the mean over data of unit mean square (Gaussian)
    or mean rate rho (binomial). Above that mean square it over-reports and is no bound, so nothing but a comparison
    should use it.
    """
    last = process.marginal(x_0, process.n_steps).entropy()
    first = process.marginal(x_0, 1).entropy()
    return bound.transitions.sum(1) + last - first - process.stationary(x_0.shape, x_0.dtype).entropy()
