"""Items of the paper, and of this project, by name: train, evaluate, draw, compare."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quasistatic.errors import InputError
from quasistatic.recipes.catalogue import CATALOGUE
from quasistatic.runs.paper_tables import SAMPLES, TABLES, compared
from quasistatic.runs.run import evaluate_run, open_run, read_config, read_result, train_run, writing
from quasistatic.runs.summary import write_run_report
from quasistatic.reporting.text import markdown_table
from quasistatic.storage.atomic import write_text
from quasistatic.streams import say

__all__ = ["ITEMS", "reproduce"]

ITEMS: dict[str, tuple[str, ...]] = {name: (name,) for name, entry in CATALOGUE.items() if not entry.takes}
for _name, _entry in CATALOGUE.items():
    for _item in filter(None, _entry.reproduces.split(", ")):
        ITEMS[_item] = (*ITEMS.get(_item, ()), _name)


def reproduce(
    items: list[str], out: Path, *, preset: str | None = None, seed: int = 0, quiet: bool = False
) -> list[dict[str, Any]]:
    """Do what each item needs, in ``out/RECIPE``; what is there already is taken up, not done again.

    A recipe that lacks the preset is run with its preset small, or as it is. Without a preset a finished run is taken as it
    is, whatever its settings are. Figures and tables that were asked for are left in ``out`` under their names.

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

        def tell(what: str, where: str = f"{i} of {len(names)}, {name}") -> None:
            if not quiet:
                say(f"{where}: {what}")

        folder = out / name
        if preset is not None or not _finished(folder, name, seed):
            tell("training")
            train_run(name, folder, preset=_preset(name, preset), seed=seed, quiet=quiet)
        results.append(_result(folder, samples.get(name, 0), tell))
    _leave(items, dict(zip(names, results, strict=True)), out)
    return results


def _preset(name: str, wanted: str | None) -> str | None:
    presets = CATALOGUE[name].presets
    return wanted if wanted in presets else "small" if "small" in presets else None


def _finished(folder: Path, name: str, seed: int) -> bool:
    """Whether a run of this recipe and seed has come to its end there."""
    if not (folder / "checkpoint" / "finished.json").exists():
        return False
    config = read_config(folder)
    return (config["recipe"], config["seed"]) == (name, seed)


def _result(folder: Path, n_samples: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure and draw a run, as far as that is still to be done."""
    done = folder / "result.json"
    if done.exists() and (folder / "report.html").exists():
        result = read_result(done)
        if not n_samples or "samples" in result:
            return result
    run = open_run(folder)
    tell("measuring")
    result = evaluate_run(run, n_samples=n_samples)
    tell("drawing")
    write_run_report(run)
    return result


def _leave(items: list[str], results: dict[str, dict[str, Any]], out: Path) -> None:
    """Put the figures and tables that were asked for where they are found."""
    with writing(out):
        for item in items:
            if item in TABLES:
                rows = compared(item, results)
                write_text(out / f"{item}.md", markdown_table(rows, list(rows[0])))
            for name in ITEMS[item]:
                drawn = out / name / "figures" / f"{item}.png"
                if drawn.exists():
                    shutil.copyfile(drawn, out / drawn.name)
