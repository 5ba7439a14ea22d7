"""Power transforms of single columns."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.random import Rng
from quasistatic.storage.modules import saveable
from quasistatic.transforms.base import Elementwise

__all__ = ["YeoJohnson"]


@saveable
class YeoJohnson(Elementwise):
    r"""Yeo and Johnson's power transform of each column.

    It makes skewed columns nearly normal:

    .. math::

        z = \begin{cases}
            ((1 + x)^\lambda - 1) / \lambda & x \ge 0 \\
            -((1 - x)^{2 - \lambda} - 1) / (2 - \lambda) & x < 0
        \end{cases}
        \qquad \log \frac{dz}{dx} = \mathrm{sign}(x)\, (\lambda - 1) \log(1 + |x|)

    with logarithms where the power is zero. Scale the columns to unit variance first: :math:`\lambda` depends on the unit.
    For :math:`\lambda` outside [0, 2] the image is an interval, and the inverse grows without bound near its end. A normal
    distribution of z then gives an x without moments. So :meth:`inverse` keeps draws within ``low`` and ``high``. Mass that
    a density over z puts outside the image is lost, so a bound stays a bound.

    Parameters
    ----------
    power : Tensor, shape (d,)
        :math:`\lambda` of each column.
    low, high : Tensor, shape (d,), optional
        Limits of :meth:`inverse`. :meth:`fit` sets them one range of the data beyond its ends, and a quarter of the range
        where the image ends.

    References
    ----------
    Yeo and Johnson (2000), A new family of power transformations to improve normality or symmetry.

    Examples
    --------
    >>> import math
    >>> import torch
    >>> z, log_det = YeoJohnson(torch.tensor([0.0]))(torch.tensor([[math.e - 1.0]]))
    >>> round(z.item(), 4), round(log_det.item(), 4)      # log(1 + x), and its slope 1 / e
    (1.0, -1.0)
    """

    power: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, power: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> None:
        super().__init__()
        far = torch.full_like(power, torch.inf, dtype=torch.float64)
        self.register_buffer("power", power.double(), persistent=False)
        self.register_buffer("low", -far if low is None else low.double(), persistent=False)
        self.register_buffer("high", far if high is None else high.double(), persistent=False)

    @classmethod
    def fit(cls, x: Tensor, least: float = -8.0, most: float = 8.0) -> YeoJohnson:
        """Fit each column's power by maximum likelihood.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            Rows with nan for missing entries; a constant column stays as it is.
        least, most : float
            Limits of the powers.
        """
        from sklearn.preprocessing import PowerTransformer

        powers = torch.ones(x.shape[1], dtype=torch.float64)
        for column in range(x.shape[1]):
            seen = x[~x[:, column].isnan(), column]
            if len(seen) and seen.amax() > seen.amin():
                fitted = PowerTransformer("yeo-johnson", standardize=False).fit(seen.double().numpy()[:, None])
                powers[column] = float(fitted.lambdas_[0])
        seen, x = ~x.isnan().all(0), x.double()
        first, last = x.nan_to_num(nan=torch.inf).amin(0), x.nan_to_num(nan=-torch.inf).amax(0)
        powers = powers.nan_to_num(nan=1.0).clamp(least, most)
        # where the image is bounded, the data does not determine the tail: keep its end near the last observed value
        below, above = torch.where(powers > 2.0, 0.25, 1.0), torch.where(powers < 0.0, 0.25, 1.0)
        low = torch.where(seen, first - below * (last - first), -torch.inf)
        high = torch.where(seen, last + above * (last - first), torch.inf)
        return cls(powers, low, high)

    def each(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        x = x.double()
        log_size = x.abs().log1p()
        power = torch.where(x >= 0, self.power, 2.0 - self.power)
        z = torch.where(power == 0.0, log_size, torch.expm1(power * log_size) / power.masked_fill(power == 0.0, 1.0))
        return z.copysign(x), x.sign() * (self.power - 1.0) * log_size

    def inverse(self, z: Tensor) -> Tensor:
        power = torch.where(z >= 0, self.power, 2.0 - self.power)
        grown = (power * z.abs()).clamp_min(-1.0 + 1e-12)
        log_size = torch.where(power == 0.0, z.abs(), grown.log1p() / power.masked_fill(power == 0.0, 1.0))
        x = torch.expm1(log_size.clamp_max(100.0)).copysign(z)  # finite, however far out
        return x.clamp(self.low, self.high)
