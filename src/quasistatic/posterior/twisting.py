r"""The chain's kernel multiplied by evidence.

Three ways to spread r over the steps, each a choice of potentials :math:`\psi_t` with :math:`\psi_0 = r`:

* ``"constant"``: :math:`\psi_t(x) = r(x)`, as in the paper's experiments (eq. 23);
* ``"power"``: :math:`\psi_t(x) = r(x)^{(T-t)/T}`, the paper's other choice;
* ``"lookahead"``: :math:`\psi_t(x_t) = \int \hat p(x_0 \mid x_t)\, r(x_0)\, dx_0`, what the kernel's own law of the data
  expects of r. The kernel is the forward posterior with x_0 drawn from that law *times r*. Where
  :math:`\hat p(x_0 \mid x_t)` is the true one, this is the true posterior's kernel, so no weight varies. It costs one
  network evaluation a step, and no gradient of the network.

Steps of the first two multiply :math:`p(x_{t-1} \mid x_t)` by :math:`\psi_{t-1}` itself (eq. 22).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

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
from quasistatic.distributions.low_rank import LowRankGaussian
from quasistatic.distributions.operations import covariance_factor, joined, take, unsupported
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, ForwardProcess, MixedDiffusion
from quasistatic.linalg import cholesky
from quasistatic.posterior.observations.base import Observation
from quasistatic.reverse import ReverseKernel

__all__ = ["TWISTS", "Move", "Sight", "TwistedKernel", "back", "data_law"]

TWISTS = ("lookahead", "constant", "power")
_DOUBT = 0.01  # of a kernel's variance, and of a bit, when the law of the data is read out of a step


def back(process: ForwardProcess, given: Distribution, x_t: Tensor, t: int) -> Distribution:
    r"""Average the forward posterior over a law of the data, :math:`\int p(x_0)\, q(x_{t-1} \mid x_t, x_0)\, dx_0`."""
    if t == 1:
        return given
    if isinstance(given, Mixture):
        parts = back(process, given.components, x_t.repeat_interleave(given.n_components, 0), t)
        return Mixture(given.log_weights, parts)
    if isinstance(process, MixedDiffusion) and isinstance(given, Joint):
        blocks = zip(given.parts, process.blocks(x_t), strict=True)
        return Joint([back(part, law, x, t) for law, (part, x) in blocks], given.columns)
    if isinstance(process, BernoulliDiffusion) and isinstance(given, Bernoulli):
        return process.posterior(given, x_t, t)
    if isinstance(process, CategoricalDiffusion) and isinstance(given, Categorical):
        return process.posterior(given, x_t, t)
    if isinstance(given, Gaussian):
        line, share = process.posterior(given.mean, x_t, t), _share(process, x_t, t)
        assert isinstance(line, Gaussian)
        return Gaussian(line.mean, line.var + share.square() * given.var)
    if isinstance(given, LowRankGaussian):
        line, share = process.posterior(given.mean, x_t, t), _share(process, x_t, t)
        assert isinstance(line, Gaussian)
        return LowRankGaussian(line.mean, share.unsqueeze(-1) * given.root, line.var + share.square() * given.var)
    if isinstance(given, MultivariateGaussian):
        line, share = process.posterior(given.mean, x_t, t), _share(process, x_t, t)
        assert isinstance(line, Gaussian)
        cov = share.square() * given.cov + torch.diag_embed(line.var.flatten(1))
        return MultivariateGaussian(line.mean, cholesky(cov))
    raise unsupported(given)


def _share(process: ForwardProcess, x_t: Tensor, t: int) -> Tensor:
    """Share of x_0 in the mean of the Gaussian forward posterior."""
    return process.coefficients(t, x_t)["x_0_share"]


def data_law(
    process: ForwardProcess, kernel: ReverseKernel, x_t: Tensor, t: int
) -> tuple[Distribution, Distribution | None]:
    r"""Law of the data :math:`\hat p(x_0 \mid x_t)` behind a kernel, and the kernel's own law where it is not its image.

    Denoisers are asked for it. Elsewhere it is read back out of the law of one step, which is
    :math:`c_0 x_0 + c_t x_t + \sqrt{\tilde\beta_t}\,` noise, but not believed to more than a hundredth: a law that is too
    sure would leave the truth to weights of rare particles.
    """
    if t == 1:
        law = kernel(x_t, 1)
        return _classes_shown(law) or law, None  # at the data nothing is masked any more
    given = kernel.denoise(x_t, t)
    if given is not None:
        return given, None
    law = kernel(x_t, t)
    if (shown := _classes_shown(law)) is not None:
        return shown, None
    return _behind(process, law, x_t, t), law


def _classes_shown(law: Distribution) -> Categorical | None:
    """Law of the data behind a law that masks some of it."""
    return law.shown if isinstance(law, Masked) and isinstance(law.shown, Categorical) else None


def _behind(process: ForwardProcess, law: Distribution, x_t: Tensor, t: int) -> Distribution:
    if isinstance(law, Mixture):
        parts = _behind(process, law.components, x_t.repeat_interleave(law.n_components, 0), t)
        return Mixture(law.log_weights, parts)
    if isinstance(law, Bernoulli):
        ones = torch.ones_like(x_t)
        one, zero = process.posterior(ones, x_t, t), process.posterior(0.0 * ones, x_t, t)
        assert isinstance(one, Bernoulli)
        assert isinstance(zero, Bernoulli)
        return Bernoulli(((law.probs - zero.probs) / (one.probs - zero.probs)).clamp(_DOUBT, 1.0 - _DOUBT))
    if isinstance(law, Gaussian | MultivariateGaussian):
        line, share = process.posterior(torch.zeros_like(x_t), x_t, t), _share(process, x_t, t)
        assert isinstance(line, Gaussian)
        mean = (law.mean - line.mean) / share
        own = line.var[0].flatten()[0] / share.square()
        least = torch.minimum(_DOUBT * own, process.noise_bar[t].to(own))
        if isinstance(law, Gaussian):
            return Gaussian(mean, torch.maximum(law.var / share.square() - own, least))
        excess = law.cov / share.square() - own * torch.eye(law.cov.shape[-1], dtype=own.dtype, device=own.device)
        return MultivariateGaussian(mean, covariance_factor(excess, least))
    raise unsupported(law)


class Sight(NamedTuple):
    """What a kernel says at x_t, for each row: all that one evaluation of the network is needed for.

    Attributes
    ----------
    law : Distribution
        Of x_0 given x_t when looking ahead, else of x_{t-1}.
    step : Distribution or None
        Law of x_{t-1}, where it does not follow from that of x_0.
    log_psi : Tensor, shape (batch,)
        Log potential at x_t.
    """

    law: Distribution
    step: Distribution | None
    log_psi: Tensor

    def take(self, rows: Tensor) -> Sight:
        """Some of the rows, in any order."""
        step = None if self.step is None else take(self.step, rows)
        return Sight(take(self.law, rows), step, self.log_psi[rows])

    @staticmethod
    def joined(parts: Sequence[Sight]) -> Sight:
        """Batches one after the other."""
        steps = [part.step for part in parts if part.step is not None]
        return Sight(
            joined([part.law for part in parts]),
            joined(steps) if steps else None,
            torch.cat([part.log_psi for part in parts]),
        )


class Move(NamedTuple):
    """A law to draw x_{t-1} from, and how a draw is scored: log p - log law, at the last step log p r - log law."""

    law: Distribution
    score: Callable[[Tensor], Tensor]


class TwistedKernel(ReverseKernel):
    r"""A kernel times evidence, :math:`p(x_{t-1} \mid x_t)\, \psi_{t-1}(x_{t-1}) / Z`: again a kernel.

    Run on its own by :func:`quasistatic.sample.sample_ancestral`, with twist "constant" or "power", it is the paper's method
    and has its bias: it drops Z, which depends on x_t (eq. 22). :func:`quasistatic.posterior.smc.posterior_sample`
    keeps the weights.

    Parameters
    ----------
    kernel : ReverseKernel
    diffusion : Diffusion
    evidence : Evidence
        For B observations the rows of a batch are B blocks of equal size.
    spread : {"lookahead", "constant", "power"}
        See the module.

    Examples
    --------
    White data, whose entry is measured as 2 with error 1; the first step back from noise already heeds it:

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
        if twist not in TWISTS:
            raise InputError(f'spread must be "lookahead", "constant" or "power", got {twist!r}')
        self.kernel, self.observation, self.twist = kernel.on(process), observation, twist
        self.first_step, self.n_components = kernel.first_step, kernel.n_components

    def move_to(self, process: ForwardProcess) -> None:
        self.kernel = self.kernel.on(process)
        super().move_to(process)

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        """Law of one step back; the rows of a batch must be at the same step."""
        if isinstance(t, Tensor):
            if (t != t[0]).any():
                raise InputError("a tilted kernel takes one step t for the whole batch")
            t = int(t[0])
        observation = self.observation.on(x_t.shape[1:], x_t.device)
        if observation.n_observations > 1:
            each = len(x_t) // observation.n_observations
            observation = observation.rows(
                torch.arange(observation.n_observations, device=x_t.device).repeat_interleave(each)
            )
        return self.move(self.look(x_t, t, observation), x_t, t, observation).law

    def share(self, t: int) -> float:
        """Power of r in the potential at step t, when not looking ahead."""
        return 1.0 if self.twist == "constant" else 1.0 - t / self.process.n_steps

    def start(self, noise: Distribution, observation: Observation) -> Move:
        """Law of x_T to start from; its score is log pi - log law."""
        share = 0.0 if self.twist == "lookahead" else self.share(self.process.n_steps)
        if share == 0.0:
            return Move(noise, lambda x: x.new_zeros(len(x)))
        tilt = observation.product(noise, share)
        return Move(tilt.law, lambda x: tilt.log_weight(x) - share * observation.log_r(x))

    def look(self, x_t: Tensor, t: int, observation: Observation) -> Sight:
        """Evaluate the network at x_t, with ``evidence`` one for each row."""
        if self.twist == "lookahead":
            law, step = data_law(self.process, self.kernel, x_t, t)
            return Sight(law, step, observation.lookahead(law))
        share = self.share(t)
        log_psi = share * observation.log_r(x_t) if share > 0.0 else x_t.new_zeros(len(x_t))
        return Sight(self.kernel(x_t, t), None, log_psi)

    def move(self, sight: Sight, x_t: Tensor, t: int, observation: Observation) -> Move:
        """Law of the next draw, from what was seen at x_t."""
        if self.twist == "lookahead":
            tilt = observation.product(sight.law, refined=True)
            if t == 1:
                return Move(tilt.law, tilt.log_weight)
            plain = back(self.process, sight.law, x_t, t) if sight.step is None else sight.step
            law = back(self.process, tilt.law, x_t, t)
            return Move(law, lambda x: plain.log_prob(x) - law.log_prob(x))
        share = self.share(t - 1)
        tilt = observation.product(sight.law, share)
        if t == 1:
            return Move(tilt.law, tilt.log_weight)
        return Move(tilt.law, lambda x: tilt.log_weight(x) - share * observation.log_r(x))
