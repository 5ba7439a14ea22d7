"""Commands that train: recipes, train and reproduce."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from quasistatic.cli.base import Command, known, print_warnings, progress
from quasistatic.cli.evaluation import print_evaluation
from quasistatic.errors import InputError

__all__ = ["Recipes", "Reproduce", "Train"]


@dataclass
class Recipes(Command):
    """List the recipes, what they reproduce and how long they take.

    Example: quasistatic recipes
    """

    def run(self) -> dict[str, Any]:
        from quasistatic.recipes.catalogue import CATALOGUE
        from quasistatic.recipes.presets import preset_rows

        listed = [
            {"recipe": name, "minutes": entry.minutes, "reproduces": entry.reproduces,
             "presets": list(entry.presets), "about": entry.about}
            for name, entry in CATALOGUE.items()
        ]  # fmt: skip
        return {"recipes": listed, "presets": preset_rows()}

    def print(self, result: dict[str, Any]) -> None:
        from quasistatic.reporting.text import text_table

        shown = [{**row, "presets": ", ".join(row["presets"])} for row in result["recipes"]]
        print(text_table(shown, ["recipe", "minutes", "reproduces", "presets", "about"]))
        print("minutes of training on one CPU core\n")
        print(text_table(result["presets"], list(result["presets"][0])))
        print("presets of the image recipes: small for one core, base for half an hour of a GPU, large for hours")


@dataclass
class Train(Command):
    """Train a recipe into a run folder.

    The same command continues an interrupted run.

    Example: quasistatic train swiss-roll --out runs/roll --set train.n_updates=2000

    Your own numbers: quasistatic train array --data X.csv

    Your own pictures: quasistatic train images --data FOLDER --set crop=32

    Your own table, with classes and missing entries: quasistatic train table --data wine.csv --types quality=ordinal
    """

    continues: ClassVar[bool] = True

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """A name from `quasistatic recipes`."""
    data: Path | None = None
    """Your data: .npy, .npz, .csv or .parquet (recipes array and table); a folder of pictures, .npy or .npz (images)."""
    types: str | None = None
    """Kinds of columns (table recipe), such as quality=ordinal,sex=categorical; the others are inferred."""
    out: Path | None = None
    """The run folder; runs/RECIPE if not given."""
    set: Annotated[list[tuple[str, ...]], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=VALUE ...")] = field(
        default_factory=list
    )
    """Settings of the recipe."""
    preset: str | None = None
    """A named set of settings, such as demo, small, base or large."""
    seed: int = 0
    """Seed of training data, initial weights, batches and noise."""
    time_budget: Annotated[str | None, tyro.conf.arg(metavar="25m")] = None
    """Stop at a checkpoint after so many seconds, minutes (25m) or hours (2h)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; torchrun gives each of its processes a device. A run can continue on another device."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """torch.compile of the network; auto is yes on CUDA."""
    micro_batch: int = 0
    """Rows in the network at once, if a whole batch does not fit into memory; 0 for all."""
    tensorboard: bool = False
    """Write the training log to RUN/tensorboard as well."""

    def settings(self) -> dict[str, Any]:
        """Return the settings of --set, --data and --types."""
        from quasistatic.recipes.catalogue import CATALOGUE, find
        from quasistatic.runs.settings import parse_words

        if () in self.set:
            raise InputError("--set needs at least one KEY=VALUE")
        settings = parse_words([word for words in self.set for word in words])
        if self.data is not None:
            if not find(self.recipe).takes:
                takers = " and ".join(name for name, entry in CATALOGUE.items() if entry.takes)
                raise InputError(f"recipe {self.recipe} has its own data; --data goes with the recipes {takers}")
            settings["data"] = os.path.abspath(self.data)  # the run may be opened from other folders
        if self.types is not None:
            if self.recipe != "table":
                raise InputError(f"recipe {self.recipe} has columns of one kind; --types goes with the table recipe")
            settings["types"] = self.types
        return settings

    def run(self) -> dict[str, Any]:
        from quasistatic.recipes.catalogue import find

        find(self.recipe)
        settings, budget = self.settings(), _seconds(self.time_budget)
        from quasistatic.runs.training import train_run
        from quasistatic.runs.verdict import below_null, untrained_start
        from quasistatic.storage.run_folder import RunFolder
        from quasistatic.train import Engine

        folder = RunFolder(self.out or Path("runs") / self.recipe)
        manifest = train_run(
            self.recipe, folder.path, settings=settings, preset=self.preset, seed=self.seed, time_budget=budget,
            device=self.device, engine=Engine(self.compile, self.micro_batch), tensorboard=self.tensorboard,
            announce=progress,
        )  # fmt: skip
        best, null = folder.best_metrics(), manifest.get("validation_null")
        failed = below_null(best["validation"], null, best["validation_se"], best["unit"], "validation")
        warned = [sentence for sentence in (untrained_start(folder.read_metrics()), failed) if sentence]
        return {"run": str(folder), **manifest, "validation": best["validation"], "validation_se": best["validation_se"],
                "unit": best["unit"], "checkpoint": folder.read_best(), "warnings": warned}  # fmt: skip

    def print(self, result: dict[str, Any]) -> None:
        from quasistatic.reporting.text import format_estimate

        bound = format_estimate(known(result["validation"]), known(result["validation_se"]), result["unit"])
        if "stopped_at" in result:
            print(f"{result['run']}: best validation bound so far {bound}")
            print_warnings(result)
            print(f"stopped at update {result['stopped_at']} of {result['n_updates']}; the same command goes on from there")
            return
        print(f"{result['run']}: best validation bound in training {bound} after {result['seconds']:.0f} s")
        print_warnings(result)
        print(f"next: quasistatic evaluate {result['run']}")


@dataclass
class Reproduce(Command):
    """Train, evaluate and draw items of the paper by name.

    Example: quasistatic reproduce swiss-roll heartbeat figure-1 figure-2
    """

    continues: ClassVar[bool] = True

    items: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="ITEM ...")]
    """Recipes, or what they reproduce, such as table-1: see `quasistatic recipes`."""
    out: Path = Path("runs/reproduce")
    """Folder of the run folders."""
    preset: str | None = None
    """demo: minutes for the toys; small (used for images if none is given), base or large for images."""
    seed: int = 0
    """Seed of training data, initial weights, batches and noise."""

    def run(self) -> dict[str, Any]:
        from quasistatic.runs.paper_tables import TABLES, compared
        from quasistatic.runs.reproduce import reproduce

        results = reproduce(self.items, self.out, preset=self.preset, seed=self.seed)
        by_name = {result.recipe: result for result in results}
        tables = {item: compared(item, by_name) for item in self.items if item in TABLES}
        return {"out": str(self.out), "results": [result.to_json() for result in results], "tables": tables}

    def print(self, result: dict[str, Any]) -> None:
        from quasistatic.reporting.text import text_table

        for one in result["results"]:
            print_evaluation(one)
            print(f"report: {Path(result['out']) / one['recipe'] / 'report.html'}\n")
        for item, table in result["tables"].items():
            print(f"{item} (log likelihoods: higher is better; {Path(result['out']) / item}.md)")
            print(text_table(table, list(table[0])), "\n")


def _seconds(budget: str | None) -> float:
    """Parse a time such as 90, 90s, 25m or 1.5h."""
    if budget is None:
        return math.inf
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", budget.strip())
    if match is None or not float(match[1]) > 0:
        raise InputError(f"--time-budget must be a time such as 90s, 25m or 2h, got {budget!r}")
    return float(match[1]) * {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}[match[2]]
