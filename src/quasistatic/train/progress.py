"""Progress display of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from quasistatic.estimate import Estimate
from quasistatic.streams import safe_stderr, say, without_bars
from quasistatic.train.config import TrainConfig

__all__ = ["Progress"]


class Progress:
    """Progress bar on a terminal, one line per evaluation elsewhere.

    Parameters
    ----------
    config : TrainConfig
        Gives the number of updates and the batch size.
    quiet : bool
        Show nothing.
    """

    def __init__(self, config: TrainConfig, *, quiet: bool = False) -> None:
        self.config, self.quiet = config, quiet
        self.first_update = 0
        self._bar: Any = None

    @contextmanager
    def shown(self, update: int) -> Iterator[None]:
        """Show the progress from this update on, within the block."""
        self.first_update = update
        batch, hidden = self.config.batch_size, True if self.quiet else None  # None: no bar but on a terminal
        with without_bars(), tqdm(
            total=self.config.n_updates * batch, initial=update * batch, disable=hidden, file=safe_stderr(),
            unit="examples", unit_scale=True,
        ) as self._bar:  # fmt: skip
            yield

    def advance(self) -> None:
        """Count one update."""
        self._bar.update(self.config.batch_size)

    def show(self, bound: Estimate, update: int, seconds: float) -> None:
        """Show a validation bound.

        Parameters
        ----------
        bound : Estimate
            The bound.
        update : int
            Updates made so far.
        seconds : float
            Time since the training began or was resumed, evaluations included.
        """
        self._bar.set_postfix_str(str(bound))
        if self._bar.disable and not self.quiet:
            say(f"update {update} of {self.config.n_updates}: validation bound {bound}{self._pace(update, seconds)}")

    def show_terminated(self, update: int) -> None:
        """Show that training was terminated after an update."""
        if not self.quiet:
            say(f"terminated at update {update} of {self.config.n_updates}; a checkpoint of it is saved")

    def _pace(self, update: int, seconds: float) -> str:
        """Return the speed and the time left in words.

        It is empty before the first update.
        """
        done = update - self.first_update
        if not done:
            return ""
        each = seconds / done
        left = tqdm.format_interval(each * (self.config.n_updates - update))
        return f", {self.config.batch_size / each:.3g} examples/s, {left} left"
