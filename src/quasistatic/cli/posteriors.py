"""Commands that condition a run on an observation: denoise and inpaint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from quasistatic.checks import whole_number
from quasistatic.cli.base import Command
from quasistatic.errors import InputError
from quasistatic.streams import say

if TYPE_CHECKING:
    from torch import Tensor

    from quasistatic.posterior.observations import Observation
    from quasistatic.runs.run import Run

__all__ = ["Denoise", "Inpaint"]


@dataclass
class _Condition(Command):
    """A command that samples a posterior."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder."""
    input: Path
    """One observation or many, in data units: .npy, .npz, .csv, an image file, or a folder of images."""
    particles: int = 200
    """Particles of each observation: more of them reduce the noise of samples and of the log evidence."""
    n_steps: int | None = None
    """Take fewer steps of the same chain: faster, coarser."""
    draws: int = 16
    """Samples of equal weight to write for each observation."""
    out: Path | None = None
    """Folder for posterior.npz, answer.json, picture.png and, of image files, pictures/; by default in the run folder."""
    seed: int = 0
    """Seed of the draws."""

    def observation(self, run: Run) -> tuple[Observation, Tensor]:
        """Read the observation and its rows."""
        raise NotImplementedError

    def run(self) -> dict[str, Any]:
        whole_number("--seed", self.seed, 0)
        whole_number("--particles", self.particles, 1)
        whole_number("--draws", self.draws, 1)
        if self.n_steps is not None:
            whole_number("--n-steps", self.n_steps, 1)
        from quasistatic.runs.conditioning import condition
        from quasistatic.runs.pixels import has_pictures, is_picture, names_of
        from quasistatic.runs.run import open_run

        run = open_run(self.run_folder)
        if run.name == "table":
            verb = type(self).__name__.lower()
            raise InputError(
                f"{verb} is for arrays and pictures: fill the missing entries of a table with quasistatic impute"
            )
        if self.out is None:
            run.folder.refuse_links(type(self).__name__.lower())
        observation, observed = self.observation(run)
        say(f"sampling {len(observed)} posteriors of {run.name}")
        out = self.out or self.run_folder / type(self).__name__.lower()
        result = condition(
            run, observation, observed, out,
            n_particles=self.particles, n_steps=self.n_steps, seed=self.seed, n_draws=self.draws,
            names=names_of(self.input, len(observed)) if has_pictures(run.recipe) and is_picture(self.input) else None,
        )  # fmt: skip
        for sentence in result["warnings"]:
            say(f"warning: {sentence}")
        return result

    def print(self, result: dict[str, Any]) -> None:
        from quasistatic.reporting.text import text_table

        rows = [
            {"observation": i, "log evidence": f"{value:.4g} ± {_known(error)} nats", "effective sample size": f"{ess:.0f}"}
            for i, (value, error, ess) in enumerate(
                zip(result["log_evidence"][:20], result["log_evidence_error"], result["ess"], strict=False)
            )
        ]
        print(text_table(rows, ["observation", "log evidence", "effective sample size"]))
        if result["n"] > len(rows):
            print(f"and {result['n'] - len(rows)} more")
        print(f"of {result['particles']} particles each; {', '.join(result['files'])} in {result['folder']}")


def _known(error: float | None) -> str:
    """Format a standard error, a question mark where it is not known."""
    return "?" if error is None or math.isnan(error) else f"{error:.2g}"


@dataclass
class Denoise(_Condition):
    """Sample clean data given a noisy observation.

    Example: quasistatic denoise runs/roll --input noisy.npy --noise-std 0.5
    """

    noise_std: float = tyro.MISSING
    """Standard deviation of the noise of every entry, in data units."""

    def observation(self, run: Run) -> tuple[Observation, Tensor]:
        from quasistatic.runs.conditioning import noisy_observation

        return noisy_observation(run, self.input, self.noise_std)


@dataclass
class Inpaint(_Condition):
    """Sample unknown entries given the known ones.

    Example: quasistatic inpaint runs/roll --input rows.npy --mask known.npy
    """

    mask: Path | None = None
    """Known entries: not zero, or bright in an image file; without it, all entries that are not nan."""

    def observation(self, run: Run) -> tuple[Observation, Tensor]:
        from quasistatic.runs.conditioning import masked_observation

        return masked_observation(run, self.input, self.mask)
