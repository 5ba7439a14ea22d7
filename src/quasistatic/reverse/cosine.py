"""Gaussian prediction of images in a basis of cosines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.modules import FixedPrecision
from quasistatic.storage.modules import saveable

__all__ = ["CosineBase", "cosines", "dense_covariance", "spectrum"]


def cosines(n: int) -> Tensor:
    r"""Return the orthonormal DCT-II matrix, one cosine per row.

    .. math:: D_{kj} = \sqrt{(2 - [k = 0]) / n}\, \cos(\pi k (j + 1/2) / n)

    Examples
    --------
    >>> d = cosines(5)
    >>> bool((d @ d.T - torch.eye(5)).abs().max() < 1e-12)
    True
    """
    k, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    rows = math.sqrt(2.0 / n) * torch.cos(math.pi / n * k * (j + 0.5))
    rows[0] *= math.sqrt(0.5)
    return rows


def spectrum(x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Compute variances in cosines and principal colours, float64.

    Parameters
    ----------
    x : Tensor, shape (n, channels, height, width)
        Images.
    mean : Tensor, broadcastable to one image
        What is subtracted from each.

    Returns
    -------
    values : Tensor, shape (channels, height, width)
        Variances of the components.
    colours : Tensor, shape (channels, channels)
        Principal mixtures of the channels, in columns.
    """
    n, channels, height, width = x.shape
    cov, values = torch.zeros(channels, channels).double(), torch.zeros(channels, height, width).double()
    for part in x.split(256):
        off = (part.double() - mean).transpose(0, 1).flatten(1)
        cov += off @ off.T / (n * height * width)
    _, colours = torch.linalg.eigh(cov)
    for part in x.split(256):
        mixed = _mixed(part.double() - mean, colours.T)
        values += (cosines(height) @ mixed @ cosines(width).T).square().sum(0) / n
    return values, colours


def dense_covariance(values: Tensor, colours: Tensor) -> Tensor:
    """Return the covariance (d, d) of images whose components have these variances.

    Parameters
    ----------
    values : Tensor, shape (channels, height, width)
        Variances of the components.
    colours : Tensor, shape (channels, channels)
        Orthonormal mixtures of channels, in columns.
    """
    _, height, width = values.shape
    vectors = torch.kron(colours.contiguous(), torch.kron(cosines(height), cosines(width)).T.contiguous())
    return (vectors * values.flatten()) @ vectors.T


@saveable
class CosineBase(FixedPrecision):
    r"""Prediction of stationary Gaussian images, in a basis of cosines.

    As :class:`~quasistatic.reverse.wiener.WienerBase`, for images that are too large for a covariance matrix. The
    components are products of a colour, a vertical and a horizontal cosine. For stationary images they are nearly the
    principal ones (Ahmed, Natarajan and Rao 1974), and they need d numbers where those need d times d.

    Parameters
    ----------
    mean : Tensor, shape (channels,)
        Mean of each channel.
    values : Tensor, shape (channels, height, width)
        Variances of the components, positive.
    colours : Tensor, shape (channels, channels)
        Orthonormal mixtures of channels, in columns. :meth:`fit` finds all three from examples.

    Examples
    --------
    White images: with as much noise as signal the prediction is half of the signal.

    >>> base = CosineBase(torch.zeros(1), torch.ones(1, 4, 6), torch.eye(1))
    >>> x = torch.randn(2, 1, 4, 6)
    >>> mean, var = base(x, torch.zeros(2))
    >>> torch.allclose(mean, 0.5**0.5 * x, atol=1e-5), round(var.mean().item(), 4)
    (True, 0.5)
    """

    mean: Tensor
    values: Tensor
    colours: Tensor
    down: Tensor
    across: Tensor

    def __init__(self, mean: Tensor, values: Tensor, colours: Tensor) -> None:
        super().__init__()
        if not (values > 0).all():
            raise InputError(f"variances of the components must be positive, the least is {values.min().item():g}")
        dtype = values.dtype
        tensors = {"mean": mean.view(-1, 1, 1), "values": values, "colours": colours}
        tensors |= {"down": cosines(values.shape[1]), "across": cosines(values.shape[2])}
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.to(dtype), persistent=False)

    @classmethod
    def fit(cls, x: Tensor, floor: float = 1e-5, dtype: torch.dtype = torch.float32, *, least: float = 0.0) -> CosineBase:
        """Fit to examples, with sums in float64.

        Each channel has one mean, that of all its pixels.

        Parameters
        ----------
        x : Tensor, shape (n, channels, height, width)
            Examples in model units.
        floor : float
            Least variance of a component, as a share of the mean variance.
        dtype : torch.dtype
            Precision of the result.
        least : float
            Least variance of a component.
        """
        n, channels, height, width = x.shape
        total = x.new_zeros(channels, dtype=torch.float64)
        for part in x.split(256):
            total += part.double().sum((0, 2, 3))
        mean = total / (n * height * width)
        values, colours = spectrum(x, mean.view(-1, 1, 1))
        return cls(mean.to(dtype), values.clamp_min(max(least, floor * values.mean().item())).to(dtype), colours.to(dtype))

    def forward(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each entry of x_0.

        Parameters
        ----------
        x_t : Tensor, shape (batch, channels, height, width)
            State at t.
        log_snr : Tensor, shape (batch,)
            Its log signal-to-noise ratio.
        """
        with torch.autocast(x_t.device.type, enabled=False):
            log_snr = log_snr.double().view(-1, 1, 1, 1)
            signal, noise = (torch.sigmoid(s).to(self.values.dtype) for s in (log_snr, -log_snr))
            state = x_t.to(self.values.dtype)
            root, total = signal.sqrt(), torch.addcmul(noise, signal, self.values)
            filtered = self.down @ _mixed(state - root * self.mean, self.colours.T) @ self.across.T / total
            back = _mixed(self.down.T @ filtered @ self.across, self.colours)
            mean = torch.addcmul(state, -noise, back) / root
            var = self.down.T.square() @ (noise * self.values / total) @ self.across.square()
            var = _mixed(var, self.colours.square())
        return mean.to(x_t.dtype), var.to(x_t.dtype)


def _mixed(x: Tensor, channels: Tensor) -> Tensor:
    """Multiply each pixel's channels by a matrix."""
    return x if channels.numel() == 1 else torch.einsum("dc,bchw->bdhw", channels, x)
