"""The training loop."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from quasistatic.errors import InputError
from quasistatic.estimate import Estimate
from quasistatic.model import DiffusionModel
from quasistatic.saving import new_folder, save_module, write_text
from quasistatic.steps import StepSampler, quick_bound
from quasistatic.train.config import TrainConfig
from quasistatic.train.ema import Ema
from quasistatic.train.objective import Objective, draw_batch
from quasistatic.train.state import TrainState
from quasistatic.train.workers import Workers, workers

__all__ = ["fit"]


def fit(
    model: DiffusionModel,
    data: Tensor,
    validation: Tensor,
    config: TrainConfig,
    *,
    folder: Path | None = None,
    seed: int = 0,
    unit: str = "bits",
    quiet: bool = False,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
) -> DiffusionModel:
    """Train a model's kernel and leave it with the weights of its best validation bound.

    The same call on the same ``folder`` continues where it stopped, to the same bits as if it had not. Under
    ``torchrun`` all processes share one global batch and write one folder.

    Parameters
    ----------
    model : DiffusionModel
        Trained in place and returned.
    data, validation : Tensor, shape (n, *event_shape)
        In data units. A random transform (dequantisation) is drawn afresh for every batch.
    config : TrainConfig
    folder : Path, optional
        Run folder for ``metrics.jsonl`` and ``checkpoint/``; nothing is written without one.
    seed : int
        Of batches, steps and noise.
    unit : str
        Of the numbers in the log.
    """
    with workers() as team:
        return _Fit(model, data, validation, config, folder, seed, unit, quiet, team, on_evaluation).run()


class _Fit:
    def __init__(
        self,
        model: DiffusionModel,
        data: Tensor,
        validation: Tensor,
        config: TrainConfig,
        folder: Path | None,
        seed: int,
        unit: str,
        quiet: bool,
        team: Workers,
        on_evaluation: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        if config.batch_size % team.world:
            raise InputError(f"batch_size {config.batch_size} does not divide among {team.world} processes")
        self.model, self.config, self.folder, self.unit, self.team = model, config, folder, unit, team
        self.quiet = quiet or not team.first
        self.on_evaluation = on_evaluation
        self.seed = seed
        self.generator = Generator().manual_seed(seed)
        self.data = data if model.transform.random else model.encode(data)[0].float()
        self.validation = model.encode(validation, Generator().manual_seed(seed + 1))
        n_steps = model.diffusion.n_steps
        self.sampler = StepSampler(n_steps, importance=config.importance) if n_steps > 1 else None
        share = max(config.first_share, 1.0 / n_steps)
        self.n_first = max(1, min(config.batch_size, round(config.batch_size * share)))
        self.objective = Objective(model.diffusion, model.kernel)
        self.at_draws = getattr(model.kernel, "n_components", 1) > 1
        parameters = [p for p in model.kernel.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            parameters,
            lr=config.learning_rate,
            betas=(0.9, config.beta_2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.ema = Ema(parameters, config.ema)
        self.state = TrainState(model.kernel, self.optimiser, self.ema, self.sampler, self.generator)
        self.recent: list[Tensor] = []

    def run(self) -> DiffusionModel:
        config, state = self.config, self.state
        torch.manual_seed(self.seed)  # dropout
        resumed = self.folder is not None and state.restore(self.folder / "checkpoint")
        self._trim_log()
        wrapped = self.team.wrap(self.objective)
        bar = tqdm(total=config.steps, initial=state.step, disable=self.quiet, file=sys.stderr, unit="step")
        started = time.perf_counter() - state.seconds
        self.model.train()
        if not resumed:
            self._evaluate(bar, started)
        while state.step < config.steps:
            self._step(wrapped)
            bar.update()
            if state.step % config.evaluate_every == 0 or state.step == config.steps:
                self._evaluate(bar, started)
        bar.close()
        self.model.eval()
        return self._best()

    def _step(self, wrapped: Any) -> None:
        config, state, team = self.config, self.state, self.team
        rows = torch.randint(len(self.data), (config.batch_size,), generator=self.generator)
        x_0 = self.data[rows]
        if self.model.transform.random:
            x_0 = self.model.transform(x_0, self.generator)[0].float()
        batch = draw_batch(
            self.model.diffusion, x_0, self.sampler, self.n_first, self.generator, at_draws=self.at_draws
        )
        with torch.autocast("cpu" if x_0.device.type == "cpu" else x_0.device.type, torch.bfloat16, config.amp):
            loss, each = wrapped(batch.rows(team.rank, team.world) if team.world > 1 else batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.ema.live, config.clip, foreach=True)
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate_at(state.step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.ema.update()
        state.step += 1
        each = team.gather(each)
        if self.sampler is not None and config.importance:
            self.sampler.record(batch.t[self.n_first :], each[self.n_first :], refresh=state.step % 20 == 0)
        self.recent.append(each @ batch.weight)

    def _evaluate(self, bar: Any, started: float) -> None:
        """Measure the validation bound with the running mean of the weights; log, and keep a checkpoint."""
        state, team = self.state, self.team
        loss = torch.stack(self.recent).mean().item() if self.recent else None
        if loss is not None and not math.isfinite(loss):
            raise InputError(f"the loss became {loss} before step {state.step}: lower learning_rate or check the data")
        self.recent.clear()
        z, log_det = self.validation
        self.model.eval()
        with self.ema.weights(), torch.no_grad():
            draws = Generator().manual_seed(self.seed + 2)
            total = quick_bound(
                self.model.diffusion, self.model.kernel, z, n_pairs=self.config.validation_pairs, generator=draws
            )
            bound = Estimate.of(total + log_det, self.unit, self.model.event_shape)
            state.seconds = time.perf_counter() - started
            improved = bound.value > state.best
            state.best = max(state.best, bound.value)
            if self.folder is not None and team.first:
                self._keep(self.folder, bound, loss, improved)
        self.model.train()
        bar.set_postfix_str(str(bound))
        if self.on_evaluation is not None:
            self.on_evaluation({"step": state.step, "validation": bound.value})
        team.wait()

    def _keep(self, folder: Path, bound: Estimate, loss: float | None, improved: bool) -> None:
        state = self.state
        line = {
            "step": state.step,
            "seconds": round(state.seconds, 2),
            "loss_nats": loss,
            "validation": bound.value,
            "validation_se": bound.standard_error,
            "unit": bound.unit,
        }
        try:
            if improved:
                save_best(self.model, folder, f"best-{state.step:08d}", line)
            state.save(folder / "checkpoint")
            with open(folder / "metrics.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(
                f"could not write the checkpoint of step {state.step} to {folder} ({error.strerror}); "
                "the one before it is whole, and the same command goes on from there"
            ) from error

    def _trim_log(self) -> None:
        """Drop log lines from after the checkpoint that training goes on from."""
        if self.folder is None or not self.team.first:
            return
        log = self.folder / "metrics.jsonl"
        log.parent.mkdir(parents=True, exist_ok=True)
        lines = log.read_text().splitlines() if log.exists() else []
        fresh = not (self.folder / "checkpoint" / "latest.json").exists()
        kept = [line for line in lines if not fresh and _step_of(line) <= self.state.step]
        write_text(log, "".join(line + "\n" for line in kept))

    def _best(self) -> DiffusionModel:
        if self.folder is not None:
            from quasistatic.model import load

            self.team.wait()
            best = load(self.folder)
            self.model.kernel.load_state_dict(best.kernel.state_dict())
        else:
            self.ema._put(self.ema.mean)
        return self.model.eval()


def save_best(model: DiffusionModel, folder: Path, name: str, extra: dict[str, Any]) -> None:
    """Write a model under ``checkpoint/`` and point ``best.json`` to it; older ones go."""
    checkpoint = folder / "checkpoint"
    with new_folder(checkpoint / name) as new:
        save_module(model, new, extra)
    write_text(checkpoint / "best.json", json.dumps({"folder": name, **extra}))
    for old in checkpoint.glob("best-*"):
        if old.name != name:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return math.inf
