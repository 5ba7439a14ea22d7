"""What is to be trained, and how long it should take: predictions, to be held against what is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from gpu.flops import flops_per_row
from gpu.models import model_of, network_inputs, random_rows
from quasistatic.runs.settings import make_recipe

__all__ = ["MFU", "PLAN", "RATE", "Slice", "predicted", "rows_of_plan"]

RATE = 790.0
"""TFLOP/s of a bfloat16 product on an H100 or H200, to be replaced by the ceiling measured."""
MFU = 0.4
"""Share of it that a training step is hoped to reach; the aim is 0.35."""
SHARE = 0.85
"""Of the GPU minutes spent on steps: the rest goes to the compiler, validation bounds and checkpoints."""


@dataclass(frozen=True)
class Slice:
    """One training: a recipe and the GPU minutes it may take."""

    title: str
    recipe: str
    minutes: float
    preset: str | None = "base"
    settings: dict[str, Any] = field(default_factory=dict)


PLAN = {
    "mnist-binary": Slice("binarised MNIST, absorbing", "mnist-binary", 15),
    "mnist-binary-flip": Slice("binarised MNIST, flips", "mnist-binary-flip", 15),
    "cifar10": Slice("CIFAR-10", "cifar10", 30),
    "dead-leaves": Slice("dead leaves, 64 x 64", "dead-leaves", 15, settings={"size": 64, "n_images": 1500}),
    "cifar10-paper": Slice(
        "CIFAR-10, the paper's network", "cifar10-paper", 10, None, {"train.n_updates": 20_000, "train.batch_size": 256}
    ),
}


def predicted(which: Slice, *, tiny: bool = False) -> dict[str, Any]:
    """Count a slice's network, and say how fast and how long it should train at the rate above."""
    recipe = make_recipe(which.recipe, which.settings, preset=which.preset)
    rows = random_rows(recipe, 2, tiny=tiny)
    model = model_of(recipe, rows)
    network: nn.Module = model.kernel.network  # type: ignore[assignment]
    forward, both = flops_per_row(network, *network_inputs(model, rows))
    per_second = MFU * RATE * 1e12 / both
    seconds = recipe.train.n_updates * recipe.train.batch_size / per_second
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "forward_flops": forward,
        "training_flops": both,
        "images_per_s": per_second,
        "steps": recipe.train.n_updates,
        "batch": recipe.train.batch_size,
        "minutes": seconds / 60.0,
        "budget": which.minutes,
        "least_mfu": MFU * seconds / 60.0 / (SHARE * which.minutes),
    }


def rows_of_plan() -> list[dict[str, str]]:
    """The table of the documentation."""
    rows = []
    for which in PLAN.values():
        told = predicted(which)
        rows.append({
            "training": which.title,
            "parameters": f"{told['parameters'] / 1e6:.2f} M",
            "GFLOP an image, forward / step": f"{told['forward_flops'] / 1e9:.3g} / {told['training_flops'] / 1e9:.3g}",
            "steps x batch": f"{told['steps']} x {told['batch']}",
            "images/s": f"{told['images_per_s']:.3g}",
            "minutes of steps": f"{told['minutes']:.2g}",
            "budget": f"{told['budget']:g}",
            "fits down to": f"{100 * told['least_mfu']:.2g} %",
            "measured": "not yet",
        })  # fmt: skip
    return rows
