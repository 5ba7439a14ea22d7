"""The scikit-learn face: :class:`DiffusionDensity`, for tables of numbers and classes, with holes."""

from quasistatic.estimator.density import DiffusionDensity

__all__ = ["DiffusionDensity"]
