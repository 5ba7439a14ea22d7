"""Random splits of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quasistatic.checks import whole_number
from quasistatic.errors import InputError

__all__ = ["MIN_ROWS", "split_rows"]

MIN_ROWS = 10  # so that ten per cent is at least one row


def split_rows(
    n: int, seed: int, validation: float = 0.1, test: float = 0.1
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Split rows at random into train, validation and test.

    The order is ``numpy.random.default_rng(seed).permutation(n)``: train first, then validation, then test.

    Parameters
    ----------
    n : int
        Number of rows.
    seed : int
        The same seed gives the same split, 0 or more.
    validation, test : float
        Fractions of the rows, rounded, but at least one row where the fraction is above 0.

    Returns
    -------
    train, validation, test : ndarray of int
        Disjoint, and together every row once.

    Raises
    ------
    InputError
        If a fraction is outside [0, 1) or no row is left to train on.

    Examples
    --------
    >>> train, validation, test = split_rows(20, seed=0)
    >>> len(train), len(validation), len(test)
    (16, 2, 2)
    """
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0.0 <= fraction < 1.0:
            raise InputError(f"the {name} fraction must be at least 0 and below 1, got {fraction}")
    whole_number("seed", seed, 0)
    n_validation, n_test = (max(1, round(n * f)) if f > 0.0 else 0 for f in (validation, test))
    n_train = n - n_validation - n_test
    if n_train < 1:
        raise InputError(f"{n} rows with fractions {validation} and {test} held out leave no row to train on")
    order = np.random.default_rng(seed).permutation(n)
    return order[:n_train], order[n_train : n_train + n_validation], order[n_train + n_validation :]
