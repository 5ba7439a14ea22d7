"""The interface of a recipe: data, model, training, references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quasistatic.checks import MOST, MOST_DEPTH, MOST_STEPS, MOST_WIDTH, instance_of, real_number, whole_number
from quasistatic.forward import ForwardProcess
from quasistatic.model import DiffusionModel
from quasistatic.reverse import ReverseKernel
from quasistatic.train import Augment, TrainConfig
from quasistatic.train.source import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FirstStep", "Recipe", "Splits", "seeded"]

FirstStep = Literal["learned", "fixed"]

# least values of settings, in every recipe that has them
LEAST = {
    "n_trajectories": 0, "log_prob_rows": 1, "n_timesteps": 0, "blocks": 1, "size": 4, "n_images": 1, "sample_steps": 1,
    "n_draws": 1, "n_steps": 2, "n_components": 1, "members": 1, "width": 1, "depth": 1,
    "n_fourier": 0, "n_hidden": 1, "n_bumps": 1, "conv_layers": 0, "conv_width": 1, "n_scales": 1, "dense_layers": 0,
    "dense_width": 1, "dense_features": 1, "pixel_layers": 0, "pixel_width": 1, "samples_every": 0, "crop": 0, "levels": 2,
    "picture": 8, "filled": 1,
    "n_train": 2, "n_validation": 2, "n_test": 2, "split_seed": 0,
}  # fmt: skip
POSITIVE = ("noise", "prior", "ridge")
MOST_OF = {"n_steps": MOST_STEPS, "width": MOST_WIDTH, "depth": MOST_DEPTH, "members": 1000}


@dataclass(frozen=True)
class Splits:
    """Rows for training, validation and test, in data units."""

    train: Tensor
    validation: Tensor
    test: Tensor
    names: tuple[str, ...] = ()
    mean: float = 0.0
    sd: float = 1.0
    """Rows are (raw - mean) / sd of the file's values, where the recipe scales them."""
    source: Rows | None = None
    """Source of training rows, where they do not fit into ``train`` or are drawn anew."""

    def rows(self, split: str) -> Tensor:
        """Return the rows of a split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


@dataclass(frozen=True)
class Recipe(ABC):
    """An experiment that ``quasistatic train NAME`` runs."""

    train: TrainConfig = field(default_factory=TrainConfig)
    n_trajectories: int = 100
    """Trajectories of the importance-weighted estimate."""
    log_prob_rows: int = 2000
    """Number of test rows of the importance-weighted estimate."""
    n_draws: int = 1
    """Draws of the transform's noise for each evaluated row; they are averaged."""

    n_timesteps: int = 0
    """Timesteps of each row that the bound is estimated from, stratified; 0 for the whole chain."""

    unit: ClassVar[str] = "bits"
    """Unit of all reported numbers."""
    scaled_by_data: ClassVar[bool] = False
    """Whether conversion to pictures needs the mean and scale of the splits."""
    has_fixed_first_step: ClassVar[bool] = True
    """Whether the paper's fixed first step is defined: not for masked data, nor for levels."""

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if value is None:
                continue
            if name in LEAST:
                whole_number(name, value, LEAST[name], MOST_OF.get(name, MOST))
            elif name in POSITIVE:
                real_number(name, value, above=0.0)
            elif name == "dropout":
                real_number(name, value, least=0.0, below=1.0)
            elif isinstance(value, float):
                real_number(name, value)
            elif name == "widths":
                for width in instance_of(name, value, (tuple, list), "a list of whole numbers"):
                    whole_number("each of widths", width, 1, MOST_WIDTH)

    def fingerprint(self) -> str | None:
        """Return the SHA-256 of the user's data file, or None.

        A changed file would give different splits.
        """
        return None

    @abstractmethod
    def splits(self, seed: int) -> Splits:
        """Load or generate the data.

        Test rows do not depend on ``seed``.
        """

    @abstractmethod
    def build(self, splits: Splits) -> DiffusionModel:
        """Build the untrained model.

        Random initial weights come from torch's global generator.
        """

    def training(self, splits: Splits) -> TrainConfig:
        """Return the settings of the training loop for this data."""
        return self.train

    def settings_note(self) -> str | None:
        """Return a note about the settings for the help, or None."""
        return None

    def note(self) -> str | None:
        """Return what to print about the data before training, or None."""
        return None

    def augment(self, splits: Splits) -> Augment | None:
        """Return a random change of training rows, or None."""
        return None

    def place_steps(self, model: DiffusionModel, splits: Splits, generator: Generator) -> ForwardProcess | None:
        """Compute a new schedule for a trained model, or None.

        It uses training rows only.
        """
        return None

    def true_log_prob(self, x: Tensor) -> Tensor | None:
        """Compute the true log probability of each row.

        Returns (n,), nats, or None where the distribution of the data is not known.
        """
        return None

    def truth(self) -> float | None:
        """Return the mean true log probability, nats, or None.

        It is minus the entropy of the data.
        """
        return None

    def exact_kernel(self, model: DiffusionModel) -> ReverseKernel | None:
        """Return the best kernel of the model's family, or None.

        With :meth:`limit` it is a control variate of the bound.
        """
        return None

    def limit(self, model: DiffusionModel, first_step: FirstStep) -> float | None:
        """Return the bound of :meth:`exact_kernel`, nats."""
        return None

    def paper(self) -> float | None:
        """Return the paper's number in ``unit``, or None."""
        return None

    def baseline(self, splits: Splits, x: Tensor) -> tuple[str, Tensor] | None:
        """Evaluate a model for comparison.

        Returns its name and its log density of each row, (n,), nats, or None.
        """
        return None

    def converted(self, splits: Splits, value: float) -> dict[str, float]:
        """Convert a bound to other conventions, by their names.

        Each conversion is a shift and a scale.
        """
        return {}

    def null_log_prob(self, model: DiffusionModel, x: Tensor, generator: Generator) -> Tensor:
        """Compute the log likelihood under the null model.

        Returns (n,), nats.
        """
        return model.null_log_prob(x, generator=generator)

    def draw(self, model: DiffusionModel, n: int, generator: Generator) -> Tensor:
        """Draw samples in data units."""
        return model.sample(n, generator=generator)

    def check_samples(self, x: Tensor, splits: Splits) -> dict[str, Any]:
        """Compare samples with known properties of the data."""
        raise NotImplementedError

    def shown(self, x: Tensor, splits: Splits | None) -> NDArray[Any] | None:
        """Convert rows to pictures with values from 0 to 1.

        Returns (n, h, w) or (n, h, w, 3), or None where rows are not pictures.
        """
        return None

    def to_grey(self, x: Tensor, splits: Splits | None) -> Tensor | None:
        """Convert rows to 8-bit values.

        Returns (n, channels, h, w) from 0 to 255, or None where rows are not pictures.
        """
        return None

    def background_colour(self) -> str:
        """Return the colour behind transparent pixels."""
        return "white"

    def from_grey(self, pixels: Tensor, splits: Splits | None) -> Tensor:
        """Convert 8-bit values to data units.

        This is the inverse of :meth:`to_grey`.
        """
        return pixels

    def progress_figure(self, model: DiffusionModel, splits: Splits, step: int) -> Figure | None:
        """Draw samples during the training, or return None."""
        return None

    def cells(self, x: Tensor) -> tuple[tuple[str, ...], list[type], NDArray[Any]] | None:
        """Decode samples to the cells of a table.

        Returns names and types of columns and the cells, or None where the samples are the data.
        """
        return None

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        """Draw the figures of this experiment, by file name."""
        return {}


def seeded(seed: int) -> Generator:
    """Return a generator with this seed."""
    return torch.Generator().manual_seed(seed)
