"""Updates of a model by gradient descent."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Generator, Tensor

from quasistatic.checks import whole_number
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.memory import require_memory
from quasistatic.model import DiffusionModel
from quasistatic.train.config import TrainConfig
from quasistatic.train.ema import Ema
from quasistatic.train.objective import Batch, Objective, draw_batch
from quasistatic.train.patience import Patience
from quasistatic.train.source import Source, draw_rows
from quasistatic.train.state import TrainState
from quasistatic.train.update import Update
from quasistatic.train.workers import Workers

__all__ = ["Trainer", "require_number"]

PlaceSteps = Callable[[DiffusionModel, Generator], ForwardProcess]


class Trainer:
    """Updates of a model's kernel by the training loss.

    Parameters
    ----------
    model : DiffusionModel
        Trained in place.
    rows : Source
        Training rows.
    config : TrainConfig
        Settings of the updates.
    seed : int
        Of batches, steps and noise.
    team : Workers, optional
        The processes that train together; this one alone if not given.
    micro_batch : int
        Rows that go through the network at once; 0 for all.

    Raises
    ------
    InputError
        If the batch does not fit the memory, the processes or the chain.
    """

    def __init__(
        self,
        model: DiffusionModel,
        rows: Source,
        config: TrainConfig,
        *,
        seed: int = 0,
        team: Workers | None = None,
        micro_batch: int = 0,
    ) -> None:
        team, n_steps = team or Workers(), model.process.n_steps
        _require_batch(config, n_steps, math.prod(model.event_shape), team)
        self.model, self.rows, self.config, self.team, self.micro_batch = model, rows, config, team, micro_batch
        self.seed = whole_number("seed", seed, 0)
        self.generator = Generator().manual_seed(seed)
        # of rows and steps; noise on another device than the CPU is drawn there
        self.noise = self.generator if rows.device.type == "cpu" else Generator(rows.device).manual_seed(seed)
        self.n_first = _rows_at_one(config, n_steps, model.kernel.first_step)
        self.draw_previous = model.kernel.n_components > 1
        self.objective = Objective(model.kernel)
        self.wrapped = team.wrap(self.objective)
        self.sampler = TimestepSampler(n_steps, importance=config.importance) if n_steps > 1 else None
        parameters = [p for p in model.kernel.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            parameters,
            lr=config.learning_rate,
            betas=(0.9, config.beta_2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.ema = Ema(parameters, config.ema)
        self.update_weights = Update(self.optimiser, self.ema, config.clip)
        self.patience = Patience(config.patience)
        self.state = TrainState(
            model.kernel, self.optimiser, self.ema, self.sampler, self.generator, self.noise, self.patience
        )
        self.state.beta = model.process.beta[1:]

    def update(self) -> None:
        """Make one update of the weights."""
        config, state, team = self.config, self.state, self.team
        rows = draw_rows(len(self.rows), config.batch_size, self.generator)
        x_0 = self.rows.draw(rows, self.noise)
        batch = draw_batch(
            self.model.kernel.process, x_0, self.sampler, self.n_first, self.generator,
            draw_previous=self.draw_previous, noise=self.noise,
        )  # fmt: skip
        if state.update + 1 < config.n_updates:  # nothing more is drawn from the generator in this update
            self.rows.prefetch(self.generator, config.batch_size)
        each = team.gather(self._backward(batch.rows(team.rank, team.world) if team.world > 1 else batch))
        self.update_weights(config.rate_at(state.update))
        state.update += 1
        state.recent.append(each @ batch.weight)
        if self.sampler is not None and config.importance:
            refresh = state.update % 20 == 0
            if refresh:  # before the sampler learns from losses that are not finite
                require_number("loss", torch.stack(state.recent[-20:]).mean().item(), state.update)
            self.sampler.record(batch.t[self.n_first :], each[self.n_first :], refresh=refresh)

    def _backward(self, batch: Batch) -> Tensor:
        """Accumulate the gradients and return the loss of each row.

        The rows are those of this process.
        """
        device, losses = batch.x_0.device.type, []
        *parts, last = batch.parts(self.micro_batch)
        for part in (*parts, last):
            with nullcontext() if part is last else self.team.without_averaging(self.wrapped):
                with torch.autocast(device, torch.bfloat16, self.config.amp):
                    loss, each = self.wrapped(part)
                loss.backward()
            losses.append(each)
        return torch.cat(losses) if parts else each

    def mean_loss(self) -> float | None:
        """Return the mean loss since the last call, nats.

        It is None if there was no update.
        """
        recent = self.state.recent
        loss = torch.stack(recent).mean().item() if recent else None
        if loss is not None:
            require_number("loss", loss, self.state.update)
        recent.clear()
        return loss

    def place_steps(self, place: PlaceSteps) -> None:
        """Move the model to the schedule that a function chooses.

        The function is called while the model has its mean weights.

        Parameters
        ----------
        place : callable
            (model, generator) -> process with as many steps.
        """
        self.model.eval()
        with self.ema.weights():
            placed = place(self.model, Generator().manual_seed(self.seed + 4))
        self.model.train()
        self.move_to(placed)
        self.sampler = self.state.sampler = TimestepSampler(placed.n_steps, importance=self.config.importance)

    def move_to(self, process: ForwardProcess) -> None:
        """Move the model to the steps of another process."""
        self.model.kernel.move_to(process)
        self.state.beta = process.beta[1:]


def require_number(name: str, value: float, update: int, *, infinite: bool = False) -> None:
    """Raise ``InputError`` if a measured value is not finite.

    Parameters
    ----------
    name : str
        What was measured.
    value : float
        The value.
    update : int
        Updates made so far.
    infinite : bool
        Allow infinite values, and refuse nan only.
    """
    if not (math.isfinite(value) or (infinite and math.isinf(value))):
        raise InputError(f"the {name} became {value} by update {update}: lower learning_rate or check the data")


def _require_batch(config: TrainConfig, n_steps: int, width: int, team: Workers) -> None:
    """Refuse a batch that does not fit.

    It must fit the processes, the memory and the chain.
    """
    if config.batch_size % team.world:
        raise InputError(f"batch_size {config.batch_size} does not divide among {team.world} processes")
    require_memory(
        f"a batch of {config.batch_size} examples of {width} numbers", config.batch_size * (96.0 * width + 64.0),
        "make batch_size smaller",
    )  # fmt: skip
    if config.batch_size < 2 and n_steps > 1:
        raise InputError("batch_size must be at least 2, a row for t = 1 and one for other steps, got 1")


def _rows_at_one(config: TrainConfig, n_steps: int, first_step: str) -> int:
    """Return how many rows of a batch are at t = 1.

    Some but not all are, unless T = 1 or the first step is fixed.
    """
    if n_steps == 1:
        return config.batch_size
    if first_step == "fixed":
        return 0
    share = max(config.first_share, 1.0 / n_steps)
    return max(1, min(config.batch_size - 1, round(config.batch_size * share)))
