"""Scikit-learn's 1,797 handwritten 8x8 digits, in splits that never change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quasistatic.checks import whole_number

__all__ = ["N_TEST", "N_TRAIN", "N_VALIDATION", "DigitSplits", "load_digits"]

N_TRAIN, N_VALIDATION, N_TEST = 1200, 197, 400


@dataclass(frozen=True, eq=False)
class DigitSplits:
    """Rows of 64 pixels, each an integer from 0 to 16.

    Attributes
    ----------
    train, validation, test : ndarray of uint8, shapes (1200, 64), (197, 64), (400, 64)
        Disjoint sets of images; a row is an 8x8 image read line by line.
    """

    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    test: NDArray[np.uint8]


def load_digits(split: int = 0) -> DigitSplits:
    """Load the digits in a fixed random split.

    The permutation depends only on ``split``.

    The order is ``numpy.random.default_rng(split).permutation(1797)``; its first 1200 rows train, the next
    197 validate, the last 400 test. The values stay the integers 0 to 16 of the source: a density needs
    uniform noise of width 1 added to them first, and the noise is the model's business.

    Parameters
    ----------
    split : int
        Which of the fixed splits, 0 or more.

    Returns
    -------
    DigitSplits

    Raises
    ------
    InputError
        If ``split`` is not an integer of at least 0.

    References
    ----------
    Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, as shipped with scikit-learn.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.train.shape, digits.validation.shape, digits.test.shape
    ((1200, 64), (197, 64), (400, 64))
    >>> int(digits.train.min()), int(digits.train.max())
    (0, 16)
    """
    whole_number("split", split, 0)
    from sklearn import datasets  # heavy, and needed here only

    pixels = datasets.load_digits().data.astype(np.uint8)
    pixels = pixels[np.random.default_rng(split).permutation(len(pixels))]
    train, validation, test = np.split(pixels, [N_TRAIN, N_TRAIN + N_VALIDATION])
    return DigitSplits(train, validation, test)
