"""Files of the scikit-learn estimator.

A folder holds ``estimator.json`` (parameters, names of columns) beside the files of the ensemble.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from quasistatic.errors import InputError
from quasistatic.storage.atomic import new_folder, write_text
from quasistatic.storage.files import path_of, read_json, strict
from quasistatic.storage.schema import Check, Optional, a_list, a_record, a_text, a_whole, anything
from quasistatic.tables.ensemble import DensityEnsemble
from quasistatic.tables.ensemble_files import FORMAT, require_format
from quasistatic.tables.frames import Frame

__all__ = ["read_estimator", "save_estimator"]

_SAVED: dict[str, Check | Optional] = {
    "format": a_whole(), "params": a_record(), "n_features": a_whole(1), "names": a_list(a_text),
    "frame": Optional(a_list(a_record({"name": anything, "dtype": a_text, "categories": a_list(anything)})), required=True),
}  # fmt: skip


def save_estimator(path: str | Path, estimator: Any, ensemble: DensityEnsemble) -> None:
    """Write the files of a fitted estimator.

    Parameters
    ----------
    path : str or Path
        The folder.
    estimator : DiffusionDensity
        Its parameters are kept. If it was not fitted itself, the names of its columns are those of the ensemble.
    ensemble : DensityEnsemble

    Raises
    ------
    InputError
        If a parameter cannot be written as JSON.
    """
    fitted = hasattr(estimator, "n_features_in_")
    names = getattr(estimator, "feature_names_in_", ()) if fitted else [column.name for column in ensemble.columns]
    record = {
        "format": FORMAT, "params": _plain_params(estimator.get_params()), "n_features": len(ensemble.columns),
        "names": list(names), "frame": None if estimator._frame is None else estimator._frame.plain(),
    }  # fmt: skip
    try:
        text = json.dumps(strict(record), indent=1)
    except TypeError:
        raise InputError("the parameters of this estimator cannot be written as JSON: use numbers and text") from None
    with new_folder(path_of("path", path)) as folder:
        write_text(folder / "estimator.json", text)
        ensemble.write_to(folder)


def _plain_params(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters for JSON.

    A random state that changes with use is left out.
    """
    plain = dict(params)
    if type(plain["random_state"]) is not int:
        plain["random_state"] = None
    if hasattr(plain["types"], "items"):
        plain["types"] = {"pairs": [[key, kind] for key, kind in plain["types"].items()]}  # keys may be numbers
    return plain


def read_estimator(cls: Any, folder: Path) -> Any:
    """Read the files of an estimator.

    Parameters
    ----------
    cls : type
        :class:`~quasistatic.estimator.DiffusionDensity`.
    folder : Path

    Raises
    ------
    InputError
        If the folder holds no estimator, is damaged, or has another format.
    """
    file = folder / "estimator.json"
    if not os.path.lexists(file):
        raise InputError(f"{folder} holds no estimator: there is no estimator.json")
    require_format(file)
    record = read_json(file, _SAVED)
    unknown = sorted(set(record["params"]) ^ set(cls._get_param_names()))
    if unknown:
        remedy = "fit and save it again, or load it with the version of quasistatic that wrote it"
        raise InputError(f"{file} has other parameters than this version ({', '.join(unknown)}): {remedy}")
    params, ensemble = record["params"], DensityEnsemble.load(folder)
    try:
        if hasattr(params["types"], "items"):
            params["types"] = {key: kind for key, kind in params["types"]["pairs"]}
        frame = Frame.from_plain(record["frame"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged: its types or its frame cannot be read ({error})") from None
    if len(ensemble.columns) != record["n_features"]:
        raise InputError(f"{file} is damaged: it has {record['n_features']} columns, but ensemble.json others")
    model = cls(**params)
    model.ensemble_, model.seed_, model._frame = ensemble, ensemble.seed, frame
    model.n_features_in_ = record["n_features"]
    if record["names"]:
        model.feature_names_in_ = np.array(record["names"], dtype=object)
    return model
