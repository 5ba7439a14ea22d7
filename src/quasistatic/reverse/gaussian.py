"""Denoisers of real vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quasistatic.checks import MOST_WIDTH, one_of, whole_number
from quasistatic.distributions import Distribution, Gaussian, Mixture, MultivariateGaussian
from quasistatic.forward import GaussianDiffusion
from quasistatic.reverse.covariance import scale_tril
from quasistatic.reverse.kernel import Denoiser
from quasistatic.storage.modules import saveable

__all__ = ["GaussianDenoiser"]


@saveable
class GaussianDenoiser(Denoiser[GaussianDiffusion]):
    r"""Denoiser that predicts a Gaussian or a Gaussian mixture.

    The network corrects the exact prediction for white data,

    .. math:: m = \sqrt{\bar\alpha_t}\, x_t + \sqrt{1 - \bar\alpha_t}\, F, \qquad V = (1 - \bar\alpha_t)\, e^S,

    where F and the symmetric (or diagonal) S start at zero. A zero network is thus the reverse chain of
    :math:`\mathcal{N}(0, I)` data, for every T. The kernel averages the forward posterior over the prediction,

    .. math:: p(x_{t-1} \mid x_t) = \mathcal{N}(c_0 m + c_t x_t,\; \tilde\beta_t I + c_0^2 V),

    with :math:`c_0, c_t, \tilde\beta_t` of :meth:`GaussianDiffusion.posterior`. At t = 1 it is
    :math:`\mathcal{N}(m, V)`. With ``n_components`` > 1 there is such a Gaussian for each component, and weights.

    Parameters
    ----------
    process : GaussianDiffusion
        The process that the kernel reverses.
    network : Module
        (batch, d), time -> (batch, :meth:`n_outputs`).
    n_dims : int
        Entries d of one example.
    covariance : {"diagonal", "full"}
        Form of V. "full" needs d (d + 1) / 2 outputs. It reaches the same bound in fewer steps
        where the data lie near a curved surface.
    n_components : int
        Components M of the mixture, initialised at random.

    Raises
    ------
    InputError
        If the network does not fit.

    Examples
    --------
    Untrained, it is exact for white data with any number of steps:

    >>> from quasistatic.networks import ResidualMLP
    >>> q = GaussianDiffusion(torch.tensor([0.5, 0.9]))
    >>> net = ResidualMLP(3, GaussianDenoiser.n_outputs(3))
    >>> p = GaussianDenoiser(q, net, 3)(torch.ones(1, 3), t=2)
    >>> [round(v, 4) for v in (p.mean[0, 0].item(), p.var[0, 0].item(), (1 - q.beta[2]).sqrt().item())]
    [0.3162, 0.9, 0.3162]
    """

    def __init__(
        self,
        process: GaussianDiffusion,
        network: nn.Module,
        n_dims: int,
        covariance: str = "diagonal",
        n_components: int = 1,
    ) -> None:
        super().__init__(process, network)
        self.n_dims = n_dims
        self.covariance = one_of("covariance", covariance, ("diagonal", "full"))
        self.n_components = whole_number("n_components", n_components, 1, MOST_WIDTH)
        self._check_network((n_dims,), self.n_outputs(n_dims, covariance, n_components))
        if n_components > 1:
            self.start = nn.Parameter(torch.randn(n_components, n_dims))

    @staticmethod
    def n_outputs(n_dims: int, covariance: str = "diagonal", n_components: int = 1) -> int:
        """Return the number of outputs the network must have.

        M (d + d) for diagonal covariances, M (d + d (d + 1) / 2) for full ones, and M weights if M > 1.

        Parameters
        ----------
        n_dims : int
            Entries d of one example.
        covariance : {"diagonal", "full"}
            Form of the covariance.
        n_components : int
            Components M of the mixture.
        """
        scale = n_dims if covariance == "diagonal" else n_dims * (n_dims + 1) // 2
        return n_components * (n_dims + scale + (n_components > 1))

    def distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        # c_0 m + c_t x_t, with the two parts of x_t taken together first
        return self._line(out, x_t, *self.process._at(t, x_t, "reverse"))

    def data_distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        signal, noise = self.process._at(t, x_t, "marginal")
        return self._line(out, x_t, torch.zeros_like(noise), signal, noise.sqrt(), noise)

    def _line(self, out: Tensor, x_t: Tensor, var: Tensor, share: Tensor, gain: Tensor, gain_square: Tensor) -> Distribution:
        """Return the Gaussian, or the mixture, of one step.

        It is N(share x_t + gain F, var I + gain^2 exp(S)).
        """
        d, m = self.n_dims, self.n_components
        if m == 1:
            shift, scale = torch.split_with_sizes(out, (d, out.shape[1] - d), 1)
            mean = (share * x_t).addcmul_(gain, shift if x_t.dim() == 2 else shift.view_as(x_t))
            return self._normal(mean, scale, gain_square, var)
        log_weights = torch.log_softmax(out[:, -m:], 1)
        out = out[:, :-m].reshape(len(x_t) * m, -1)
        x_t, var, share, gain, gain_square = (
            c.repeat_interleave(m, 0) if c.dim() else c for c in (x_t, var, share, gain, gain_square)
        )
        shift = out[:, :d] + self.start.to(out.dtype).repeat(len(log_weights), 1)
        mean = torch.addcmul(share * x_t, gain, shift.view_as(x_t))
        return Mixture(log_weights, self._normal(mean, out[:, d:], gain_square, var))

    def _normal(self, mean: Tensor, scale: Tensor, gain_square: Tensor, var: Tensor) -> Distribution:
        """Return N(mean, var I + gain^2 exp(S)).

        The entries of S are in ``scale``.
        """
        if self.covariance == "diagonal":
            log_var = scale if mean.dim() == 2 else scale.view_as(mean)
            return Gaussian(mean, torch.addcmul(var, gain_square, log_var.exp()))
        return MultivariateGaussian(mean, scale_tril(scale, self.n_dims, var.flatten(), gain_square.flatten()))
