r"""Forward processes: data diffused in T small steps to a distribution that can be written down.

A process is the chain :math:`q(x_t \mid x_{t-1})`, t = 1..T, that leaves :math:`\pi` unchanged and carries any
:math:`x_0` towards it. Four questions are all the rest of the library asks of it:

=============  ======================================  =======================
method         law                                     symbol
=============  ======================================  =======================
``stationary``  the noise end                          :math:`\pi(x_T)`
``step``        one step forwards                      :math:`q(x_t \mid x_{t-1})`
``marginal``    t steps at once                        :math:`q(x_t \mid x_0)`
``posterior``   one step back when the data is known   :math:`q(x_{t-1} \mid x_t, x_0)`
=============  ======================================  =======================

Steps count from one and ``t = 0`` is the data: tables have T + 1 entries and ``alpha_bar[0] == 1``. ``t`` is an
``int`` for a whole batch or a tensor of shape (batch,) with one step per row. Tables are kept in float64 whatever
the module is cast to, and read out in the dtype of the state.
"""

from quasistatic.forward.base import ForwardProcess, expand_right
from quasistatic.forward.bernoulli import BernoulliDiffusion
from quasistatic.forward.categorical import CategoricalDiffusion
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
