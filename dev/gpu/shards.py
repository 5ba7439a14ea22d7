"""A run folder as a few files of bounded size, and the folder again.

A training holds each parameter five times in float32: live, its running mean, two moments of the optimiser, and the
best mean so far. ``pack`` writes parameters and moments that are matrices in bfloat16, each number within 2^-8 of
itself; all else (vectors, the sampler, the schedule, every random state) exactly. What the data alone decide, the
Gaussian base under a network of images, is not packed: ``unpack`` takes it from an untrained model of the recipe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from quasistatic.errors import InputError
from quasistatic.model import DiffusionModel
from quasistatic.model_files import load_model
from quasistatic.storage.atomic import new_folder, write_text
from quasistatic.storage.modules import read_pair, save_module, save_tensors

__all__ = ["LARGEST", "Precision", "pack", "unpack"]

Precision = Literal["bfloat16", "float32"]

LARGEST = 15 * 2**20
"""Bytes of one shard; what it holds beside its tensors is a few kB."""
WORDS = ("config.yaml", "metrics.jsonl", "result.json", "checkpoint/finished.json", "checkpoint/best.json",
         "checkpoint/latest.json")  # fmt: skip


def pack(run: Path, shards: Path, precision: Precision = "bfloat16", largest: int = LARGEST) -> list[Path]:
    """Write a run folder as an index and shards of at most ``largest`` bytes; a finished run is its best model alone.

    Raises
    ------
    InputError
        If there is nothing to pack, a tensor is larger than a shard, or ``shards`` holds something else.
    """
    if precision not in ("bfloat16", "float32"):
        raise InputError(f"precision must be bfloat16 or float32, got {precision!r}")
    words = {name: (run / name).read_text("utf-8") for name in WORDS if (run / name).exists()}
    if "checkpoint/best.json" not in words:
        raise InputError(f"{run} holds no checkpoint to pack")
    told, tensors = _best(run, words)
    index: dict[str, Any] = {"precision": precision, "words": words, "best": told}
    if "checkpoint/finished.json" not in words:
        index["state"], state = read_pair(run / "checkpoint" / _named(words["checkpoint/latest.json"]), "state")
        index["same"] = _twins(tensors, state)
        tensors = {k: v for k, v in tensors.items() if k not in index["same"]} | state
    rounded = _learned(run) if precision == "bfloat16" else set()
    shared = {k: v.bfloat16() if v.dim() > 1 and _is_learned(k, rounded) else v for k, v in tensors.items()}
    index["float32"] = sorted(k for k in shared if shared[k].dtype != tensors[k].dtype)
    with new_folder(shards) as new:
        names = []
        for number, part in enumerate(_parts(shared, largest)):
            names.append(f"shard-{number:02d}.safetensors")
            save_tensors(part, new / names[-1])
        write_text(new / "index.json", json.dumps({**index, "shards": names}))
    return [shards / "index.json", *(shards / name for name in names)]


def unpack(shards: Path, run: Path, model: DiffusionModel) -> None:
    """Make the run folder again, around an untrained model of the same recipe, settings and data.

    Raises
    ------
    InputError
        If ``run`` has a checkpoint already, a shard is missing, or the model is of another recipe.
    """
    if (run / "checkpoint").exists():
        raise InputError(f"{run} holds a checkpoint already, which shards would replace: give another folder")
    index, tensors = _read(shards)
    tensors |= {k: v.float() for k, v in tensors.items() if k in index["float32"]}
    tensors |= {k: tensors[twin] for k, twin in index.get("same", {}).items()}
    best = {k.removeprefix("model."): tensors.pop(k) for k in list(tensors) if k.startswith("model.")}
    try:
        model.load_state_dict(best)
    except RuntimeError as misfit:
        raise InputError(f"{shards} is of another recipe or settings: {' '.join(str(misfit).split())}") from misfit
    words, checkpoint = index["words"], run / "checkpoint"
    with new_folder(checkpoint / _named(words["checkpoint/best.json"])) as new:
        save_module(model, new, index["best"])
    if "state" in index:
        with new_folder(checkpoint / _named(words["checkpoint/latest.json"])) as new:
            told = index["state"] | {"bytes": save_tensors(tensors, new / "state.safetensors")}
            write_text(new / "state.json", json.dumps(told, indent=1))
    for name, text in words.items():
        write_text(run / name, text)


def _best(run: Path, words: dict[str, str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The best model's numbers, without those that it was built around, and what is told of it."""
    told, tensors = read_pair(run / "checkpoint" / _named(words["checkpoint/best.json"]), "model")
    kept = {k: v for k, v in told.items() if k not in ("bytes", "module")}
    return kept, {k.replace("state.", "model.", 1): v for k, v in tensors.items() if k.startswith("state.")}


def _learned(run: Path) -> set[str]:
    """Names of the parameters; a table that is no parameter is never rounded."""
    names = {name for name, _ in load_model(run).kernel.named_parameters()}
    return {f"weight.{name}" for name in names} | {f"model.kernel.{name}" for name in names}


def _is_learned(key: str, learned: set[str]) -> bool:
    return key in learned or (bool(learned) and key.startswith(("ema.", "optimiser.")))


def _twins(tensors: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, str]:
    """The best model's numbers that the running mean holds too, as it does where the last evaluation was the best."""
    means = {k: v for k, v in state.items() if k.startswith("ema.")}
    found = {}
    for name, value in tensors.items():
        twin = next((k for k, v in means.items() if v.shape == value.shape and torch.equal(v, value)), None)
        if twin is not None:
            found[name] = twin
    return found


def _parts(tensors: dict[str, Tensor], largest: int) -> Iterator[dict[str, Tensor]]:
    """Fill one shard after the other."""
    part: dict[str, Tensor] = {}
    room = largest
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size() + len(name) + 100  # the line about it
        if size > largest:
            raise InputError(f"{name} has {size} bytes, but a shard may have {largest}: train a smaller network")
        if size > room:
            yield part
            part, room = {}, largest
        part[name] = tensor
        room -= size
    yield part


def _read(shards: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        index = json.loads((shards / "index.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{shards} holds no index of shards: {error}") from None
    tensors: dict[str, Tensor] = {}
    for name in index["shards"]:
        if not (shards / name).exists():
            raise InputError(f"{shards} lacks {name}: bring all {len(index['shards'])} shards into one folder")
        tensors |= load_file(shards / name)
    return index, tensors


def _named(pointer: str) -> str:
    return str(json.loads(pointer)["folder"])
