"""Checkpoints of a training run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from quasistatic.errors import InputError
from quasistatic.likelihood.estimators import TimestepSampler
from quasistatic.storage.atomic import new_folder, write_text
from quasistatic.storage.files import read_json, strict
from quasistatic.storage.modules import read_pair, require_finite_tensors, save_tensors
from quasistatic.storage.schema import Check, Optional, a_name, a_number, a_whole
from quasistatic.streams import say
from quasistatic.train.ema import Ema
from quasistatic.train.patience import Patience

__all__ = ["TrainState"]

_SCHEMA: dict[str, Check | Optional] = {
    "update": a_whole(), "best": Optional(a_number), "seconds": a_number, "cpu_seconds": a_number, "ema_updates": a_whole(),
    "waited": Optional(a_whole()),
}  # fmt: skip


class TrainState:
    """Everything that is needed to resume training bit for bit.

    It holds weights, optimiser, running mean, timestep sampler, patience and all random states. :meth:`save` writes a
    new folder and then replaces a one-line pointer, so that a kill at any instant leaves the last complete checkpoint
    in use. :meth:`restore` uses the one before if the newest is damaged.

    Parameters
    ----------
    module : Module
        The kernel that is trained.
    optimiser : Optimizer
        Its optimiser.
    ema : Ema
        Running mean of its weights.
    sampler : TimestepSampler or None
        Draws the timesteps.
    generator : Generator
        Source of rows and timesteps.
    noise : Generator, optional
        Source of noise, if it is another one.
    patience : Patience, optional
        Early stopping.

    Attributes
    ----------
    update : int
        Updates made so far.
    recent : list of Tensor
        Losses since the last evaluation.
    best : float
        Best validation bound.
    seconds, cpu_seconds : float
        Time spent so far; the CPU time is that of all processes.
    beta : Tensor, shape (T,)
        The schedule, which may change during training.
    """

    def __init__(
        self,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        ema: Ema,
        sampler: TimestepSampler | None,
        generator: Generator,
        noise: Generator | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.module, self.optimiser, self.ema = module, optimiser, ema
        self.sampler, self.generator = sampler, generator
        self.noise = None if noise is generator else noise
        self.patience = patience or Patience(0)
        self.update = 0
        self.recent: list[Tensor] = []
        self.best = -float("inf")
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.beta = torch.empty(0)

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"weight.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"ema.{i}": v for i, v in enumerate(self.ema.mean)}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{k}": v for k, v in state.items()}
        if self.sampler is not None:
            tensors |= {f"sampler.{k}": v for k, v in self.sampler.state().items()}
        tensors["schedule.beta"] = self.beta
        if self.recent:  # stopped between two evaluations
            tensors["losses.recent"] = torch.stack(self.recent)
        if self.patience.reference is not None:
            tensors["patience.reference"] = self.patience.reference
        tensors |= {"random.ours": self.generator.get_state(), "random.torch": torch.get_rng_state()}
        if self.noise is not None:
            tensors["random.noise"] = self.noise.get_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        return tensors

    def save(self, folder: Path) -> None:
        """Write a checkpoint and keep the one before.

        The folder is ``update-N``, and ``latest.json`` points to it.
        """
        name = f"update-{self.update:08d}"
        with new_folder(folder / name) as new:
            record = {
                "bytes": save_tensors(self._tensors(), new / "state.safetensors"),
                "update": self.update,
                "best": self.best,
                "seconds": self.seconds,
                "cpu_seconds": self.cpu_seconds,
                "ema_updates": self.ema.updates,
                "waited": self.patience.waited,
            }
            write_text(new / "state.json", json.dumps(strict(record), indent=1))
        write_text(folder / "latest.json", json.dumps({"folder": name}))
        prune(folder)

    def restore(self, folder: Path) -> bool:
        """Restore the newest complete checkpoint.

        Return False if there is no checkpoint.

        Raises
        ------
        InputError
            If there are checkpoints but none is whole, or they are of another model.
        """
        pointer = folder / "latest.json"
        if not pointer.exists():
            return False
        newest = _named(pointer)
        names = sorted((p.name for p in folder.glob("update-*") if p.name <= newest), reverse=True)
        error: InputError | None = None
        for name in names:
            try:
                record, tensors = read_pair(folder / name, "state", _SCHEMA)
                require_finite_tensors(_weights_among(tensors), folder / name / "state.safetensors")
            except InputError as damaged:
                error = error or damaged
                say(f"{damaged}; trying the checkpoint before it")
                continue
            try:
                self._load(record, tensors)
            except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as misfit:
                why = " ".join(str(misfit).split())
                raise InputError(f"{folder / name} is of another model or configuration: {why}") from misfit
            return True
        raise error or InputError(f"{pointer} names {newest}, which is not there")

    def _load(self, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        def under(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.module.load_state_dict(under("weight."))
        for i, mean in enumerate(self.ema.mean):
            mean.copy_(tensors[f"ema.{i}"])
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in under("optimiser.").items():
            place, name = key.split(".", 1)
            slots.setdefault(int(place), {})[name] = _laid_like(self.ema.live[int(place)], value)
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})
        if self.sampler is not None:
            self.sampler.load(under("sampler."))
        self.beta = tensors["schedule.beta"].to(self.beta.device)
        self.recent[:] = tensors["losses.recent"].to(self.beta.device).unbind(0) if "losses.recent" in tensors else []
        self.generator.set_state(tensors["random.ours"])
        if self.noise is not None and "random.noise" in tensors:  # a run that was on the CPU has but one
            self.noise.set_state(tensors["random.noise"])
        torch.set_rng_state(tensors["random.torch"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])
        self.update, self.ema.updates = record["update"], record["ema_updates"]
        self.best = -float("inf") if record.get("best") is None else record["best"]
        self.seconds, self.cpu_seconds = record["seconds"], record["cpu_seconds"]
        self.patience.waited = record.get("waited") or 0  # not recorded by older versions
        self.patience.reference = tensors.get("patience.reference")


def _laid_like(weight: Tensor, moment: Tensor) -> Tensor:
    """Copy a moment into the memory format of its weight.

    Files do not keep the format, and fused AdamW needs it.
    """
    return torch.empty_like(weight).copy_(moment) if moment.shape == weight.shape else moment


def _weights_among(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights, their running means and the optimiser's state."""
    return {k: v for k, v in tensors.items() if k.startswith(("weight.", "ema.", "optimiser."))}


def prune(folder: Path) -> None:
    """Delete checkpoints except the last two, and old models."""
    for pointer, names, n in (("latest.json", "update-*", 2), ("best.json", "best-*", 1)):
        if (folder / pointer).exists():
            newest = _named(folder / pointer)
            kept = sorted(p.name for p in folder.glob(names) if p.name <= newest)[-n:]
            for old in folder.glob(names):
                if old.name not in kept:
                    shutil.rmtree(old, ignore_errors=True)


def _named(pointer: Path) -> str:
    """Read the name of a folder from a pointer file.

    A damaged pointer gives a name that sorts after all others.
    """
    try:
        return read_json(pointer, {"folder": a_name})["folder"]
    except InputError:
        return "~"
