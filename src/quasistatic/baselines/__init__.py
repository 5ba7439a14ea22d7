"""Baselines to compare a diffusion model with.

Their log densities are in nats and data units.

``GaussianMixtureBaseline``          for vectors: a mixture after the diffusion model's change of variables
``MCGSM``                            for textures: each pixel given the pixels before it
``parzen_log_prob``, ``choose_sd``   the Parzen window of older papers: a density of a model's samples
"""

from quasistatic.baselines.conditional_gsm import ConditionalGSM
from quasistatic.baselines.gaussian_mixture import GaussianMixtureBaseline
from quasistatic.baselines.mcgsm import MCGSM
from quasistatic.baselines.parzen import choose_sd, parzen_log_prob

__all__ = ["MCGSM", "ConditionalGSM", "GaussianMixtureBaseline", "choose_sd", "parzen_log_prob"]
