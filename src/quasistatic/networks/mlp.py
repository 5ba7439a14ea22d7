"""Residual multilayer perceptron with a log-SNR embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quasistatic.checks import MOST_DEPTH, MOST_WIDTH, real_number, whole_number
from quasistatic.memory import require_network
from quasistatic.networks.base import Network
from quasistatic.storage.modules import saveable

__all__ = ["FourierFeatures", "LogSNREmbedding", "ResidualMLP"]


class FourierFeatures(nn.Module):
    r"""Fourier features of each coordinate, appended to it.

    They are :math:`\sin(2^k \pi x / s), \cos(2^k \pi x / s)`, k = 0..n-1. A perceptron without them is too smooth to
    represent a thin curve.

    Parameters
    ----------
    n_features : int
        Frequencies n.
    scale : float
        s, about the range of the data.
    """

    frequency: Tensor

    def __init__(self, n_features: int, scale: float = 4.0) -> None:
        super().__init__()
        frequency = math.pi * 2.0 ** torch.arange(n_features) / scale
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, d) to (batch, d + 2 d n)."""
        phase = (x.unsqueeze(-1) * self.frequency).flatten(1)
        return torch.cat([x, phase.sin(), phase.cos()], 1)


class LogSNREmbedding(nn.Module):
    """Smooth features of the log signal-to-noise ratio, (batch,) -> (batch, width).

    Parameters
    ----------
    width : int
        Outputs.
    n_features : int
        Frequencies.
    longest : float
        Longest wavelength, in units of the log-SNR.
    """

    frequency: Tensor

    def __init__(self, width: int, n_features: int = 8, longest: float = 40.0) -> None:
        super().__init__()
        # wavelengths from the whole range of log-SNR down to about two units of it
        frequency = 2.0 * math.pi / longest * 1.5 ** torch.arange(n_features)
        self.register_buffer("frequency", frequency, persistent=False)
        self.mix = nn.Linear(2 * n_features + 1, width)

    def forward(self, log_snr: Tensor) -> Tensor:
        lam = log_snr.clamp(-20.0, 20.0).unsqueeze(1)
        phase = lam * self.frequency
        return self.mix(torch.cat([lam / 10.0, phase.sin(), phase.cos()], 1))


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, width)
        self.back = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, h: Tensor, shift: Tensor) -> Tensor:
        inner = nn.functional.silu(self.widen(self.norm(h)) + shift)
        return h + self.back(self.dropout(nn.functional.silu(inner)))


@saveable
class ResidualMLP(Network):
    """Residual multilayer perceptron conditioned on the log-SNR.

    The output starts at zero.

    Parameters
    ----------
    n_in, n_out : int
        Entries of the flattened state, and outputs.
    width, depth : int
        Hidden units of each block, and number of residual blocks.
    n_fourier : int
        Fourier features for each coordinate; 0 for none.
    dropout : float
        Share of hidden units dropped in training.

    Examples
    --------
    >>> net = ResidualMLP(2, 5, width=16, depth=2)
    >>> net(torch.randn(3, 2), torch.zeros(3)).abs().max().item()
    0.0
    """

    def __init__(
        self, n_in: int, n_out: int, width: int = 128, depth: int = 3, n_fourier: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        whole_number("n_in", n_in, 1, MOST_WIDTH)
        whole_number("n_out", n_out, 1)
        whole_number("width", width, 1, MOST_WIDTH)
        whole_number("depth", depth, 1, MOST_DEPTH)
        whole_number("n_fourier", n_fourier, 0, 100)
        real_number("dropout", dropout, least=0.0, below=1.0)
        require_network(width * (n_in * (1 + 2 * n_fourier) + n_out + depth * (3 * width + 5)))
        self.features = FourierFeatures(n_fourier) if n_fourier else nn.Identity()
        self.first = nn.Linear(n_in * (1 + 2 * n_fourier), width)
        self.time = LogSNREmbedding(width)
        self.shifts = nn.Linear(width, width * depth)
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, n_out)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """Map states and log-SNRs to outputs.

        Parameters
        ----------
        x : Tensor, shape (batch, *event)
            State at t.
        log_snr : Tensor, shape (batch,)
            Log signal-to-noise ratio at t.

        Returns
        -------
        Tensor, shape (batch, n_out)
        """
        h = self.first(self.features(x.flatten(1)))
        shifts = self.shifts(nn.functional.silu(self.time(log_snr))).chunk(len(self.blocks), 1)
        for block, shift in zip(self.blocks, shifts, strict=True):
            h = block(h, shift)
        return self.last(nn.functional.silu(self.norm(h)))
