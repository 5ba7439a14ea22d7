"""Linear changes of variables."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.linalg import inverse_root
from quasistatic.random import Rng
from quasistatic.storage.modules import saveable
from quasistatic.transforms.base import Elementwise, Transform

__all__ = ["Affine", "Whiten"]


@saveable
class Affine(Elementwise):
    """Shift and scale of each entry.

    It is z = (x - shift) / scale.

    Parameters
    ----------
    shift, scale : Tensor
        Broadcastable to an event; the scale is positive.

    Examples
    --------
    >>> import torch
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
        """Fit one shift and scale for all entries.

        The result has mean 0 and variance 1.

        Parameters
        ----------
        x : Tensor, shape (n, *event)
            The rows.
        dequantised : bool
            Whether ``x`` are integers to which :class:`Dequantise` adds uniform noise first. The mean grows by 1/2 and
            the variance by 1/12.

        Raises
        ------
        InputError
            If all entries are equal and no noise is added.

        Examples
        --------
        >>> import torch
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

    @property
    def is_linear(self) -> bool:
        return True

    def each(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        return (x - self.shift) / self.scale, -self.scale.log().expand(x.shape)

    def forward(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        log_det = -self.scale.log().expand(x.shape[1:]).sum()
        return (x - self.shift) / self.scale, log_det.expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return z * self.scale + self.shift


@saveable
class Whiten(Transform):
    """Whitening of vectors, z = W (x - mean).

    The result has zero mean and identity covariance.

    Parameters
    ----------
    mean : Tensor, shape (d,)
        Mean of the data.
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
        """Fit mean and covariance to rows.

        The units of the columns do not change z. A constant column is only shifted.

        Parameters
        ----------
        x : Tensor, shape (n, d)
            The rows.
        ridge : float
            Each variance is multiplied by 1 + ridge.

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
        """Whiten by a known mean and covariance.

        W is the symmetric root of the inverse correlations, scaled.

        Parameters
        ----------
        mean : Tensor, shape (d,)
            The mean.
        cov : Tensor, shape (d, d)
            The covariance.
        """
        return cls(mean, inverse_root(cov))

    @property
    def is_linear(self) -> bool:
        return True

    def forward(self, x: Tensor, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        log_det = torch.linalg.slogdet(self.matrix)[1]
        return (x - self.mean) @ self.matrix.T, log_det.expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return z @ self.back.T + self.mean
