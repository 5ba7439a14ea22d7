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

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from quasistatic.checks import one_of
from quasistatic.estimate import Estimate
from quasistatic.forward import ForwardProcess
from quasistatic.likelihood.scores import score_steps, score_trajectories
from quasistatic.random import Rng, repeated
from quasistatic.reverse import ReverseKernel
from quasistatic.reverse.kernel import FirstStep

__all__ = ["Bound", "Method", "elbo", "least_variance_method", "null_log_prob", "paper_k"]

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
    >>> import torch
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


def least_variance_method(kernel: ReverseKernel) -> Method:
    """Return the estimator of the bound that suits a kernel.

    Mixtures have no closed-form KL. Log-ratios at draws vary far less along whole trajectories.
    """
    return "trajectory" if kernel.n_components > 1 else "marginal"


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

    >>> import math
    >>> import torch
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
        scores, data = score_trajectories(process, kernel, x_0, repeated(generator, 1))
        # the end of the trajectory is scored too, so that an exact model leaves no variance
        transitions, terminal = scores[:, :-1], scores[:, -1]
    else:
        transitions, data = score_steps(process, kernel, x_0, generator)
        terminal = -process.marginal(x_0, process.n_steps).kl(process.stationary(x_0.shape, x_0.dtype))
    return Bound(terminal, transitions, data, tuple(x_0.shape[1:]), kernel.first_step)


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
