r"""Full covariances :math:`v I + g^2 e^S` from a symmetric matrix S.

The direction of a nearly singular covariance varies smoothly with the entries of S. The entries of its Cholesky factor
change abruptly where that direction crosses an axis, which a network cannot learn.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["scale_tril", "symmetric"]


def symmetric(entries: Tensor, d: int) -> Tensor:
    """Fill symmetric matrices from their free entries.

    Parameters
    ----------
    entries : Tensor, shape (n, d (d + 1) / 2)
        The diagonal, then the lower triangle.
    d : int
        Rows of a matrix.

    Returns
    -------
    Tensor, shape (n, d, d)
    """
    row, column = torch.tril_indices(d, d, -1, device=entries.device)
    matrix = torch.diag_embed(entries[:, :d])
    matrix[:, row, column] = entries[:, d:]
    matrix[:, column, row] = entries[:, d:]
    return matrix


def scale_tril(entries: Tensor, d: int, var: Tensor, gain_square: Tensor) -> Tensor:
    r"""Return the Cholesky factor of a covariance.

    The covariance is :math:`v I + g^2 e^S`, (n, d, d).

    Parameters
    ----------
    entries : Tensor, shape (n, d (d + 1) / 2)
        Of S: its diagonal, then its lower triangle.
    d : int
        Rows of S.
    var, gain_square : Tensor, broadcastable to (n,)
        v and g^2.

    Examples
    --------
    >>> scale_tril(torch.zeros(1, 3), 2, torch.tensor(3.0), torch.tensor(1.0)).tolist()
    [[[2.0, 0.0], [0.0, 2.0]]]
    """
    if d == 2:
        return _of_plane(entries, var, gain_square)
    cov = gain_square.reshape(-1, 1, 1) * torch.matrix_exp(symmetric(entries, d))
    # rounding of the exponential must not cost positive definiteness
    floor = var.reshape(-1, 1) + 1e-6 * cov.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    return torch.linalg.cholesky(cov + torch.diag_embed(floor.expand(-1, d)))


def _of_plane(entries: Tensor, var: Tensor, gain_square: Tensor) -> Tensor:
    """Compute the factor in two dimensions in closed form.

    It is exact for nearly singular covariances.
    """
    p, q, r = entries.unbind(1)
    half, difference = 0.5 * (p + q), 0.5 * (p - q)
    radius = (difference.square() + r.square() + 1e-12).sqrt()
    large = var + gain_square * (half + radius).exp()
    small = var + gain_square * (half - radius).exp()
    middle, tilt = 0.5 * (large + small), 0.5 * (large - small) / radius
    a = (middle + tilt * difference).sqrt()
    b = tilt * r / a
    c = (large * small).sqrt() / a
    return torch.stack([a, torch.zeros_like(a), b, c], -1).view(-1, 2, 2)
