"""What a recipe is: data, model, training and the numbers to set beside the result."""

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

# what settings of these names must be, in every recipe that has them
LEAST = {
    "n_trajectories": 0, "log_prob_rows": 1, "n_timesteps": 0, "blocks": 1, "size": 4, "n_images": 1, "sample_steps": 1,
    "n_draws": 1, "n_steps": 2, "n_components": 1, "members": 1, "width": 1, "depth": 1,
    "n_fourier": 0, "n_hidden": 1, "n_bumps": 1, "conv_layers": 0, "conv_width": 1, "n_scales": 1, "dense_layers": 0,
    "dense_width": 1, "dense_features": 1, "pixel_layers": 0, "pixel_width": 1, "sheet_every": 0, "crop": 0, "levels": 2,
    "picture": 8, "hole": 1,
    "n_train": 2, "n_validation": 2, "n_test": 2, "split_seed": 0,
}  # fmt: skip
POSITIVE = ("noise", "prior", "ridge")
MOST_OF = {"n_steps": MOST_STEPS, "width": MOST_WIDTH, "depth": MOST_DEPTH, "members": 1000}


@dataclass(frozen=True)
class Splits:
    """Rows for training, for choosing, and for the one final measurement, in data units."""

    train: Tensor
    validation: Tensor
    test: Tensor
    names: tuple[str, ...] = ()
    mean: float = 0.0
    sd: float = 1.0
    """Rows are (raw - mean) / sd of what was read, where that is known."""
    source: Rows | None = None
    """What training draws from, where that is more, or more varied, than ``train`` can hold."""

    def rows(self, split: str) -> Tensor:
        """Rows of a split by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


@dataclass(frozen=True)
class Recipe(ABC):
    """An experiment: everything that ``quasistatic train NAME`` needs to know."""

    train: TrainConfig = field(default_factory=TrainConfig)
    n_trajectories: int = 100
    """Of the importance-weighted estimate, unless asked for otherwise."""
    log_prob_rows: int = 2000
    """Test rows of the importance-weighted estimate."""
    n_draws: int = 1
    """Draws of a transform's noise for each row when measuring; they are averaged."""

    n_timesteps: int = 0
    """Steps of each row that the bound is estimated from, stratified; 0 for the whole chain."""

    unit: ClassVar[str] = "bits"
    """Of every number that is told."""
    scaled_by_data: ClassVar[bool] = False
    """Whether pictures of rows need the mean and scale of the splits."""
    has_edge: ClassVar[bool] = True
    """Whether the paper's fixed first step makes sense for this process: not for masks, nor for levels."""

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
        """Digest of a file of the user's that the rows come from: another one would be parted otherwise."""
        return None

    @abstractmethod
    def splits(self, seed: int) -> Splits:
        """Load or draw the data. Test rows never depend on ``seed``."""

    @abstractmethod
    def build(self, splits: Splits) -> DiffusionModel:
        """Make the untrained model; random starts come from torch's global generator."""

    def training(self, splits: Splits) -> TrainConfig:
        """Return the settings of the training loop for this data."""
        return self.train

    def settings_note(self) -> str | None:
        """Return what to print about the settings in the help of the command, or None."""
        return None

    def note(self) -> str | None:
        """Return what to print about the data before training, or None."""
        return None

    def augment(self, splits: Splits) -> Augment | None:
        """Draw other versions of training rows that are as good as they are; None for rows as they are."""
        return None

    def place_steps(self, model: DiffusionModel, splits: Splits, generator: Generator) -> ForwardProcess | None:
        """Place the steps for a trained or half-trained model, on training rows only; None leaves them."""
        return None

    def true_log_prob(self, x: Tensor) -> Tensor | None:
        """True log probability of each row, (n,), nats, where the law of the data is known."""
        return None

    def truth(self) -> float | None:
        """Exact mean of the true log probability (minus the entropy), nats, where known."""
        return None

    def exact_kernel(self, model: DiffusionModel) -> ReverseKernel | None:
        """Best kernel of the model's family, where known: with :meth:`limit` it makes a control variate."""
        return None

    def limit(self, model: DiffusionModel, first_step: FirstStep) -> float | None:
        """Bound of :meth:`exact_kernel`, nats."""
        return None

    def paper(self) -> float | None:
        """The paper's number for this experiment, in ``unit``."""
        return None

    def baseline(self, splits: Splits, x: Tensor) -> tuple[str, Tensor] | None:
        """Name a model to be compared with, and give its log density of each row, (n,), nats."""
        return None

    def converted(self, splits: Splits, value: float) -> dict[str, float]:
        """Tell a bound in the units of others, by their names; each is a shift and a scale of it."""
        return {}

    def null_log_prob(self, model: DiffusionModel, x: Tensor, generator: Generator) -> Tensor:
        """Log likelihood of the noise end as a model of the data, (n,), nats."""
        return model.null_log_prob(x, generator=generator)

    def draw(self, model: DiffusionModel, n: int, generator: Generator) -> Tensor:
        """Draw samples in data units."""
        return model.sample(n, generator=generator)

    def check_samples(self, x: Tensor, splits: Splits) -> dict[str, Any]:
        """Hold draws of the model, in data units, to what is known of the data."""
        raise NotImplementedError

    def shown(self, x: Tensor, splits: Splits | None) -> NDArray[Any] | None:
        """Turn rows in data units into pictures, (n, h, w) or (n, h, w, 3), from 0 to 1; None where they are none."""
        return None

    def to_grey(self, x: Tensor, splits: Splits | None) -> Tensor | None:
        """Turn rows in data units into 8-bit values, (n, channels, h, w), 0 to 255; None where they are no pictures."""
        return None

    def from_grey(self, pixels: Tensor, splits: Splits | None) -> Tensor:
        """Turn 8-bit values, 0 to 255, into data units; the inverse of :meth:`to_grey`."""
        return pixels

    def sheet(self, model: DiffusionModel, splits: Splits, step: int) -> Figure | None:
        """Draw what a model half trained makes, if it is this step's turn to be looked at."""
        return None

    def cells(self, x: Tensor) -> tuple[tuple[str, ...], list[type], NDArray[Any]] | None:
        """Names and types of columns, and cells of draws (n, d), where these are codes; None where they are the data."""
        return None

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        """Pictures of this experiment, by file name."""
        return {}


def seeded(seed: int) -> Generator:
    """Make a generator with this seed."""
    return torch.Generator().manual_seed(seed)
