"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from quasistatic.checks import real_number, true_or_false, whole_number

__all__ = ["TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    The defaults train models of two-dimensional data in minutes on one core.

    Parameters
    ----------
    n_updates : int
        Updates of the optimiser, at least 1.
    batch_size : int
        Examples of one update, over all processes.
    learning_rate : float
        Largest learning rate of AdamW, positive.
    warmup : int
        Updates over which the learning rate rises linearly.
    decay_from : float
        Share of the updates after which the learning rate falls linearly to zero, from 0 to 1.
    weight_decay : float
        Weight decay of AdamW, not negative.
    beta_2 : float
        Decay of AdamW's second moment, from 0 to below 1.
    clip : float
        Largest norm of the gradient, positive.
    ema : float
        Decay of the running mean of the weights, from 0 to 1. It is less at the start. The mean is evaluated and kept.
    first_share : float
        Least share of a batch at t = 1, from 0 to 1. The share is never less than 1 / T.
    importance : bool
        Draw timesteps by the running rms loss; False for uniform draws. Both are stratified.
    place_at : float
        Share of the updates after which new steps are chosen, in recipes that do so; 0 for never.
    amp : bool
        Run the network in bfloat16 autocast.
    evaluate_every : int
        Updates between validation bounds. A checkpoint is written with each.
    validation_pairs : int
        (example, step) pairs of one validation bound. The draws are the same each time.
    patience : int
        Evaluations without improvement beyond noise after which training stops; 0 for never.
    """

    n_updates: int = 4000
    """Updates of the optimiser."""
    batch_size: int = 512
    """Examples of one update, over all processes."""
    learning_rate: float = 2e-3
    warmup: int = 100
    """Updates over which the learning rate rises linearly."""
    decay_from: float = 0.4
    """Share of the updates after which the learning rate falls linearly to zero."""
    weight_decay: float = 0.0
    beta_2: float = 0.99
    """Decay of AdamW's second moment."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Decay of the running mean of the weights, which is evaluated and kept; less at the start."""
    first_share: float = 0.02
    """Least share of a batch at t = 1; never less than 1 / T."""
    importance: bool = True
    """Draw timesteps by the running rms loss; False for uniform. Both are stratified."""
    place_at: float = 0.25
    """Share of the updates after which new steps are chosen, where a recipe does; 0 for never in training."""
    amp: bool = False
    """Run the network in bfloat16 autocast: faster convolutions on machines that have it."""
    evaluate_every: int = 500
    """Updates between validation bounds, each with a checkpoint."""
    validation_pairs: int = 40000
    """(example, step) pairs of one validation bound, the same draws each time."""
    patience: int = 0
    """Evaluations without improvement beyond noise after which training stops; 0 for never."""

    def __post_init__(self) -> None:
        for name in ("n_updates", "batch_size", "evaluate_every", "validation_pairs"):
            whole_number(name, getattr(self, name), 1)
        for name in ("warmup", "patience"):
            whole_number(name, getattr(self, name), 0)
        for name in ("learning_rate", "clip"):
            real_number(name, getattr(self, name), above=0.0)
        real_number("weight_decay", self.weight_decay, least=0.0)
        for name in ("decay_from", "ema", "first_share", "place_at"):
            real_number(name, getattr(self, name), least=0.0, most=1.0)
        real_number("beta_2", self.beta_2, least=0.0, below=1.0)
        true_or_false("importance", self.importance)
        true_or_false("amp", self.amp)

    def rate_at(self, update: int) -> float:
        """Return the learning rate of an update.

        It rises linearly, is constant, and falls linearly to zero.
        """
        rise = min(1.0, (update + 1) / max(1, self.warmup))
        fall = min(1.0, (self.n_updates - update) / max(1.0, self.n_updates * (1.0 - self.decay_from)))
        return self.learning_rate * rise * fall
