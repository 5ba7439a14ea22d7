"""The command ``quasistatic``: recipes, train, evaluate, sample, denoise, inpaint, score, impute, report, reproduce.

Standard output holds the answer, standard error the progress. Exit status 0 is success and 2 bad usage or input,
said in one sentence. Nothing heavy is imported before a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import tyro

from quasistatic.checks import out_of_memory, whole_number
from quasistatic.cli.ending import answering, ending_well
from quasistatic.cli.posteriors import Denoise, Inpaint
from quasistatic.errors import InputError, Terminated, printable
from quasistatic.storage.files import strict
from quasistatic.streams import prepared_streams, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["main"]


@dataclass
class Recipes:
    """List what can be run, what it reproduces and how long it takes.

    Example: quasistatic recipes
    """

    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> dict[str, Any]:
        from quasistatic.recipes.catalogue import CATALOGUE
        from quasistatic.recipes.presets import preset_rows

        listed = [
            {"recipe": name, "minutes": entry.minutes, "reproduces": entry.reproduces,
             "presets": list(entry.presets), "about": entry.about}
            for name, entry in CATALOGUE.items()
        ]  # fmt: skip
        return {"recipes": listed, "presets": preset_rows()}

    def tell(self, answer: dict[str, Any]) -> None:
        from quasistatic.reporting.text import text_table

        shown = [{**row, "presets": ", ".join(row["presets"])} for row in answer["recipes"]]
        print(text_table(shown, ["recipe", "minutes", "reproduces", "presets", "about"]))
        print("minutes of training on one CPU core\n")
        print(text_table(answer["presets"], list(answer["presets"][0])))
        print("presets of the image recipes: small for one core, base for half an hour of a GPU, large for hours")


@dataclass
class Train:
    """Train a recipe into a run folder; the same command goes on where it stopped.

    Example: quasistatic train swiss-roll --out runs/roll --set train.n_updates=2000

    Your own numbers: quasistatic train array --data X.csv

    Your own pictures: quasistatic train images --data FOLDER --set crop=32

    Your own table, of classes and holes too: quasistatic train table --data wine.csv --types quality=ordinal
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """A name from `quasistatic recipes`."""
    data: Path | None = None
    """Your own: .npy, .npz, .csv or .parquet (recipes array and table); a folder of pictures, .npy or .npz (images)."""
    types: str | None = None
    """Kinds of columns (table recipe), such as quality=ordinal,sex=categorical; the others are inferred."""
    out: Path | None = None
    """The run folder; runs/RECIPE if not given."""
    set: Annotated[list[tuple[str, ...]], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=VALUE ...")] = field(
        default_factory=list
    )
    """Settings."""
    preset: str | None = None
    """A named set of settings, such as demo, small, base or large."""
    seed: int = 0
    """Of training data, starts, batches and noise."""
    time_budget: Annotated[str | None, tyro.conf.arg(metavar="25m")] = None
    """Stop at a checkpoint after so many seconds, minutes (25m) or hours (2h); the same command goes on from it."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; torchrun gives each of its processes a device. A run may go on on another one."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """torch.compile of the network; auto is yes on CUDA."""
    micro_batch: int = 0
    """Rows that go through the network at once, if a whole batch does not fit into memory; 0 for all."""
    tensorboard: bool = False
    """Write the numbers of the log to RUN/tensorboard as well."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> dict[str, Any]:
        from quasistatic.recipes.catalogue import CATALOGUE, find
        from quasistatic.runs.settings import parse_words

        find(self.recipe)
        if () in self.set:
            raise InputError("--set needs at least one KEY=VALUE")
        settings = parse_words([word for words in self.set for word in words])
        if self.data is not None:
            if not find(self.recipe).takes:
                takers = " and ".join(name for name, entry in CATALOGUE.items() if entry.takes)
                raise InputError(f"recipe {self.recipe} has its own data; --data goes with the recipes {takers}")
            settings["data"] = os.path.abspath(self.data)  # the run is taken up from other folders, too
        if self.types is not None:
            if self.recipe != "table":
                raise InputError(f"recipe {self.recipe} has columns of one kind; --types goes with the table recipe")
            settings["types"] = self.types
        folder = self.out or Path("runs") / self.recipe
        budget = _seconds(self.time_budget)
        from quasistatic.runs.run import best_line, read_best, read_metrics, train_run
        from quasistatic.runs.verdict import below_null, untrained_start
        from quasistatic.train import Engine

        engine = Engine(self.device, self.compile, self.micro_batch)
        told = train_run(
            self.recipe, folder, settings=settings, preset=self.preset, seed=self.seed, time_budget=budget, engine=engine,
            tensorboard=self.tensorboard, announce=_progress,
        )  # fmt: skip
        top = best_line(folder)
        null = told.get("validation_null")
        failed = below_null(top["validation"], null, top["validation_se"], top["unit"], "validation")
        warned = [sentence for sentence in (untrained_start(read_metrics(folder)), failed) if sentence]
        return {"run": str(folder), **told, "validation": top["validation"], "validation_se": top["validation_se"],
                "unit": top["unit"], "checkpoint": read_best(folder), "warnings": warned}  # fmt: skip

    def tell(self, answer: dict[str, Any]) -> None:
        from quasistatic.reporting.text import format_estimate

        bound = format_estimate(_known(answer["validation"]), _known(answer["validation_se"]), answer["unit"])
        if "stopped_at" in answer:
            print(f"{answer['run']}: best validation bound so far {bound}")
            _warn(answer)
            print(f"stopped at step {answer['stopped_at']} of {answer['steps']}; the same command goes on from there")
            return
        print(f"{answer['run']}: best validation bound in training {bound} after {answer['seconds']:.0f} s")
        _warn(answer)
        print(f"next: quasistatic evaluate {answer['run']}")


