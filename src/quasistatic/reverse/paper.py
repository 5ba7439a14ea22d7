"""The paper's read-out: mean and variance as perturbations of the forward kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quasistatic.distributions import Gaussian
from quasistatic.forward import GaussianDiffusion
from quasistatic.reverse.kernel import NetworkKernel
from quasistatic.storage.modules import saveable

__all__ = ["PaperKernel"]


@saveable
class PaperKernel(NetworkKernel):
    r"""Diagonal Gaussian kernel that perturbs the forward one.

    With the network's outputs :math:`z^\mu, z^\Sigma` (n_out = 2 d, in this order) the variance is

    .. math:: \Sigma = \sigma(z^\Sigma + \sigma^{-1}(\beta_t)) \qquad (64)

    and the mean, for ``mean="equation"``, moves towards the equilibrium :math:`z^\mu`,

    .. math:: \mu = (x - z^\mu)(1 - \Sigma) + z^\mu \qquad (65)

    or, for ``mean="released"``, is what the authors' released program computes,
    :math:`\mu = \sqrt{1 - \beta_t}\, x + \sqrt{\beta_t}\, z^\mu`. There a zero network *is* the forward kernel; in (65)
    it is so up to :math:`1 - \beta` for :math:`\sqrt{1-\beta}`. The second keeps its outputs near one at small beta,
    where (65) asks for :math:`z^\mu` of the order :math:`1/\sqrt{1-\bar\alpha_t}`, and so learns better.

    Parameters
    ----------
    diffusion : GaussianDiffusion
    network : Module
        (batch, d), time -> (batch, 2 d).
    mean : {"released", "equation"}
    """

    def __init__(self, process: GaussianDiffusion, network: nn.Module, mean: str = "released") -> None:
        super().__init__()
        if mean not in ("released", "equation"):
            raise ValueError(f'mean must be "released" or "equation", got {mean!r}')
        self.process = process
        self.network = network
        self.mean = mean

    def check_event(self, event_shape: tuple[int, ...]) -> None:
        self._check_network(event_shape, 2 * math.prod(event_shape))

    def law(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Gaussian:
        z_mean, z_var = out.chunk(2, 1)
        z_mean, z_var = z_mean.view_as(x_t), z_var.view_as(x_t)
        shrink, rate = self.process._at(t, x_t, "step")
        var = torch.sigmoid(z_var + torch.logit(rate))
        if self.mean == "equation":
            return Gaussian(x_t - var * (x_t - z_mean), var)
        return Gaussian(shrink * x_t + rate.sqrt() * z_mean, var)
