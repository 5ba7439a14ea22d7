"""Gaussian mixture of transformed vectors."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.transforms import Transform

__all__ = ["GaussianMixtureBaseline"]


@dataclass(frozen=True)
class GaussianMixtureBaseline:
    r"""Gaussian mixture of transformed vectors, chosen on validation rows.

    .. math:: \log p(x) = \log \sum_k w_k \mathcal{N}(f(x); \mu_k, \Sigma_k) + \log |\det f'(x)|

    The log-determinant of the transform f is counted, so the number compares with that of a diffusion model.

    Attributes
    ----------
    transform : Transform
        Change of variables f.
    mixture : sklearn.mixture.GaussianMixture
    choice : str
        Size, covariance and ridge that validation chose.

    Examples
    --------
    >>> from quasistatic.transforms import Chain
    >>> x = torch.randn(4000, 2, generator=Generator().manual_seed(0), dtype=torch.float64)
    >>> fitted = GaussianMixtureBaseline.fit(Chain(), x[:3000], x[3000:], sizes=(1,), regularisation=(1e-6,))
    >>> round(fitted.log_prob(torch.zeros(1, 2)).item(), 1)      # -log(2 pi)
    -1.8
    """

    transform: Transform
    mixture: Any
    choice: str

    @classmethod
    def fit(
        cls,
        transform: Transform,
        train: ArrayLike,
        validation: ArrayLike,
        *,
        sizes: tuple[int, ...] = (1, 2, 5, 10, 20, 40),
        regularisation: tuple[float, ...] = (1e-2, 1e-1),
        seed: int = 0,
    ) -> GaussianMixtureBaseline:
        """Fit every size and covariance, and keep the best.

        Parameters
        ----------
        transform : Transform
            Where it draws noise, the noise is drawn once for the training rows and once for the validation rows.
        train, validation : array, shape (n, d)
            In data units, without missing values.
        sizes : tuple of int
            Numbers of components to try. A number above that of the training rows is left out.
        regularisation : tuple of float
            Ridges to try.
        seed : int
            Of the noise and of the mixtures' starts.

        Raises
        ------
        InputError
            If no size is left, or there are no rows to choose by.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        sizes = tuple(k for k in sizes if 1 <= k <= len(np.asarray(train)))
        if not sizes or not len(np.asarray(validation)):
            raise InputError(
                f"a mixture needs a size of at most {len(np.asarray(train))}, its training rows, and validation rows"
            )
        generator = Generator().manual_seed(seed)
        z, _ = transform(torch.as_tensor(np.asarray(train)), generator)
        v, _ = transform(torch.as_tensor(np.asarray(validation)), generator)
        best, best_score, choice = None, -np.inf, ""
        for covariance, k, ridge in itertools.product(("full", "diag"), sizes, regularisation):
            mixture = GaussianMixture(k, covariance_type=covariance, reg_covar=ridge, random_state=seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a poor fit loses on the validation rows
                score = mixture.fit(z.numpy()).score(v.numpy())
            if score > best_score:
                best, best_score = mixture, score
                choice = f"{k} {covariance} component{'s' * (k > 1)}, ridge {ridge:g}"
        return cls(transform, best, choice)

    def log_prob(self, x: ArrayLike, *, generator: Generator | None = None) -> Tensor:
        """Return the log density of each row in data units.

        Parameters
        ----------
        x : array, shape (n, d)
        generator : Generator, optional
            Of the noise of the transform.

        Returns
        -------
        Tensor, shape (n,)
            Nats.
        """
        z, log_det = self.transform(torch.as_tensor(np.asarray(x)), generator)
        return torch.as_tensor(self.mixture.score_samples(z.numpy())) + log_det
