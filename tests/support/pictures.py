"""Image data sets made small: smooth random pictures in the place of the files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from quasistatic.baselines.mcgsm import MCGSM
from quasistatic.datasets import bark
from quasistatic.datasets.images import ImageSplits
from quasistatic.recipes import cifar10, dead_leaves, mnist, mnist8, paper_images

TRAINING = {"train.n_updates": 4, "train.batch_size": 8, "train.evaluate_every": 2, "train.validation_pairs": 30}
CHAIN = {"n_steps": 6, "n_timesteps": 2, "n_validation": 12, "n_test": 16, "sample_steps": 6}
UNET = {"widths": [8], "attention": "no"}
PAPER = {"conv_width": 3, "n_scales": 2, "dense_layers": 1, "dense_width": 8, "pixel_layers": 1, "pixel_width": 4}

SMALL: dict[str, dict[str, Any]] = {
    "mnist-binary": TRAINING | CHAIN | UNET,
    "mnist-binary-flip": TRAINING | CHAIN | UNET,
    "mnist": TRAINING | CHAIN | UNET,
    "cifar10": TRAINING | CHAIN | UNET,
    "dead-leaves": TRAINING | CHAIN | UNET | {"size": 8},
    "bark": TRAINING | CHAIN | UNET | {"size": 8, "n_train": 60},
    "mnist-paper": TRAINING | CHAIN | PAPER,
    "cifar10-paper": TRAINING | CHAIN | PAPER | {"conv_layers": 1},
}


def smooth(n: int, channels: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Pictures whose neighbouring pixels are alike, (n, channels, size, size)."""
    x = np.random.default_rng(seed).standard_normal((n, channels, size + 2, size + 2))
    x = sum(x[..., i : i + size, j : j + size] for i in range(3) for j in range(3)) / 3.0  # type: ignore[assignment]
    return np.clip(128.0 + 50.0 * x, 0, 255).astype(np.uint8)


def sets(channels: int = 1, size: int = 8, top: int = 256) -> ImageSplits:
    """Images of ``top`` levels for training, validation and test."""
    return ImageSplits(*(smooth(n, channels, size, seed) // (256 // top) for seed, n in enumerate((60, 20, 30))))


def photographs(folder: Path) -> Path:
    """Four pictures of 96 x 96 pixels under the names of the bark's."""
    for k, name in enumerate(bark.FILES):
        Image.fromarray(smooth(1, 3, 96, k)[0].transpose(1, 2, 0)).save(folder / name, format="png")
    return folder


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Put the small sets in the place of all files."""
    monkeypatch.setattr(mnist, "load_binarised_mnist", lambda: sets(top=2))
    monkeypatch.setattr(cifar10, "load_cifar10", lambda: sets(3))
    for module in (mnist, mnist8, paper_images):
        monkeypatch.setattr(module, "load_mnist", sets)
    monkeypatch.setattr(paper_images, "load_cifar10", lambda: sets(3))
    leaves = tuple(smooth(n, 1, 32, n)[:, 0] / 255.0 for n in (8, 4, 5))
    monkeypatch.setattr(dead_leaves, "load_dead_leaves", lambda **_: leaves)
    quick = functools.partial(MCGSM.fit, reach=1, n_components=2, n_scales=2, n_updates=20, border_updates=5, batch_size=64)
    monkeypatch.setattr(dead_leaves.MCGSM, "fit", quick)
    photographs(folder)
    monkeypatch.setattr(bark, "find", lambda _, name: folder / name)
