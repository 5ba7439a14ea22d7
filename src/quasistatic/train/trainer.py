"""The training loop."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from quasistatic.checks import instance_of, one_of, real_number, require_memory, shown, tensor_of, whole_number
from quasistatic.errors import InputError, Terminated
from quasistatic.estimate import UNITS, Estimate
from quasistatic.forward import ForwardProcess
from quasistatic.likelihood.estimators import TimestepSampler, estimate_elbo
from quasistatic.model import DiffusionModel, load
from quasistatic.storage.atomic import clear_half_written, new_folder, write_text
from quasistatic.storage.files import path_of, regular_file, strict
from quasistatic.storage.lock import sole_writer
from quasistatic.storage.modules import save_module
from quasistatic.streams import progress, say, without_bars
from quasistatic.train.config import TrainConfig
from quasistatic.train.ema import Ema
from quasistatic.train.engine import Engine, compiled, eagerly
from quasistatic.train.objective import Batch, Objective, draw_batch
from quasistatic.train.patience import Patience
from quasistatic.train.source import Augment, Rows, Source, draw_rows
from quasistatic.train.state import TrainState, prune
from quasistatic.train.stopping import termination
from quasistatic.train.update import Update
from quasistatic.train.workers import Workers, workers

__all__ = ["fit"]


def fit(
    model: DiffusionModel,
    data: Tensor | Rows,
    validation: Tensor,
    config: TrainConfig,
    *,
    folder: Path | None = None,
    seed: int = 0,
    unit: str = "bits",
    quiet: bool = False,
    augment: Augment | None = None,
    engine: Engine | None = None,
    time_budget: float = math.inf,
    place_steps: Callable[[DiffusionModel, Generator], ForwardProcess] | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
) -> DiffusionModel:
    """Train a model's kernel and leave it with the weights of its best validation bound.

    Where ``config.patience`` is set, training ends after as many evaluations without an improvement beyond noise.
    The same call on the same ``folder`` continues where it stopped, to the same bits as if it had not. Under
    ``torchrun`` all processes share one global batch and write one folder. Torch's global generator, which
    dropout draws from, is left as it was.

    Parameters
    ----------
    model : DiffusionModel
        Trained in place and returned.
    data, validation : Tensor, shape (n, *event_shape)
        In data units. A random transform (dequantisation) is drawn afresh for every batch. ``data`` may be rows on
        disk, read when they are drawn: anything with ``len`` that an array of row numbers indexes.
    config : TrainConfig
    folder : Path, optional
        Run folder for ``metrics.jsonl`` and ``checkpoint/``; nothing is written without one.
    seed : int
        Of batches, steps and noise.
    unit : str
        Of the numbers in the log.
    quiet : bool
        Show no progress bar.
    augment : callable, optional
        Given rows of a batch in data units and a generator, returns rows as good as they are, such as mirror images.
    engine : Engine, optional
        Compiler and memory; its device is not looked at, for the model is somewhere already.
    time_budget : float
        Seconds after which this call stops at a checkpoint; the same call goes on from there.
    place_steps : callable, optional
        Given the model, with its mean weights, and a generator, returns the grid of as many steps on which to train
        from ``config.place_at`` on, such as :func:`quasistatic.optimal_schedule` places them.
    on_evaluation : callable, optional
        Told the line of the log after each validation bound; the model then has the weights measured.

    Raises
    ------
    InputError
        If the data does not fit the model, the loss stops being a number, the folder cannot be written to, or
        another process is training in it. Checkpoints written before stay.
    """
    instance_of("model", model, DiffusionModel, "a DiffusionModel")
    instance_of("config", config, TrainConfig, "a TrainConfig")
    validation = tensor_of("validation", validation)
    if not hasattr(data, "__len__") or isinstance(data, str | bytes | dict):
        raise InputError(f"data must be a tensor, or rows with a length, got {shown(data)}")
    data = tensor_of("data", data) if isinstance(data, Tensor | list | tuple) else data
    folder = None if folder is None else path_of("folder", folder)
    if not validation.dim() or (isinstance(data, Tensor) and not data.dim()):
        raise InputError("data and validation must have an axis of rows")
    with workers(model.process.beta.device) as team, _own_random_state(model):
        if not len(data) or not len(validation):
            raise InputError(f"training needs rows, got {len(data)}, and {len(validation)} for validation")
        engine = engine or Engine()
        source = Source(model, data, augment, prefetch=engine.prefetch)
        fit_ = _Fit(
            model, source, validation, config, folder, seed, unit, quiet, team,
            time_budget, place_steps, on_evaluation, engine,
        )  # fmt: skip
        with (
            closing(source),
            sole_writer(folder) if folder is not None and team.first else nullcontext(),
            compiled(model.kernel, engine.compiles_on(source.device)),
        ):
            return fit_.run()


class _Fit:
    def __init__(
        self,
        model: DiffusionModel,
        data: Source,
        validation: Tensor,
        config: TrainConfig,
        folder: Path | None,
        seed: int,
        unit: str,
        quiet: bool,
        team: Workers,
        time_budget: float,
        place_steps: Callable[[DiffusionModel, Generator], ForwardProcess] | None,
        on_evaluation: Callable[[dict[str, Any]], None] | None,
        engine: Engine,
    ) -> None:
        n_steps = model.process.n_steps
        if config.batch_size % team.world:
            raise InputError(f"batch_size {config.batch_size} does not divide among {team.world} processes")
        width = math.prod(model.event_shape)
        require_memory(
            f"a batch of {config.batch_size} examples of {width} numbers", config.batch_size * (96.0 * width + 64.0),
            "make batch_size smaller",
        )  # fmt: skip
        whole_number("seed", seed, 0)
        one_of("unit", unit, UNITS)
        if config.batch_size < 2 and n_steps > 1:
            raise InputError("batch_size must be at least 2, a row for t = 1 and one for other steps, got 1")
        real_number("time_budget", time_budget, above=0.0, infinite=True)
        self.model, self.config, self.folder, self.unit, self.team = model, config, folder, unit, team
        self.quiet = quiet or not team.first
        self.place_steps, self.on_evaluation = place_steps, on_evaluation
        self.place_at = round(config.place_at * config.n_updates) if place_steps is not None else 0  # 0 is never
        self.seed, self.data, self.time_budget = seed, data, time_budget
        self.generator = Generator().manual_seed(seed)
        # of rows and steps; noise on another device than the CPU is drawn there
        self.noise = self.generator if data.device.type == "cpu" else Generator(data.device).manual_seed(seed)
        self.micro_batch = engine.micro_batch
        self.validation = model.encode(validation, Generator().manual_seed(seed + 1))
        self.sampler = TimestepSampler(n_steps, importance=config.importance) if n_steps > 1 else None
        self.n_first = _rows_at_one(config, n_steps, model.kernel.first_step)
        self.objective = Objective(model.kernel)
        self.at_draws = model.kernel.n_components > 1
        parameters = [p for p in model.kernel.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            parameters,
            lr=config.learning_rate,
            betas=(0.9, config.beta_2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.ema = Ema(parameters, config.ema)
        self.update = Update(self.optimiser, self.ema, config.clip)
        self.patience = Patience(config.patience)
        self.state = TrainState(
            model.kernel, self.optimiser, self.ema, self.sampler, self.generator, self.noise, self.patience
        )
        self.state.beta = model.process.beta[1:]

    def run(self) -> DiffusionModel:
        with termination() if self.folder is not None else nullcontext(bool) as self.told_to_end:
            return self._run()

    def _run(self) -> DiffusionModel:
        config, state = self.config, self.state
        torch.manual_seed(self.seed)  # dropout
        resumed = self._resume()
        self.over = self.team.any(self.patience.over)
        wrapped = self.team.wrap(self.objective)
        began = time.perf_counter()
        self.from_step, started = state.step, began - state.seconds
        self.cpu_before, self.cpu_began = state.cpu_seconds, time.process_time()
        self.model.train()
        bar_off = True if self.quiet else None  # None: no bar but on a terminal; a log gets a line for each evaluation
        batch = config.batch_size
        with without_bars(), tqdm(
            total=config.n_updates * batch, initial=state.step * batch, disable=bar_off, file=progress(),
            unit="examples", unit_scale=True,
        ) as bar:  # fmt: skip
            if not resumed:
                self._evaluate(bar, started, began)
            while state.step < config.n_updates and not self.over:
                if state.step == self.place_at > 0:
                    self._place()
                self._step(wrapped)
                bar.update(batch)
                spent = self._spent(time.perf_counter() - began)
                if due := state.step % config.evaluate_every == 0 or state.step == config.n_updates or spent:
                    self._evaluate(bar, started, began)
                if self._terminated():
                    self._end(started, saved=due)
                if spent:
                    break
        return self._best()

    def _terminated(self) -> bool:
        """Whether SIGTERM has come to any process; many agree on it at every tenth update."""
        if self.folder is None or (self.team.world > 1 and self.state.step % 10):
            return False
        return self.team.any(self.told_to_end())

    def _end(self, started: float, *, saved: bool) -> None:
        """Write a checkpoint of the update that was just made, unless that is done, and exit with status 143."""
        self._clock(started)
        if self.folder is not None and self.team.first:
            with self._writing(self.folder):
                if not saved:
                    self.state.save(self.folder / "checkpoint")
            if not self.quiet:
                say(f"terminated at step {self.state.step} of {self.config.n_updates}, with a checkpoint of it")
        self.team.wait()
        raise Terminated

    def _clock(self, started: float) -> None:
        """Note the time spent so far."""
        self.state.seconds = time.perf_counter() - started
        self.state.cpu_seconds = self.cpu_before + self.team.total(time.process_time() - self.cpu_began)

    def _spent(self, seconds: float) -> bool:
        """Whether the time budget is; many processes agree on it at every tenth step, for it costs a step on GPUs."""
        if self.time_budget == math.inf or (self.team.world > 1 and self.state.step % 10):
            return False
        return self.team.any(seconds >= self.time_budget)

    def _resume(self) -> bool:
        """Go on from the newest checkpoint, if there is one, and forget what came after it."""
        if self.folder is None:
            return False
        resumed = self.state.restore(self.folder / "checkpoint")
        if not torch.equal(self.state.beta, self.model.process.beta[1:]):
            self._move(self.model.process.with_beta(self.state.beta))
        if self.team.first:
            with self._writing(self.folder):
                clear_half_written(self.folder)
                clear_half_written(self.folder / "checkpoint")
                prune(self.folder / "checkpoint")
                trim_log(self.folder / "metrics.jsonl", self.state.step if resumed else -1)
        return resumed

    def _place(self) -> None:
        """Train on from here with steps placed for the kernel as it is now."""
        self.model.eval()
        with self.ema.weights():
            placed = self.place_steps(self.model, Generator().manual_seed(self.seed + 4))  # type: ignore[misc]
        self.model.train()
        self._move(placed)
        self.sampler = self.state.sampler = TimestepSampler(placed.n_steps, importance=self.config.importance)

    def _move(self, process: ForwardProcess) -> None:
        """Put the model on another grid of as many steps."""
        self.model.kernel.move_to(process)
        self.state.beta = process.beta[1:]

    def _step(self, wrapped: Any) -> None:
        config, state, team = self.config, self.state, self.team
        rows = draw_rows(len(self.data), config.batch_size, self.generator)
        x_0 = self.data.draw(rows, self.noise)
        batch = draw_batch(
            self.model.process, x_0, self.sampler, self.n_first, self.generator, at_draws=self.at_draws, noise=self.noise
        )
        if state.step + 1 < config.n_updates:  # nothing more is drawn from the generator in this step
            self.data.expect(self.generator, config.batch_size)
        each = team.gather(self._backward(wrapped, batch.rows(team.rank, team.world) if team.world > 1 else batch))
        self.update(config.rate_at(state.step))
        state.step += 1
        self.state.recent.append(each @ batch.weight)
        if self.sampler is not None and config.importance:
            refresh = state.step % 20 == 0
            if refresh:  # before the sampler learns from losses that are no numbers
                self._require_number("loss", torch.stack(self.state.recent[-20:]).mean().item())
            self.sampler.record(batch.t[self.n_first :], each[self.n_first :], refresh=refresh)

    def _backward(self, wrapped: Any, batch: Batch) -> Tensor:
        """Add up the gradient of this process's rows, and return what each has lost."""
        device, lost = batch.x_0.device.type, []
        *parts, last = batch.parts(self.micro_batch)
        for part in (*parts, last):
            with nullcontext() if part is last else self.team.alone(wrapped):
                with torch.autocast(device, torch.bfloat16, self.config.amp):
                    loss, each = wrapped(part)
                loss.backward()
            lost.append(each)
        return torch.cat(lost) if parts else each

    def _evaluate(self, bar: Any, started: float, began: float) -> None:
        """Measure the validation bound with the running mean of the weights; log, and keep a checkpoint."""
        state, folder = self.state, self.folder if self.team.first else None
        loss = torch.stack(self.state.recent).mean().item() if self.state.recent else None
        self._require_number("loss", loss)
        self.state.recent.clear()
        self.model.eval()
        with self.ema.weights(), torch.no_grad(), eagerly(self.model.kernel):
            bounds = self._validation_bounds()
            bound = Estimate.of(bounds, self.unit, self.model.event_shape)
            if state.step % self.config.evaluate_every == 0:  # a stop between two evaluations must leave no trace
                self.patience.see(bounds)
                self.over = self.team.any(self.patience.over)
            self._require_number("validation bound", bound.value, infinite=True)
            self._clock(started)
            line = {
                "update": state.step,
                "seconds": round(state.seconds, 2),
                "cpu_seconds": round(state.cpu_seconds, 2),
                "loss_nats": loss,
                "validation": bound.value,
                "validation_se": bound.standard_error,
                "unit": bound.unit,
            }
            if self.config.patience:
                line["waited"] = self.patience.waited
            if bound.value > state.best or state.step == 0:
                state.best = bound.value
                self.best_mean = [mean.clone() for mean in self.ema.mean]
                self.best_diffusion = self.model.process
                if folder is not None:
                    with self._writing(folder):
                        save_best(self.model, folder, f"best-{state.step:08d}", line)
            if self.on_evaluation is not None:
                with _own_random_state(self.model):
                    self.on_evaluation(line)
        self.model.train()
        if folder is not None:  # with the live weights again, which training goes on from
            with self._writing(folder):
                # the line first: one without a checkpoint is trimmed, a checkpoint without a line stays so
                append_line(folder / "metrics.jsonl", line)
                state.save(folder / "checkpoint")
        bar.set_postfix_str(str(bound))
        if bar.disable and not self.quiet:
            say(f"step {state.step} of {self.config.n_updates}: validation bound {bound}{self._pace(began)}")
        self.team.wait()

    def _pace(self, began: float) -> str:
        """Tell the speed so far, measurements included, and the time that is left at it."""
        done = self.state.step - self.from_step
        if not done:
            return ""
        seconds = (time.perf_counter() - began) / done
        left = tqdm.format_interval(seconds * (self.config.n_updates - self.state.step))
        return f", {self.config.batch_size / seconds:.3g} examples/s, {left} left"

    def _validation_bounds(self) -> Tensor:
        z, log_det = self.validation
        draws = Generator().manual_seed(self.seed + 2)
        pairs = self.config.validation_pairs
        n_timesteps = max(1, pairs // len(z))
        total = estimate_elbo(self.model.process, self.model.kernel, z, n_timesteps=n_timesteps, generator=draws).total
        return total + log_det

    def _require_number(self, name: str, value: float | None, *, infinite: bool = False) -> None:
        if value is None or math.isfinite(value) or (infinite and math.isinf(value)):
            return
        raise InputError(f"the {name} became {value} by step {self.state.step}: lower learning_rate or check the data")

    @contextmanager
    def _writing(self, folder: Path) -> Iterator[None]:
        """Tell of a full disk, or one that may not be written to, in one sentence."""
        try:
            yield
        except OSError as error:
            there = (folder / "checkpoint" / "latest.json").exists()
            then = "goes on from the checkpoint before it" if there else "starts again"
            raise InputError(
                f"could not write step {self.state.step} to {folder} ({error.strerror or error}); "
                f"once that is mended, the same command {then}"
            ) from error

    def _best(self) -> DiffusionModel:
        """Put the weights of the best validation bound into the model."""
        if self.folder is not None:
            self.team.wait()
            best = load(self.folder).to(self.data.device)
            self.model.kernel.load_state_dict(best.kernel.state_dict())
            self._move(best.process)
        else:
            self.ema._put(self.best_mean)
            self._move(self.best_diffusion)
        return self.model.eval()


def _own_random_state(model: DiffusionModel) -> AbstractContextManager[None]:
    """Within the block, draws from torch's global generators leave no trace outside."""
    device = model.process.beta.device
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _rows_at_one(config: TrainConfig, n_steps: int, first_step: str) -> int:
    """Rows of a batch that are at t = 1: some but not all, unless there is one step or the first is fixed."""
    if n_steps == 1:
        return config.batch_size
    if first_step == "fixed":
        return 0
    share = max(config.first_share, 1.0 / n_steps)
    return max(1, min(config.batch_size - 1, round(config.batch_size * share)))


def save_best(model: DiffusionModel, folder: Path, name: str, extra: dict[str, Any]) -> None:
    """Write a model under ``checkpoint/`` and point ``best.json`` to it; older ones go."""
    checkpoint = folder / "checkpoint"
    with new_folder(checkpoint / name) as new:
        save_module(model, new, extra)
    write_text(checkpoint / "best.json", json.dumps(strict({"folder": name, **extra})))
    prune(checkpoint)


def append_line(log: Path, line: dict[str, Any]) -> None:
    """Add a line of JSON to a log, and wait until it is on disk."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(log, flags, 0o666), "a", encoding="utf-8") as file:
        file.write(json.dumps(strict(line)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def trim_log(log: Path, step: int) -> None:
    """Drop the lines from after ``step``, and torn ones."""
    lines = regular_file(log).read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    write_text(log, "".join(line + "\n" for line in lines if _step_of(line) <= step))


def _step_of(line: str) -> float:
    try:
        step = json.loads(line)["update"]
    except (LookupError, RecursionError, TypeError, ValueError):
        return math.inf
    return step if isinstance(step, int | float) else math.inf
