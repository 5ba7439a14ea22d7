"""Commands that measure and draw a run: evaluate and report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from quasistatic.checks import one_of, whole_number
from quasistatic.cli.base import Command, print_warnings, progress

__all__ = ["Evaluate", "Report", "print_evaluation"]


@dataclass
class Evaluate(Command):
    """Compute the bound on held-out rows, with its standard error.

    The null model, the truth and the paper stand beside it where they are known.

    Example: quasistatic evaluate runs/roll --trajectories 100
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder."""
    split: str = "test"
    """train, validation or test."""
    trajectories: int | None = None
    """Trajectories of the importance-weighted estimate of log p; 0 leaves it out."""
    n_steps: int | None = None
    """Use a new schedule of this many steps (kernels that serve every T)."""
    samples: int = 0
    """Draw and check this many samples, where the recipe can check them (heartbeat)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; processes started by torchrun share the rows."""

    def run(self) -> dict[str, Any]:
        one_of("--split", self.split, ("train", "validation", "test"))
        if self.trajectories is not None:
            whole_number("--trajectories", self.trajectories, 0)
        if self.n_steps is not None:
            whole_number("--n-steps", self.n_steps, 2)
        whole_number("--samples", self.samples, 0)
        from quasistatic.runs.run import evaluate_run, open_run

        run = open_run(self.run_folder)
        progress(f"measuring {run.name} on {self.split} rows")
        result = evaluate_run(
            run,
            split=self.split,
            n_trajectories=self.trajectories,
            n_steps=self.n_steps,
            n_samples=self.samples,
            device=self.device,
        )
        return result.to_json()

    def print(self, result: dict[str, Any]) -> None:
        print_evaluation(result)


@dataclass
class Report(Command):
    """Draw the figures and write the self-contained report.html of a run.

    Example: quasistatic report runs/roll
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder."""

    def run(self) -> dict[str, Any]:
        from quasistatic.runs.run import open_run
        from quasistatic.runs.summary import write_run_report

        run = open_run(self.run_folder)
        progress(f"drawing the figures of {run.name}")
        path = write_run_report(run)
        return {"report": str(path), "figures": sorted(str(p) for p in run.folder.figures.glob("*.png"))}

    def print(self, result: dict[str, Any]) -> None:
        print(result["report"])


def print_evaluation(result: dict[str, Any]) -> None:
    """Print the result of an evaluation as a table."""
    from quasistatic.reporting.text import text_table
    from quasistatic.runs.results import Evaluation
    from quasistatic.runs.summary import rows

    table = rows(Evaluation.from_json(result))
    print(f"{result['recipe']}, {result['split']} rows, T = {result['n_steps']} (log likelihoods: higher is better)")
    print(text_table(table, list(table[0])))
    print_warnings(result)
    if "samples" in result:
        checks = (f"{key.replace('_', ' ')} {_in_words(value)}" for key, value in result["samples"].items())
        print("samples: " + ", ".join(checks))


def _in_words(value: Any) -> Any:
    from quasistatic.reporting.text import format_estimate

    if isinstance(value, dict):
        return format_estimate(value["value"], value["standard_error"], "", value["n"])
    return f"{value:.4g}" if isinstance(value, float) else value
