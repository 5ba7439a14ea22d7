"""Denoiser of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from quasistatic.distributions import Distribution, Gaussian
from quasistatic.distributions.discretised import DiscretisedGaussian
from quasistatic.distributions.first_step import FirstStepDiscretised
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess, GaussianDiffusion
from quasistatic.networks.mlp import LogSNREmbedding
from quasistatic.reverse.kernel import NetworkKernel
from quasistatic.reverse.wiener import mean_on_grid
from quasistatic.storage.modules import saveable

__all__ = ["ImageDenoiser"]


class _Base(NamedTuple):
    """The base's prediction of x_0 and the network's input.

    Both are (batch, channels, height, width).
    """

    mean: Tensor
    var: Tensor
    sd: Tensor
    features: Tensor


@saveable
class ImageDenoiser(NetworkKernel[GaussianDiffusion]):
    r"""Denoiser of images that corrects a Gaussian prediction of each pixel.

    A base without trained parameters (:class:`~quasistatic.reverse.wiener.WienerBase`) predicts
    :math:`\mathcal{N}(m, \mathrm{diag}\, s^2)`. The network's outputs F and S, for each pixel and channel, start at zero
    and correct it in units of the base's deviations,

    .. math:: \hat x = m + s F, \qquad V = s^2 e^S, \qquad
              p(x_{t-1} \mid x_t) = \mathcal{N}(c_0 \hat x + c_t x_t,\; \tilde\beta_t + c_0^2 V),

    with :math:`c_0, c_t, \tilde\beta_t` of :meth:`GaussianDiffusion.posterior`. A zero network is thus the exact
    reversal of Gaussian data, but for correlations between the pixels of one step.

    With ``levels`` the data are integers, represented by evenly spaced numbers. Two things change. First, at t = 1 the
    kernel returns the probability of a level (:class:`~quasistatic.distributions.discretised.DiscretisedGaussian`), so
    that the bound is that of a log probability. Second, where the noise is smaller than the distance of two levels, m
    moves towards the base's prediction restricted to the levels and towards the pixel's own value restricted to them.
    How far it moves is a learned function of the log-SNR that starts at zero.

    The network's input channels are the state, m, the noise estimate
    :math:`(x_t - \sqrt{\bar\alpha_t}\, m) / \sqrt{1 - \bar\alpha_t}`, the difference of m from the mean of its
    neighbours, and with ``levels`` the changes by both restrictions. All are of order one, so the network may run in
    bfloat16. The base and the distribution are always computed in the precision of the state.

    Parameters
    ----------
    process : GaussianDiffusion
        The process that the kernel reverses.
    network : Module
        (batch, :meth:`n_inputs`, height, width), time -> (batch, 2 channels * height * width): F, then S.
    base : Module
        x_t, log-SNR -> mean and variance of each entry of x_0.
    levels : int, optional
        Number of levels; None for real values, whose first step is a density.
    low, high : float
        First and last level in model units.

    Raises
    ------
    InputError
        If there are fewer than two levels, or ``low`` is not below ``high``.

    References
    ----------
    Ho et al. (2020), Section 3.3, for the probabilities of the first step.

    Examples
    --------
    Before training it returns the prediction of its base:

    >>> from quasistatic.networks.unet import UNet
    >>> from quasistatic.reverse.wiener import WienerBase
    >>> q = GaussianDiffusion(torch.tensor([0.5, 0.5]))
    >>> base = WienerBase(torch.zeros(1, 2, 2), torch.ones(4), torch.eye(4))
    >>> network = UNet(ImageDenoiser.n_inputs(1), ImageDenoiser.n_outputs(1), widths=(8,))
    >>> p = ImageDenoiser(q, network, base)(torch.ones(1, 1, 2, 2), t=2)
    >>> round(p.mean.mean().item(), 4), round(p.var.mean().item(), 4)      # of white data, (1 - beta)^1/2 and beta
    (0.7071, 0.5)
    """

    def __init__(
        self,
        process: GaussianDiffusion,
        network: nn.Module,
        base: nn.Module,
        levels: int | None = None,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        super().__init__(process, network)
        if levels is not None and (levels < 2 or not low < high):
            raise InputError(f"a grid needs two levels or more from low to high, got {levels} from {low} to {high}")
        self.base = base
        self.levels, self.low, self.high = levels, low, high
        if levels is not None:
            self.step = (high - low) / (levels - 1)
            self.time = LogSNREmbedding(32)
            self.trust = nn.Linear(32, 2)
            nn.init.zeros_(self.trust.weight)
            nn.init.zeros_(self.trust.bias)

    @staticmethod
    def n_inputs(channels: int, levels: int | None = None) -> int:
        """Return the number of input channels of the network.

        Parameters
        ----------
        channels : int
            Channels of the image.
        levels : int, optional
            Number of levels; None for real values.
        """
        return channels * (4 if levels is None else 6)

    @staticmethod
    def n_outputs(channels: int) -> int:
        """Return the number of output channels of the network."""
        return 2 * channels

    def check_event(self, event_shape: tuple[int, ...]) -> None:
        channels, *size = event_shape
        self._check_network((self.n_inputs(channels, self.levels), *size), 2 * math.prod(event_shape))

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        base = self._base(x_t, t)
        return self._step_back(self.evaluate_network(base.features, t), base, x_t, t)

    def distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self._step_back(out, self._base(x_t, t), x_t, t)

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Gaussian:
        base = self._base(x_t, t)
        shift, log_scale = (part.view_as(x_t) for part in self.evaluate_network(base.features, t).chunk(2, 1))
        return Gaussian(torch.addcmul(base.mean, base.sd, shift), base.var * log_scale.exp())

    def from_level(self, x_t: Tensor, t: int) -> Callable[[ForwardProcess, int], Distribution]:
        base = self._base(x_t, t)
        out = self.evaluate_network(base.features, t)
        return lambda process, s: self.on(process)._step_back(out, base, x_t, s)

    def _base(self, x_t: Tensor, t: int | Tensor) -> _Base:
        log_snr = self.process.log_snr_at(t, x_t)
        signal, noise = self.process._at(t, x_t, "marginal")
        mean, var = self.base(x_t, log_snr)
        sd = var.sqrt()
        features = [x_t]
        if self.levels is not None:
            own, own_var = x_t / signal, noise / signal.square()
            on_grid = self._on_grid(mean, var) - mean
            own_on_grid = self._on_grid(own, own_var.expand_as(own))
            features += [on_grid / sd, (own_on_grid - own) / own_var.sqrt()]
            by_base, by_own = self._trust(log_snr, x_t)
            mean = mean + by_base * on_grid + by_own * (own_on_grid - mean)
        around = functional.avg_pool2d(mean, 3, stride=1, padding=1, count_include_pad=False)
        features += [mean, (x_t - signal * mean) / noise.sqrt(), torch.asinh((mean - around) / sd)]
        return _Base(mean, var, sd, torch.cat(features, 1))

    def _on_grid(self, mean: Tensor, var: Tensor) -> Tensor:
        assert self.levels is not None
        return mean_on_grid(mean, var, self.low, self.step, self.levels)

    def _trust(self, log_snr: Tensor, like: Tensor) -> tuple[Tensor, ...]:
        """Return how far to move to each restriction.

        Both are (batch, 1, 1, 1).
        """
        with torch.autocast(like.device.type, enabled=False):
            trust = self.trust(functional.silu(self.time(log_snr.to(self.trust.weight.dtype))))
        return trust.to(like.dtype)[:, :, None, None, None].unbind(1)

    def _step_back(self, out: Tensor, base: _Base, x_t: Tensor, t: int | Tensor) -> Distribution:
        shift, log_scale = (part.view_as(x_t) for part in out.chunk(2, 1))
        x_0_share, x_t_share, var = self.process._at(t, x_t, "posterior")
        mean = x_0_share * torch.addcmul(base.mean, base.sd, shift) + x_t_share * x_t
        normal = Gaussian(mean, torch.addcmul(var, x_0_share.square() * base.var, log_scale.exp()))
        if self.levels is None:
            return normal
        grid = self.step, self.low, self.high
        if isinstance(t, Tensor):
            return FirstStepDiscretised.of(normal, *grid, first=t == 1)
        return DiscretisedGaussian(normal.mean, normal.var, *grid) if t == 1 else normal
