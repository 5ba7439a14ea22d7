"""One table of all that is known: checks, ceilings, ways to take a step, the training and its result."""

from __future__ import annotations

from typing import Any

from gpu.numbers import Numbers
from gpu.plan import MFU, RATE
from gpu.variants import best_way
from quasistatic.reporting.text import format_estimate, text_table

__all__ = ["summary"]

Row = dict[str, str]
COLUMNS = ("what", "measured", "beside", "verdict")


def summary(numbers: Numbers) -> str:
    """Lines of what was measured, what stands beside it, and whether that is kept."""
    rows = [*_checks(numbers), *_ceilings(numbers), *_ways(numbers), *_training(numbers)]
    return text_table(rows, COLUMNS)


def utilisation(numbers: Numbers) -> float | None:
    """Share of the measured bfloat16 rate that the chosen way's step makes use of."""
    way = _chosen(numbers)
    if way is None or numbers.get("ceilings") is None:
        return None
    done = numbers["predicted"]["training_flops"] * way["images_per_s"]
    return done / (numbers["ceilings"]["bfloat16_tflops"] * 1e12)


def _chosen(numbers: Numbers) -> dict[str, Any] | None:
    lines = numbers.get("ways", [])
    best = best_way(lines, lines[0]["way"]["batch"]) if lines else None
    return None if best is None else next(line for line in lines if line["name"] == best.name)


def _row(what: str, measured: str, beside: str = "", kept: bool | None = None) -> Row:
    return dict(zip(COLUMNS, (what, measured, beside, {None: "", True: "yes", False: "NO"}[kept]), strict=True))


def _checks(numbers: Numbers) -> list[Row]:
    return [
        _row(told["name"], _error(told["error"]), f"<= {told['limit']:g}", told["passed"])
        for told in numbers.get("checks", [])
    ]


def _error(value: float | None) -> str:
    return "not finite" if value is None or value == float("inf") else f"{value:.1e}"


def _ceilings(numbers: Numbers) -> list[Row]:
    told = numbers.get("ceilings")
    if told is None:
        return []
    return [
        _row("bfloat16 product, TFLOP/s", f"{told['bfloat16_tflops']:.3g}", f"predicted with {RATE:g}"),
        _row("float32 product, TFLOP/s", f"{told['float32_tflops']:.3g}"),
        _row("copy, TB/s read and written", f"{told['copy_tb_per_s']:.3g}"),
    ]


def _ways(numbers: Numbers) -> list[Row]:
    rows = []
    for line in numbers.get("ways", []):
        if "failed" in line:
            rows.append(_row(line["name"], "failed", line["failed"][:60]))
            continue
        told = f"{line['step_ms']:.3g} ms, {line['images_per_s']:.4g} images/s"
        right = None if line["way"]["dropout"] else line["correct"]
        rows.append(_row(line["name"], told, f"plain {line['plain_ms']:.3g} ms, ratio {line['ratio']:.3f}", right))
    if (line := _chosen(numbers)) is not None:
        told = numbers["predicted"]
        rows.append(_row(f"chosen: {line['name']}", f"{line['images_per_s']:.4g} images/s",
                         f"predicted {told['images_per_s']:.3g} at {MFU:.0%}"))  # fmt: skip
        rows.append(_row("step over plain step", f"{line['ratio']:.3f}", "<= 1.05", line["ratio"] <= 1.05))
        if (share := utilisation(numbers)) is not None:
            rows.append(_row("model FLOP utilisation", f"{100 * share:.1f} %", ">= 35 %", share >= 0.35))
        minutes = told["steps"] * told["batch"] / line["images_per_s"] / 60.0
        fits = minutes <= told["budget"]
        rows.append(_row("minutes of all steps at this rate", f"{minutes:.2g}", f"of {told['budget']:g}", fits))
    return rows


def _training(numbers: Numbers) -> list[Row]:
    rows = []
    if (told := numbers.get("training")) is not None:
        at = "finished" if told["finished"] else f"update {told['stopped_at']} of {told['n_updates']}"
        rows.append(_row("training", at, f"{numbers['predicted']['steps']} steps"))
    if (log := numbers.get("log")) is not None:
        rows.append(_row(f"validation bound, {log['unit']}", format_estimate(log["validation"], log["validation_se"]),
                         f"update {log['update']}, {log['seconds'] / 60.0:.1f} min"))  # fmt: skip
    if (measured := numbers.get("measured")) is not None:
        result, rates = measured["result"], measured["rates"]
        bound = format_estimate(result["bound"], result["standard_error"], result["unit"], result["n"])
        rows.append(_row("test bound", bound, f"{result['first_step']} first step"))
        for unit, pair in result.get("converted", {}).items():
            rows.append(_row(f"test bound, {unit}", format_estimate(pair["value"], pair["standard_error"])))
        if "fixed_first_step" in result:
            pair = result["fixed_first_step"]
            rows.append(_row("test bound, stationary first step", format_estimate(pair["value"], pair["standard_error"])))
        if "baseline" in result:
            lead = result["baseline"]["lead_paired"]
            told = format_estimate(lead["value"], lead["standard_error"])
            rows.append(_row("lead over the baseline", told, result["baseline"]["name"]))
        if "paper" in result:
            rows.append(_row("paper", f"{result['paper']:g}", result["unit"]))
        rows.append(_row("samples a second", f"{rates['samples_per_s']:.3g}"))
        rows.append(_row("whole chain of 10,000 images, s", f"{rates['whole_chain_of_10000_s']:.3g}", "scaled up"))
    return rows
