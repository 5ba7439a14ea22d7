"""Training: one loop for one process or many, which stops and goes on without a trace."""

from quasistatic.train.config import TrainConfig
from quasistatic.train.engine import Engine
from quasistatic.train.scalars import Scalars
from quasistatic.train.source import Augment
from quasistatic.train.trainer import fit

__all__ = ["Augment", "Engine", "Scalars", "TrainConfig", "fit"]
