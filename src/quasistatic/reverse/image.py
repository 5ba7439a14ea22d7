"""The denoiser of images: a network that corrects an exact Gaussian one, and levels instead of densities at the end."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from quasistatic.distributions import Distribution, Gaussian
from quasistatic.distributions.discretised import DiscretisedGaussian, FirstStepDiscretised
from quasistatic.errors import InputError
from quasistatic.forward import GaussianDiffusion
from quasistatic.networks.mlp import LogSNREmbedding
from quasistatic.reverse.kernel import NetworkKernel
from quasistatic.reverse.wiener import mean_on_grid
from quasistatic.storage.modules import saveable

__all__ = ["ImageDenoiser"]


class _Known(NamedTuple):
    """What is known of x_0 before the network is asked, each (batch, channels, height, width) or more channels."""

    mean: Tensor
    var: Tensor
    sd: Tensor
    features: Tensor


@saveable
class ImageDenoiser(NetworkKernel):
    r"""A diagonal Gaussian for x_0 given x_t that a network corrects, and from it the kernel of any step.

    A base without parameters of its own (:class:`~quasistatic.reverse.wiener.WienerBase`) says
    :math:`\mathcal{N}(m, \mathrm{diag}\, s^2)`; the network's answer, F and S for each pixel and channel, starts
    at zero and is counted in the base's deviations,

    .. math:: \hat x = m + s F, \qquad V = s^2 e^S, \qquad
              p(x_{t-1} \mid x_t) = \mathcal{N}(c_0 \hat x + c_t x_t,\; \tilde\beta_t + c_0^2 V),

    with :math:`c_0, c_t, \tilde\beta_t` of :meth:`GaussianDiffusion.posterior`. So a zero network is the exact
    reversal of Gaussian data, but for correlations between the pixels of one step.

    With ``levels`` the data are integers seen as evenly spaced numbers, and two more things are known. First, t = 1 tells
    the mass of a level (:class:`~quasistatic.distributions.discretised.DiscretisedGaussian`): the bound is one of
    log P. Second, where
    the noise is less than a step of the grid, levels can be told apart: m moves, by learned functions of the log-SNR
    that start at zero, towards the base's law restricted to the grid and towards the pixel's own value restricted to it.

    The network sees all of this as channels of order one: the state, m, the noise that m leaves, m against its
    neighbours, and both restrictions. So it needs no fine arithmetic, and may be run in bfloat16; the base and the law
    never are.

    Parameters
    ----------
    diffusion : GaussianDiffusion
        The grid of steps; :meth:`on` moves the kernel to another.
    network : Module
        (batch, :meth:`n_inputs`, height, width), time -> (batch, 2 channels * height * width): F, then S.
    base : Module
        x_t, log-SNR -> mean and variance of each entry of x_0.
    levels : int, optional
        Number of levels; None for real values, whose first step is a density.
    low, high : float
        First and last level in model units.

    References
    ----------
    Ho et al. (2020), Section 3.3, for the masses of the first step.

    Examples
    --------
    Untrained, it is its base:

    >>> from quasistatic.networks.unet import UNet
    >>> from quasistatic.reverse.wiener import WienerBase
    >>> q = GaussianDiffusion(torch.tensor([0.5, 0.5]))
    >>> base = WienerBase(torch.zeros(1, 2, 2), torch.ones(4), torch.eye(4))
    >>> network = UNet(ImageDenoiser.n_inputs(1), ImageDenoiser.n_outputs(1), widths=(8,))
    >>> p = ImageDenoiser(q, network, base)(torch.ones(1, 1, 2, 2), t=2)
    >>> round(p.mean.mean().item(), 4), round(p.var.mean().item(), 4)      # of white data, (1 - beta)^1/2 and beta
    (0.7071, 0.5)
    """

    process: GaussianDiffusion  # type: ignore[assignment]

    def __init__(
        self,
        process: GaussianDiffusion,
        network: nn.Module,
        base: nn.Module,
        levels: int | None = None,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        super().__init__()
        if levels is not None and (levels < 2 or not low < high):
            raise InputError(f"a grid needs two levels or more from low to high, got {levels} from {low} to {high}")
        self.process = process
        self.network = network
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
        """Channels that the network sees of an image with ``channels``."""
        return channels * (4 if levels is None else 6)

    @staticmethod
    def n_outputs(channels: int) -> int:
        """Channels that the network must answer with."""
        return 2 * channels

    def check_event(self, event_shape: tuple[int, ...]) -> None:
        channels, *size = event_shape
        self._check_network((self.n_inputs(channels, self.levels), *size), 2 * math.prod(event_shape))

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        known = self._known(x_t, t)
        return self._law(self.ask(known.features, t), known, x_t, t)

    def law(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self._law(out, self._known(x_t, t), x_t, t)

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Gaussian:
        r"""Law of the data, :math:`\hat p(x_0 \mid x_t)`: what every step but the first back from levels is made of."""
        known = self._known(x_t, t)
        shift, spread = (part.view_as(x_t) for part in self.ask(known.features, t).chunk(2, 1))
        return Gaussian(torch.addcmul(known.mean, known.sd, shift), known.var * spread.exp())

    def _known(self, x_t: Tensor, t: int | Tensor) -> _Known:
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
        return _Known(mean, var, sd, torch.cat(features, 1))

    def _on_grid(self, mean: Tensor, var: Tensor) -> Tensor:
        assert self.levels is not None
        return mean_on_grid(mean, var, self.low, self.step, self.levels)

    def _trust(self, log_snr: Tensor, like: Tensor) -> tuple[Tensor, ...]:
        """How far to move to each restriction, (batch, 1, 1, 1) each."""
        with torch.autocast(like.device.type, enabled=False):
            trust = self.trust(functional.silu(self.time(log_snr.to(self.trust.weight.dtype))))
        return trust.to(like.dtype)[:, :, None, None, None].unbind(1)

    def _law(self, out: Tensor, known: _Known, x_t: Tensor, t: int | Tensor) -> Distribution:
        shift, spread = (part.view_as(x_t) for part in out.chunk(2, 1))
        share_0, share_t, var = self.process._at(t, x_t, "posterior")
        mean = share_0 * torch.addcmul(known.mean, known.sd, shift) + share_t * x_t
        normal = Gaussian(mean, torch.addcmul(var, share_0.square() * known.var, spread.exp()))
        if self.levels is None:
            return normal
        grid = self.step, self.low, self.high
        if isinstance(t, Tensor):
            return FirstStepDiscretised.of(normal, *grid, first=t == 1)
        return DiscretisedGaussian(normal.mean, normal.var, *grid) if t == 1 else normal
