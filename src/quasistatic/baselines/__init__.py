"""Models to be compared with: each answers with log densities per example, in nats and data units.

``GaussianMixtureBaseline``          for vectors: a mixture after the diffusion's own change of variables
``MCGSM``                            for textures: every pixel given those before it, a normalised joint density
``parzen_log_prob``, ``choose_sd``   the Parzen window of older papers: a density of a model's samples, not of the model
"""

from quasistatic.baselines.gaussian_mixture import GaussianMixtureBaseline
from quasistatic.baselines.mcgsm import MCGSM, ConditionalGSM
from quasistatic.baselines.parzen import choose_sd, parzen_log_prob

__all__ = ["MCGSM", "ConditionalGSM", "GaussianMixtureBaseline", "choose_sd", "parzen_log_prob"]
