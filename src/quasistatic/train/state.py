"""Checkpoints: all that training needs to go on as if it had never stopped."""

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
from quasistatic.storage.files import Check, Optional, a_name, a_number, a_whole, read_json, strict
from quasistatic.storage.modules import read_pair, require_finite_tensors, save_tensors
from quasistatic.streams import say
from quasistatic.train.ema import Ema
from quasistatic.train.patience import Patience

__all__ = ["TrainState"]

_SCHEMA: dict[str, Check | Optional] = {
    "update": a_whole(), "best": Optional(a_number), "seconds": a_number, "cpu_seconds": a_number, "ema_updates": a_whole(),
    "waited": Optional(a_whole()),
}  # fmt: skip


class TrainState:
    """Live weights, optimiser, running mean, step sampler, what patience is left and every random state.

    ``save`` writes a new folder and then moves a one-line pointer to it, so a kill at any instant leaves the
    last complete checkpoint in force; ``restore`` falls back to the one before if the newest is damaged.
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
        self.step = 0
        self.recent: list[Tensor] = []  # losses since the last evaluation
        self.best = -float("inf")
        self.seconds = 0.0
        self.cpu_seconds = 0.0  # of all processes
        self.beta = torch.empty(0)  # the schedule, which may have been placed anew since the start

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
        """Write ``folder/step-N`` and point ``folder/latest.json`` to it; keep the one before."""
        name = f"step-{self.step:08d}"
        with new_folder(folder / name) as new:
            told = {
                "bytes": save_tensors(self._tensors(), new / "state.safetensors"),
                "update": self.step,
                "best": self.best,
                "seconds": self.seconds,
                "cpu_seconds": self.cpu_seconds,
                "ema_updates": self.ema.updates,
                "waited": self.patience.waited,
            }
            write_text(new / "state.json", json.dumps(strict(told), indent=1))
        write_text(folder / "latest.json", json.dumps({"folder": name}))
        prune(folder)

    def restore(self, folder: Path) -> bool:
        """Go on from the newest whole checkpoint; False if there is none at all.

        Raises
        ------
        InputError
            If there are checkpoints but none is whole, or they are of another model.
        """
        pointer = folder / "latest.json"
        if not pointer.exists():
            return False
        newest = _named(pointer)
        names = sorted((p.name for p in folder.glob("step-*") if p.name <= newest), reverse=True)
        error: InputError | None = None
        for name in names:
            try:
                told, tensors = read_pair(folder / name, "state", _SCHEMA)
                require_finite_tensors(_weights_among(tensors), folder / name / "state.safetensors")
            except InputError as damaged:
                error = error or damaged
                say(f"{damaged}; trying the checkpoint before it")
                continue
            try:
                self._load(told, tensors)
            except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as misfit:
                why = " ".join(str(misfit).split())
                raise InputError(f"{folder / name} is of another model or configuration: {why}") from misfit
            return True
        raise error or InputError(f"{pointer} names {newest}, which is not there")

    def _load(self, told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
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
        self.step, self.ema.updates = told["update"], told["ema_updates"]
        self.best = -float("inf") if told.get("best") is None else told["best"]
        self.seconds, self.cpu_seconds = told["seconds"], told["cpu_seconds"]
        self.patience.waited = told.get("waited") or 0  # not told by older versions
        self.patience.reference = tensors.get("patience.reference")


def _laid_like(weight: Tensor, moment: Tensor) -> Tensor:
    """The moment in its weight's memory format: files have but one, and fused AdamW goes through memory, not indices."""
    return torch.empty_like(weight).copy_(moment) if moment.shape == weight.shape else moment


def _weights_among(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights, their running means and what the optimiser knows of them."""
    return {k: v for k, v in tensors.items() if k.startswith(("weight.", "ema.", "optimiser."))}


def prune(folder: Path) -> None:
    """Delete all but the checkpoint in force, the one before it, and the best model."""
    for pointer, names, n in (("latest.json", "step-*", 2), ("best.json", "best-*", 1)):
        if (folder / pointer).exists():
            newest = _named(folder / pointer)
            kept = sorted(p.name for p in folder.glob(names) if p.name <= newest)[-n:]
            for old in folder.glob(names):
                if old.name not in kept:
                    shutil.rmtree(old, ignore_errors=True)


def _named(pointer: Path) -> str:
    """Name of the folder that a pointer names; one behind all names if the pointer is damaged."""
    try:
        return read_json(pointer, {"folder": a_name})["folder"]
    except InputError:
        return "~"
