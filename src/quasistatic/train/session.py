"""Training loop of updates and evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Generator, Tensor

from quasistatic.checks import one_of
from quasistatic.errors import Terminated
from quasistatic.estimate import UNITS, Estimate
from quasistatic.likelihood.estimators import estimate_elbo
from quasistatic.model import DiffusionModel
from quasistatic.train.config import TrainConfig
from quasistatic.train.engine import eagerly
from quasistatic.train.progress import Progress
from quasistatic.train.run_log import RunLog
from quasistatic.train.state import TrainState
from quasistatic.train.stopping import termination
from quasistatic.train.trainer import PlaceSteps, Trainer, require_number
from quasistatic.train.workers import Workers

__all__ = ["Session", "Validation", "own_random_state"]


def own_random_state(model: DiffusionModel) -> AbstractContextManager[None]:
    """Restore torch's global random state after the block."""
    device = model.process.beta.device
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


class Validation:
    """The validation bound with fixed rows and draws.

    Parameters
    ----------
    model : DiffusionModel
        The model that is trained.
    rows : Tensor, shape (n, *event_shape)
        Validation rows in data units.
    config : TrainConfig
        Gives the number of (example, step) pairs.
    seed : int
        Of the draws.
    unit : str
        Unit of the mean bound.
    """

    def __init__(self, model: DiffusionModel, rows: Tensor, config: TrainConfig, *, seed: int, unit: str) -> None:
        self.model, self.seed = model, seed
        self.unit = one_of("unit", unit, UNITS)
        self.z, self.log_det = model.encode(rows, Generator().manual_seed(seed + 1))
        self.n_timesteps = max(1, config.validation_pairs // len(self.z))

    def bounds(self) -> Tensor:
        """Return the bound of each row, (n,), in nats."""
        kernel, draws = self.model.kernel, Generator().manual_seed(self.seed + 2)
        bound = estimate_elbo(kernel.process, kernel, self.z, n_timesteps=self.n_timesteps, generator=draws)
        return bound.total + self.log_det

    def mean(self, bounds: Tensor) -> Estimate:
        """Return the mean of the bounds with its standard error."""
        return Estimate.of(bounds, self.unit, self.model.event_shape)


class Stopwatch:
    """Time of a training run, including time before a break."""

    def __init__(self, state: TrainState, team: Workers) -> None:
        self.state, self.team = state, team
        self.began, self.cpu_began = time.perf_counter(), time.process_time()
        self.before, self.cpu_before = state.seconds, state.cpu_seconds

    @property
    def seconds(self) -> float:
        """Seconds since this call began."""
        return time.perf_counter() - self.began

    def note(self) -> None:
        """Write the time spent so far into the state."""
        self.state.seconds = self.before + self.seconds
        self.state.cpu_seconds = self.cpu_before + self.team.total(time.process_time() - self.cpu_began)


class Session:
    """One training, or its continuation, until it is finished or stopped.

    Parameters
    ----------
    trainer : Trainer
        Makes the updates.
    validation : Validation
        Measures the model.
    log : RunLog
        Keeps the results.
    progress : Progress
        Shows them.
    time_budget : float
        Seconds after which to stop at a checkpoint.
    place_steps : callable, optional
        Chooses other steps in the course of the training.
    on_evaluation : callable, optional
        Called with the metrics of each evaluation, while the model holds its mean weights.
    """

    def __init__(
        self,
        trainer: Trainer,
        validation: Validation,
        log: RunLog,
        progress: Progress,
        *,
        time_budget: float = math.inf,
        place_steps: PlaceSteps | None = None,
        on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.trainer, self.validation, self.log, self.progress = trainer, validation, log, progress
        self.time_budget, self.place_steps, self.on_evaluation = time_budget, place_steps, on_evaluation
        config = trainer.config
        self.place_at = round(config.place_at * config.n_updates) if place_steps is not None else 0  # 0 is never
        self.exhausted = False
        self.signalled: Callable[[], bool] = bool
        self.stopwatch = Stopwatch(trainer.state, trainer.team)

    def run(self) -> DiffusionModel:
        """Train, and return the model with its best weights."""
        with termination() if self.log.folder is not None else nullcontext(bool) as self.signalled:
            return self._run()

    def _run(self) -> DiffusionModel:
        trainer, state, config = self.trainer, self.trainer.state, self.trainer.config
        torch.manual_seed(trainer.seed)  # dropout
        resumed = self.log.resume()
        self.exhausted = trainer.team.any(trainer.patience.exhausted)
        self.stopwatch = Stopwatch(state, trainer.team)
        trainer.model.train()
        with self.progress.shown(state.update):
            if not resumed:
                self.evaluate()
            while state.update < config.n_updates and not self.exhausted:
                if self.place_steps is not None and state.update == self.place_at > 0:
                    trainer.place_steps(self.place_steps)
                trainer.update()
                self.progress.advance()
                spent = self.budget_spent()
                due = state.update % config.evaluate_every == 0 or state.update == config.n_updates or spent
                if due:
                    self.evaluate()
                if self.terminated():
                    self._terminate(saved=due)
                if spent:
                    break
        return self.log.best_model()

    def evaluate(self) -> None:
        """Evaluate the mean weights, log the bound, save a checkpoint."""
        trainer, state = self.trainer, self.trainer.state
        loss = trainer.mean_loss()
        trainer.model.eval()
        with trainer.ema.weights(), torch.no_grad(), eagerly(trainer.model.kernel):
            bounds = self.validation.bounds()
            bound = self.validation.mean(bounds)
            if (
                state.update % trainer.config.evaluate_every == 0
            ):  # a stop between two evaluations must not change the result
                trainer.patience.record(bounds)
                self.exhausted = trainer.team.any(trainer.patience.exhausted)
            require_number("validation bound", bound.value, state.update, infinite=True)
            self.stopwatch.note()
            line = self._metrics(loss, bound)
            if bound.value > state.best or state.update == 0:
                state.best = bound.value
                self.log.keep_best(line)
            if self.on_evaluation is not None:
                with own_random_state(trainer.model):
                    self.on_evaluation(line)
        trainer.model.train()
        self.log.write(line)  # with the live weights again, from which training continues
        self.progress.show(bound, state.update, self.stopwatch.seconds)
        trainer.team.wait()

    def _metrics(self, loss: float | None, bound: Estimate) -> dict[str, Any]:
        """Return a line of the log."""
        state, patience = self.trainer.state, self.trainer.patience
        return {
            "update": state.update,
            "seconds": round(state.seconds, 2),
            "cpu_seconds": round(state.cpu_seconds, 2),
            "loss_nats": loss,
            "validation": bound.value,
            "validation_se": bound.standard_error,
            "unit": bound.unit,
            **({"waited": patience.waited} if patience.limit else {}),
        }

    def budget_spent(self) -> bool:
        """Return whether the time budget is spent.

        Processes agree on it at every tenth update, which a GPU waits for.
        """
        if self.time_budget == math.inf or (self.trainer.team.world > 1 and self.trainer.state.update % 10):
            return False
        return self.trainer.team.any(self.stopwatch.seconds >= self.time_budget)

    def terminated(self) -> bool:
        """Return whether any process got SIGTERM.

        Processes agree on it at every tenth update.
        """
        if self.log.folder is None or (self.trainer.team.world > 1 and self.trainer.state.update % 10):
            return False
        return self.trainer.team.any(self.signalled())

    def _terminate(self, *, saved: bool) -> None:
        """Save a checkpoint and exit with status 143."""
        self.stopwatch.note()
        if not saved:
            self.log.write_checkpoint()
        self.progress.show_terminated(self.trainer.state.update)
        self.trainer.team.wait()
        raise Terminated
