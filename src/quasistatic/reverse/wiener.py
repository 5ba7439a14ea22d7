r"""Predictions of x_0 given x_t without training.

They are exact for Gaussian data, and for Gaussian data on a grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.modules import FixedPrecision
from quasistatic.storage.modules import saveable

__all__ = ["WienerBase", "mean_on_grid"]


@saveable
class WienerBase(FixedPrecision):
    r"""Exact prediction of Gaussian data from a noisy state (Wiener filter).

    The data are :math:`x_0 \sim \mathcal{N}(\mu, C)`. With the principal components :math:`C = U \Lambda U^\top`,

    .. math:: E[x_0 \mid x_t] = \frac{x_t}{\sqrt a} - \frac{1 - a}{\sqrt a}\, U \frac{1}{a \Lambda + 1 - a}
              U^\top (x_t - \sqrt a\, \mu), \qquad
              \mathrm{Var}[x_{0,i} \mid x_t] = \sum_k U_{ik}^2 \frac{(1 - a)\, \lambda_k}{a \lambda_k + 1 - a},

    with :math:`a = \bar\alpha_t`. It is computed in the precision of ``vectors`` and returned in that of x_t.

    Parameters
    ----------
    mean : Tensor, shape (\*event)
        :math:`\mu`.
    values : Tensor, shape (d,)
        Variances :math:`\lambda_k` of the components, positive.
    vectors : Tensor, shape (d, d)
        Components, in columns. :meth:`fit` finds all three from examples.

    Examples
    --------
    One number of variance 3, with as much noise as signal:

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
        r"""Fit mean and covariance to examples, with sums in float64.

        Parameters
        ----------
        x : Tensor, shape (n, \*event)
            Examples in model units.
        floor : float
            Least variance of a component, as a share of the mean variance.
        dtype : torch.dtype
            Precision of the result. The d times d numbers need four bytes each in single precision, which changes no bound
            noticeably.
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
        r"""Return mean and variance of each entry of x_0.

        Parameters
        ----------
        x_t : Tensor, shape (batch, \*event)
            State at t.
        log_snr : Tensor, shape (batch,)
            Its log signal-to-noise ratio.
        """
        with torch.autocast(x_t.device.type, enabled=False):
            log_snr = log_snr.double().unsqueeze(1)
            signal, noise = (torch.sigmoid(s).to(self.vectors.dtype) for s in (log_snr, -log_snr))
            state = x_t.flatten(1).to(self.vectors.dtype)
            root, total = signal.sqrt(), torch.addcmul(noise, signal, self.values)
            filtered = (state - root * self.mean.flatten()) @ self.vectors / total
            mean = torch.addcmul(state, -noise, filtered @ self.vectors.T) / root
            var = (noise * self.values / total) @ self.squares
        return mean.view_as(x_t).to(x_t.dtype), var.view_as(x_t).to(x_t.dtype)


def mean_on_grid(mean: Tensor, var: Tensor, low: float, step: float, levels: int) -> Tensor:
    r"""Return the mean of a Gaussian restricted to grid levels.

    .. math:: \sum_k g_k\, e^{-(g_k - m)^2 / 2 v} \Big/ \sum_k e^{-(g_k - m)^2 / 2 v}

    Below a deviation of one step only levels near the mean are summed. Above it the grid changes the mean by less than 1e-7
    of a step (Poisson summation), and the result is m, clipped to the range of the levels.

    Parameters
    ----------
    mean, var : Tensor
        m and v.
    low, step : float
        First level, and distance of two.
    levels : int
        Number of levels.

    Examples
    --------
    Between two levels 0 and 1, at 0.6:

    >>> round(mean_on_grid(torch.tensor(0.6), torch.tensor(0.1), 0.0, 1.0, 2).item(), 4)      # sigmoid(0.1 / 0.1)
    0.7311
    """
    place, precision = torch.broadcast_tensors((mean - low) / step, step**2 / var.clamp_min(1e-6 * step**2))
    near = precision > 1.0
    result = place.clamp(0, levels - 1)
    if place.device.type == "cpu":
        # for two steps in three no sum is needed; a GPU would have to wait to skip them
        result = result.masked_scatter(near, _restricted(place[near], precision[near], levels))
    else:
        result = torch.where(near, _restricted(place, precision, levels), result)
    return low + step * result


def _restricted(place: Tensor, precision: Tensor, levels: int) -> Tensor:
    """Return the means of Gaussians restricted to whole numbers.

    The numbers are 0 to levels - 1.
    """
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
