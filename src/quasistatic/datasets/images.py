"""MNIST, statically binarised MNIST and CIFAR-10, in splits that never change.

The files are found, or fetched, by :mod:`quasistatic.datasets.fetch`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quasistatic.datasets.fetch import find
from quasistatic.datasets.formats import read_amat, read_cifar, read_idx, read_packed
from quasistatic.datasets.textures import TextureSplits, standardise
from quasistatic.errors import InputError

__all__ = ["ImageSplits", "load_binarised_mnist", "load_cifar10", "load_mnist", "unit_variance"]


@dataclass(frozen=True, eq=False)
class ImageSplits:
    """Disjoint sets of images.

    Each is an array of uint8 of shape (n, channels, height, width).
    """

    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    test: NDArray[np.uint8]


def load_mnist() -> ImageSplits:
    """Load handwritten digits of 28 x 28 pixels and 256 levels.

    There are 50,000 training, 10,000 validation and 10,000 test images.

    The last 10,000 of the 60,000 training images are for validation. Mind that the first half of the test set comes
    from other writers than the second and is easier: a prefix is not representative.

    Raises
    ------
    InputError
        If a file is missing, damaged, or not MNIST's.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition.
    """
    train, test = (
        read_idx(find("mnist", f"{part}-images-idx3-ubyte.gz", f"{part}-images-idx3-ubyte")) for part in ("train", "t10k")
    )
    _require(train, (60_000, 1, 28, 28), "the training set of MNIST")
    _require(test, (10_000, 1, 28, 28), "the test set of MNIST")
    return ImageSplits(train[:50_000], train[50_000:], test)


def load_binarised_mnist() -> ImageSplits:
    """Load statically binarised digits.

    There are 50,000 training, 10,000 validation and 10,000 test images of bits.

    The test images come sorted by digit; they are shuffled here by ``numpy.random.default_rng(0)``, always alike, so
    that a prefix stands for the whole. The order of the others is that of the files, which is random already.

    Raises
    ------
    InputError
        If a file is missing, damaged, or of another size.

    References
    ----------
    Salakhutdinov and Murray (2008), On the quantitative analysis of deep belief networks; the split of Larochelle and
    Murray (2011), The neural autoregressive distribution estimator.
    """
    parts = []
    for part, n in (("train", 50_000), ("valid", 10_000), ("test", 10_000)):
        path = find("binarized_mnist", "binarized_mnist.npz", f"binarized_mnist_{part}.amat")
        parts.append(read_packed(path, part) if path.suffix == ".npz" else read_amat(path))
        _require(parts[-1], (n, 1, 28, 28), f"part {part!r} of binarised MNIST")
    train, validation, test = parts
    return ImageSplits(train, validation, test[np.random.default_rng(0).permutation(len(test))])


def load_cifar10() -> ImageSplits:
    """Load photographs of 3 x 32 x 32 pixels and 256 levels.

    There are 45,000 training, 5,000 validation and 10,000 test images of ten classes.

    The last 5,000 of the 50,000 training images are for validation. Reads the binary version; compressed batches
    (``.bin.xz``) take some seconds.

    Raises
    ------
    InputError
        If a file is missing, damaged, or of another size.

    References
    ----------
    Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    batches = []
    for stem in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        batches.append(read_cifar(find("cifar-10-batches-bin", f"{stem}.bin", f"{stem}.bin.xz")))
        _require(batches[-1], (10_000, 3, 32, 32), f"{stem} of CIFAR-10")
    train = np.concatenate(batches[:5])
    return ImageSplits(train[:45_000], train[45_000:], batches[5])


def unit_variance(images: ImageSplits, seed: int = 0) -> TextureSplits:
    r"""Dequantise levels and scale them to unit variance.

    Uniform noise in [0, 1) is drawn once. Mean 0 and variance 1 are over all training pixels.

    One mean and one scale serve all pixels and channels, as in the paper, whose K is a density of such data in bits per
    pixel; ``sd``, in levels, takes it to bits/dim (:func:`quasistatic.transforms.bits_per_dim_from_k`).

    Parameters
    ----------
    images : ImageSplits
    seed : int
        Of the noise, 0 or more.

    Examples
    --------
    >>> grey = np.random.default_rng(0).integers(256, size=(3, 50, 1, 8, 8), dtype=np.uint8)
    >>> scaled = unit_variance(ImageSplits(*grey))
    >>> scaled.train.shape, round(float(scaled.train.var()), 3)
    ((50, 1, 8, 8), 1.0)
    """
    rngs = np.random.default_rng(seed).spawn(3)
    parts = (images.train, images.validation, images.test)
    train, validation, test = (x + rng.random(x.shape, np.float32) for x, rng in zip(parts, rngs, strict=True))
    return standardise(train, validation, test)


def _require(images: NDArray[np.uint8], shape: tuple[int, ...], what: str) -> None:
    if images.shape != shape:
        raise InputError(f"{what} has shape {shape}, but the file holds {images.shape}")
