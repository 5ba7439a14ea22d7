"""Matrix factors of covariances that survive rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quasistatic.errors import InputError

__all__ = ["LOG_2PI", "cholesky", "inverse_root", "root_of_any"]

LOG_2PI = math.log(2.0 * math.pi)

JITTERS = (1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6)


def cholesky(cov: Tensor) -> Tensor:
    r"""Factor covariances that are positive definite up to rounding.

    The result is the lower Cholesky factor. Where the factorisation fails, the smallest of a series of multiples of the
    identity, from 1e-15 to 1e-6, is added to the *correlation* matrix. So the units of the columns do not matter. A column
    of variance zero keeps a factor of zeros.

    Parameters
    ----------
    cov : Tensor, shape (..., d, d)
        Covariance matrices.

    Returns
    -------
    Tensor, shape (..., d, d)

    Raises
    ------
    InputError
        If a matrix is not finite, or is further from positive semidefinite than rounding could bring it.

    Examples
    --------
    Two equal columns, in different units:

    >>> import torch
    >>> factor = cholesky(torch.tensor([[1.0, 1e3], [1e3, 1e6]], dtype=torch.float64))
    >>> [round(v, 3) for v in (factor @ factor.T).flatten().tolist()]
    [1.0, 1000.0, 1000.0, 1000000.0]
    """
    factor, failed = torch.linalg.cholesky_ex(cov)
    if not failed.any():
        return factor
    wrong = failed > 0
    scale, bad = _scale(cov[wrong]), cov[wrong]
    still = scale == 0
    scale = scale.masked_fill(still, 1.0)
    corr = bad / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
    corr = torch.where(still.unsqueeze(-1) | still.unsqueeze(-2), torch.diag_embed(still.to(corr.dtype)), corr)
    identity = torch.eye(corr.shape[-1], dtype=corr.dtype, device=corr.device)
    factors, left = torch.linalg.cholesky_ex(corr)
    for jitter in JITTERS:
        if not left.any():
            break
        again, info = torch.linalg.cholesky_ex(corr[left > 0] + jitter * identity)
        factors[left > 0] = again
        left = left.masked_scatter(left > 0, info)
    if left.any():
        raise InputError("a covariance is not positive definite: its entries are not finite or contradict each other")
    factor = factor.clone()
    factor[wrong] = factors * scale.unsqueeze(-1) * (~still).unsqueeze(-1)
    return factor


def inverse_root(cov: Tensor) -> Tensor:
    r"""Return a whitening matrix of a covariance.

    It is :math:`W = R^{-1/2} D^{-1}` for standard deviations D and correlations R, so that :math:`W C W^\top = I`. The
    map is the same for all units of the columns. Eigenvalues of R are kept above 1e-14 of the largest.

    Parameters
    ----------
    cov : Tensor, shape (d, d)
        Covariance matrix C.

    Returns
    -------
    Tensor, shape (d, d), float64

    Raises
    ------
    InputError
        If an entry is not finite, a variance is not positive, or the matrix is further from positive semidefinite than
        rounding could bring it.
    """
    cov = cov.double()
    scale = _scale(cov)
    if not (torch.isfinite(cov).all() and (scale > 0).all()):
        raise InputError(f"a covariance must be finite with positive variances, got variances {cov.diagonal().tolist()}")
    value, vector = torch.linalg.eigh(cov / (scale * scale[:, None]))
    if value[0] < -1e-10 * value[-1]:
        raise InputError(f"a covariance must be positive definite, and an eigenvalue is {value[0].item():.3g}")
    value = value.clamp_min(1e-14 * value[-1].item())
    return vector @ torch.diag(value.rsqrt()) @ vector.T / scale


def root_of_any(parts: Tensor) -> Tensor:
    """Return the triangular factor of parts @ parts.T.

    The product may be singular.

    Parameters
    ----------
    parts : Tensor, shape (..., d, k)

    Returns
    -------
    Tensor, shape (..., d, d)
    """
    return torch.linalg.qr(parts.mT, mode="r").R.mT


def _scale(cov: Tensor) -> Tensor:
    return cov.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).sqrt()
