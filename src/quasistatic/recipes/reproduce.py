"""Items of the paper, and of this project, by name: train, evaluate, draw, compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from quasistatic.errors import InputError
from quasistatic.recipes import CATALOGUE
from quasistatic.recipes.run import evaluate_run, open_run, read_json, train_run
from quasistatic.recipes.summary import write_run_report

__all__ = ["ITEMS", "reproduce"]

ITEMS: dict[str, tuple[str, ...]] = {name: (name,) for name in CATALOGUE if name not in ("array", "table")}
for _name, _entry in CATALOGUE.items():
    for _item in filter(None, _entry.reproduces.split(", ")):
        ITEMS[_item] = (*ITEMS.get(_item, ()), _name)


def reproduce(
    items: list[str], out: Path, *, preset: str | None = None, seed: int = 0, quiet: bool = False
) -> list[dict[str, Any]]:
    """Do what each item needs, in ``out/RECIPE``; what is there already is taken up, not done again.

    A recipe that lacks the preset is run as it is, but one recipe of all must have it.

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
    results = []
    for i, name in enumerate(names, start=1):
        folder = out / name

        def tell(what: str, where: str = f"{i} of {len(names)}, {name}") -> None:
            if not quiet:
                print(f"{where}: {what}", file=sys.stderr)

        tell("training")
        train_run(name, folder, preset=preset if preset in CATALOGUE[name].presets else None, seed=seed, quiet=quiet)
        done = folder / "result.json"
        if done.exists() and (folder / "report.html").exists():
            results.append(read_json(done))
            continue
        run = open_run(folder)
        tell("measuring")
        results.append(evaluate_run(run))
        tell("drawing")
        write_run_report(run)
    return results
