"""Write the tables of docs/tables.md, imputation and anomalies beside other methods, from ``records/``.

python dev/peer_tables.py            rewrite the two blocks
python dev/peer_tables.py --check    exit 1 if a block is not what the records say
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tables.md"
PEERS = {
    "chained_draws": "chained, draws", "chained": "chained, means", "neighbours": "10 neighbours",
    "forest": "chained forests", "isolation_forest": "isolation forest",
    "one_class_svm": "one-class SVM", "gaussian_mixture": "normal mixture",
}  # fmt: skip


def _results(pattern: str, records: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(records.glob(pattern))]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruled = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in ruled)


def imputation(records: Path) -> str:
    """Imputation: ours and the best other method by NRMSE, means over the seeds of each table and share."""
    rows = []
    for folder in sorted(records.glob("imputation-*/hidden-*")):
        results = _results(f"{folder.parent.name}/{folder.name}/seed-*/result.json", records)
        scores = [result["scores"] for result in results]

        def mean(who: str, what: str, scores: list[dict[str, Any]] = scores) -> float:
            return fmean(score[who][what] for score in scores)

        others = {who: mean(who, "nrmse") for who in scores[0] if who != "diffusion"}
        best = min(others, key=lambda who: others[who])
        ours = mean("diffusion", "nrmse")
        error = math.sqrt(fmean(s["diffusion"]["nrmse_standard_error"] ** 2 for s in scores) / len(scores))
        rows.append([
            f"{results[0]['table']}, {100 * results[0]['hidden']:.0f} %",
            f"{len(results)} × {fmean(result['entries'] for result in results):.0f}",
            f"{ours:.3f} ± {error:.3f}", f"{others[best]:.3f} ({PEERS[best]})", f"{ours / others[best]:.3f}",
            *(f"{mean(who, 'crps'):.3f}" for who in ("diffusion", "chained_draws")),
            f"{100 * mean('diffusion', 'coverage'):.1f} ± {100 * share_error(mean('diffusion', 'coverage'), results):.1f}",
            f"{100 * mean('chained_draws', 'coverage'):.1f}",
            f"{fmean(result['cpu_seconds'] for result in results):.0f}",
        ])  # fmt: skip
    header = [
        "table, hidden", "n", "NRMSE", "best other", "ratio", "CRPS", "of chained draws", "coverage, %", "of chained draws",
        "CPU s",
    ]  # fmt: skip
    return _table(header, rows)


def share_error(share: float, results: Sequence[dict[str, Any]]) -> float:
    """Standard error of a share of the hidden entries of all seeds, as if these were independent."""
    return math.sqrt(share * (1.0 - share) / sum(result["entries"] for result in results))


def auroc_error(a: float, positive: int, negative: int) -> float:
    """Standard error of an area under the curve by Hanley and McNeil (1982), as for exponential scores."""
    both, twice = a / (2.0 - a), 2.0 * a * a / (1.0 + a)
    variance = a * (1.0 - a) + (positive - 1) * (both - a * a) + (negative - 1) * (twice - a * a)
    return math.sqrt(variance / (positive * negative))


def anomalies(records: Path) -> str:
    """AUROC of each split, ours and the others."""
    rows = []
    for result in _results("anomalies-*/split-*/result.json", records):
        scores = result["auroc"]
        rows.append([
            f"{result['set']}, split {result['split']}",
            f"{result['trained_on']} / {result['scored']}",
            f"{scores['diffusion']:.3f} ± "
            f"{auroc_error(scores['diffusion'], result['abnormal'], result['scored'] - result['abnormal']):.3f}",
            *(f"{scores[who]:.3f}" for who in ("isolation_forest", "one_class_svm", "gaussian_mixture")),
            f"{result['cpu_seconds']:.0f}",
        ])  # fmt: skip
    names = [PEERS[who] for who in ("isolation_forest", "one_class_svm", "gaussian_mixture")]
    return _table(["set", "rows trained on / scored", "ours", *names, "CPU s"], rows)


def updated(page: str, name: str, block: str) -> str:
    """A page's text with what stands between the two markers of this name replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"{PAGE.name} needs one {begin} followed by one {end}")
    before, rest = page.split(begin)
    return f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"


def main(arguments: Sequence[str]) -> int:
    old = PAGE.read_text("utf-8")
    new = updated(updated(old, "imputation", imputation(ROOT / "records")), "anomalies", anomalies(ROOT / "records"))
    if new == old:
        return 0
    if "--check" in arguments:
        print(f"{PAGE} is not what records/ says; run: python dev/peer_tables.py", file=sys.stderr)
        return 1
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
