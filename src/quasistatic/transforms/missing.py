"""Missing entries filled by draws of a fitted normal distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.random import Rng, uniform
from quasistatic.storage.modules import saveable
from quasistatic.transforms.base import Transform
from quasistatic.transforms.normal import Normal

__all__ = ["Complete"]


@saveable
class Complete(Transform):
    r"""Missing entries filled by draws of a fitted distribution q.

    The bound of the whole row is then a bound of its observed part. By Jensen's inequality, with :math:`x_m` the missing
    entries of a row and :math:`x_o` the others,

    .. math:: \log p(x_o) \ge E_{q(x_m \mid x_o)} \bigl[ \log p(x_o, x_m) - \log q(x_m \mid x_o) \bigr],

    with equality where q is the model's own conditional distribution. So a missing entry is not scored: what it adds to
    :math:`\log p(x_o, x_m)` is removed by :math:`-\log q`, the log-determinant of this layer. Complete rows pass unchanged.
    Entries must be missing at random (:mod:`quasistatic.transforms.normal`).

    Parameters
    ----------
    mean, cov : Tensor, shape (k,) and (k, k)
        Gaussian of the numeric columns, in the units of this layer. A missing number is drawn given the numbers of its row.
    numeric : list of int
        Indices of these columns.
    rates : list of Tensor, shape (K,)
        Rates of the classes of each other column, from which its missing entries are drawn.
    discrete : list of int
        Indices of these columns.
    random : bool
        Whether training rows have missing entries, and so are completed anew for every batch.

    Examples
    --------
    A missing number beside a known one; the density of the draw cancels:

    >>> import math
    >>> import torch
    >>> from torch import Generator
    >>> layer = Complete(torch.zeros(2), torch.eye(2), [0, 1])
    >>> z, log_det = layer(torch.tensor([[2.0, float("nan")]]), Generator().manual_seed(0))
    >>> normal = -0.5 * z[0, 1] ** 2 - 0.5 * math.log(2 * math.pi)
    >>> z[0, 0].item(), round(abs((normal + log_det).item()), 6)
    (2.0, 0.0)
    """

    takes_missing = True
    mean: Tensor
    cov: Tensor

    def __init__(
        self,
        mean: Tensor,
        cov: Tensor,
        numeric: list[int],
        rates: list[Tensor] | tuple[Tensor, ...] = (),
        discrete: list[int] | tuple[int, ...] = (),
        random: bool = True,
    ) -> None:
        super().__init__()
        self.random = random
        self.register_buffer("mean", mean.double(), persistent=False)
        self.register_buffer("cov", cov.double(), persistent=False)
        self.numeric, self.discrete = list(numeric), list(discrete)
        self.rates = [rate.double() for rate in rates]

    @property
    def normal(self) -> Normal:
        """Gaussian of the numeric columns."""
        return Normal(self.mean, self.cov)

    def pieces(self) -> list[Transform]:
        return []  # a complete row stays as it is

    def forward(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        z = x.double().clone()
        log_det = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        if not z.isnan().any():
            return z, log_det
        if self.numeric:
            numbers, log_q = self.normal.draw(z[:, self.numeric], generator)
            z[:, self.numeric] = numbers
            log_det = log_det - log_q
        for rate, column in zip(self.rates, self.discrete, strict=True):
            missing = z[:, column].isnan()
            if missing.any():
                rate = rate.to(x.device)
                u = uniform((len(z),), generator, like=z)
                drawn = torch.searchsorted(rate.cumsum(0)[:-1].contiguous(), u[missing], right=True)
                z[missing, column] = drawn.double()
                log_det[missing] -= rate.log()[drawn]
        return z, log_det
