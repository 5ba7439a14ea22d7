r"""Probability distributions over batches of events: what every kernel returns.

A distribution holds one law per row: parameters are batch first, any event shape behind, and every
result that is a number per row has shape ``(batch,)`` and is in nats. These families are enough for all
processes and for mixtures of their kernels:

============================  ==================================================  ============
class                         law of one row                                      ``has_kl``
============================  ==================================================  ============
:class:`Gaussian`             :math:`\mathcal{N}(\mu, \mathrm{diag}\,v)`          yes
:class:`MultivariateGaussian`         :math:`\mathcal{N}(\mu, L L^\top)`                  yes
:class:`Bernoulli`            :math:`\prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}`       yes
:class:`Categorical`          :math:`\prod_i p_{i, x_i}`                          yes
:class:`Masked`               the same, but for a share that is masked            yes
:class:`Mixture`              :math:`\sum_m w_m\, c_m(x)`                         no
============================  ==================================================  ============

Where ``has_kl`` is false there is no closed form, and the bound scores the law at a draw instead.
"""

from quasistatic.distributions.base import LOG_2PI, Distribution
from quasistatic.distributions.compound import Joint, Mixture
from quasistatic.distributions.discrete import Bernoulli, Categorical, Masked, one_hot
from quasistatic.distributions.gaussian import Gaussian, MultivariateGaussian

__all__ = [
    "LOG_2PI",
    "Bernoulli",
    "Categorical",
    "Distribution",
    "Gaussian",
    "Joint",
    "Masked",
    "Mixture",
    "MultivariateGaussian",
    "one_hot",
]
