"""``python -m gpu run NAME``: check, measure and train on this device within one call; the same command goes on.

``put`` takes data in, ``fetch`` brings what did not fit into the last call, ``plan`` prints the predictions.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from gpu.ceilings import ceilings
from gpu.checks import check_all
from gpu.clock import Deadline
from gpu.delivery import deliver, put
from gpu.models import tiny_settings
from gpu.numbers import Numbers
from gpu.plan import PLAN, Slice, predicted, rows_of_plan
from gpu.shards import pack
from gpu.summary import summary
from gpu.training import EVALUATION, measure, resume, train
from gpu.variants import best_way, measure_ways
from quasistatic.errors import InputError
from quasistatic.reporting.text import text_table
from quasistatic.runs.settings import make_recipe, parse_words
from quasistatic.runs.versions import versions
from quasistatic.storage.run_folder import RunFolder
from quasistatic.train import Engine
from quasistatic.train.engine import find_device

PARTS = ("check", "ceilings", "ways", "train")
TINY = {
    "train.n_updates": 4, "train.batch_size": 4, "train.evaluate_every": 2, "train.validation_pairs": 30,
    "n_validation": 12, "n_test": 16, "n_timesteps": 2, "sample_steps": 6, "samples_every": 0,
}  # fmt: skip


def main(words: list[str] | None = None) -> int:
    """Run one command; 0 if all went well, 1 if a check failed, 2 for bad input."""
    asked = parser().parse_args(words)
    try:
        return int(asked.command(asked))
    except InputError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m gpu", description=__doc__)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="check, measure and train, within one call")
    run.add_argument("name", choices=PLAN, metavar="NAME", help=", ".join(PLAN))
    run.add_argument("--parts", default=",".join(PARTS), help=f"of {','.join(PARTS)}; what is known is not measured again")
    run.add_argument("--seconds", type=float, default=540.0, help="of this call, from now")
    run.add_argument("--shards", type=Path, help="folder with the shards that earlier calls brought home")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the recipe")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")
    run.add_argument("--tiny", action="store_true", help="a tiny network for seconds, to see that the program runs")
    run.set_defaults(command=_run)
    fetch = commands.add_parser("fetch", help="copy the files that did not fit into the last call")
    fetch.add_argument("name", choices=PLAN, metavar="NAME")
    fetch.add_argument("--skip", type=int, required=True, help="files that are home already")
    fetch.set_defaults(command=_fetch)
    for command in (run, fetch):
        command.add_argument("--work", type=Path, default=Path("runs/gpu"), help="folder that stays between calls")
        command.add_argument("--out", type=Path, help="folder whose files go home with the call")
    take = commands.add_parser("put", help="copy data in, and unpack it")
    take.add_argument("source", type=Path)
    take.add_argument("target", type=Path)
    take.set_defaults(command=lambda asked: print(f"{len(put(asked.source, asked.target))} files") or 0)
    plan = commands.add_parser("plan", help="predicted times")
    plan.set_defaults(command=lambda _: print(text_table(rows := rows_of_plan(), list(rows[0]))) or 0)
    return made


def _run(asked: argparse.Namespace) -> int:
    deadline, device = Deadline(asked.seconds), find_device(asked.device)
    parts = asked.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        raise InputError(f"parts must be of {', '.join(PARTS)}, got {unknown[0]!r}")
    home = asked.work / asked.name
    if asked.shards is not None and (asked.shards / "numbers.json").exists() and not (home / "numbers.json").exists():
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(asked.shards / "numbers.json", home / "numbers.json")
    numbers = Numbers(home / "numbers.json", _where(device))
    which = PLAN[asked.name]
    settings = which.settings | (TINY | tiny_settings(which.recipe) if asked.tiny else {}) | parse_words(asked.set)
    which = Slice(which.title, which.recipe, which.minutes, which.preset, settings)
    numbers.put("settings", {"recipe": which.recipe, "preset": which.preset, "seed": asked.seed, **settings})
    fine = _measure(which, numbers, parts, deadline, device, asked.tiny)
    if "train" in parts and fine:
        _train(which, numbers, home, asked, deadline, device)
    told = _tell(numbers, home)
    if asked.out is not None:
        _deliver(home, asked.out, 0)
    print(told)
    return 0 if fine else 1


def _tell(numbers: Numbers, home: Path) -> str:
    told = summary(numbers)
    (home / "table.txt").write_text(told + "\n", encoding="utf-8")
    return told


def _where(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, **versions()}


def _measure(which: Slice, numbers: Numbers, parts: list[str], deadline: Deadline, device: torch.device, tiny: bool) -> bool:
    """All that is measured before a training; whether every check that was made has passed."""
    recipe = make_recipe(which.recipe, which.settings, preset=which.preset)
    if numbers.get("predicted") is None:
        numbers.put("predicted", predicted(which, tiny=tiny))
    if "check" in parts and numbers.get("checks") is None:
        seed = secrets.randbits(31)
        quiet = make_recipe(which.recipe, which.settings, {"dropout": 0.0} if hasattr(recipe, "dropout") else {},
                            preset=which.preset)  # fmt: skip
        checks = check_all({which.recipe: quiet}, device, seed, tiny=tiny)
        numbers.put("checks_seed", seed)
        numbers.put("checks", [check.told() for check in checks])
    if "ceilings" in parts and numbers.get("ceilings") is None:
        numbers.put("ceilings", ceilings(device, tiny=tiny))
    fine = all(check["passed"] for check in numbers.get("checks", []))
    if "ways" in parts and fine:
        known = numbers.get("ways", [])
        measure_ways(recipe, device, deadline, tiny=tiny, known=known, report=lambda found: numbers.put("ways", found))
    return fine


def _train(
    which: Slice, numbers: Numbers, home: Path, asked: argparse.Namespace, deadline: Deadline, device: torch.device
) -> None:
    run = home / "run"
    how: dict[str, Any] = {"preset": which.preset, "settings": which.settings, "seed": asked.seed}
    if asked.shards is not None and (asked.shards / "index.json").exists():
        resume(which.recipe, run, asked.shards, **how)
    lines = numbers.get("ways", [])
    best = best_way(lines, lines[0]["way"]["batch"]) if lines else None
    compiled = "auto" if best is None else "no" if best.compile == "no" else "yes"
    engine = Engine(compile=compiled)  # type: ignore[arg-type]
    told = train(which.recipe, run, deadline, device=device, engine=engine, **how)
    numbers.put("training", told)
    numbers.put("log", RunFolder(run).read_metrics()[-1])
    _pack(numbers, home, asked.out)
    if told["finished"] and numbers.get("measured") is None and deadline.left() > (0 if asked.tiny else EVALUATION):
        numbers.put("measured", measure(run, device, rows=2 if asked.tiny else 16))
        _pack(numbers, home, asked.out)


def _pack(numbers: Numbers, home: Path, out: Path | None) -> None:
    """Pack the run, and let it go home at once: what comes after may outlast the call."""
    shutil.rmtree(home / "shards", ignore_errors=True)
    pack(home / "run", home / "shards")
    _tell(numbers, home)
    if out is not None:
        _deliver(home, out, 0)


def _fetch(asked: argparse.Namespace) -> int:
    if asked.out is None:
        raise InputError("fetch needs --out, the folder whose files go home")
    _deliver(asked.work / asked.name, asked.out, asked.skip)
    return 0


def _deliver(home: Path, out: Path, skip: int) -> None:
    shards = home / "shards"
    named = [home / "numbers.json", home / "table.txt", shards / "index.json", *sorted(shards.glob("shard-*"))]
    files = [file for file in named if file.exists()]
    gone = deliver(files, out, skip)
    if gone < len(files):
        print(f"{len(files) - gone} files did not fit: fetch them with --skip {gone} before the machine goes back")


if __name__ == "__main__":
    sys.exit(main())
