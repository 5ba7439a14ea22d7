"""Reverse kernels p(x_{t-1} | x_t): what is learned.

Calling a kernel returns a distribution, so what is learned and what is probability meet at one line. The paper's
:class:`PaperKernel` corrects the forward kernel and holds parameters for each step; denoisers
(:class:`GaussianDenoiser`, :class:`BernoulliDenoiser`, :class:`CategoricalDenoiser`, and
:class:`MixedDenoiser` for tables of them all) predict x_0 and send it through
the forward posterior, so one network serves every T, and :meth:`ReverseKernel.on` moves it to another grid of steps.
"""

from quasistatic.reverse.bernoulli import BernoulliDenoiser
from quasistatic.reverse.categorical import CategoricalDenoiser
from quasistatic.reverse.cosine import CosineBase
from quasistatic.reverse.first_step import FixedFirstStep
from quasistatic.reverse.gaussian import GaussianDenoiser
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.kernel import NetworkKernel, ReverseKernel
from quasistatic.reverse.mixed import MixedDenoiser
from quasistatic.reverse.paper import PaperKernel
from quasistatic.reverse.wiener import WienerBase

__all__ = [
    "BernoulliDenoiser",
    "CategoricalDenoiser",
    "CosineBase",
    "FixedFirstStep",
    "GaussianDenoiser",
    "ImageDenoiser",
    "MixedDenoiser",
    "NetworkKernel",
    "PaperKernel",
    "ReverseKernel",
    "WienerBase",
]
