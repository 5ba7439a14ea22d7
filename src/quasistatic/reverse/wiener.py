r"""What a Gaussian law of the data, and a grid of levels, say of x_0 once x_t is known: denoisers that need no learning."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.modules import FixedPrecision
from quasistatic.storage.modules import saveable

__all__ = ["WienerBase", "mean_on_grid"]


@saveable
class WienerBase(FixedPrecision):
    r"""Exact posterior of data :math:`x_0 \sim \mathcal{N}(\mu, C)` given :math:`x_t`, at any noise level.

    In the basis of principal components, :math:`C = U \Lambda U^\top`, each one is filtered on its own (Wiener),

    .. math:: E[x_0 \mid x_t] = \frac{x_t}{\sqrt a} - \frac{1 - a}{\sqrt a}\, U \frac{1}{a \Lambda + 1 - a}
              U^\top (x_t - \sqrt a\, \mu), \qquad
              \mathrm{Var}[x_{0,i} \mid x_t] = \sum_k U_{ik}^2 \frac{(1 - a)\, \lambda_k}{a \lambda_k + 1 - a},

    with :math:`a = \bar\alpha_t`. It works in the precision of ``vectors`` and answers in that of x_t.

    Parameters
    ----------
    mean : Tensor, shape (\*event)
    values : Tensor, shape (d,)
        Variances :math:`\lambda_k` of the components, positive.
    vectors : Tensor, shape (d, d)
        Components, in columns. :meth:`fit` finds all three from examples.

    Examples
    --------
    One number of variance 3, seen through as much noise as signal: three quarters of it are believed.

    >>> base = WienerBase(torch.zeros(1), torch.tensor([3.0]), torch.ones(1, 1))
    >>> mean, var = base(torch.tensor([[2.0]]) * 0.5**0.5, torch.zeros(1))
    >>> round(mean.item(), 4), round(var.item(), 4)
    (1.5, 0.75)
    """

    mean: Tensor
    values: Tensor
    vectors: Tensor
    squares: Tensor

    def __init__(self, mean: Tensor, values: Tensor, vectors: Tensor) -> None:
        super().__init__()
        if not (values > 0).all():
            raise InputError(f"variances of the components must be positive, the least is {values.min().item():g}")
        self.register_buffer("mean", mean.to(vectors.dtype), persistent=False)
        self.register_buffer("values", values.to(vectors.dtype), persistent=False)
        self.register_buffer("vectors", vectors.contiguous(), persistent=False)
        self.register_buffer("squares", vectors.square().T.contiguous(), persistent=False)

    @classmethod
    def fit(cls, x: Tensor, floor: float = 1e-5, dtype: torch.dtype = torch.float32) -> WienerBase:
        r"""Fit mean and covariance to examples (n, \*event) in model units, in float64.

        No component gets less than ``floor`` times the mean variance of a coordinate. The result is kept in ``dtype``:
        single precision costs four bytes for each of d times d numbers, and nothing that a bound would show.
        """
        mean = x.mean(0, dtype=torch.float64)
        cov = mean.new_zeros(mean.numel(), mean.numel())
        for part in x.split(4096):
            off = (part.double() - mean).flatten(1)
            cov.addmm_(off.T, off, alpha=1.0 / len(x))
        values, vectors = torch.linalg.eigh(cov)
        values = values.clamp_min(floor * values.mean().item())
        return cls(mean.to(dtype), values.to(dtype), vectors.to(dtype))

    def forward(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        r"""Mean and variance of each entry of x_0, both (batch, \*event), at a log-SNR for each row, (batch,)."""
        with torch.autocast(x_t.device.type, enabled=False):
            log_snr = log_snr.double().unsqueeze(1)
            signal, noise = (torch.sigmoid(s).to(self.vectors.dtype) for s in (log_snr, -log_snr))
            seen = x_t.flatten(1).to(self.vectors.dtype)
            root, total = signal.sqrt(), torch.addcmul(noise, signal, self.values)
            filtered = (seen - root * self.mean.flatten()) @ self.vectors / total
            mean = torch.addcmul(seen, -noise, filtered @ self.vectors.T) / root
            var = (noise * self.values / total) @ self.squares
        return mean.view_as(x_t).to(x_t.dtype), var.view_as(x_t).to(x_t.dtype)


def mean_on_grid(mean: Tensor, var: Tensor, low: float, step: float, levels: int) -> Tensor:
    r"""Mean of a normal law that is restricted to the levels low, low + step, .. of a grid, elementwise.

    .. math:: \sum_k g_k\, e^{-(g_k - m)^2 / 2 v} \Big/ \sum_k e^{-(g_k - m)^2 / 2 v}

    Only levels near the mean count while the deviation is below one step. Above it the grid is not felt (Poisson's
    summation: by less than 1e-7 of a step), and the answer is m, kept between the first and the last level.

    Examples
    --------
    Between two levels 0 and 1, at 0.6:

    >>> round(mean_on_grid(torch.tensor(0.6), torch.tensor(0.1), 0.0, 1.0, 2).item(), 4)      # sigmoid(0.1 / 0.1)
    0.7311
    """
    place, precision = torch.broadcast_tensors((mean - low) / step, step**2 / var.clamp_min(1e-6 * step**2))
    felt = precision > 1.0
    answer = place.clamp(0, levels - 1)
    if place.device.type == "cpu":
        # two steps in three do not feel the grid; to find out which would make a GPU wait
        answer = answer.masked_scatter(felt, _restricted(place[felt], precision[felt], levels))
    else:
        answer = torch.where(felt, _restricted(place, precision, levels), answer)
    return low + step * answer


def _restricted(place: Tensor, precision: Tensor, levels: int) -> Tensor:
    """Mean of normal laws restricted to the whole numbers from 0 to levels - 1, elementwise."""
    nearest = place.round().clamp(0, levels - 1)
    off = place - nearest
    weight = torch.ones_like(place)
    moment = torch.zeros_like(place)
    for j in range(1, min(7, levels - 1) + 1):
        for k in (-j, j):
            # masked in the exponent, for inf times zero is nan
            inside = nearest + k <= levels - 1 if k > 0 else nearest + k >= 0
            w = torch.where(inside, (k * off - 0.5 * k * k) * precision, -torch.inf).exp()
            weight, moment = weight + w, torch.add(moment, w, alpha=k)
    return nearest + moment / weight
