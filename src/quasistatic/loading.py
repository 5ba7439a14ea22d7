"""Load anything that was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quasistatic.errors import InputError
from quasistatic.model_files import load_model
from quasistatic.posterior.result import PosteriorSamples
from quasistatic.storage.files import path_of

__all__ = ["load"]


def load(path: str | Path) -> Any:
    """Load a saved model, estimator, posterior or run folder.

    Parameters
    ----------
    path : str or Path
        A folder written by ``save`` of :class:`~quasistatic.model.DiffusionModel`,
        :class:`~quasistatic.estimator.DiffusionDensity`, :class:`~quasistatic.tables.ensemble.DensityEnsemble` or
        :class:`~quasistatic.posterior.PosteriorSamples`, or a run folder.

    Returns
    -------
    DiffusionModel, DiffusionDensity, DensityEnsemble or PosteriorSamples

    Raises
    ------
    InputError
        If there is no such folder, it holds nothing that can be loaded, or a file of it is damaged.
    """
    folder = path_of("path", path)
    if (folder / "estimator.json").exists():
        from quasistatic.estimator import DiffusionDensity  # scikit-learn takes a second to import

        return DiffusionDensity.load(folder)
    if (folder / "ensemble.json").exists():
        from quasistatic.tables.ensemble import DensityEnsemble

        return DensityEnsemble.load(folder)
    if (folder / "posterior.json").exists():
        return PosteriorSamples.load(folder)
    if folder.is_dir() and not any((folder / name).exists() for name in ("model.json", "checkpoint")):
        known = "a saved model (model.json), estimator (estimator.json), posterior (posterior.json) or a run (checkpoint)"
        raise InputError(f"{folder} holds nothing that can be loaded: there must be {known}")
    return load_model(folder)
