"""Training of models, on one process or many."""

from quasistatic.train.config import TrainConfig
from quasistatic.train.engine import Engine
from quasistatic.train.fitting import fit
from quasistatic.train.scalars import Scalars
from quasistatic.train.source import Augment

__all__ = ["Augment", "Engine", "Scalars", "TrainConfig", "fit"]
