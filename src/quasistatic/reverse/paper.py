"""The paper's Gaussian kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quasistatic.checks import one_of
from quasistatic.distributions import Gaussian
from quasistatic.forward import GaussianDiffusion
from quasistatic.reverse.kernel import NetworkKernel
from quasistatic.storage.modules import saveable

__all__ = ["PaperKernel"]


@saveable
class PaperKernel(NetworkKernel[GaussianDiffusion]):
    r"""Diagonal Gaussian kernel that perturbs the forward one.

    With the network's outputs :math:`z^\mu, z^\Sigma` (n_out = 2 d, in this order) the variance is

    .. math:: \Sigma = \sigma(z^\Sigma + \sigma^{-1}(\beta_t)) \qquad (64)

    and the mean, for ``mean="equation"``, moves towards the equilibrium :math:`z^\mu`,

    .. math:: \mu = (x - z^\mu)(1 - \Sigma) + z^\mu \qquad (65)

    or, for ``mean="released"``, is that of the authors' released program,
    :math:`\mu = \sqrt{1 - \beta_t}\, x + \sqrt{\beta_t}\, z^\mu`. A zero network is then the forward kernel. In (65) it is
    the forward kernel with :math:`1 - \beta` for :math:`\sqrt{1-\beta}`. The released mean needs outputs near one at
    small beta, where (65) needs :math:`z^\mu` of the order :math:`1/\sqrt{1-\bar\alpha_t}`. So it learns better.

    Parameters
    ----------
    process : GaussianDiffusion
        The process that the kernel reverses.
    network : Module
        (batch, \*event), time -> (batch, 2 d).
    mean : {"released", "equation"}
        Formula of the mean.
    """

    def __init__(self, process: GaussianDiffusion, network: nn.Module, mean: str = "released") -> None:
        super().__init__(process, network)
        one_of("mean", mean, ("released", "equation"))
        self.mean = mean

    def check_event(self, event_shape: tuple[int, ...]) -> None:
        self._check_network(event_shape, 2 * math.prod(event_shape))

    def distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Gaussian:
        z_mean, z_var = out.chunk(2, 1)
        z_mean, z_var = z_mean.view_as(x_t), z_var.view_as(x_t)
        shrink, rate = self.process._at(t, x_t, "step")
        var = torch.sigmoid(z_var + torch.logit(rate))
        if self.mean == "equation":
            return Gaussian(x_t - var * (x_t - z_mean), var)
        return Gaussian(shrink * x_t + rate.sqrt() * z_mean, var)
