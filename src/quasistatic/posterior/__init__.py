"""Posterior samples p(x | observation) by sequential Monte Carlo along the reverse chain."""

from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning
from quasistatic.posterior.smc import posterior_sample
from quasistatic.posterior.twisting import TwistedKernel

__all__ = ["PosteriorSamples", "PosteriorWarning", "TwistedKernel", "posterior_sample"]
