"""Denoisers of bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quasistatic.checks import MOST_WIDTH, whole_number
from quasistatic.distributions import Bernoulli, Distribution, Mixture
from quasistatic.forward import BernoulliDiffusion
from quasistatic.reverse.kernel import Denoiser, repeat_steps
from quasistatic.storage.modules import saveable

__all__ = ["BernoulliDenoiser"]


@saveable
class BernoulliDenoiser(Denoiser[BernoulliDiffusion]):
    r"""Denoiser that predicts bits, or a mixture of products.

    The network corrects the exact prediction for independent bits of the given rate. For each bit

    .. math:: \mathrm{logit}\, \hat p(x_0 = 1 \mid x_t)
              = \mathrm{logit}\,\mathrm{rate} + \log\frac{q(x_t \mid 1)}{q(x_t \mid 0)} + u_t F,

    where :math:`u_t` is :meth:`BernoulliDiffusion.log_ratio_difference`, so that the outputs F are of similar size at all
    steps. F starts at zero. A zero network is thus the exact model of independent bits. The kernel averages the forward
    posterior over the prediction, :math:`\sum_{x_0} \hat p(x_0 \mid x_t)\, q(x_{t-1} \mid x_t, x_0)`.

    Parameters
    ----------
    process : BernoulliDiffusion
        The process that the kernel reverses.
    network : Module
        (batch, \*event), time -> (batch, :meth:`n_outputs`).
    rate : Tensor, shape (\*event)
        Rate of ones of each bit in the data, strictly between 0 and 1.
    n_components : int
        Components M of the mixture, initialised at random. A mixture is nearly exact in 5 to 10 steps where products
        need hundreds. Take about 1.6 times as many components as there are patterns in the data.

    Examples
    --------
    Untrained, it is exact for independent bits: the last step back from pure noise has their rate.

    >>> from quasistatic.networks import ResidualMLP
    >>> q = BernoulliDiffusion(torch.tensor([1.0]), rho=0.5)
    >>> kernel = BernoulliDenoiser(q, ResidualMLP(3, 3), rate=torch.full((3,), 0.2))
    >>> [round(p, 4) for p in kernel(torch.ones(1, 3), t=1).probs[0].tolist()]
    [0.2, 0.2, 0.2]
    """

    rate: Tensor
    sharpness = 4.0  # scale of a mixture's logits, so that components can become certain of their bits

    def __init__(self, process: BernoulliDiffusion, network: nn.Module, rate: Tensor, n_components: int = 1) -> None:
        super().__init__(process, network)
        self.n_components = whole_number("n_components", n_components, 1, MOST_WIDTH)
        self.register_buffer("rate", rate.double(), persistent=False)
        if rate.dim():
            self._check_network(tuple(rate.shape), self.n_outputs(rate.numel(), n_components))
        if n_components > 1:
            self.start = nn.Parameter(0.5 * torch.randn(n_components, rate.numel()))

    @staticmethod
    def n_outputs(n_dims: int, n_components: int = 1) -> int:
        """Return the number of outputs the network must have.

        It is M d, and M weights if M > 1.

        Parameters
        ----------
        n_dims : int
            Bits d of one example.
        n_components : int
            Components M of the mixture.
        """
        return n_components * (n_dims + (n_components > 1))

    def distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        m = self.n_components
        if m == 1:
            return self.process.posterior(self._bits(out, x_t, t), x_t, t)
        log_weights, bits = self._components(out, x_t, t)
        return Mixture(log_weights, self.process.posterior(bits, x_t.repeat_interleave(m, 0), repeat_steps(t, m)))

    def data_distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Bernoulli | Mixture:
        return self._bits(out, x_t, t) if self.n_components == 1 else Mixture(*self._components(out, x_t, t))

    def _prior_logits(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """Return the logits of x_0 for independent bits, without the network."""
        return self.rate.logit().to(x_t.dtype) + self.process.log_likelihood_ratio(x_t, t)

    def _scale(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """Return the scale of the network's logits."""
        return self.process.log_ratio_difference(x_t, t)

    def _bits(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Bernoulli:
        return _bernoulli(self._prior_logits(x_t, t) + self._scale(x_t, t) * out.view_as(x_t))

    def _components(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> tuple[Tensor, Bernoulli]:
        """Return log weights and bits of all components.

        Their shapes are (batch, M) and (batch * M, *event).
        """
        m, log_weights = self.n_components, torch.log_softmax(out[:, -self.n_components :], 1)
        shift = out[:, : -self.n_components].reshape(len(x_t), m, -1) + self.start.to(out.dtype)
        logits = self._prior_logits(x_t, t).flatten(1).unsqueeze(1) + self.sharpness * shift
        return log_weights, _bernoulli(logits.view(len(x_t) * m, *x_t.shape[1:]))


def _bernoulli(logits: Tensor) -> Bernoulli:
    # beyond 80 nats a float32 sigmoid is zero and its gradient nan; within, both probabilities are exact and sum to one
    logits = logits.clamp(-80.0, 80.0)
    return Bernoulli(torch.sigmoid(logits), torch.sigmoid(-logits))
