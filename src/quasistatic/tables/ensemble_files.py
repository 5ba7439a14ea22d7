"""Files of a density of a table.

A folder holds ``ensemble.json`` (columns, weights, seed), and a folder for each density: ``member-0``, ``member-1``, ...,
``normal``, ``heavy_tailed`` and ``mixture``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quasistatic.checks import instance_of, shown
from quasistatic.errors import InputError
from quasistatic.model import DiffusionModel
from quasistatic.storage.atomic import write_text
from quasistatic.storage.files import read_json, strict
from quasistatic.storage.modules import load_module, save_module
from quasistatic.storage.schema import Check, Optional, a_list, a_number, a_record, a_text, a_whole, anything
from quasistatic.tables.coding import coded_columns
from quasistatic.tables.columns import Column
from quasistatic.tables.mixture import NormalMixture

__all__ = ["BASELINES", "FORMAT", "read_fields", "require_format", "write_fields"]

BASELINES = ("normal", "heavy_tailed", "mixture")

FORMAT = 1  # of the files; a change of their keys, or of the estimator's parameters, gives another number
_SAVED: dict[str, Check | Optional] = {
    "format": a_whole(), "seed": a_whole(), "n_trajectories": a_whole(1), "n_members": a_whole(1),
    "weights": a_list(a_number, 1), "validation_score": Optional(a_number, required=True),
    "columns": a_list(a_record({"name": a_text, "kind": a_text, "values": a_list(anything)}), 1),
}  # fmt: skip


def write_fields(
    folder: Path,
    *,
    columns: Sequence[Column],
    members: Sequence[nn.Module],
    normal: nn.Module,
    heavy_tailed: nn.Module,
    mixture: nn.Module,
    weights: Tensor,
    **numbers: float,
) -> None:
    """Write the fields of an ensemble.

    Parameters
    ----------
    folder : Path
        An existing folder.
    columns, members, normal, heavy_tailed, mixture, weights
        The fields of :class:`~quasistatic.tables.ensemble.DensityEnsemble`.
    **numbers : float
        Its numbers: n_trajectories, seed and validation_score.
    """
    record = {
        "format": FORMAT, **numbers, "n_members": len(members), "weights": weights.tolist(),
        "columns": [column.plain() for column in columns],
    }  # fmt: skip
    write_text(folder / "ensemble.json", json.dumps(strict(record), indent=1))
    densities = {_member(k): member for k, member in enumerate(members)}
    densities |= dict(zip(BASELINES, (normal, heavy_tailed, mixture), strict=True))
    for name, density in densities.items():
        (folder / name).mkdir()
        save_module(density, folder / name)


def read_fields(folder: Path) -> dict[str, Any]:
    """Read the fields of an ensemble.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    InputError
        If the folder holds no ensemble, is damaged, or has another format.
    """
    file = folder / "ensemble.json"
    if not os.path.lexists(file):
        raise InputError(f"{folder} holds no density of a table: there is no ensemble.json")
    require_format(file)
    record = read_json(file, _SAVED)
    columns = [Column.from_plain(c) for c in record["columns"]]
    weights, n = torch.tensor(record["weights"], dtype=torch.float64), record["n_members"]
    if len(weights) not in (n, n + len(BASELINES)):
        raise InputError(f"{file} is damaged: it has {len(weights)} weights for {n} members")
    if not (weights >= 0).all() or abs(float(weights.sum()) - 1.0) > 1e-3:
        raise InputError(f"{file} is damaged: weights must sum to 1, got {shown(weights.tolist())}")
    members = _read_densities(folder, [_member(k) for k in range(n)], DiffusionModel)
    normal, heavy_tailed, mixture = _read_densities(folder, BASELINES, NormalMixture)
    width = (len(coded_columns(columns)),)
    if any(member.event_shape != width for member in members):
        raise InputError(f"{folder} is damaged: its members have other columns than ensemble.json")
    score = record["validation_score"]
    return {
        "columns": columns, "members": members, "normal": normal, "heavy_tailed": heavy_tailed, "mixture": mixture,
        "weights": weights, "n_trajectories": record["n_trajectories"], "seed": record["seed"],
        "validation_score": -math.inf if score is None else score,
    }  # fmt: skip


def require_format(file: Path) -> None:
    """Refuse a file of another format number.

    Parameters
    ----------
    file : Path
        JSON with the key "format".

    Raises
    ------
    InputError
        If the number is not :data:`FORMAT`.
    """
    found = read_json(file, {}).get("format")
    if found != FORMAT:
        remedy = "fit and save it again, or load it with the version of quasistatic that wrote it"
        raise InputError(f"{file} has format {shown(found)}, but this version reads format {FORMAT}: {remedy}")


def _member(k: int) -> str:
    """Return the name of the folder of member k."""
    return f"member-{k}"


def _read_densities(folder: Path, names: Sequence[str], kind: type) -> list[Any]:
    found = [load_module(folder / name)[0] for name in names]
    for name, density in zip(names, found, strict=True):
        instance_of(f"the density in {folder / name}", density, kind, f"a {kind.__name__}")
    return found
