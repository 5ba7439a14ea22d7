"""Denoisers of bits: the law of x_0 given x_t, sent through the forward posterior."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quasistatic.checks import MOST_WIDTH, whole_number
from quasistatic.distributions import Bernoulli, Distribution, Mixture
from quasistatic.forward import BernoulliDiffusion
from quasistatic.reverse.kernel import NetworkKernel
from quasistatic.storage.modules import saveable

__all__ = ["BernoulliDenoiser"]


@saveable
class BernoulliDenoiser(NetworkKernel):
    r"""Independent bits, or a mixture of M products, for x_0 given x_t, and from it the kernel of any step.

    The network corrects the exact answer for independent bits of the given rate: for each bit

    .. math:: \mathrm{logit}\, \hat p(x_0 = 1 \mid x_t)
              = \mathrm{logit}\,\mathrm{rate} + \log\frac{q(x_t \mid 1)}{q(x_t \mid 0)} + u_t F,

    where :math:`u_t` is the evidence of one bit (:meth:`BernoulliDiffusion.log_ratio_of_a_bit`), so that F counts
    what the other bits say in bits' worth of evidence, much the same number at every noise level. F starts at zero,
    so a zero network is already the exact model of independent bits. The kernel averages the forward posterior over it,
    :math:`\sum_{x_0} \hat p(x_0 \mid x_t)\, q(x_{t-1} \mid x_t, x_0)`.

    Parameters
    ----------
    diffusion : BernoulliDiffusion
    network : Module
        (batch, \*event), time -> (batch, :meth:`n_outputs`).
    rate : Tensor, shape (\*event)
        Rate of ones of each bit in the data, strictly between 0 and 1.
    n_components : int
        Components M of the mixture. A mixture is near exact in 5 to 10 steps where products need hundreds; take
        about 1.6 times as many as there are patterns. Their starts are spread at random.

    Examples
    --------
    Untrained, it knows independent bits exactly: the last step back from pure noise is their rate.

    >>> from quasistatic.networks import ResidualMLP
    >>> q = BernoulliDiffusion(torch.tensor([1.0]), rho=0.5)
    >>> kernel = BernoulliDenoiser(q, ResidualMLP(3, 3), rate=torch.full((3,), 0.2))
    >>> [round(p, 4) for p in kernel(torch.ones(1, 3), t=1).probs[0].tolist()]
    [0.2, 0.2, 0.2]
    """

    process: BernoulliDiffusion  # type: ignore[assignment]
    rate: Tensor
    sharpness = 4.0  # of a mixture's logits: components must be able to become sure of their bits

    def __init__(self, process: BernoulliDiffusion, network: nn.Module, rate: Tensor, n_components: int = 1) -> None:
        super().__init__()
        whole_number("n_components", n_components, 1, MOST_WIDTH)
        self.process = process
        self.network = network
        self.n_components = n_components
        self.register_buffer("rate", rate.double(), persistent=False)
        if rate.dim():
            self._check_network(tuple(rate.shape), self.n_outputs(rate.numel(), n_components))
        if n_components > 1:
            self.start = nn.Parameter(0.5 * torch.randn(n_components, rate.numel()))

    @staticmethod
    def n_outputs(n_dims: int, n_components: int = 1) -> int:
        """Outputs the network must have: M d, and M weights if M > 1."""
        return n_components * (n_dims + (n_components > 1))

    def law(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        given, m = self._data(out, x_t, t), self.n_components
        if isinstance(given, Mixture):
            t = t.repeat_interleave(m, 0) if isinstance(t, Tensor) else t
            back = self.process.posterior(given.components, x_t.repeat_interleave(m, 0), t)  # type: ignore[arg-type]
            return Mixture(given.log_weights, back)
        return self.process.posterior(given, x_t, t)

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Bernoulli | Mixture:
        r"""Law of the data, :math:`\hat p(x_0 \mid x_t)`: independent bits, or the mixture of products."""
        return self._data(self.ask(x_t, t), x_t, t)

    def _unit(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """What the network's answers are counted in."""
        return self.process.log_ratio_of_a_bit(x_t, t)

    def _data(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Bernoulli | Mixture:
        known = self.rate.logit().to(x_t.dtype) + self.process.log_likelihood_ratio(x_t, t)
        if self.n_components == 1:
            return _bits(known + self._unit(x_t, t) * out.view_as(x_t))
        m, log_weights = self.n_components, torch.log_softmax(out[:, -self.n_components :], 1)
        shift = out[:, : -self.n_components].reshape(len(x_t), m, -1) + self.start.to(out.dtype)
        logits = known.flatten(1).unsqueeze(1) + self.sharpness * shift
        return Mixture(log_weights, _bits(logits.view(len(x_t) * m, *x_t.shape[1:])))


def _bits(logits: Tensor) -> Bernoulli:
    # beyond 80 nats a float32 sigmoid is zero and its gradient nan; within, both probabilities are exact and sum to one
    logits = logits.clamp(-80.0, 80.0)
    return Bernoulli(torch.sigmoid(logits), torch.sigmoid(-logits))