@dataclass
class Evaluate:
    """Measure the bound on held-out rows, in bits with its standard error, beside null, truth and paper.

    Example: quasistatic evaluate runs/roll --trajectories 100
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder."""
    split: str = "test"
    """train, validation or test."""
    trajectories: int | None = None
    """Of the importance-weighted estimate of log p; 0 leaves it out."""
    n_steps: int | None = None
    """Cut the schedule anew with this many steps (kernels that serve every T)."""
    samples: int = 0
    """Draw this many and check them, where it is known what they must be (heartbeat)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; processes started by torchrun share the rows."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> dict[str, Any]:
        if self.split not in ("train", "validation", "test"):
            raise InputError(f"--split must be train, validation or test, got {self.split!r}")
        if self.trajectories is not None:
            whole_number("--trajectories", self.trajectories, 0)
        if self.n_steps is not None:
            whole_number("--n-steps", self.n_steps, 2)
        whole_number("--samples", self.samples, 0)
        from quasistatic.runs.run import evaluate_run, open_run

        run = open_run(self.run_folder)
        _progress(f"measuring {run.name} on {self.split} rows")
        return evaluate_run(
            run,
            split=self.split,
            n_trajectories=self.trajectories,
            n_steps=self.n_steps,
            n_samples=self.samples,
            device=self.device,
        )

    def tell(self, answer: dict[str, Any]) -> None:
        _print_result(answer)


@dataclass
class Sample:
    """Draw exact samples of a trained model.

    Example: quasistatic sample runs/roll -n 1000 --out samples.npy
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64
    """How many."""
    out: Path | None = None
    """A .npy, .csv or .parquet file; of pictures also a .png file or a folder of them; RUN/samples.npy if not given."""
    n_steps: int | None = None
    """Take fewer steps of the same chain: faster, coarser."""
    seed: int = 0
    """Of the draws."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> dict[str, Any]:
        out = self.out or self.run_folder / "samples.npy"
        if out.suffix not in (".npy", ".csv", ".parquet", ".png", ""):
            raise InputError(f"samples are written as .npy, .csv, .parquet or .png, got {out.name!r}")
        whole_number("the number of samples", self.n, 1)
        whole_number("--seed", self.seed, 0)
        if self.n_steps is not None:
            whole_number("--n-steps", self.n_steps, 1)
        if out.suffix == ".png" and self.n > 1:
            raise InputError(f"{out} is one picture, but {self.n} samples are asked for: give -n 1, or a folder")
        from quasistatic.runs.pixels import as_integers, has_pictures, write_samples
        from quasistatic.runs.run import draw_samples, open_run, own_names, sentences

        run = open_run(self.run_folder)
        if self.out is None:
            own_names(self.run_folder, "samples.npy")
        if out.suffix in (".png", "") and not has_pictures(run.recipe):
            raise InputError(f"samples of {run.name} are no pictures: write a .npy, .csv or .parquet file")
        if out.suffix in (".csv", ".parquet") and len(run.model.event_shape) != 1:
            raise InputError(f"one sample has shape {run.model.event_shape}, which is no row of a table: write a .npy file")
        names = run.splits.names if out.suffix in (".csv", ".parquet") else ()
        _progress(f"drawing {self.n} samples of {run.name}")
        with sentences():  # n_steps may not suit the model
            drawn = draw_samples(run, self.n, seed=self.seed, n_steps=self.n_steps, device=self.device)
        x: NDArray[Any] = as_integers(run, drawn)
        if out.suffix == ".npy":
            _write_array(out, x)
        elif out.suffix in (".png", ""):
            write_samples(run, drawn, out)
        else:
            from quasistatic.io.table_writing import writing_table

            types: list[type] = [float] * x.shape[-1]
            if (cells := run.recipe.cells(drawn)) is not None:
                names, types, x = cells
            with writing_table(out, names or [f"column {i + 1}" for i in range(x.shape[1])], types) as write:
                write(x.tolist())
        return {"file": str(out), "n": self.n, "shape": list(x.shape)}

    def tell(self, answer: dict[str, Any]) -> None:
        print(f"{answer['n']} samples in {answer['file']}")


@dataclass
class Score:
    """Tell the log density of every row of a table, of its observed entries where some are missing, and how odd it is.

    Example: quasistatic score runs/wine --data new.csv --out scores.csv
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder of the table recipe."""
    data: Path
    """A table with the same columns; it may be larger than memory."""
    out: Path = Path("scores.csv")
    """A .csv or .parquet file: line, log density, anomaly score."""
    unit: str = "nats"
    """nats, bits, nats_per_dim or bits_per_dim."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> dict[str, Any]:
        from quasistatic.estimate import unit_divisor
        from quasistatic.runs.run import open_run, sentences
        from quasistatic.runs.table_files import TableFile, score_file
        from quasistatic.runs.tables import ensemble_of

        with sentences():  # the unit may not be one
            unit_divisor(self.unit, (1,))
        run, file = open_run(self.run_folder), TableFile(self.data, self.out)
        ensemble = ensemble_of(run, file.require_columns)
        _progress(f"scoring {self.data}")
        return score_file(ensemble, file, self.unit)

    def tell(self, answer: dict[str, Any]) -> None:
        from quasistatic.reporting.text import format_estimate

        if "mean" in answer:
            print(
                "mean log density " + format_estimate(answer["mean"], answer["standard_error"], answer["unit"], answer["n"])
            )
        if answer["impossible"]:
            print(f"{answer['impossible']} rows hold what was never possible: their log density is minus infinity")
        print(f"scores of {answer['n']} rows in {answer['file']}")


