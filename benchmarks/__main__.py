"""``python -m benchmarks [NAME ...] [--json FILE] [--rounds N]``: one table of ratios, targets beside them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.measure import Row

# name -> rounds that give quartiles a few per cent apart in reasonable time
BENCHMARKS = {
    "training_step": 15, "pictures": 15, "scaling": 6,
    "sampling_step": 25, "whole_bound": 25, "step_variance": 8, "imports": 9,
    "posterior_step": 9, "tables": 4,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all if none is given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of every benchmark, at least 2")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    if asked.rounds is not None and asked.rounds < 2:
        parser.error(f"--rounds must be at least 2, so that there are quartiles, got {asked.rounds}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: list[Row] = []
    for name in asked.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr)
        found += import_module(f"benchmarks.{name}").rows(asked.rounds or BENCHMARKS[name])
    print(table(found))
    if asked.json:
        conditions = {"torch": torch.__version__, "threads": 1, "load": os.getloadavg()[0]}
        answer = {**conditions, "rows": [{**asdict(row), "met": row.met} for row in found]}
        asked.json.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")


def table(found: list[Row]) -> str:
    """Columns as wide as they must be."""
    cells = [("", "ratio", "quartiles", "target", "met", "one is")]
    for row in found:
        quartiles = f"[{row.low:.3g}, {row.high:.3g}]"
        cells.append((row.name, f"{row.ratio:.3g}", quartiles, row.promise, row.met, row.base))
    width = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ("  ".join(cell.ljust(width[i]) for i, cell in enumerate(line)).rstrip() for line in cells)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
