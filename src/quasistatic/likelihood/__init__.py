"""Bounds and estimates of log p(x)."""

from quasistatic.likelihood.bound import Bound, elbo, null_log_prob
from quasistatic.likelihood.entropy import ReverseEntropyBounds, reverse_entropy_bounds
from quasistatic.likelihood.estimators import TimestepSampler, estimate_elbo
from quasistatic.likelihood.exact import ExactBernoulliKernel, ExactGaussianMixtureKernel, kl_to_exact
from quasistatic.likelihood.importance import importance_weighted_log_prob
from quasistatic.likelihood.schedule_search import learn_schedule, optimal_schedule

__all__ = [
    "Bound",
    "ExactBernoulliKernel",
    "ExactGaussianMixtureKernel",
    "ReverseEntropyBounds",
    "TimestepSampler",
    "elbo",
    "estimate_elbo",
    "importance_weighted_log_prob",
    "kl_to_exact",
    "learn_schedule",
    "null_log_prob",
    "optimal_schedule",
    "reverse_entropy_bounds",
]
