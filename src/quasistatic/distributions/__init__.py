r"""Probability distributions over batches of events.

A distribution holds one distribution for each row. Parameters are batch first, with any event shape behind. Results
that are one number for each row have shape ``(batch,)`` and are in nats. These families are enough for all processes
and for mixtures of their kernels:

=============================  ==================================================  ============
class                          one row                                             ``has_kl``
=============================  ==================================================  ============
:class:`Gaussian`              :math:`\mathcal{N}(\mu, \mathrm{diag}\,v)`          yes
:class:`MultivariateGaussian`  :math:`\mathcal{N}(\mu, L L^\top)`                  yes
:class:`Bernoulli`             :math:`\prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}`       yes
:class:`Categorical`           :math:`\prod_i p_{i, x_i}`                          yes
:class:`Masked`                classes, some of which are masked                   yes
:class:`Joint`                 :math:`\prod_b p_b(x_b)`                            of its parts
:class:`Mixture`               :math:`\sum_m w_m\, c_m(x)`                         no
=============================  ==================================================  ============

Where ``has_kl`` is false there is no closed form, and the bound scores the distribution at a draw instead.
"""

from quasistatic.distributions.base import Distribution
from quasistatic.distributions.discrete import Bernoulli, Categorical, one_hot
from quasistatic.distributions.factors import EntryFactor, KnownValues, MeasuredEntries, ValueFactor
from quasistatic.distributions.gaussian import Gaussian, MultivariateGaussian
from quasistatic.distributions.joint import Joint
from quasistatic.distributions.masked import Masked
from quasistatic.distributions.mixture import Mixture
from quasistatic.linalg import LOG_2PI

__all__ = [
    "LOG_2PI",
    "Bernoulli",
    "Categorical",
    "Distribution",
    "EntryFactor",
    "Gaussian",
    "Joint",
    "KnownValues",
    "Masked",
    "MeasuredEntries",
    "Mixture",
    "MultivariateGaussian",
    "ValueFactor",
    "one_hot",
]
