"""U-Net with a log-SNR embedding, for images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from quasistatic.checks import MOST_DEPTH, MOST_WIDTH, instance_of, real_number, true_or_false, whole_number
from quasistatic.errors import InputError
from quasistatic.memory import require_network
from quasistatic.networks.base import Network
from quasistatic.networks.mlp import LogSNREmbedding
from quasistatic.storage.modules import saveable

__all__ = ["UNet"]


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, width), width)


class _Block(nn.Module):
    """Residual block of two convolutions, modulated by the time.

    The second starts at zero.
    """

    def __init__(self, width: int, n_time: int, dropout: float) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.time = nn.Linear(n_time, 2 * width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.second = _zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, 1)
        inner = torch.addcmul(shift, self.norm(h), 1.0 + scale)
        return h + self.second(self.dropout(functional.silu(self.first(inner))))


class _Attention(nn.Module):
    """Residual self-attention over all pixels, starting at zero."""

    def __init__(self, width: int, head: int = 32) -> None:
        super().__init__()
        self.n_heads = max(1, width // head)
        self.norm = _norm(width)
        self.query = nn.Conv2d(width, 3 * width, 1)
        self.back = _zeroed(nn.Conv2d(width, width, 1))

    def forward(self, h: Tensor) -> Tensor:
        n, _, height, width = h.shape
        heads = self.query(self.norm(h)).view(n, 3, self.n_heads, -1, height * width).transpose(3, 4)
        seen = functional.scaled_dot_product_attention(*heads.unbind(1))
        return h + self.back(seen.transpose(2, 3).reshape(h.shape))


class _Level(nn.Module):
    """Blocks of one resolution, before and after the coarser levels."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], n_time: int, attention: bool, dropout: float) -> None:
        super().__init__()
        width, *coarser = widths
        self.before = nn.ModuleList(_Block(width, n_time, dropout) for _ in range(blocks[0]))
        self.after = nn.ModuleList(_Block(width, n_time, dropout) for _ in range(blocks[0]))
        self.inner: _Level | None = None
        self.attention = _Attention(width) if attention and not coarser else None
        if coarser:
            self.down = nn.Conv2d(width, coarser[0], 2, stride=2)
            self.inner = _Level(coarser, blocks[1:], n_time, attention, dropout)
            self.up = nn.Conv2d(coarser[0], 4 * width, 1)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        for block in self.before:
            h = block(h, time)
        if self.inner is not None:
            h = h + functional.pixel_shuffle(self.up(self.inner(self.down(h), time)), 2)
        if self.attention is not None:
            h = self.attention(h)
        for block in self.after:
            h = block(h, time)
        return h


@saveable
class UNet(Network):
    """U-Net of residual blocks, whose output starts at zero.

    Each level has half the resolution of the one before. Most bits of a natural image are at its finest scale, so the first
    level needs many channels. One level alone is a network of constant resolution. Sides that do not halve evenly are
    padded and cropped.

    Parameters
    ----------
    channels_in, channels_out : int
        Channels of the input, and outputs of each pixel.
    widths : sequence of int
        Channels of each level, from the finest to the coarsest.
    blocks : int or sequence of int
        Residual blocks of each level, both before the coarser levels and after them.
    attention : bool
        Add self-attention to the coarsest level.
    dropout : float
        Share of hidden channels' values dropped in training.

    Examples
    --------
    >>> net = UNet(1, 2, widths=(8, 16))
    >>> out = net(torch.randn(3, 1, 7, 9), torch.zeros(3))
    >>> out.shape, out.abs().max().item()
    (torch.Size([3, 126]), 0.0)
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int | Sequence[int] = 1,
        attention: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        whole_number("channels_in", channels_in, 1, MOST_WIDTH)
        whole_number("channels_out", channels_out, 1, MOST_WIDTH)
        real_number("dropout", dropout, least=0.0, below=1.0)
        true_or_false("attention", attention)
        instance_of("widths", widths, (tuple, list), "a list of whole numbers")
        widths = [whole_number("each of widths", width, 1, MOST_WIDTH) for width in widths]
        each = blocks if isinstance(blocks, tuple | list) else [blocks] * len(widths)
        blocks = [whole_number("blocks", n, 0, MOST_DEPTH) for n in each]
        if not widths or len(blocks) != len(widths):
            raise InputError(f"widths and blocks must name the same levels, got {list(widths)} and {blocks}")
        n_time = 2 * max(widths)
        require_network(sum(2 * n * w * (18 * w + 2 * n_time) + 8 * w * w for n, w in zip(blocks, widths, strict=True)))
        self.multiple = 2 ** (len(widths) - 1)
        self.time = LogSNREmbedding(n_time)
        self.first = nn.Conv2d(channels_in, widths[0], 3, padding=1)
        self.level = _Level(widths, blocks, n_time, attention, dropout)
        self.norm = _norm(widths[0])
        self.last = _zeroed(nn.Conv2d(widths[0], channels_out, 3, padding=1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """Map images and log-SNRs to outputs.

        Parameters
        ----------
        x : Tensor, shape (batch, channels_in, height, width)
            Images at t.
        log_snr : Tensor, shape (batch,)
            Log signal-to-noise ratio at t.

        Returns
        -------
        Tensor, shape (batch, channels_out * height * width)
        """
        height, width = x.shape[2:]
        x = functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        h = self.first(x.contiguous(memory_format=torch.channels_last))
        h = self.level(h, functional.silu(self.time(log_snr)))
        out = self.last(functional.silu(self.norm(h)))
        return out[:, :, :height, :width].flatten(1)
