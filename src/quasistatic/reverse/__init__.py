"""Reverse kernels p(x_{t-1} | x_t), the learned part of a model.

A kernel is called with a state and a step, and returns a distribution. The paper's :class:`PaperKernel` corrects the
forward kernel and holds parameters for each step. Denoisers (:class:`GaussianDenoiser`, :class:`BernoulliDenoiser`,
:class:`CategoricalDenoiser`, and :class:`MixedDenoiser` for tables of them all) predict x_0 and average the forward
posterior over the prediction. So one network works for every T, and :meth:`ReverseKernel.on` moves it to other steps.
"""

from quasistatic.reverse.bernoulli import BernoulliDenoiser
from quasistatic.reverse.categorical import CategoricalDenoiser
from quasistatic.reverse.cosine import CosineBase
from quasistatic.reverse.first_step import FixedFirstStep
from quasistatic.reverse.gaussian import GaussianDenoiser
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.kernel import Denoiser, NetworkKernel, ReverseKernel
from quasistatic.reverse.mixed import MixedDenoiser
from quasistatic.reverse.paper import PaperKernel
from quasistatic.reverse.wiener import WienerBase

__all__ = [
    "BernoulliDenoiser",
    "CategoricalDenoiser",
    "CosineBase",
    "Denoiser",
    "FixedFirstStep",
    "GaussianDenoiser",
    "ImageDenoiser",
    "MixedDenoiser",
    "NetworkKernel",
    "PaperKernel",
    "ReverseKernel",
    "WienerBase",
]
