"""Models to be compared with: each answers with log densities per example, in nats and data units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor

from quasistatic.data.transforms import Transform

__all__ = ["GaussianMixtureBaseline"]


@dataclass(frozen=True)
class GaussianMixtureBaseline:
    """Gaussian mixture on transformed data, its size and covariance chosen on validation rows.

    The transform's log-determinant is counted, so the number compares with a diffusion model's on the same data.

    Attributes
    ----------
    choice : str
        What validation chose, in words.
    """

    transform: Transform
    mixture: object
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
        """Fit every size and covariance and keep the one with the best mean log density of ``validation``."""
        from sklearn.mixture import GaussianMixture

        generator = Generator().manual_seed(seed)
        z, _ = transform(torch.as_tensor(np.asarray(train)), generator)
        v, _ = transform(torch.as_tensor(np.asarray(validation)), generator)
        best, best_score, choice = None, -np.inf, ""
        for covariance in ("full", "diag"):
            for k in sizes:
                for ridge in regularisation:
                    mixture = GaussianMixture(k, covariance_type=covariance, reg_covar=ridge, random_state=seed)
                    score = mixture.fit(z.numpy()).score(v.numpy())
                    if score > best_score:
                        best, best_score = mixture, score
                        choice = f"{k} {covariance} components, ridge {ridge:g}"
        return cls(transform, best, choice)

    def log_prob(self, x: ArrayLike, *, generator: Generator | None = None) -> Tensor:
        """Log density of each row in data units, (n,), nats."""
        z, log_det = self.transform(torch.as_tensor(np.asarray(x)), generator)
        return torch.as_tensor(self.mixture.score_samples(z.numpy())) + log_det  # type: ignore[attr-defined]
