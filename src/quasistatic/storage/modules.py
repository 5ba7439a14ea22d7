"""Saving and loading of modules without pickles.

JSON describes how to build a module, safetensors hold its numbers. A class marked :func:`saveable` records the
arguments it was built with.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from quasistatic.checks import shown
from quasistatic.errors import InputError
from quasistatic.memory import catching_memory_errors
from quasistatic.storage.atomic import write_text
from quasistatic.storage.files import read_json, regular_file, strict
from quasistatic.storage.schema import Check, Optional, a_record, a_whole

__all__ = [
    "build",
    "describe",
    "load_module",
    "read_pair",
    "require_finite_tensors",
    "save_module",
    "save_tensors",
    "saveable",
]

C = TypeVar("C", bound=type)

_CLASSES: dict[str, type] = {}


def saveable(cls: C) -> C:
    """Make a module class saveable.

    Its instances record the arguments that they were built with.
    """
    init = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(init)
    keywords = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]

    @functools.wraps(init)
    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        built: type = type(self)
        if built is cls:
            given = signature.bind(self, *args, **kwargs)
            given.apply_defaults()  # other versions may have other defaults
            arguments = {k: v for k, v in given.arguments.items() if k != "self"}
            for name in keywords:
                arguments |= arguments.pop(name)
            self._built_with = arguments

    cls.__init__ = remember  # type: ignore[misc]
    _CLASSES[cls.__name__] = cls
    return cls


def describe(module: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a tree of saveable modules to JSON data and tensors."""
    tensors: dict[str, Tensor] = {}
    seen: dict[int, int] = {}

    def plain(value: Any) -> Any:
        match value:
            case nn.Module():
                return module_data(value)
            case Tensor():
                name = f"argument.{len(tensors)}"
                tensors[name] = value.detach().contiguous().clone()
                return {"tensor": name}
            case tuple() | list():
                return [plain(v) for v in value]
            case None | bool() | int() | float() | str():
                return value
        raise TypeError(f"cannot save an argument of type {type(value).__name__}")

    def module_data(value: nn.Module) -> dict[str, Any]:
        if id(value) in seen:
            return {"same": seen[id(value)]}
        name = type(value).__name__
        if name not in _CLASSES:
            raise TypeError(f"{name} is not saveable: mark its class with quasistatic.storage.modules.saveable")
        number = seen[id(value)] = len(seen)
        arguments = {k: plain(v) for k, v in _arguments(value).items()}
        return {"class": name, "number": number, "args": arguments}

    return plain(module), tensors


def _arguments(module: nn.Module) -> dict[str, Any]:
    """Return the current arguments of a module.

    A submodule that was replaced, such as the process of a new schedule, replaces the argument.
    """
    given: dict[str, Any] = module._built_with  # type: ignore[assignment]
    return {k: getattr(module, k) if isinstance(v, nn.Module) else v for k, v in given.items()}


def build(description: Any, tensors: dict[str, Tensor]) -> Any:
    """Build the modules of a description, with fresh parameters."""
    made: dict[int, Any] = {}

    def make(value: Any) -> Any:
        match value:
            case list():
                return [make(v) for v in value]
            case {"tensor": name}:
                return tensors[name]
            case {"same": number}:
                return made[number]
            case dict():
                return make_module(value)
        return value

    def make_module(value: dict[str, Any]) -> Any:
        if value["class"] not in [*_CLASSES]:
            raise InputError(f"unknown class {shown(value['class'])}: was this saved by a newer quasistatic?")
        cls = _CLASSES[value["class"]]
        arguments = {k: make(v) for k, v in value["args"].items()}
        variadic = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.VAR_POSITIONAL]
        positional = [x for name in variadic for x in arguments.pop(name, [])]
        made[value["number"]] = result = cls(*positional, **arguments)
        return result

    return make(description)


def save_module(module: nn.Module, folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write ``model.safetensors`` and ``model.json`` into a folder.

    ``extra`` becomes part of the JSON.
    """
    description, tensors = describe(module)
    size = save_tensors(tensors | {f"state.{k}": v for k, v in module.state_dict().items()}, folder / "model.safetensors")
    record = {**strict(extra or {}), "bytes": size, "module": description}
    write_text(folder / "model.json", json.dumps(record, indent=1))


def load_module(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Read the files of :func:`save_module`.

    Returns the module and the other JSON data.

    Raises
    ------
    InputError
        If a file is missing, damaged, or describes what this version does not know.
    """
    record, tensors = read_pair(folder, "model", {"module": a_record()})
    require_finite_tensors(tensors, folder / "model.safetensors")
    state = {k.removeprefix("state."): tensors.pop(k) for k in list(tensors) if k.startswith("state.")}
    try:
        # initial weights are drawn, then replaced by those of the file
        with catching_memory_errors(f"the model in {folder}", "was it changed by hand?"), torch.random.fork_rng(devices=[]):
            module = build(record.pop("module"), tensors)
        if not isinstance(module, nn.Module):
            raise TypeError("it describes no module")
        module.load_state_dict(state)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{folder} holds no model that this quasistatic can build: {why}") from error
    return module.eval(), record


def save_tensors(tensors: dict[str, Tensor], path: Path) -> int:
    """Write tensors as safetensors and return the number of bytes.

    A full disk raises ``OSError``.
    """
    from safetensors.torch import save

    # clones, because safetensors refuses tensors that share memory; Python's own file, because safetensors
    # raises an error without errno for a full disk
    data = save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})
    return path.write_bytes(data)


def read_pair(
    folder: Path, stem: str, schema: Mapping[str, Check | Optional] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read ``stem.json`` and ``stem.safetensors``.

    The JSON is checked against a schema, the tensors against their number of bytes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    words, path = folder / f"{stem}.json", folder / f"{stem}.safetensors"
    for file in (words, path):
        if not os.path.lexists(file):
            raise InputError(f"{folder} holds no {file.name}")
    record = read_json(words, {"bytes": a_whole(), **(schema or {})})
    expected, size = record["bytes"], regular_file(path).stat().st_size
    if size != expected:
        raise InputError(f"{path} is damaged: it has {size} bytes and should have {expected}")
    try:
        return record, load_file(path) if _is_text(path) else load(path.read_bytes())
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _is_text(path: Path) -> bool:
    """Return whether a name is UTF-8, as safetensors requires."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def require_finite_tensors(tensors: Mapping[str, Tensor], source: Path) -> None:
    """Refuse weights that are nan or infinite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = tensor[~torch.isfinite(tensor)][0].item()
            raise InputError(f"{source} is damaged: {name} holds {bad}, but weights must be finite")
