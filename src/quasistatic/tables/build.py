"""Untrained diffusion model of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, ForwardProcess, GaussianDiffusion, MixedDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import MixedDenoiser
from quasistatic.schedules import geometric
from quasistatic.tables.columns import Column
from quasistatic.tables.preconditioner import TablePreconditioner

__all__ = ["Shape", "build_member"]


@dataclass(frozen=True)
class Shape:
    """Size of the network and the chain.

    Attributes
    ----------
    n_steps : int
        Steps T of the chain.
    n_components : int
        Components of each reverse kernel.
    width, depth : int
        Of the residual network.
    dropout : float
    covariance : {"diagonal", "full"}
        Of the Gaussian components.
    n_fourier : int
        Fourier features of each input.
    log_snr_max, log_snr_min : float
        Logarithm of the signal-to-noise ratio after the first step and after the last.
    """

    n_steps: int = 100
    n_components: int = 1
    width: int = 128
    depth: int = 3
    dropout: float = 0.1
    covariance: str = "diagonal"
    n_fourier: int = 0
    log_snr_max: float = 9.0
    log_snr_min: float = -6.0


def build_member(preconditioner: TablePreconditioner, columns: Sequence[Column], shape: Shape) -> DiffusionModel:
    """Build the untrained diffusion model behind a preconditioner.

    Parameters
    ----------
    preconditioner : TablePreconditioner
    columns : sequence of Column
        Coded columns.
    shape : Shape

    Returns
    -------
    DiffusionModel
        Random starts come from torch's global generator.
    """
    beta = geometric(shape.n_steps, shape.log_snr_max, shape.log_snr_min)
    parts: list[ForwardProcess] = []
    blocks: list[list[int]] = []
    if preconditioner.numeric:
        parts.append(GaussianDiffusion(beta))
        blocks.append(preconditioner.numeric)
    rates = dict(zip(preconditioner.discrete, preconditioner.rates, strict=True))
    bits = [i for i in rates if columns[i].kind == "binary"]
    if bits:
        parts.append(BernoulliDiffusion(beta, torch.stack([rates[i][1] for i in bits])))
        blocks.append(bits)
    for k in sorted({len(rates[i]) for i in rates if i not in bits}):
        block = [i for i in rates if i not in bits and len(rates[i]) == k]
        parts.append(CategoricalDiffusion(beta, k, rho=torch.stack([rates[i] for i in block])))
        blocks.append(block)
    process = MixedDiffusion(parts, blocks)
    n_out = MixedDenoiser.n_outputs(process, shape.covariance, shape.n_components)
    n_in = MixedDenoiser.n_inputs(process)
    network = ResidualMLP(n_in, n_out, shape.width, shape.depth, shape.n_fourier, shape.dropout)
    kernel = MixedDenoiser(process, network, shape.covariance, shape.n_components)
    return DiffusionModel(preconditioner, process, kernel, (len(columns),))
