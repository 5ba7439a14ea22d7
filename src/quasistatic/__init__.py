"""Generative models with a normalised likelihood, from diffusion: bits, samples, posteriors.

>>> import quasistatic as qs
>>> qs.GaussianDiffusion(qs.schedules.geometric(40)).n_steps
40
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# where each public name lives; modules are imported when a name is first used, so that this import is light
_HOMES = {
    "distributions": ("Bernoulli", "Joint", "Categorical", "Distribution", "MultivariateGaussian", "Gaussian", "Mixture"),
    "forward": ("BernoulliDiffusion", "CategoricalDiffusion", "ForwardProcess", "GaussianDiffusion", "MixedDiffusion"),
    "networks": ("MultiscaleNetwork", "NormalisedRBF", "ResidualMLP", "PerStepMLP", "UNet"),
    "reverse": (
        "BernoulliDenoiser", "CategoricalDenoiser", "GaussianDenoiser", "ImageDenoiser", "MixedDenoiser",
        "PaperKernel", "ReverseKernel", "FixedFirstStep",
    ),
    "transforms": ("Affine", "Chain", "Dequantise", "HistogramGaussianizer", "Whiten"),
    "estimate": ("Estimate", "paired_difference"),
    "likelihood.bound": ("Bound", "elbo", "null_log_prob"),
    "likelihood.importance": ("importance_weighted_log_prob",),
    "likelihood.estimators": ("TimestepSampler", "estimate_elbo"),
    "likelihood.entropy": ("ReverseEntropyBounds", "reverse_entropy_bounds"),
    "likelihood.exact": ("ExactBernoulliKernel", "ExactGaussianMixtureKernel", "kl_to_exact"),
    "sample": ("sample_ancestral", "reverse_trajectory"),
    "likelihood.schedule_search": ("learn_schedule", "optimal_schedule"),
    "posterior.observations": (
        "BitFlipChannel", "Blur", "Downsample", "Observation", "GaussianMeasurement", "KnownEntries", "LogFactor",
        "JointObservation",
    ),
    "posterior": ("PosteriorSamples", "PosteriorWarning", "TwistedKernel", "posterior_sample"),
    "model": ("DiffusionModel",),
    "loading": ("load",),
    "train": ("TrainConfig", "fit"),
    "estimator": ("DiffusionDensity",),
    "errors": ("InputError",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = (*(home for home in _HOMES if "." not in home), "schedules", "datasets", "baselines", "plots", "recipes")

__all__ = [*sorted(_HOME_OF), "schedules"]

if TYPE_CHECKING:
    from quasistatic import schedules as schedules
    from quasistatic.likelihood.bound import Bound as Bound
    from quasistatic.likelihood.bound import elbo as elbo
    from quasistatic.loading import load as load
    from quasistatic.model import DiffusionModel as DiffusionModel


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f"quasistatic.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"quasistatic.{name}")
    raise AttributeError(f"module 'quasistatic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
