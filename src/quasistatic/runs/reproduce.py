"""Reproduction of items of the paper by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from quasistatic.errors import InputError
from quasistatic.recipes.catalogue import CATALOGUE
from quasistatic.reporting.text import markdown_table
from quasistatic.runs.paper_tables import SAMPLES, TABLES, compared
from quasistatic.runs.results import Evaluation
from quasistatic.runs.run import evaluate_run, open_run
from quasistatic.runs.summary import write_run_report
from quasistatic.runs.training import train_run
from quasistatic.storage.atomic import write_text
from quasistatic.storage.run_folder import RunFolder
from quasistatic.streams import say

__all__ = ["ITEMS", "reproduce"]

ITEMS: dict[str, tuple[str, ...]] = {name: (name,) for name, entry in CATALOGUE.items() if not entry.takes}
for _name, _entry in CATALOGUE.items():
    for _item in filter(None, _entry.reproduces.split(", ")):
        ITEMS[_item] = (*ITEMS.get(_item, ()), _name)


def reproduce(
    items: list[str], out: Path, *, preset: str | None = None, seed: int = 0, quiet: bool = False
) -> list[Evaluation]:
    """Train, evaluate and draw the recipes of some items.

    Each recipe has the run folder ``out/RECIPE``; what is done there already is not done again. Figures and tables
    that an item names are copied to ``out``.

    Parameters
    ----------
    items : list of str
        Names of recipes, tables or figures.
    out : Path
    preset : str, optional
        Preset of all recipes. A recipe without it uses its preset "small" or its own settings. Without a preset a
        finished run is used whatever its settings are.
    seed : int
    quiet : bool
        Print no progress.

    Returns
    -------
    list of Evaluation
        One for each recipe.

    Raises
    ------
    InputError
        If an item or the preset is not known.
    """
    unknown = [item for item in items if item not in ITEMS]
    if unknown or not items:
        raise InputError(f"cannot reproduce {', '.join(unknown) or 'nothing'}; there are {', '.join(ITEMS)}")
    presets = sorted({name for entry in CATALOGUE.values() for name in entry.presets})
    if preset is not None and preset not in presets:
        raise InputError(f"no recipe has a preset {preset!r}; there are {', '.join(presets)}")
    names = list(dict.fromkeys(name for item in items for name in ITEMS[item]))
    samples = {name: n for item in items for name, n in SAMPLES.get(item, {}).items()}
    results = []
    for i, name in enumerate(names, start=1):

        def report(what: str, where: str = f"{i} of {len(names)}, {name}") -> None:
            if not quiet:
                say(f"{where}: {what}")

        folder = RunFolder(out / name)
        if preset is not None or not _is_finished(folder, name, seed):
            report("training")
            train_run(name, folder.path, preset=_preset(name, preset), seed=seed, quiet=quiet)
        results.append(_result(folder, samples.get(name, 0), report))
    _copy_items(items, dict(zip(names, results, strict=True)), out)
    return results


def _preset(name: str, wanted: str | None) -> str | None:
    presets = CATALOGUE[name].presets
    return wanted if wanted in presets else "small" if "small" in presets else None


def _is_finished(folder: RunFolder, name: str, seed: int) -> bool:
    """Return whether a folder holds this run, finished."""
    if not folder.manifest.exists():
        return False
    config = folder.read_config()
    return (config["recipe"], config["seed"]) == (name, seed)


def _result(folder: RunFolder, n_samples: int, report: Callable[[str], None]) -> Evaluation:
    """Evaluate and draw a run, unless that is done."""
    if folder.result().exists() and folder.report.exists():
        result = Evaluation.read(folder.result())
        if not n_samples or result.samples:
            return result
    run = open_run(folder.path)
    report("measuring")
    result = evaluate_run(run, n_samples=n_samples)
    report("drawing")
    write_run_report(run)
    return result


def _copy_items(items: list[str], results: dict[str, Evaluation], out: Path) -> None:
    """Write the named tables and copy the named figures."""
    with RunFolder(out).writing():
        for item in items:
            if item in TABLES:
                rows = compared(item, results)
                write_text(out / f"{item}.md", markdown_table(rows, list(rows[0])))
            for name in ITEMS[item]:
                drawn = RunFolder(out / name).figure(item)
                if drawn.exists():
                    shutil.copyfile(drawn, out / drawn.name)
