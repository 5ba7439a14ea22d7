"""What a recipe is: data, model, training and the numbers to set beside the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Generator, Tensor

from quasistatic.forward import Diffusion
from quasistatic.model import DiffusionModel
from quasistatic.reverse import ReverseKernel
from quasistatic.train import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Recipe", "Splits"]


@dataclass(frozen=True)
class Splits:
    """Rows for training, for choosing, and for the one final measurement, in data units."""

    train: Tensor
    validation: Tensor
    test: Tensor
    names: tuple[str, ...] = ()

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

    unit: ClassVar[str] = "bits"
    """Of every number that is told."""

    @abstractmethod
    def splits(self, seed: int) -> Splits:
        """Load or draw the data. Test rows never depend on ``seed``."""

    @abstractmethod
    def build(self, splits: Splits) -> DiffusionModel:
        """Make the untrained model; random starts come from torch's global generator."""

    def place_steps(self, model: DiffusionModel, splits: Splits, generator: Generator) -> Diffusion | None:
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

    def limit(self, model: DiffusionModel, first_step: str) -> float | None:
        """Bound of :meth:`exact_kernel`, nats."""
        return None

    def paper(self) -> float | None:
        """The paper's number for this experiment, in ``unit``."""
        return None

    def baseline(self, splits: Splits, x: Tensor) -> tuple[str, Tensor] | None:
        """Name a model to be compared with, and give its log density of each row, (n,), nats."""
        return None

    def figures(self, model: DiffusionModel, splits: Splits, generator: Generator) -> dict[str, Figure]:
        """Pictures of this experiment, by file name."""
        return {}


def seeded(seed: int) -> Generator:
    """Make a generator with this seed."""
    return torch.Generator().manual_seed(seed)
