"""The two bodies the costs are held against: as plain as such networks get, so that nothing hides behind them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PlainMLP", "SmallUNet"]


def _waves(log_snr: Tensor, frequency: Tensor) -> Tensor:
    phase = log_snr.unsqueeze(1) * frequency
    return torch.cat([phase.sin(), phase.cos()], 1)


class PlainMLP(nn.Module):
    """Three hidden layers of 128 beside 32 waves of the log-SNR: 38 k parameters for two dimensions."""

    clock = "log_snr"
    frequency: Tensor

    def __init__(self, n_in: int, n_out: int, width: int = 128) -> None:
        super().__init__()
        self.register_buffer("frequency", 0.15 * 1.35 ** torch.arange(16))
        self.layers = nn.Sequential(
            nn.Linear(n_in + 32, width), nn.SiLU(),
            nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, n_out),
        )  # fmt: skip

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """(batch, n_in), (batch,) -> (batch, n_out)."""
        return self.layers(torch.cat([x, _waves(log_snr, self.frequency)], 1))


class SmallUNet(nn.Module):
    """Residual blocks at 28, 14 and 7 pixels with skips between: 1 M parameters, two output channels."""

    clock = "log_snr"
    frequency: Tensor

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128)) -> None:
        super().__init__()
        a, b, c = widths
        self.register_buffer("frequency", 0.15 * 1.35 ** torch.arange(16))
        self.time = nn.Sequential(nn.Linear(32, c), nn.SiLU())
        self.first = nn.Conv2d(1, a, 3, padding=1)
        self.down = nn.ModuleList([_Block(a, a, c), _Block(a, b, c), _Block(b, c, c)])
        self.middle = _Block(c, c, c)
        self.up = nn.ModuleList([_Block(c + b, b, c), _Block(b + a, a, c)])
        self.last = nn.Conv2d(a, 2, 3, padding=1)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """(batch, 1, 28, 28) or flattened, (batch,) -> (batch, 2 * 28 * 28)."""
        x = x.view(-1, 1, 28, 28)
        pool, grow = nn.functional.avg_pool2d, nn.functional.interpolate
        time = self.time(_waves(log_snr, self.frequency))
        fine = self.down[0](self.first(x), time)
        half = self.down[1](pool(fine, 2), time)
        h = self.middle(self.down[2](pool(half, 2), time), time)
        h = self.up[0](torch.cat([grow(h, scale_factor=2.0), half], 1), time)
        h = self.up[1](torch.cat([grow(h, scale_factor=2.0), fine], 1), time)
        return self.last(h).flatten(1)


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, n_time: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(8, n_in), nn.GroupNorm(8, n_out)])
        self.convs = nn.ModuleList([nn.Conv2d(n_in, n_out, 3, padding=1), nn.Conv2d(n_out, n_out, 3, padding=1)])
        self.shift = nn.Linear(n_time, n_out)
        self.skip = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.convs[0](nn.functional.silu(self.norms[0](x)))
        h = h + self.shift(time)[:, :, None, None]
        return self.skip(x) + self.convs[1](nn.functional.silu(self.norms[1](h)))
