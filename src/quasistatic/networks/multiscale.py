r"""The paper's network for images.

Each pixel i has 2CJ outputs :math:`y_{ij}`, C channels of mean and C of variance for each of J temporal bumps,
and the bumps mix them (Section D.2.1),

.. math:: z_i^\mu(t) = \sum_j y_{ij}^\mu\, g_j(t), \qquad z_i^\Sigma(t) = \sum_j y_{ij}^\Sigma\, g_j(t). \qquad (62)

All else is shared by all T steps, so the number of parameters does not depend on T.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quasistatic.checks import MOST_DEPTH, MOST_WIDTH, shown, whole_number
from quasistatic.errors import InputError
from quasistatic.memory import require_network
from quasistatic.networks.base import Clock, Network
from quasistatic.networks.per_step import bumps
from quasistatic.storage.modules import saveable

SOFTPLUS_OF_NORMAL = 0.806, 0.521  # mean and deviation of log(1 + e^u) for a standard normal u

__all__ = ["MultiscaleConv", "MultiscaleNetwork", "PixelBumpReadout"]


class MultiscaleConv(nn.Module):
    r"""Sum of one convolution at each scale 1, 2, 4, ... .

    It maps (batch, n_in, H, W) to (batch, n_out, H, W). The image is mean-pooled to each scale, convolved there with zero
    padding, and brought back to full size by repeating pixels. The output is :math:`\log(1 + e^x)` of the sum. Pooling
    windows that cross the edge average the pixels inside.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    n_scales, kernel_size : int
        Number of scales, and odd width of the filters.
    mean, sd : float
        Mean and deviation of the input channels for which the initial sum has mean 0 and deviation 1.
    """

    def __init__(
        self, n_in: int, n_out: int, n_scales: int = 3, kernel_size: int = 3, mean: float = 0.0, sd: float = 1.0
    ) -> None:
        super().__init__()
        weight_sd = 1.0 / (sd * math.sqrt(n_in * kernel_size**2 * n_scales))
        self.scales = nn.ModuleList()
        self.bias = nn.Parameter(torch.zeros(n_out))
        for _ in range(n_scales):
            conv = nn.Conv2d(n_in, n_out, kernel_size, padding=kernel_size // 2, bias=False)
            nn.init.normal_(conv.weight, std=weight_sd)
            self.bias.data -= mean * conv.weight.detach().sum((1, 2, 3))
            self.scales.append(conv)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        total = self.bias[:, None, None]
        for k, conv in enumerate(self.scales):
            pooled = F.avg_pool2d(x, 2**k, ceil_mode=True, count_include_pad=False)
            total = total + F.interpolate(conv(pooled), scale_factor=2**k)[..., :height, :width]
        return F.softplus(total)


class PixelBumpReadout(nn.Module):
    """Read-outs of each pixel, mixed by temporal bumps (eq. 62).

    They start at zero.

    Parameters
    ----------
    n_steps : int
        T.
    n_features, n_out : int
        Inputs and outputs of each pixel.
    n_bumps : int
        J.
    """

    def __init__(self, n_steps: int, n_features: int, n_out: int, n_bumps: int = 10) -> None:
        super().__init__()
        self.n_steps, self.n_bumps = n_steps, n_bumps
        self.weight = nn.Parameter(torch.zeros(n_bumps, n_out, n_features))
        self.bias = nn.Parameter(torch.zeros(n_bumps, n_out))

    def forward(self, h: Tensor, t: Tensor) -> Tensor:
        """Map features (batch, n_features, pixels) and steps (batch,) to (batch, n_out, pixels)."""
        # the read-outs are mixed before they are applied: the same sum at a J-th of the cost
        g = bumps(t, self.n_steps, self.n_bumps).to(self.weight.dtype)
        weight = (g @ self.weight.flatten(1)).view(-1, *self.weight.shape[1:])
        return weight @ h + (g @ self.bias).unsqueeze(2)


@saveable
class MultiscaleNetwork(Network):
    r"""The paper's network for images (Section D.2).

    Convolutions at several scales (softplus) compute features of each pixel's surroundings, dense layers (tanh) features
    of the whole image. From both, 1 x 1 convolutions (tanh) and a read-out by temporal bumps compute each pixel's
    :math:`z^\mu, z^\Sigma`. The paper uses both for CIFAR-10 and only the dense ones for MNIST, and does not print widths.
    The defaults are those of its authors' program; the number of scales is ours. The read-out starts at zero, so that under
    :class:`~quasistatic.reverse.PaperKernel` the untrained network is the forward kernel.

    Parameters
    ----------
    channels : int
        Channels of the image.
    size : int or (int, int)
        Height and width, any numbers.
    n_steps : int
        T; 1000 in the paper, and 500 for bark.
    conv_layers, conv_width : int
        Multi-scale layers and their filters; no layers for the dense path alone.
    n_scales, kernel_size : int
        Scales 1, 2, .., 2^(n_scales - 1), and the odd width of the filters at each.
    dense_layers, dense_width, dense_features : int
        Layers over the whole image, their units, and their features of each pixel; no layers for none.
    pixel_layers, pixel_width : int
        1 x 1 convolutions and their filters.
    n_bumps : int
        J of eq. (63).

    Examples
    --------
    >>> net = MultiscaleNetwork(1, 28, 1000, conv_width=8, dense_layers=0)
    >>> net(torch.randn(2, 1, 28, 28), torch.tensor([1, 1000])).shape      # means first, then variances
    torch.Size([2, 1568])
    """

    clock: Clock = "step"

    def __init__(
        self,
        channels: int,
        size: int | Sequence[int],
        n_steps: int,
        conv_layers: int = 4,
        conv_width: int = 20,
        n_scales: int = 3,
        kernel_size: int = 3,
        dense_layers: int = 4,
        dense_width: int = 500,
        dense_features: int = 2,
        pixel_layers: int = 2,
        pixel_width: int = 20,
        n_bumps: int = 10,
    ) -> None:
        super().__init__()
        numbers = {
            "channels": channels, "n_steps": n_steps, "conv_width": conv_width, "n_scales": n_scales,
            "kernel_size": kernel_size, "dense_width": dense_width, "dense_features": dense_features,
            "pixel_width": pixel_width, "n_bumps": n_bumps,
        }  # fmt: skip
        for name, number in numbers.items():
            whole_number(name, number, 1, MOST_WIDTH)
        for name, number in {"conv_layers": conv_layers, "dense_layers": dense_layers, "pixel_layers": pixel_layers}.items():
            whole_number(name, number, 0, MOST_DEPTH)
        sides = size if isinstance(size, tuple | list) else [size, size]
        if len(sides) != 2:
            raise InputError(f"size must be a whole number, or height and width, got {shown(size)}")
        height, width = (whole_number("size", side, 1, MOST_WIDTH) for side in sides)
        convolutions = conv_layers * n_scales * kernel_size**2 * conv_width * max(conv_width, channels)
        dense = dense_width * (channels * height * width + dense_layers * dense_width + dense_features * height * width)
        pixels = (pixel_layers + 1) * pixel_width * (conv_width + dense_features + pixel_width)
        require_network(convolutions + (dense_layers > 0) * dense + pixels + n_bumps * 2 * channels * pixel_width)
        if conv_layers == dense_layers == 0:
            raise InputError("the network needs conv_layers or dense_layers, but both are 0")
        if kernel_size % 2 == 0:
            raise InputError(f"kernel_size must be odd, got {kernel_size}")
        if conv_layers and 2 ** (n_scales - 1) > min(height, width):
            raise InputError(f"n_scales = {n_scales} pools {2 ** (n_scales - 1)} pixels, but size is {height} x {width}")
        self.n_steps = n_steps
        self.shape = (channels, height, width)
        filters = [channels] + [conv_width] * conv_layers
        self.conv = nn.Sequential()
        mean, sd = 0.0, 1.0
        for a, b in itertools.pairwise(filters):
            self.conv.append(MultiscaleConv(a, b, n_scales, kernel_size, mean, sd))
            mean, sd = SOFTPLUS_OF_NORMAL
        n_pixels = height * width
        units = [channels * n_pixels] + [dense_width] * dense_layers
        self.dense = nn.Sequential()
        for a, b in itertools.pairwise(units):
            self.dense += nn.Sequential(_tanh_start(nn.Linear(a, b)), nn.Tanh())
        if dense_layers:
            self.dense += nn.Sequential(_tanh_start(nn.Linear(dense_width, dense_features * n_pixels)), nn.Tanh())
        features = [conv_width * (conv_layers > 0) + dense_features * (dense_layers > 0)] + [pixel_width] * pixel_layers
        self.pixel = nn.Sequential()
        for a, b in itertools.pairwise(features):
            self.pixel += nn.Sequential(_tanh_start(nn.Conv1d(a, b, 1)), nn.Tanh())
        self.readout = PixelBumpReadout(n_steps, features[-1], 2 * channels, n_bumps)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map images and steps to the outputs of mean and variance.

        Parameters
        ----------
        x : Tensor, shape (batch, C, H, W) or (batch, C H W)
            Images at t.
        t : Tensor of int, shape (batch,)
            Step from 1 to T.

        Returns
        -------
        Tensor, shape (batch, 2 C H W)
            Outputs for the mean, then those for the variance.
        """
        x = x.reshape(-1, *self.shape)
        paths = [self.conv(x).flatten(2)] if len(self.conv) else []
        if len(self.dense):
            paths.append(self.dense(x.flatten(1)).view(len(x), -1, x[0, 0].numel()))
        h = self.pixel(torch.cat(paths, 1))
        return self.readout(h, t).flatten(1)


def _tanh_start(layer: nn.Linear | nn.Conv1d) -> nn.Linear | nn.Conv1d:
    """Initialise a layer to preserve the deviation of its input."""
    nn.init.normal_(layer.weight, std=1.0 / math.sqrt(layer.weight[0].numel()))
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
