"""Turn evaluated runs into records: one folder per row of the README's table, one folder in it per seed.

    python dev/record.py RUNS        RUNS/RECIPE/seed-K are run folders that ``quasistatic evaluate`` has measured

Each ``records/ROW/seed-K`` gets the run's ``config.yaml``, its training log ``metrics.jsonl`` and ``result.json``: the
row's headline numbers, and under ``evaluation`` all that was measured, with seed, versions and seconds.
``records/ROW/record.json``, written by hand beforehand, says which run a row comes from (``recipe``) and which of the
measured numbers is its headline (``headline``).
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent.parent / "records"


def headline(result: dict[str, Any], which: str) -> dict[str, Any]:
    """Pick a row's value, its standard error and n out of a result by the path of its name.

    ``bound`` is the headline of the evaluation; a dotted path is any other measured number, such as ``stationary``,
    ``log_prob.distance_paired`` or ``samples.valid``, a share; a minus before it turns the sign, a log
    likelihood into a cost.
    """
    sign, path = (-1.0, which[1:]) if which.startswith("-") else (1.0, which)
    if path == "bound":
        return {"bound": sign * result["bound"], "standard_error": result["standard_error"], "n": result["n"]}
    found: Any = result
    for key in path.split("."):
        part, found = found, found[key]
    unit = {"unit": found["unit"]} if isinstance(found, dict) and "unit" in found else {}
    if isinstance(found, float):
        return {"bound": found, "standard_error": part[f"{key}_standard_error"], "n": part["n"], "unit": "share"}
    return {"bound": sign * found["value"], "standard_error": found["standard_error"], "n": found["n"]} | unit


def main(runs: Path) -> None:
    """Fill every row whose runs are there; rows without runs stay as they are."""
    for row in sorted(RECORDS.glob("*/record.json")):
        record = json.loads(row.read_text())
        file = record.get("result", "result.json")
        for run in sorted((runs / record["recipe"]).glob("seed-*")):
            if not (run / file).exists():
                print(f"{run}: no {file}, left out", file=sys.stderr)
                continue
            result = json.loads((run / file).read_text())
            place = row.parent / run.name
            place.mkdir(exist_ok=True)
            for name in ("config.yaml", "metrics.jsonl"):
                shutil.copyfile(run / name, place / name)
            told = (
                {"unit": result["unit"]}
                | headline(result, record["headline"])
                | {
                    "first_step": record["first_step"],
                    "seed": result["seed"],
                    "seconds": result["seconds"],
                    "cpu_seconds": result["cpu_seconds"],
                    "evaluation": result,
                }
            )
            (place / "result.json").write_text(json.dumps(told, indent=1) + "\n")
            print(f"{place.relative_to(RECORDS)}: {told['bound']:.5g} ± {told['standard_error']:.2g}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
