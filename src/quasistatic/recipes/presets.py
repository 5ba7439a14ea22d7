"""Presets of the image recipes.

``small`` is for one CPU core and is used for the records. ``base`` is for half an hour of a GPU, ``large`` for hours.
"""

from __future__ import annotations

from typing import Any

__all__ = ["COLUMNS", "PRESETS", "preset_rows"]

COLUMNS = ("train.n_updates", "train.batch_size", "train.learning_rate", "widths", "blocks", "dropout", "train.amp")

Settings = dict[str, Any]


def _preset(
    n_updates: int,
    batch: int,
    rate: float,
    widths: list[int],
    blocks: int,
    dropout: float,
    amp: bool,
    ema: float,
    every: int,
) -> Settings:
    shape = {"widths": widths, "blocks": blocks, "dropout": dropout}
    training = {
        "n_updates": n_updates, "batch_size": batch, "learning_rate": rate, "amp": amp, "ema": ema, "evaluate_every": every,
    }  # fmt: skip
    return shape | {f"train.{name}": value for name, value in training.items()}


def _three(
    small: tuple[int, float, list[int], bool], base: tuple[int, list[int], int], large: tuple[int, list[int], int]
) -> dict[str, Settings]:
    """Build the presets small, base and large.

    Small has updates, rate, widths and bfloat16; base and large have updates, widths and blocks.
    """
    n_updates, rate, widths, amp = small
    return {
        "small": _preset(n_updates, 32, rate, widths, 1, 0.0, amp, 0.999, 1000),
        "base": _preset(base[0], 128, 5e-4, base[1], base[2], 0.1, True, 0.9995, 2000),
        "large": _preset(large[0], 256, 3e-4, large[1], large[2], 0.1, True, 0.9999, 10_000),
    }


BITS = ((40_000, [64, 128, 256], 2), (200_000, [128, 256, 512], 3))
LEVELS = ((40_000, [128, 256], 3), (300_000, [256, 256], 8))
PHOTOGRAPHS = ((100_000, [128, 256], 3), LEVELS[1])
PATCHES = ((40_000, [96, 128, 256], 2), (200_000, [128, 256, 256], 4))

PRESETS: dict[str, dict[str, Settings]] = {
    "mnist-binary": _three((12_000, 2e-3, [32, 64, 128], False), *BITS),
    "mnist-binary-flip": _three((8000, 2e-3, [32, 64, 128], False), *BITS),
    "mnist": _three((6000, 1e-3, [32, 64, 128], True), *LEVELS),
    "cifar10": _three((22_000, 1e-3, [48, 96], True), *PHOTOGRAPHS),
    "dead-leaves": _three((8000, 1e-3, [48, 64, 128], True), *PATCHES),
    "bark": _three((3000, 1e-3, [48, 64, 128], True), *PATCHES),
    "images": _three((8000, 1e-3, [32, 64, 128], True), *LEVELS),
}


def preset_rows() -> list[dict[str, str]]:
    """Return the table of all presets as text."""
    rows = []
    for recipe, presets in PRESETS.items():
        for name, settings in presets.items():
            row = {column.removeprefix("train."): settings[column] for column in COLUMNS}
            row["widths"] = ", ".join(map(str, row["widths"]))
            row["amp"] = "bfloat16" if row["amp"] else "float32"
            rows.append({"recipe": recipe, "preset": name} | {key: str(value) for key, value in row.items()})
    return rows
