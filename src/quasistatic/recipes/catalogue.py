"""The catalogue of recipes.

It is plain text, so that listing it imports no heavy module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from quasistatic.errors import InputError
from quasistatic.recipes.presets import PRESETS

__all__ = ["CATALOGUE", "Entry", "find"]


@dataclass(frozen=True)
class Entry:
    """One name of ``quasistatic train``: a recipe class with settings."""

    where: str
    """``module:class`` under :mod:`quasistatic.recipes`."""
    about: str
    minutes: float
    """Minutes of training on one core of a 2020s server."""
    reproduces: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    takes: str = ""
    """Meaning of ``--data``, for a recipe without data of its own."""


CATALOGUE: dict[str, Entry] = {
    "swiss-roll": Entry(
        "swiss_roll:SwissRoll",
        "swiss roll, residual network, full covariance, steps placed by dynamic programming",
        5,
        "table-1, figure-1",
        presets={"demo": {"train.n_updates": 5000, "train.evaluate_every": 1000, "n_test": 10_000, "log_prob_rows": 300}},
    ),
    "swiss-roll-paper": Entry(
        "swiss_roll:SwissRoll",
        "swiss roll, the paper's network: 16 normalised radial basis functions, a read-out for each step",
        3,
        "table-1",
        {
            "network": "paper",
            "covariance": "diagonal",
            "place": "gradient",
            "train.n_updates": 40_000,
            "train.batch_size": 512,
            "train.learning_rate": 0.01,
            "train.evaluate_every": 5000,
        },
    ),
    "swiss-roll-mixture": Entry(
        "swiss_roll:SwissRoll",
        "swiss roll in ten steps, mixture of 8 full-covariance normals",
        5,
        "",
        {"n_steps": 10, "n_components": 8, "place": "no", "train.n_updates": 18_000},
    ),
    "heartbeat": Entry(
        "heartbeat:Heartbeat",
        "binary heartbeat in 2000 steps, residual network",
        5,
        "table-1, figure-2",
        presets={"demo": {"train.n_updates": 4000, "train.evaluate_every": 1000, "train.batch_size": 512, "n_test": 200}},
    ),
    "heartbeat-paper": Entry(
        "heartbeat:Heartbeat",
        "binary heartbeat in 2000 steps, the paper's sigmoid perceptron, read-outs shared by temporal bumps",
        4,
        "table-1",
        {"network": "paper", "train.n_updates": 20_000, "train.learning_rate": 3e-3, "train.evaluate_every": 2500},
    ),
    "heartbeat-mixture": Entry(
        "heartbeat:Heartbeat",
        "binary heartbeat in five steps, mixture of 8 products",
        1,
        "",
        {
            "n_steps": 5,
            "n_components": 8,
            "n_test": 40_000,
            "n_trajectories": 100,
            "log_prob_rows": 2000,
            "n_validation": 5000,
            "train.n_updates": 16_000,
            "train.batch_size": 512,
        },
    ),
    "digits": Entry(
        "digits:Digits",
        "8 x 8 handwritten digits of 17 levels, uniform dequantisation, beside a Gaussian mixture",
        3,
        "",
        presets={"demo": {"train.n_updates": 2500, "train.evaluate_every": 500}},
    ),
    "mnist-binary": Entry(
        "mnist:BinaryMnist",
        "binarised MNIST, pixels masked one by one, U-Net",
        45,
        presets=PRESETS["mnist-binary"],
    ),
    "mnist-binary-flip": Entry(
        "mnist:BinaryMnist",
        "binarised MNIST, pixels flipped as in the paper's binomial diffusion, U-Net",
        45,
        "",
        {"kind": "flip"},
        PRESETS["mnist-binary-flip"],
    ),
    "mnist": Entry(
        "mnist8:Mnist",
        "MNIST, 8 bits, U-Net on top of an exact Gaussian model, last step by levels",
        30,
        "table-2",
        presets=PRESETS["mnist"],
    ),
    "cifar10": Entry(
        "cifar10:Cifar10",
        "CIFAR-10, 8 bits, U-Net on top of an exact Gaussian model, last step by levels",
        60,
        "table-1, figure-3",
        presets=PRESETS["cifar10"],
    ),
    "dead-leaves": Entry(
        "dead_leaves:DeadLeaves",
        "dead leaves with noise 0.06, 32 x 32 patches, beside a mixture of conditional Gaussian scale mixtures",
        45,
        "table-1, table-2, figure-4",
        presets=PRESETS["dead-leaves"],
    ),
    "bark": Entry(
        "bark:Bark",
        "tree bark, grey 32 x 32 patches of unit variance, U-Net on top of an exact Gaussian model",
        20,
        "table-1, figure-5",
        presets=PRESETS["bark"],
    ),
    "mnist-paper": Entry(
        "paper_images:PaperImages",
        "MNIST at unit variance, the paper's network: dense layers read out by temporal bumps",
        20,
        "table-1",
    ),
    "cifar10-paper": Entry(
        "paper_images:PaperImages",
        "CIFAR-10 at unit variance, the paper's network: dense layers beside multi-scale convolutions",
        20,
        "table-1",
        {
            "images": "cifar10",
            "conv_layers": 4,
            "train.n_updates": 4000,
            "train.batch_size": 64,
            "train.clip": 3000.0,
            "train.evaluate_every": 1000,
            "train.validation_pairs": 2000,
        },
    ),
    "table": Entry(
        "table:Table",
        "your own table of numbers, classes and missing entries: --data X.csv, --types quality=ordinal",
        2,
        takes="a .csv, .npy or .npz file",
    ),
    "array": Entry(
        "array:Array",
        "your own table of numbers: --data X.npy or X.csv; --set family=binomial for 0/1",
        2,
        takes="a .npy, .npz or .csv file",
    ),
    "images": Entry(
        "own_images:OwnImages",
        "your own pictures of 8 bits, grey or colour: --data FOLDER or X.npy; --set crop=32 for large ones",
        30,
        presets=PRESETS["images"],
        takes="a folder of pictures, or a .npy or .npz file",
    ),
}


def find(name: str) -> Entry:
    """Return the catalogue entry of a recipe."""
    if name not in CATALOGUE:
        raise InputError(f"there is no recipe {name!r}; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
