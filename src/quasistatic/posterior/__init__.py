"""Posterior samples p(x | observation) by sequential Monte Carlo along the reverse chain."""

from quasistatic.posterior.result import Posterior, PosteriorWarning
from quasistatic.posterior.smc import posterior_sample
from quasistatic.posterior.twisting import TiltedKernel

__all__ = ["Posterior", "PosteriorWarning", "TiltedKernel", "posterior_sample"]
