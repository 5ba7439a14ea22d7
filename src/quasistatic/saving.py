"""Modules to disk and back: a JSON description of how to build them, and safetensors for their numbers.

No pickle is written or read, so loading a file runs no code but ours. A class marked :func:`saveable` remembers
the arguments it was built with; :func:`describe` turns a tree of such modules into JSON and tensors, and
:func:`build` makes the tree again.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from quasistatic.errors import InputError

__all__ = ["build", "describe", "load_module", "new_folder", "saveable", "save_module", "write_text"]

C = TypeVar("C", bound=type)
_CLASSES: dict[str, type] = {}


def saveable(cls: C) -> C:
    """Let instances of a module class be described by the arguments they were built with."""
    init = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(init)

    @functools.wraps(init)
    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self) is cls:
            given = signature.bind(self, *args, **kwargs).arguments
            self._built_with = {k: v for k, v in given.items() if k != "self"}

    cls.__init__ = remember  # type: ignore[misc]
    _CLASSES[cls.__name__] = cls
    return cls


def describe(module: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Turn a tree of saveable modules into JSON-ready data and the tensors among its arguments."""
    tensors: dict[str, Tensor] = {}
    seen: dict[int, int] = {}

    def tell(value: Any) -> Any:
        if isinstance(value, nn.Module):
            if id(value) in seen:
                return {"same": seen[id(value)]}
            if type(value).__name__ not in _CLASSES:
                raise TypeError(f"{type(value).__name__} is not saveable: mark its class with quasistatic.saving.saveable")
            number = seen[id(value)] = len(seen)
            arguments = _arguments(value)
            return {"class": type(value).__name__, "number": number, "args": {k: tell(v) for k, v in arguments.items()}}
        if isinstance(value, Tensor):
            name = f"argument.{len(tensors)}"
            tensors[name] = value.detach().contiguous().clone()
            return {"tensor": name}
        if isinstance(value, tuple | list):
            return [tell(v) for v in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"cannot save an argument of type {type(value).__name__}")

    return tell(module), tensors


def _arguments(module: nn.Module) -> dict[str, Any]:
    """The arguments of a module, with modules put in their place since (a kernel moved to another grid) as they are."""
    given: dict[str, Any] = module._built_with  # type: ignore[assignment]
    return {k: module._modules.get(k, v) if isinstance(v, nn.Module) else v for k, v in given.items()}


def build(description: Any, tensors: dict[str, Tensor]) -> Any:
    """Make the modules again that :func:`describe` described, with fresh parameters."""
    made: dict[int, Any] = {}

    def make(value: Any) -> Any:
        if isinstance(value, list):
            return [make(v) for v in value]
        if not isinstance(value, dict):
            return value
        if "tensor" in value:
            return tensors[value["tensor"]]
        if "same" in value:
            return made[value["same"]]
        if value["class"] not in _CLASSES:
            raise InputError(f"unknown class {value['class']!r}: was this saved by a newer quasistatic?")
        cls = _CLASSES[value["class"]]
        arguments = {k: make(v) for k, v in value["args"].items()}
        variadic = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.VAR_POSITIONAL]
        positional = [x for name in variadic for x in arguments.pop(name, [])]
        made[value["number"]] = result = cls(*positional, **arguments)
        return result

    return make(description)


def save_module(module: nn.Module, folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write ``model.safetensors`` and ``model.json`` into an existing folder."""
    from safetensors.torch import save_file

    description, tensors = describe(module)
    tensors |= {f"state.{k}": v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    size = (folder / "model.safetensors").stat().st_size
    write_text(folder / "model.json", json.dumps({"bytes": size, "module": description, **(extra or {})}, indent=1))


def load_module(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Read what :func:`save_module` wrote: the module, and the rest of its JSON."""
    told, tensors = read_pair(folder, "model")
    state = {k.removeprefix("state."): tensors.pop(k) for k in list(tensors) if k.startswith("state.")}
    module = build(told.pop("module"), tensors)
    module.load_state_dict(state)
    return module.eval(), told


def read_pair(folder: Path, stem: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read ``stem.json`` and ``stem.safetensors`` and see that the second is whole."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        told = json.loads((folder / f"{stem}.json").read_text())
        path = folder / f"{stem}.safetensors"
        if path.stat().st_size != told["bytes"]:
            raise InputError(f"{path} is damaged: it has {path.stat().st_size} bytes and should have {told['bytes']}")
        return told, load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no {Path(error.filename).name}") from None
    except (json.JSONDecodeError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder / stem} is damaged: {error}") from None


def write_text(path: Path, text: str) -> None:
    """Replace a file in one move, so that a reader sees the old text or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that appears under its name only when it is complete and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        for file in temporary.iterdir():
            with open(file, "rb") as f:
                os.fsync(f.fileno())
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