@dataclass
class Impute:
    """Fill the gaps of a table with draws, and tell how sure they are.

    Example: quasistatic impute runs/wine --data holes.csv --out filled.csv --draws 20
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder of the table recipe."""
    data: Path
    """A table with the same columns; it may be larger than memory."""
    out: Path = Path("filled.csv")
    """A .csv or .parquet file with the same columns; FILE-draws beside it has the draws and intervals of every gap."""
    draws: int = 20
    """For each gap."""
    seed: int = 0
    """Of the draws."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> dict[str, Any]:
        whole_number("--draws", self.draws, 1)
        whole_number("--seed", self.seed, 0, 2**31 - 1)
        from quasistatic.runs.run import open_run
        from quasistatic.runs.table_files import TableFile, impute_file
        from quasistatic.runs.tables import ensemble_of

        run, file = open_run(self.run_folder), TableFile(self.data, self.out)
        ensemble = ensemble_of(run, file.require_columns)
        _progress(f"filling the missing entries of {self.data}")
        return impute_file(ensemble, file, self.draws, self.seed)

    def tell(self, answer: dict[str, Any]) -> None:
        print(f"{answer['missing']} missing entries filled in {answer['file']}; their draws are in {answer['draws']}")
        if answer.get("least_effective_particles", 10.0) < 5.0:
            print(f"careful: some rows rest on {answer['least_effective_particles']:.1f} effective particles")


@dataclass
class Report:
    """Draw the figures and write the self-contained report.html of a run.

    Example: quasistatic report runs/roll
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> dict[str, Any]:
        from quasistatic.runs.run import open_run
        from quasistatic.runs.summary import write_run_report

        run = open_run(self.run_folder)
        _progress(f"drawing the figures of {run.name}")
        path = write_run_report(run)
        figures = sorted(str(p) for p in (self.run_folder / "figures").glob("*.png"))
        return {"report": str(path), "figures": figures}

    def tell(self, answer: dict[str, Any]) -> None:
        print(answer["report"])


