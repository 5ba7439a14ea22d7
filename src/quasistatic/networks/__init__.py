"""Networks of the state and the time.

A network is called as ``network(x_t, time)`` with one time for each row, and returns (batch, n_out). Its attribute
``clock`` names that time: ``"log_snr"`` for networks that work for every T, ``"step"`` for the paper's, which hold
parameters for each step and so fix T (``n_steps``).
"""

from quasistatic.networks.base import Network
from quasistatic.networks.mlp import ResidualMLP
from quasistatic.networks.multiscale import MultiscaleNetwork
from quasistatic.networks.per_step import BumpReadout, PerStepMLP, PerStepReadout, bumps
from quasistatic.networks.rbf import NormalisedRBF
from quasistatic.networks.unet import UNet

__all__ = [
    "BumpReadout",
    "MultiscaleNetwork",
    "Network",
    "NormalisedRBF",
    "PerStepMLP",
    "PerStepReadout",
    "ResidualMLP",
    "UNet",
    "bumps",
]
