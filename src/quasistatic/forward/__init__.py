r"""Forward processes from data to a stationary distribution.

A process is a Markov chain :math:`q(x_t \mid x_{t-1})`, t = 1..T, with the stationary distribution :math:`\pi`. The rest
of the library uses four distributions of it:

==============  ======================================  ===============================
method          distribution                            symbol
==============  ======================================  ===============================
``stationary``  stationary distribution                 :math:`\pi(x_T)`
``step``        one step forwards                       :math:`q(x_t \mid x_{t-1})`
``marginal``    t steps at once                         :math:`q(x_t \mid x_0)`
``posterior``   one step back given the data            :math:`q(x_{t-1} \mid x_t, x_0)`
==============  ======================================  ===============================

Steps count from one and ``t = 0`` is the data. Arrays over t have T + 1 entries and ``alpha_bar[0] == 1``. ``t`` is an
``int`` for a whole batch or a tensor of shape (batch,) with one step for each row. The coefficients of the steps stay in
float64 when the module is cast. They are read in the precision of the state.
"""

from quasistatic.forward.base import ForwardProcess
from quasistatic.forward.bernoulli import BernoulliDiffusion
from quasistatic.forward.categorical import CategoricalDiffusion
from quasistatic.forward.coefficients import expand_right
from quasistatic.forward.gaussian import GaussianDiffusion
from quasistatic.forward.mixed import MixedDiffusion

__all__ = [
    "BernoulliDiffusion",
    "CategoricalDiffusion",
    "ForwardProcess",
    "GaussianDiffusion",
    "MixedDiffusion",
    "expand_right",
]