@dataclass
class Reproduce:
    """Train, evaluate, draw and compare: items of the paper by name.

    Example: quasistatic reproduce swiss-roll heartbeat figure-1 figure-2
    """

    items: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="ITEM ...")]
    """Recipes, or what they reproduce, such as table-1: see `quasistatic recipes`."""
    out: Path = Path("runs/reproduce")
    """Folder for the run folders."""
    preset: str | None = None
    """demo: minutes for the toys; small (taken for images if none is given), base or large for images."""
    seed: int = 0
    """Of training data, starts, batches and noise."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> dict[str, Any]:
        from quasistatic.runs.paper_tables import TABLES, compared
        from quasistatic.runs.reproduce import reproduce

        results = reproduce(self.items, self.out, preset=self.preset, seed=self.seed)
        by_name = {result["recipe"]: result for result in results}
        tables = {item: compared(item, by_name) for item in self.items if item in TABLES}
        return {"out": str(self.out), "results": results, "tables": tables}

    def tell(self, answer: dict[str, Any]) -> None:
        for result in answer["results"]:
            _print_result(result)
            print(f"report: {Path(answer['out']) / result['recipe'] / 'report.html'}\n")
        for item, table in answer["tables"].items():
            from quasistatic.reporting.text import text_table

            print(f"{item} (log likelihoods: higher is better; {Path(answer['out']) / item}.md)")
            print(text_table(table, list(table[0])), "\n")


COMMANDS: dict[str, Any] = {
    "recipes": Recipes,
    "train": Train,
    "evaluate": Evaluate,
    "sample": Sample,
    "denoise": Denoise,
    "inpaint": Inpaint,
    "score": Score,
    "impute": Impute,
    "report": Report,
    "reproduce": Reproduce,
}


def _known(value: float | None) -> float:
    """A number that was not finite is not in a file of JSON."""
    return math.nan if value is None else value


def _print_result(result: dict[str, Any]) -> None:
    from quasistatic.reporting.text import text_table
    from quasistatic.runs.summary import rows

    table = rows(result)
    print(f"{result['recipe']}, {result['split']} rows, T = {result['n_steps']} (log likelihoods: higher is better)")
    print(text_table(table, list(table[0])))
    _warn(result)
    if "samples" in result:
        told = {key.replace("_", " "): _in_words(value) for key, value in result["samples"].items()}
        print("samples: " + ", ".join(f"{key} {value}" for key, value in told.items()))


def _warn(answer: dict[str, Any]) -> None:
    for sentence in answer.get("warnings", []):
        print(f"WARNING: {sentence}")


def _in_words(value: Any) -> Any:
    from quasistatic.reporting.text import format_estimate

    if isinstance(value, dict):
        return format_estimate(value["value"], value["standard_error"], "", value["n"])
    return f"{value:.4g}" if isinstance(value, float) else value


def _seconds(budget: str | None) -> float:
    """Read a time such as 90, 90s, 25m or 1.5h; none is endless."""
    if budget is None:
        return math.inf
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", budget.strip())
    if match is None or not float(match[1]) > 0:
        raise InputError(f"--time-budget must be a time such as 90s, 25m or 2h, got {budget!r}")
    return float(match[1]) * {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}[match[2]]


def _progress(what: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        say(what)


def _write_array(path: Path, x: NDArray[Any]) -> None:
    import numpy as np

    from quasistatic.storage.atomic import whole_file

    try:
        with whole_file(path) as file:
            np.save(file, x, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; exits 0 on success and 2 on bad usage or bad input."""
    with prepared_streams(), ending_well():
        command = None
        with answering(_fail):
            command = _parse(list(sys.argv[1:] if argv is None else argv))
        if command is None:
            return  # nobody reads the help that was asked for
        answer = _run(command)
        if os.environ.get("RANK", "0") != "0":
            return  # of many processes under torchrun, the first one prints
        with answering(_fail):
            if command.json:
                print(json.dumps(strict(answer), allow_nan=False))
            else:
                text = io.StringIO()
                with contextlib.redirect_stdout(text):
                    command.tell(answer)
                for line in text.getvalue().splitlines():
                    print(printable(line))


