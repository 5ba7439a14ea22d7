"""Bounds on log p(x), importance-weighted estimates, exact models, entropies and schedules from the bound."""

from quasistatic.likelihood.elbo import Bound, elbo_terms, log_prob_estimate, null_log_prob
from quasistatic.likelihood.entropy import EntropyBand, entropy_band
from quasistatic.likelihood.estimators import StepSampler, quick_bound
from quasistatic.likelihood.exact import ExactBits, ExactGaussianMixture, shortfall
from quasistatic.likelihood.schedule_search import learn_schedule, regrid

__all__ = [
    "Bound",
    "EntropyBand",
    "ExactBits",
    "ExactGaussianMixture",
    "StepSampler",
    "elbo_terms",
    "entropy_band",
    "learn_schedule",
    "log_prob_estimate",
    "null_log_prob",
    "quick_bound",
    "regrid",
    "shortfall",
]
