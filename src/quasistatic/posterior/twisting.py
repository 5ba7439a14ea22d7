r"""Kernels of the chain multiplied by an observation.

Three ways to use r at all steps, each a choice of potentials :math:`\psi_t` with :math:`\psi_0 = r`:

* ``"constant"``: :math:`\psi_t(x) = r(x)`, as in the paper's experiments (eq. 23);
* ``"power"``: :math:`\psi_t(x) = r(x)^{(T-t)/T}`, the paper's other choice;
* ``"lookahead"``: :math:`\psi_t(x_t) = \int \hat p(x_0 \mid x_t)\, r(x_0)\, dx_0`, the expectation of r under the kernel's
  own distribution of the data. The kernel is the forward posterior with x_0 drawn from that distribution *times r*. Where
  :math:`\hat p(x_0 \mid x_t)` is the true one, this is the true posterior's kernel, so no weight varies. It costs one
  network evaluation a step, and no gradient of the network.

Steps of the first two multiply :math:`p(x_{t-1} \mid x_t)` by :math:`\psi_{t-1}` itself (eq. 22). States of an absorbing
process have masked entries, for which r is not defined. There a factor of single entries leaves out the masked ones, and a
function of all entries has the mean of the null model in their place
(:meth:`~quasistatic.posterior.observations.Observation.on_states`). At t = 0 nothing is masked and :math:`\psi_0 = r`, so
the weights are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.checks import one_of
from quasistatic.distributions import Distribution
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.posterior.kernel_output import KernelOutput, Proposal
from quasistatic.posterior.observations import Observation
from quasistatic.reverse import ReverseKernel

__all__ = ["TWISTS", "TwistedKernel", "data_distribution"]

TWISTS = ("lookahead", "constant", "power")
LEAST_DOUBT = 0.01
"""Least share of a kernel's variance, and least probability of a bit, in the data read out of a step."""


def data_distribution(
    process: ForwardProcess, kernel: ReverseKernel, x_t: Tensor, t: int
) -> tuple[Distribution, Distribution | None]:
    r"""Return the distribution of the data behind a kernel.

    Denoisers have it. Elsewhere it is read out of the distribution of one step, which is
    :math:`c_0 x_0 + c_t x_t + \sqrt{\tilde\beta_t}\,` noise. It is kept at least a hundredth as wide as that of the kernel:
    if it is too narrow, only the weights of rare particles can correct it.

    Parameters
    ----------
    process : ForwardProcess
        The grid of steps.
    kernel : ReverseKernel
        Of one step back.
    x_t : Tensor, shape (batch, \*event)
        State at step t.
    t : int
        Step, 1 to T.

    Returns
    -------
    Distribution
        Of x_0.
    Distribution or None
        Of x_{t-1}, where it does not follow from that of x_0.
    """
    if t == 1:
        return kernel(x_t, 1).unmasked(), None  # nothing is masked in the data
    denoised = kernel.denoise(x_t, t)
    if denoised is not None:
        return denoised, None
    step = kernel(x_t, t)
    return process.data_given_step(step, x_t, t, LEAST_DOUBT), step