def _run(command: Any) -> dict[str, Any]:
    """Run a command; what a user can mend is one sentence, and a stop says how to go on."""
    goes_on = "; the same command goes on from the last checkpoint" * isinstance(command, Train | Reproduce)
    try:
        return command.run()
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except RecursionError:
        _fail("the input is nested too deep to be read")
    except (MemoryError, RuntimeError, ValueError) as error:
        if not out_of_memory(error):
            raise
        _fail("there is not enough memory for this: choose smaller numbers, or fewer rows at once")
    except KeyboardInterrupt:
        say(f"stopped{goes_on}")
        sys.exit(130)
    except Terminated as end:
        say(f"terminated{goes_on}")
        sys.exit(end.code)


def _parse(words: list[str]) -> Any:
    """Make a command of the words; tyro frames its complaints, of which only the sentence is kept."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                COMMANDS, args=words, prog="quasistatic", config=(tyro.conf.FlagCreatePairsOff,),
                description="Generative models with a normalised likelihood.",
            )  # fmt: skip
    except SystemExit as end:
        if not end.code:
            _print_settings(words)
            raise
        lines = [line.strip(" │┃|") for line in re.sub(r"\x1b\[[0-9;]*m", "", complaint.getvalue()).splitlines()]
        ends = [i for i, line in enumerate(lines) if i and not line.strip("─━╰╯┗┛-")]
        said = " ".join(lines[1 : min(ends, default=len(lines))]).strip(" .") or "the command is not understood"
        known = next((f" {word}" for word in words[:1] if word in COMMANDS), "")
        _fail(f"{' '.join(said.split())}; see quasistatic{known} --help")


def _print_settings(words: list[str]) -> None:
    """Print the settings of the recipe, in the help of ``train RECIPE``."""
    from quasistatic.recipes.catalogue import CATALOGUE

    if words[:1] == ["train"] and (named := [word for word in words[1:2] if word in CATALOGUE]):
        from quasistatic.runs.settings import settings_help

        print(settings_help(named[0]))


def _fail(sentence: str) -> NoReturn:
    say(f"quasistatic: {printable(sentence)}")
    sys.exit(2)
