r"""Conditional Gaussian scale mixture.

The formula is that of :mod:`quasistatic.baselines.mcgsm`.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from quasistatic.errors import InputError
from quasistatic.linalg import LOG_2PI
from quasistatic.storage.modules import saveable

__all__ = ["ConditionalGSM"]


@saveable
class ConditionalGSM(nn.Module):
    r"""Density of one number given a context vector.

    In its coordinates the context is white, and x is the residual of a linear regression with unit variance;
    :meth:`standardise` sets them. The untrained model predicts zero for every component, so one component of one scale *is*
    the normal distribution of the regression.

    Parameters
    ----------
    n_context : int
        Entries of the context; 0 for a plain scale mixture.
    n_components, n_scales : int
        K and S.

    Examples
    --------
    >>> model = ConditionalGSM(3, n_components=1, n_scales=1).double()
    >>> round(model.log_prob(torch.zeros(1).double(), torch.ones(1, 3).double()).item(), 4)      # -log(2 pi) / 2
    -0.9189
    """

    shift: Tensor
    whiten: Tensor
    regression: Tensor
    centre: Tensor
    log_sd: Tensor

    def __init__(self, n_context: int, n_components: int = 12, n_scales: int = 4) -> None:
        super().__init__()
        d, k, s = n_context, n_components, n_scales
        if d < 0 or k < 1 or s < 1:
            raise InputError(f"a conditional needs a context of 0 or more and 1 or more of components and scales, "
                             f"got {d}, {k} and {s}")  # fmt: skip
        self.register_buffer("shift", torch.zeros(d))
        self.register_buffer("whiten", torch.eye(d))
        self.register_buffer("regression", torch.zeros(d))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("log_sd", torch.zeros(()))
        # log precisions from contrasts of twice to a seventh of the regression's deviation
        log_precision = torch.linspace(-1.5, 4.0, s) if s > 1 else torch.zeros(1)
        self.alpha = nn.Parameter(log_precision.repeat(k, 1))
        self.eta = nn.Parameter(0.5 * d * self.alpha.detach())  # log of the gate's own normaliser
        self.predictor = nn.Parameter(torch.zeros(k, d))
        self.bias = nn.Parameter(torch.zeros(k))
        self.tilt = nn.Parameter(torch.zeros(k, d))
        self.beta = nn.Parameter(torch.ones(k, d))
        self.direction = nn.Parameter(torch.eye(d))

    def standardise(self, x: Tensor, context: Tensor) -> None:
        """Set the coordinates by the moments of pixels and contexts.

        Parameters
        ----------
        x : Tensor, shape (n,)
        context : Tensor, shape (n, n_context)

        Raises
        ------
        InputError
            If the regression leaves no variance.
        """
        x, context = x.double(), context.double()
        shift, centre = context.mean(0), x.mean()
        c, y = context - shift, x - centre
        values, vectors = torch.linalg.eigh(c.T @ c / len(c))
        floor = 1e-8 * values.sum() + torch.finfo(values.dtype).tiny  # directions without variance are not scaled up
        whiten = vectors * values.clamp_min(floor).rsqrt()
        white = c @ whiten
        regression = white.T @ y / len(c)
        var = (y - white @ regression).square().mean()
        if not 0 < var.item() < math.inf:
            raise InputError(
                f"a linear regression leaves variance {var.item()} of the pixels, but it must be positive and finite: "
                "add noise to the pixels"
            )
        for name, value in (("shift", shift), ("whiten", whiten), ("regression", regression), ("centre", centre)):
            getattr(self, name).copy_(value)
        self.log_sd.copy_(0.5 * var.log())

    def perturb(self, generator: Generator | None = None) -> None:
        """Add small random numbers to the parameters, so that components differ."""
        if len(self.bias) == 1:
            return
        with torch.no_grad():
            for parameter, sd in ((self.predictor, 0.05), (self.beta, 0.3), (self.direction, 0.1), (self.alpha, 0.3)):
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=sd)

    def _mixture(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised log weights (n, K, S), and means (n, K)."""
        c = (context - self.shift) @ self.whiten
        contrast = (c @ self.direction).square() @ self.beta.square().T
        energy = self.eta + (c @ self.tilt.T).unsqueeze(2) - 0.5 * self.alpha.exp() * contrast.unsqueeze(2)
        log_weight = torch.log_softmax(energy.flatten(1), 1).view_as(energy)
        regression = self.centre + c @ self.regression
        return log_weight, regression.unsqueeze(1) + self.log_sd.exp() * (c @ self.predictor.T + self.bias)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """Return the log density of each number given its context.

        Parameters
        ----------
        x : Tensor, shape (n,)
        context : Tensor, shape (n, n_context)

        Returns
        -------
        Tensor, shape (n,)
            Nats.
        """
        log_weight, mean = self._mixture(context)
        log_precision = self.alpha - 2.0 * self.log_sd
        square = (x.unsqueeze(1) - mean).square().unsqueeze(2)
        normal = 0.5 * (log_precision - square * log_precision.exp() - LOG_2PI)
        return torch.logsumexp((log_weight + normal).flatten(1), 1)

    def sample(self, context: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw one number for each context.

        Parameters
        ----------
        context : Tensor, shape (n, n_context)
        generator : Generator, optional

        Returns
        -------
        Tensor, shape (n,)
        """
        log_weight, mean = self._mixture(context)
        pick = torch.multinomial(log_weight.flatten(1).exp(), 1, generator=generator)
        noise = torch.randn(pick.shape, generator=generator, dtype=mean.dtype)
        sd = (self.log_sd - 0.5 * self.alpha).exp().flatten()[pick]
        return (mean.gather(1, pick // self.alpha.shape[1]) + sd * noise).squeeze(1)
