"""Models from their folders."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator

from quasistatic.errors import InputError
from quasistatic.model import DiffusionModel
from quasistatic.storage.files import path_of, read_json
from quasistatic.storage.modules import load_module
from quasistatic.storage.schema import a_name

__all__ = ["load_model"]


def load_model(path: str | Path) -> DiffusionModel:
    """Load a saved model, or the best model of a run folder.

    Parameters
    ----------
    path : str or Path
        A folder written by :meth:`DiffusionModel.save`, or a run folder.

    Raises
    ------
    InputError
        If there is no model at ``path``, or it is damaged.
    """
    folder = path_of("path", path)
    if not folder.exists():
        raise InputError(f"there is no run or model at {folder}")
    if not (folder / "model.json").exists():
        pointer = folder / "checkpoint" / "best.json"
        if not pointer.exists():
            raise InputError(f"{folder} holds neither a saved model nor a run with a best checkpoint")
        folder = pointer.parent / read_json(pointer, {"folder": a_name})["folder"]
    model, _ = load_module(folder)
    if not isinstance(model, DiffusionModel):
        raise InputError(f"{folder} holds a {type(model).__name__}, not a DiffusionModel")
    _require_fit(model, folder)
    return model


def _require_fit(model: DiffusionModel, folder: Path) -> None:
    """Refuse a model whose parts do not fit together.

    One step of the kernel is taken.
    """
    generator = Generator().manual_seed(0)
    try:
        with torch.no_grad():
            x = model.process.stationary((2, *model.event_shape)).sample(generator)
            back = model.kernel(x, model.process.n_steps).sample(generator)
            shapes = {tuple(back.shape), tuple(model.transform.inverse(back.double()).shape)}
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{folder} holds a model whose parts do not fit together: {why}") from error
    if shapes != {(2, *model.event_shape)}:
        raise InputError(f"{folder} holds a model whose parts do not fit together: its samples have shapes {shapes}")
