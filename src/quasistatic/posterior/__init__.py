"""Posterior samples by sequential Monte Carlo."""

from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning
from quasistatic.posterior.smc import posterior_sample
from quasistatic.posterior.twisting import TwistedKernel

__all__ = ["PosteriorSamples", "PosteriorWarning", "TwistedKernel", "posterior_sample"]
