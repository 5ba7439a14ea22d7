"""The README's table says what the records say, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import results_table as table_tool

ROOT = Path(__file__).resolve().parents[2]
RECORD = {
    "title": "swiss roll",
    "unit": "bits",
    "higher_is_better": True,
    "first_step": "learned",
    "limit": 2.704,
    "paper": 2.35,
    "prototype": 2.62,
    "target": 2.0,
    "order": 1,
    "note": "",
    "command": "quasistatic reproduce swiss-roll",
}


def write_row(
    records: Path,
    name: str,
    bounds: list[float],
    errors: list[float],
    *,
    result: dict[str, Any] | None = None,
    **record: Any,
) -> None:
    """One made-up row with a seed per entry of ``bounds``."""
    folder = records / name
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(RECORD | record))
    for seed, (bound, error) in enumerate(zip(bounds, errors, strict=True)):
        seed_folder = folder / f"seed-{seed}"
        seed_folder.mkdir()
        made = {
            "bound": bound,
            "standard_error": error,
            "n": 100,
            "unit": "bits",
            "seconds": 10.0 * (seed + 1),
            "cpu_seconds": 1.0,
            "seed": seed,
            "first_step": "learned",
        }
        (seed_folder / "result.json").write_text(json.dumps(made | (result or {})))


def test_mean_and_standard_error_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    write_row(tmp_path, "roll", [1.0, 2.0, 3.0], [0.3, 0.3, 0.6])
    (row,) = table_tool.read_rows(tmp_path)
    assert row.mean == 2.0
    # mean se^2 = (0.09 + 0.09 + 0.36) / 3 = 0.18; variance between seeds = (1 + 0 + 1) / 2 = 1.
    assert row.standard_error**2 == pytest.approx(1.18 / 3, rel=1e-12)


def test_one_seed_keeps_its_own_standard_error_and_says_so(tmp_path: Path) -> None:
    write_row(tmp_path, "roll", [2.5], [0.012])
    (row,) = table_tool.read_rows(tmp_path)
    assert row.standard_error == pytest.approx(0.012)
    assert "2.500 ± 0.012 (one seed)" in table_tool.table([row])


def test_row_shows_title_convention_spread_and_cost(tmp_path: Path) -> None:
    write_row(tmp_path, "roll", [1.0, 2.0, 3.0], [0.3, 0.3, 0.6])
    *_, line = table_tool.table(table_tool.read_rows(tmp_path)).splitlines()
    # sqrt(1.18 / 3) = 0.627; the mean of 10, 20, 30 seconds is 20.
    assert line == (
        "| [swiss roll](records/roll) | bits | learned | 2.35 | 2.704 | ≥ 2.0 | "
        "2.00 ± 0.63 (1.00, 3.00) | met | 3 × 100 | 1 |"
    )


@pytest.mark.parametrize(
    ("higher_is_better", "target", "met"),
    [(True, 2.0, True), (True, 2.001, False), (False, 2.0, True), (False, 1.999, False), (True, None, None)],
)
def test_target_is_met_on_the_right_side_only(
    tmp_path: Path, higher_is_better: bool, target: float | None, met: bool | None
) -> None:
    write_row(tmp_path, "roll", [1.0, 3.0], [0.1, 0.1], higher_is_better=higher_is_better, target=target)
    (row,) = table_tool.read_rows(tmp_path)
    assert row.met is met
    assert ("**missed**" in table_tool.table([row])) == (met is False)


def test_a_target_of_the_median_is_held_against_the_median_and_says_so(tmp_path: Path) -> None:
    write_row(tmp_path, "roll", [1.0, 1.5, 9.0], [0.1] * 3, target_of="median")  # the mean is 3.8, the median below 2
    (row,) = table_tool.read_rows(tmp_path)
    assert row.met is False
    assert "| ≥ 2.0 (median) |" in table_tool.table([row])
    assert "(1.00, 9.00), median 1.50 | **missed** |" in table_tool.table([row])


def test_rows_come_in_their_order_and_a_row_without_seeds_is_not_hidden(tmp_path: Path) -> None:
    write_row(tmp_path, "a", [1.0], [0.1], title="second", order=2)
    write_row(tmp_path, "b", [], [], title="first", order=1, paper=None)
    *_, first, second = table_tool.table(table_tool.read_rows(tmp_path)).splitlines()
    assert "[first]" in first
    assert "not run" in first
    assert "| – |" in first
    assert "[second]" in second


def test_small_errors_are_shown_with_the_digits_they_need(tmp_path: Path) -> None:
    write_row(tmp_path, "heartbeat", [-2.32671, -2.32671], [0.00005, 0.00005])
    # sqrt(0.00005^2 / 2) = 0.000035
    assert "−2.326710 ± 0.000035" in table_tool.table(table_tool.read_rows(tmp_path))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unit": "nats"}, "has unit 'nats', but its record says 'bits'"),
        ({"first_step": "fixed"}, "has first_step 'fixed', but its record says 'learned'"),
        ({"bound": float("nan")}, "has bound nan, which is not a finite number"),
    ],
)
def test_numbers_that_do_not_belong_together_are_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    write_row(tmp_path, "roll", [1.0], [0.1], result=wrong)
    with pytest.raises(table_tool.RecordError, match=message):
        table_tool.read_rows(tmp_path)


def test_record_with_a_key_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "roll").mkdir()
    short = {key: value for key, value in RECORD.items() if key != "unit"}
    (tmp_path / "roll" / "record.json").write_text(json.dumps(short))
    with pytest.raises(table_tool.RecordError, match=r"roll/record\.json lacks unit"):
        table_tool.read_rows(tmp_path)


def pages(folder: Path) -> tuple[Path, Path, list[str]]:
    """A README and a page of all results, and the arguments that name them."""
    readme, page = folder / "README.md", folder / "results.md"
    for path in (readme, page):
        path.write_text(f"before\n{table_tool.BEGIN}\nold\n{table_tool.END}\nafter\n")
    return readme, page, ["--records", str(folder / "records"), "--readme", str(readme), "--page", str(page)]


def test_only_the_blocks_change_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    write_row(tmp_path / "records", "roll", [1.0, 3.0], [0.1, 0.1], front=True)
    readme, page, arguments = pages(tmp_path)
    assert table_tool.main([*arguments, "--check"]) == 1
    assert "old" in readme.read_text()  # --check only looks
    assert table_tool.main(arguments) == 0
    texts = [path.read_text() for path in (readme, page)]
    for text in texts:
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")
        assert "old" not in text
    assert table_tool.main([*arguments, "--check"]) == 0
    assert table_tool.main(arguments) == 0
    assert [path.read_text() for path in (readme, page)] == texts
    page.write_text(texts[1].replace("swiss", "Swiss"))
    assert table_tool.main([*arguments, "--check"]) == 1  # one old page is enough


def test_the_readme_shows_the_front_rows_and_the_page_shows_all(tmp_path: Path) -> None:
    write_row(tmp_path / "records", "roll", [1.0], [0.1], front=True)
    write_row(tmp_path / "records", "beat", [1.0], [0.1], title="heartbeat")
    readme, page, arguments = pages(tmp_path)
    assert table_tool.main(arguments) == 0
    assert ["heartbeat" in path.read_text() for path in (readme, page)] == [False, True]
    assert "[swiss roll](records/roll)" in readme.read_text()
    assert "swiss roll (`roll`)" in page.read_text()


def test_a_page_without_the_two_markers_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "records").mkdir()
    readme, _, arguments = pages(tmp_path)
    readme.write_text(f"{table_tool.END} {table_tool.BEGIN}")
    assert table_tool.main(arguments) == 2
    assert "needs one <!-- results: begin --> followed by one" in capsys.readouterr().err


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="there is no README here")
def test_the_tables_are_up_to_date() -> None:
    assert table_tool.main(["--check"]) == 0