class TwistedKernel(ReverseKernel):
    r"""A kernel times an observation, :math:`p(x_{t-1} \mid x_t)\, \psi_{t-1}(x_{t-1}) / Z`.

    Run on its own by :func:`quasistatic.sample.sample_ancestral`, with twist "constant" or "power", it is the paper's method
    and has its bias: it drops Z, which depends on x_t (eq. 22). :func:`quasistatic.posterior.smc.posterior_sample`
    keeps the weights.

    Parameters
    ----------
    kernel : ReverseKernel
        Of the prior.
    process : ForwardProcess
        The grid of steps.
    observation : Observation
        With B observations the rows of a batch are B blocks of equal size.
    twist : {"lookahead", "constant", "power"}
        The potentials; see the module.

    Examples
    --------
    White data, whose entry is measured as 2 with error 1; the first step back from noise already depends on it:

    >>> import torch
    >>> from quasistatic.posterior.observations import GaussianMeasurement
    >>> from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
    >>> from quasistatic.forward import GaussianDiffusion
    >>> q = GaussianDiffusion(torch.tensor([0.5, 0.5]))
    >>> prior = ExactGaussianMixtureKernel(q, torch.zeros(1, 1), 1.0)
    >>> kernel = TwistedKernel(prior, q, GaussianMeasurement(torch.tensor([2.0]), 1.0))
    >>> x = torch.zeros(1, 1, dtype=torch.float64)
    >>> [round(k(x, 1).components.mean.item(), 4) for k in (prior, kernel)]      # N(0, 1/2) times N(2; x, 1)
    [0.0, 0.6667]
    """

    def __init__(
        self, kernel: ReverseKernel, process: ForwardProcess, observation: Observation, twist: str = "lookahead"
    ) -> None:
        super().__init__(process)
        one_of("twist", twist, TWISTS)
        self.kernel, self.observation, self.twist = kernel.on(process), observation, twist
        self.first_step, self.n_components = kernel.first_step, kernel.n_components

    def move_to(self, process: ForwardProcess) -> None:
        self.kernel = self.kernel.on(process)
        super().move_to(process)

    def prepared(self, observation: Observation) -> Observation:
        """Define r for states, where the twist needs it."""
        return observation if self.twist == "lookahead" else observation.on_states(self.process)

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        """Return the distribution of one step back.

        All rows of a batch are at the same step.

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at t.
        t : int or Tensor, shape (batch,)
            Step from 1 to T.
        """
        if isinstance(t, Tensor):
            if (t != t[0]).any():
                raise InputError("a twisted kernel takes one step t for the whole batch, got several")
            t = int(t[0])
        observation = self.prepared(self.observation.on(x_t.shape[1:], x_t.device))
        if observation.n_observations > 1:
            each = len(x_t) // observation.n_observations
            observation = observation.rows(
                torch.arange(observation.n_observations, device=x_t.device).repeat_interleave(each)
            )
        return self.proposal(self.evaluate(x_t, t, observation), x_t, t, observation).distribution

    def share(self, t: int) -> float:
        """Return the power of r at step t.

        It is that of a twist without the look-ahead.
        """
        return 1.0 if self.twist == "constant" else 1.0 - t / self.process.n_steps

    def start(self, noise: Distribution, observation: Observation) -> Proposal:
        """Return the proposal of x_T.

        The log weight is log pi - log proposal.

        Parameters
        ----------
        noise : Distribution
            Stationary distribution pi of x_T.
        observation : Observation
            One for each row.
        """
        share = 0.0 if self.twist == "lookahead" else self.share(self.process.n_steps)
        if share == 0.0:
            return Proposal(noise, lambda x: x.new_zeros(len(x)))
        tilt = observation.product(noise, share)
        return Proposal(tilt.distribution, lambda x: tilt.log_weight(x) - share * observation.log_potential(x))

    def evaluate(self, x_t: Tensor, t: int, observation: Observation) -> KernelOutput:
        """Evaluate the network at x_t.

        Parameters
        ----------
        x_t : Tensor, shape (batch, *event)
            State at step t.
        t : int
            Step.
        observation : Observation
            One for each row, from :meth:`prepared`.
        """
        if self.twist == "lookahead":
            data, step = data_distribution(self.process, self.kernel, x_t, t)
            return KernelOutput(data, step, observation.lookahead(data))
        share = self.share(t)
        log_potential = share * observation.log_potential(x_t) if share > 0.0 else x_t.new_zeros(len(x_t))
        step = self.kernel(x_t, t)
        return KernelOutput(step.unmasked() if t == 1 else step, None, log_potential)

    def proposal(self, output: KernelOutput, x_t: Tensor, t: int, observation: Observation) -> Proposal:
        """Return the proposal of the next draw.

        Parameters
        ----------
        output : KernelOutput
            Of :meth:`evaluate` at x_t.
        x_t : Tensor, shape (batch, *event)
            State at step t.
        t : int
            Step.
        observation : Observation
            One for each row, from :meth:`prepared`.
        """
        share = 1.0 if self.twist == "lookahead" else self.share(t - 1)
        tilt = observation.product(output.distribution, share, improved=self.twist == "lookahead")
        if t == 1:
            return Proposal(tilt.distribution, tilt.log_weight)
        if self.twist != "lookahead":
            return Proposal(tilt.distribution, lambda x: tilt.log_weight(x) - share * observation.log_potential(x))
        step = output.step
        plain = self.process.posterior_over(output.distribution, x_t, t) if step is None else step
        proposal = self.process.posterior_over(tilt.distribution, x_t, t)
        return Proposal(proposal, lambda x: plain.log_prob(x) - proposal.log_prob(x))
