"""The commands that condition a trained model on something seen: denoise and inpaint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from quasistatic.checks import whole_number
from quasistatic.errors import InputError
from quasistatic.streams import say

if TYPE_CHECKING:
    from torch import Tensor

    from quasistatic.posterior.observations import Observation
    from quasistatic.runs.run import Run

__all__ = ["Denoise", "Inpaint"]


@dataclass
class _Condition:
    """What both commands share."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder."""
    input: Path
    """One observation or many, in data units: .npy, .npz, .csv, an image file, or a folder of images."""
    particles: int = 200
    """Of each observation: more for less noise in samples and evidence."""
    n_steps: int | None = None
    """Take fewer steps of the same chain: faster, coarser."""
    draws: int = 16
    """Samples of equal weight to write for each observation."""
    out: Path | None = None
    """Folder for posterior.npz, answer.json, picture.png and, of image files, pictures/; by default in the run folder."""
    seed: int = 0
    """Of the draws."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def observation(self, run: Run) -> tuple[Observation, Tensor]:
        """What was seen, and its rows."""
        raise NotImplementedError

    def run(self) -> dict[str, Any]:
        whole_number("--seed", self.seed, 0)
        whole_number("--particles", self.particles, 1)
        whole_number("--draws", self.draws, 1)
        if self.n_steps is not None:
            whole_number("--n-steps", self.n_steps, 1)
        from quasistatic.runs.conditioning import condition
        from quasistatic.runs.pixels import has_pictures, is_picture, names_of
        from quasistatic.runs.run import open_run, own_names

        run = open_run(self.run_folder)
        if run.name == "table":
            verb = type(self).__name__.lower()
            raise InputError(f"{verb} is for arrays and pictures: fill the gaps of a table with quasistatic impute")
        if self.out is None:
            own_names(self.run_folder, type(self).__name__.lower())
        observation, seen = self.observation(run)
        say(f"sampling {len(seen)} posteriors of {run.name}")
        out = self.out or self.run_folder / type(self).__name__.lower()
        answer = condition(
            run, observation, seen, out,
            n_particles=self.particles, n_steps=self.n_steps, seed=self.seed, draws=self.draws,
            names=names_of(self.input, len(seen)) if has_pictures(run.recipe) and is_picture(self.input) else None,
        )  # fmt: skip
        for sentence in answer["warnings"]:
            say(f"warning: {sentence}")
        return answer

    def tell(self, answer: dict[str, Any]) -> None:
        from quasistatic.reporting.text import text_table

        rows = [
            {"observation": i, "log evidence": f"{value:.4g} ± {_known(error)} nats", "effective sample size": f"{ess:.0f}"}
            for i, (value, error, ess) in enumerate(
                zip(answer["log_evidence"][:20], answer["log_evidence_error"], answer["ess"], strict=False)
            )
        ]
        print(text_table(rows, ["observation", "log evidence", "effective sample size"]))
        if answer["n"] > len(rows):
            print(f"and {answer['n'] - len(rows)} more")
        print(f"of {answer['particles']} particles each; {', '.join(answer['files'])} in {answer['folder']}")


def _known(error: float | None) -> str:
    """An error of two digits, or a question mark where there is none to trust."""
    return "?" if error is None or math.isnan(error) else f"{error:.2g}"


@dataclass
class Denoise(_Condition):
    """Sample what a noisy observation may have been, with weights and evidence.

    Example: quasistatic denoise runs/roll --input noisy.npy --noise-std 0.5
    """

    noise_std: float = tyro.MISSING
    """Standard deviation of the noise of every entry, in data units."""

    def observation(self, run: Run) -> tuple[Observation, Tensor]:
        from quasistatic.runs.conditioning import seen_through_noise

        return seen_through_noise(run, self.input, self.noise_std)


@dataclass
class Inpaint(_Condition):
    """Sample what is missing from an observation of which some entries are known.

    Example: quasistatic inpaint runs/roll --input rows.npy --mask known.npy
    """

    mask: Path | None = None
    """What is known: not zero, or bright in an image file; without it, all that is not nan."""

    def observation(self, run: Run) -> tuple[Observation, Tensor]:
        from quasistatic.runs.conditioning import seen_through_mask

        return seen_through_mask(run, self.input, self.mask)
