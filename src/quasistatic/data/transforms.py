r"""Changes of variables between data units and model units, each with its log-determinant.

``forward(x)`` returns ``(z, log_det)`` with :math:`\log p_x(x) = \log p_z(z) + \text{log\_det}`, so that a number told
in data units is a density of the data; ``inverse(z)`` goes back. All work in float64.

**Integers** such as 8-bit grey levels have a likelihood in one of two senses, which are never mixed:

- ``Chain(Dequantise(256), Affine(...))``: a *density* of integers plus uniform noise. With unit variance in z, the
  paper's K is that density in z, in bits per pixel, higher is better.
- ``Levels(256)``: a *mass*. z is a grid of values without noise, p(x_0 | x_1) must give each of them a probability, and
  there is no Jacobian. Told as bits/dim, minus its base-2 logarithm per entry, lower is better.

:func:`bits_per_dim_from_k` sets the first beside the second.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from quasistatic.data.normal import Normal
from quasistatic.errors import InputError
from quasistatic.linalg import inverse_root
from quasistatic.noise import uniform
from quasistatic.printing import brief
from quasistatic.saving import saveable

__all__ = [
    "Affine",
    "Chain",
    "Complete",
    "Dequantise",
    "Elementwise",
    "HistogramToNormal",
    "Levels",
    "OnColumns",
    "Transform",
    "Whiten",
    "YeoJohnson",
    "bits_per_dim_from_k",
]


class Transform(nn.Module):
    """A map to model units with its log-determinant; the identity, unless a subclass says else."""

    random: bool = False  # does forward draw noise?
    takes_holes: bool = False  # may entries be missing, that is nan?

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={brief(value)}" for name, value in self.named_buffers(recurse=False))

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Data (batch, *event) to model units, and log |dz/dx|, (batch,)."""
        return x, x.new_zeros(len(x), dtype=torch.float64)

    def inverse(self, z: Tensor) -> Tensor:
        """Model units back to data units."""
        return z

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Follow the module to another device, but stay in float64."""
        for child in self.children():
            child._apply(fn)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self


@saveable
class Chain(Transform):
    """Transforms one after the other; an empty chain changes nothing."""

    def __init__(self, *parts: Transform) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether any part draws noise."""
        return any(part.random for part in self.parts)

    @property
    def takes_holes(self) -> bool:  # type: ignore[override]
        """Whether rows may have missing entries."""
        return any(part.takes_holes for part in self.parts)

    def each(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """What the parts together do to each entry, if all are :class:`Elementwise`."""
        z = x.double()
        log_slope = torch.zeros_like(z)
        for part in self.parts:
            z, part_log_slope = part.each(z, generator)  # type: ignore[operator]
            log_slope = log_slope + part_log_slope
        return z, log_slope

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = x.double(), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for part in self.parts:
            z, part_log_det = part(z, generator)
            log_det = log_det + part_log_det
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        z = z.double()
        for part in reversed(list(self.parts)):
            z = part.inverse(z)  # type: ignore[operator]
        return z


class Elementwise(Transform):
    """A map of each entry on its own."""

    def each(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Entries in model units, and the log-derivative of each, both of the shape of ``x``."""
        raise NotImplementedError

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.each(x, generator)
        return z, log_slope.flatten(1).sum(1)


@saveable
class Affine(Elementwise):
    """Shift and scale of each entry, z = (x - shift) / scale.

    Examples
    --------
    >>> z, log_det = Affine(torch.tensor(1.0), torch.tensor(2.0))(torch.tensor([[5.0, 1.0]]))
    >>> z.tolist(), round(log_det.item(), 4)      # 2 log(1/2)
    ([[2.0, 0.0]], -1.3863)
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift.double(), persistent=False)
        self.register_buffer("scale", scale.double(), persistent=False)

    @classmethod
    def fit_scalar(cls, x: Tensor, *, dequantised: bool = False) -> Affine:
        """One shift and one scale for all entries of rows (n, *event), to mean 0 and variance 1.

        With ``dequantised``, ``x`` are integers to which :class:`Dequantise` will add uniform noise first: the mean
        grows by 1/2 and the variance by 1/12.

        Raises
        ------
        InputError
            If all entries are equal, without noise to come.

        Examples
        --------
        >>> fitted = Affine.fit_scalar(torch.tensor([[0, 2], [2, 4]]), dequantised=True)
        >>> fitted.shift.item(), round(fitted.scale.item() ** 2, 4)
        (2.5, 2.0833)
        """
        parts = x.split(4096)  # the whole might not fit in float64
        mean = sum(part.double().sum() for part in parts) / x.numel()
        variance = sum((part.double() - mean).square().sum() for part in parts) / x.numel()
        if dequantised:
            mean, variance = mean + 0.5, variance + 1.0 / 12.0
        if not variance > 0.0:
            raise InputError(f"data of variance {float(variance)} cannot be scaled to variance 1")
        return cls(torch.as_tensor(mean), torch.as_tensor(variance).sqrt())

    def each(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        return (x - self.shift) / self.scale, -self.scale.log().expand(x.shape)

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        log_det = -self.scale.log().expand(x.shape[1:]).sum()
        return (x - self.shift) / self.scale, log_det.expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return z * self.scale + self.shift


@saveable
class YeoJohnson(Elementwise):
    r"""Yeo and Johnson's power of each column, which makes skewed columns nearly normal.

    .. math::

        z = \begin{cases}
            ((1 + x)^\lambda - 1) / \lambda & x \ge 0 \\
            -((1 - x)^{2 - \lambda} - 1) / (2 - \lambda) & x < 0
        \end{cases}
        \qquad \log \frac{dz}{dx} = \mathrm{sign}(x)\, (\lambda - 1) \log(1 + |x|)

    with logarithms where the power is zero. Scale the columns to unit variance first: :math:`\lambda` depends on the unit.
    For :math:`\lambda` outside [0, 2] the image is an interval, near whose end the way back leads arbitrarily far: a
    normal law of z has moments, but what it is the image of has none. So :meth:`inverse` keeps draws within ``low`` and
    ``high``. What mass a density over z puts on the outside of the image it loses, so a bound stays one.

    Parameters
    ----------
    power : Tensor, shape (d,)
        :math:`\lambda` of each column.
    low, high : Tensor, shape (d,), optional
        What :meth:`inverse` answers at least and at most; :meth:`fit` sets them one range of the data beyond its ends, a
        quarter of it where the image ends.

    References
    ----------
    Yeo and Johnson (2000), A new family of power transformations to improve normality or symmetry.

    Examples
    --------
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
        """Fit each column's power by maximum likelihood, within limits; nan is missing, a constant column stays itself."""
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
        # a bounded image says little of how far the tail goes: its end is near whatever was last seen
        below, above = torch.where(powers > 2.0, 0.25, 1.0), torch.where(powers < 0.0, 0.25, 1.0)
        low = torch.where(seen, first - below * (last - first), -torch.inf)
        high = torch.where(seen, last + above * (last - first), torch.inf)
        return cls(powers, low, high)

    def each(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
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


@saveable
class Whiten(Transform):
    """Rotate and scale vectors to zero mean and identity covariance, z = W (x - mean).

    Parameters
    ----------
    mean : Tensor, shape (d,)
    matrix : Tensor, shape (d, d)
        W, with W cov W^T = I. :meth:`fit` finds it from rows.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, mean: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.double(), persistent=False)
        self.register_buffer("matrix", matrix.double(), persistent=False)
        self.register_buffer("back", torch.linalg.inv(matrix.double()), persistent=False)

    back: Tensor

    @classmethod
    def fit(cls, x: Tensor, ridge: float = 1e-6) -> Whiten:
        """Fit to rows (n, d), each variance made larger by the factor 1 + ``ridge``.

        The unit of a column changes the fit by nothing but that unit: z is the same. A constant column is only shifted.

        Raises
        ------
        InputError
            If every column is constant, or a number is not finite.
        """
        x = x.double()
        mean = x.mean(0)
        cov = (x - mean).T @ (x - mean) / len(x)
        still = cov.diagonal() == 0
        if still.all():
            raise InputError("every column is constant, so there is nothing to whiten")
        cov.diagonal().mul_(1.0 + ridge).add_(still.double())
        return cls(mean, inverse_root(cov))

    @classmethod
    def by(cls, mean: Tensor, cov: Tensor) -> Whiten:
        """Whiten by a mean and covariance that are known: W is the symmetric root of the inverse correlations, scaled."""
        return cls(mean, inverse_root(cov))

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        log_det = torch.linalg.slogdet(self.matrix)[1]
        return (x - self.mean) @ self.matrix.T, log_det.expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return z @ self.back.T + self.mean


@saveable
class Dequantise(Elementwise):
    """Add uniform noise in [0, 1) to integers 0 .. levels - 1.

    The bound of log p of the noisy values is then, on average over the noise, a bound of log P of the integers
    (Theis et al. 2016, Section 3.1): bits per pixel of integers, not of a density on a grid.
    """

    random = True

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def each(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        noise = uniform(x.shape, generator, like=x, dtype=torch.float64)
        return x + noise, torch.zeros_like(noise)

    def inverse(self, z: Tensor) -> Tensor:
        return z.floor().clamp(0, self.levels - 1)


@saveable
class Levels(Transform):
    r"""Integers 0 .. levels - 1 onto an even grid from -1 to 1, z = (k - c) / c with c = (levels - 1) / 2.

    No noise is added, so the data stay discrete and their likelihood is a mass, P(x) = P(z): log_det is 0, not that of a
    change of variables. Only a first step that scores masses, the probability of a whole cell of width 2 / (levels - 1),
    goes with it; a density of z would grow without bound. :meth:`inverse` rounds to the nearest level.

    References
    ----------
    Ho, Jain and Abbeel (2020), Section 3.3, equation (13).

    Examples
    --------
    >>> Levels(256)(torch.tensor([[0, 255]], dtype=torch.uint8))
    (tensor([[-1.,  1.]], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        if levels < 2:
            raise InputError(f"levels must be at least 2, got {levels}")
        self.levels = levels

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        x = x.double()
        if not ((x == x.round()) & (x >= 0) & (x < self.levels)).all():
            raise InputError(f"every entry must be an integer from 0 to {self.levels - 1}, but one is not")
        half = (self.levels - 1) / 2.0
        return (x - half) / half, torch.zeros(len(x), dtype=torch.float64, device=x.device)

    def inverse(self, z: Tensor) -> Tensor:
        half = (self.levels - 1) / 2.0
        return (z.double() * half + half).round().clamp(0, self.levels - 1)


def bits_per_dim_from_k(k: float, sd: float, channels: int = 1) -> float:
    r"""Bits/dim of integers from the paper's K, bits per pixel of dequantised data scaled to unit variance.

    With :math:`z = (x + u - m) / \sigma` for integers x and uniform noise u, the density of :math:`x + u` is
    :math:`p(z) / \sigma` per entry, and on average over u its logarithm is at most :math:`\log P(x)` (Jensen). So

    .. math:: \text{bits/dim} = \log_2 \sigma - K / C

    is an upper bound of :math:`-\log_2 P(x)` per entry, lower is better; K is a log likelihood, higher is better.

    Parameters
    ----------
    k : float
        Bits per pixel, summed over the channels.
    sd : float
        :math:`\sigma`, in units of one level.
    channels : int
        C, the entries of one pixel.

    References
    ----------
    Theis, van den Oord and Bethge (2016), Section 3.1.

    Examples
    --------
    The paper's 5.4 bits per pixel of CIFAR-10, whose standard deviation is 64.15:

    >>> round(bits_per_dim_from_k(5.4, 64.15, channels=3), 2)
    4.2
    """
    if not (sd > 0.0 and channels >= 1):
        raise InputError(f"sd must be above 0 and channels at least 1, got {sd} and {channels}")
    return math.log2(sd) - k / channels


@saveable
class HistogramToNormal(Elementwise):
    r"""Each column of dequantised integers through its own distribution function to a standard normal.

    :math:`z_i = \Phi^{-1}(F_i(x_i))`, where :math:`F_i` is piecewise linear with one piece for each level, so the
    Jacobian is exact and a standard normal in z is the model of independent columns with those frequencies.

    Parameters
    ----------
    mass : Tensor, shape (d, levels)
        Frequencies of the levels in each column, all positive, rows summing to one; :meth:`fit` counts them.
    """

    mass: Tensor
    below: Tensor

    def __init__(self, mass: Tensor) -> None:
        super().__init__()
        mass = mass.double()
        self.register_buffer("mass", mass, persistent=False)
        self.register_buffer("below", torch.cat([mass.new_zeros(len(mass), 1), mass.cumsum(1)], 1), persistent=False)

    @classmethod
    def fit(cls, x: Tensor, levels: int, prior: float = 0.5) -> HistogramToNormal:
        """Count levels in rows of integers (n, d), with ``prior`` added to every count."""
        counts = torch.nn.functional.one_hot(x.long(), levels).sum(0).double() + prior
        return cls(counts / counts.sum(1, keepdim=True))

    def each(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        level = x.floor().long().clamp(0, self.mass.shape[1] - 1)
        column = torch.arange(x.shape[1], device=x.device)
        mass = self.mass[column, level]
        u = self.below[column, level] + mass * (x - level)
        z = torch.special.ndtri(u.clamp(1e-12, 1.0 - 1e-12))
        log_normal = -0.5 * z.square() - 0.5 * math.log(2.0 * math.pi)
        return z, mass.log() - log_normal

    def inverse(self, z: Tensor) -> Tensor:
        u = torch.special.ndtr(z)
        level = torch.searchsorted(self.below[:, 1:-1].contiguous(), u.T.contiguous(), right=True).T
        column = torch.arange(z.shape[1], device=z.device)
        inside = (u - self.below[column, level]) / self.mass[column, level]
        return level + inside.clamp(0.0, 1.0 - 1e-9)


@saveable
class OnColumns(Transform):
    """Transforms of blocks of the columns of a table, each on its own; other columns stay as they are.

    Parameters
    ----------
    parts : sequence of Transform
        Of vectors (batch, d_b). Those of entries on their own (:class:`Elementwise`, or a :class:`Chain` of them) let
        missing entries pass, as nan, and count the log-derivatives of observed ones only.
    columns : sequence of sequences of int
        The columns of each block.

    Examples
    --------
    >>> halved = OnColumns([Affine(torch.zeros(1), torch.tensor([2.0]))], [[1]])
    >>> z, log_det = halved(torch.tensor([[4.0, 4.0], [4.0, float("nan")]]))
    >>> z.tolist(), [round(v, 4) for v in log_det.tolist()]
    ([[4.0, 2.0], [4.0, nan]], [-0.6931, 0.0])
    """

    def __init__(self, parts: list[Transform] | tuple[Transform, ...], columns: list[list[int]]) -> None:
        super().__init__()
        if len(parts) != len(columns):
            raise InputError(f"there must be a transform for each block, got {len(parts)} for {len(columns)} blocks")
        self.parts = nn.ModuleList(parts)
        self.columns = [torch.tensor(list(block)) for block in columns]

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether any part draws noise."""
        return any(part.random for part in self.parts)

    def _blocks(self, x: Tensor) -> list[tuple[Transform, Tensor]]:
        return [(part, c.to(x.device)) for part, c in zip(self.parts, self.columns, strict=True)]  # type: ignore[misc]

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        z = x.double().clone()
        log_det = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for part, column in self._blocks(x):
            block = x.index_select(1, column).double()
            hole = block.isnan()
            if hole.any() and isinstance(part, Elementwise | Chain):
                # any value that is there will do in place of a hole
                there = block.nan_to_num(nan=-torch.inf).amax(0)
                there = torch.where(torch.isfinite(there), there, 0.0)
                moved, log_slope = part.each(torch.where(hole, there, block), generator)
                z[:, column] = moved.masked_fill(hole, torch.nan)
                log_det = log_det + log_slope.masked_fill(hole, 0.0).sum(1)
            else:
                z[:, column], part_log_det = part(block, generator)
                log_det = log_det + part_log_det
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        x = z.double().clone()
        for part, column in self._blocks(z):
            x[:, column] = part.inverse(x.index_select(1, column))
        return x


@saveable
class Complete(Transform):
    r"""Fill missing entries with draws of a law q, so that the bound of the whole row is one of its observed part.

    By Jensen's inequality, with :math:`x_m` the missing entries of a row and :math:`x_o` the others,

    .. math:: \log p(x_o) \ge E_{q(x_m \mid x_o)} \bigl[ \log p(x_o, x_m) - \log q(x_m \mid x_o) \bigr],

    with equality where q is the model's own conditional law. So a missing entry is not scored: what it adds to
    :math:`\log p(x_o, x_m)` is what :math:`-\log q`, the log-determinant of this layer, takes off again. Rows without holes
    pass unchanged. Entries must be missing at random (:mod:`quasistatic.data.normal`).

    Parameters
    ----------
    mean, cov : Tensor, shape (k,) and (k, k)
        Normal law of the numeric columns, in the units of this layer: holes are drawn given the numbers of their row.
    numeric : list of int
        Which columns these are.
    rates : list of Tensor, shape (K,)
        Rates of the classes of each other column, from which its holes are drawn.
    discrete : list of int
        Which columns these are.
    random : bool
        Whether rows to train on have holes, and so are to be completed anew for every batch.

    Examples
    --------
    A number that is missing beside one that is known; the draw and its density add up to no information:

    >>> layer = Complete(torch.zeros(2), torch.eye(2), [0, 1])
    >>> z, log_det = layer(torch.tensor([[2.0, float("nan")]]), Generator().manual_seed(0))
    >>> normal = -0.5 * z[0, 1] ** 2 - 0.5 * math.log(2 * math.pi)
    >>> z[0, 0].item(), round(abs((normal + log_det).item()), 6)
    (2.0, 0.0)
    """

    takes_holes = True
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
    def law(self) -> Normal:
        """The normal law of the numeric columns."""
        return Normal(self.mean, self.cov)

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        z = x.double().clone()
        log_det = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        if not z.isnan().any():
            return z, log_det
        if self.numeric:
            numbers, log_q = self.law.draw(z[:, self.numeric], generator)
            z[:, self.numeric] = numbers
            log_det = log_det - log_q
        for rate, column in zip(self.rates, self.discrete, strict=True):
            hole = z[:, column].isnan()
            if hole.any():
                rate = rate.to(x.device)
                u = uniform((len(z),), generator, like=z)
                drawn = torch.searchsorted(rate.cumsum(0)[:-1].contiguous(), u[hole], right=True)
                z[hole, column] = drawn.double()
                log_det[hole] -= rate.log()[drawn]
        return z, log_det
