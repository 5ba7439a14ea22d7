"""Write the tables of results from the folders in ``records/``: rows marked ``front`` to the README, all to docs/results.md.

A row of the table is a folder: ``records/<row>/record.json`` says what was asked, and one
``records/<row>/seed-<k>/result.json`` per seed says what came out. Nothing in the table is typed by hand.

    python dev/results_table.py            rewrite the blocks in README.md and docs/results.md
    python dev/results_table.py --check    exit 1 if a block is not what the records say
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, variance
from typing import Any

BEGIN = "<!-- results: begin -->"
END = "<!-- results: end -->"
MINUS = "\N{MINUS SIGN}"  # a hyphen would let the table break a number in two
NOTHING = "\N{EN DASH}"

RECORD_KEYS = ("title", "unit", "higher_is_better", "first_step", "target", "order")
RESULT_KEYS = ("bound", "standard_error", "n", "unit", "first_step", "seconds")

COLUMNS = (
    ("", "---"),
    ("unit", "---"),
    ("first step", "---"),
    ("paper", "---:"),
    ("limit", "---:"),
    ("target", "---:"),
    ("ours (min, max over seeds)", "---:"),
    ("target is", "---"),
    ("n", "---:"),
    ("CPU s", "---:"),
)


class RecordError(ValueError):
    """A record that cannot be put into the table; the message names the file and the rule."""


@dataclass(frozen=True)
class Row:
    """What was asked (``record``) and what each seed gave (``results``)."""

    name: str
    record: dict[str, Any]
    results: list[dict[str, Any]]

    @property
    def mean(self) -> float:
        return fmean(result["bound"] for result in self.results)

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over k seeds: sqrt(mean se^2 / k + variance between seeds / k).

        The seeds' own errors partly show up in the spread as well, so this errs on the wide side.
        """
        k = len(self.results)
        within = fmean(result["standard_error"] ** 2 for result in self.results)
        between = variance(result["bound"] for result in self.results) if k > 1 else 0.0
        return math.sqrt((within + between) / k)

    @property
    def met(self) -> bool | None:
        """Whether the mean reaches the target, or the median where the target is one; None where there is no target."""
        target = self.record["target"]
        if target is None:
            return None
        reached = median(result["bound"] for result in self.results) if self.of_median else self.mean
        return reached >= target if self.record["higher_is_better"] else reached <= target

    @property
    def of_median(self) -> bool:
        """Whether the target was set for the median of the seeds, as it is where they are splits of a small table."""
        return self.record.get("target_of") == "median"


def read_rows(records: Path) -> list[Row]:
    """All rows of ``records``, in their ``order``."""
    rows = [_read_row(path.parent) for path in records.glob("*/record.json")]
    return sorted(rows, key=lambda row: (row.record["order"], row.name))


def _read_row(folder: Path) -> Row:
    record = _read_json(folder / "record.json", RECORD_KEYS)
    results = []
    for path in sorted(folder.glob("seed-*/result.json")):
        result = _read_json(path, RESULT_KEYS)
        for key in ("unit", "first_step"):  # numbers of two conventions must never meet in one mean
            if result[key] != record[key]:
                raise RecordError(f"{path} has {key} {result[key]!r}, but its record says {record[key]!r}")
        for key in ("bound", "standard_error", "seconds"):
            if not math.isfinite(result[key]):
                raise RecordError(f"{path} has {key} {result[key]!r}, which is not a finite number")
        results.append(result)
    return Row(folder.name, record, results)


def _read_json(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RecordError(f"{path} is not JSON: {error}") from error
    missing = [key for key in keys if key not in content]
    if missing:
        raise RecordError(f"{path} lacks {', '.join(missing)}")
    return dict(content)


def table(rows: Sequence[Row], *, linked: bool = True) -> str:
    """The rows as a markdown table, each linked to its folder or, on pages of another home, naming it."""
    lines = [[name for name, _ in COLUMNS], [align for _, align in COLUMNS], *(_cells(row, linked) for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cells(row: Row, linked: bool) -> list[str]:
    record = row.record
    relation = "≥" if record["higher_is_better"] else "≤"
    target = NOTHING if record["target"] is None else f"{relation} {_given(record['target'])}"
    target += " (median)" if row.of_median else ""
    asked = [
        f"[{record['title']}](records/{row.name})" if linked else f"{record['title']} (`{row.name}`)",
        record["unit"],
        record["first_step"] or NOTHING,
        _given(record.get("paper")),
        _given(record.get("limit")),
        target,
    ]
    if not row.results:
        return [*asked, "not run", NOTHING, NOTHING, NOTHING]
    verdict = {True: "met", False: "**missed**", None: NOTHING}[row.met]
    seconds = fmean(result.get("cpu_seconds", result["seconds"]) for result in row.results)
    return [*asked, _ours(row), verdict, _counts(row), f"{seconds:.0f}"]


def _ours(row: Row) -> str:
    """Mean ± standard error (min, max), the error shown to two significant digits."""
    error = row.standard_error
    digits = 4 if error == 0 else min(max(1 - math.floor(math.log10(error)), 2), 6)
    bounds = [result["bound"] for result in row.results]
    mean, low, high = (_number(value, digits) for value in (row.mean, min(bounds), max(bounds)))
    spread = f" ({low}, {high})" if len(bounds) > 1 else " (one seed)"
    if row.of_median:
        spread += f", median {_number(median(bounds), digits)}"
    return f"{mean} ± {error:.{digits}f}{spread}"


def _counts(row: Row) -> str:
    counts = sorted({result["n"] for result in row.results})
    per_seed = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{len(row.results)} × {per_seed}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS)


def _given(value: float | str | None) -> str:
    """A figure as its author wrote it: 2.35 must not turn into a claim of more digits."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else str(value).replace("-", MINUS)


def updated(page: str, block: str) -> str:
    """A page's text with what stands between the two markers replaced by ``block``."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise RecordError(f"a page of results needs one {BEGIN} followed by one {END}")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description="Write the tables of results from records/.")
    parser.add_argument("--records", type=Path, default=root / "records")
    parser.add_argument("--readme", type=Path, default=root / "README.md")
    parser.add_argument("--page", type=Path, default=root / "docs" / "results.md")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a table is old")
    options = parser.parse_args(arguments)
    try:
        rows = read_rows(options.records)
        front = [row for row in rows if row.record.get("front")]
        blocks = {options.readme: table(front), options.page: table(rows, linked=False)}
        old = {path: path.read_text(encoding="utf-8") for path in blocks}
        new = {path: updated(old[path], block) for path, block in blocks.items()}
    except (RecordError, OSError) as error:
        print(f"results_table: {error}", file=sys.stderr)
        return 2
    for path, text in new.items():
        if text == old[path]:
            continue
        if options.check:
            print(f"{path} is not what records/ says; run: python dev/results_table.py", file=sys.stderr)
            return 1
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
