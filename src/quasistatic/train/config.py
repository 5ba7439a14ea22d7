"""How to train, in one record."""

from __future__ import annotations

import math
from dataclasses import dataclass

from quasistatic.errors import InputError

__all__ = ["TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop; the defaults train the toys in minutes on one core."""

    steps: int = 4000
    """Optimiser steps."""
    batch_size: int = 512
    """Examples of one step, over all processes."""
    learning_rate: float = 2e-3
    warmup: int = 100
    """Steps over which the learning rate rises linearly."""
    decay_from: float = 0.4
    """Share of the steps after which the learning rate falls linearly to zero."""
    weight_decay: float = 0.0
    beta_2: float = 0.99
    """Memory of AdamW's second moment."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Memory of the running mean of the weights, which is evaluated and kept; shorter at the start."""
    first_share: float = 0.02
    """Least share of a batch spent on t = 1; never less than 1 / T of it."""
    importance: bool = True
    """Draw t by the running rms loss, stratified; False for uniform, stratified."""
    place_at: float = 0.25
    """Share of the steps after which the schedule is placed anew, where a recipe places it; 0 for never in training."""
    amp: bool = False
    """bfloat16 autocast of the network: faster convolutions on machines that have it."""
    evaluate_every: int = 500
    """Steps between validation bounds, each with a checkpoint."""
    validation_pairs: int = 40000
    """(example, step) pairs of one validation bound, the same draws each time."""
    patience: int = 0
    """Evaluations without improvement beyond noise after which training stops; 0 for never."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "evaluate_every", "validation_pairs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be positive and finite, got {getattr(self, name)}")
        for name in ("warmup", "weight_decay", "patience"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        for name in ("decay_from", "ema", "first_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.beta_2 < 1:
            raise InputError(f"beta_2 must be at least 0 and below 1, got {self.beta_2}")

    def rate_at(self, step: int) -> float:
        """Learning rate of step 0, 1, ..: linear warm-up, constant, linear decay to zero."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = min(1.0, (self.steps - step) / max(1.0, self.steps * (1.0 - self.decay_from)))
        return self.learning_rate * rise * fall
