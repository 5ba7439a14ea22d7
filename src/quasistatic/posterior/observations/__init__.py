"""What is known about x, as factors by which kernels are multiplied.

========================================  ==============================================================
:class:`KnownEntries`                     some entries exactly: inpainting, imputation
:class:`KnownColumns`                     the same of a mixed table, whose numbers are whitened
:class:`GaussianMeasurement`              y = A x + noise: denoising, deblurring, tomography
:class:`Blur`, :class:`Downsample`        operators A of images
:class:`BitFlipChannel`                   bits through a noisy channel
:class:`LogFactor`                        any log r(x), with gradient or without
``a & b``, :class:`JointObservation`      all of them at once
========================================  ==============================================================

:class:`~quasistatic.posterior.twisting.TwistedKernel` is the chain's kernel multiplied by one of them.
:func:`quasistatic.posterior.smc.posterior_sample` runs it with weights.
"""

from quasistatic.posterior.observations.base import Observation
from quasistatic.posterior.observations.columns import KnownColumns
from quasistatic.posterior.observations.flips import BitFlipChannel
from quasistatic.posterior.observations.function import LogFactor, as_observation
from quasistatic.posterior.observations.gaussian import GaussianMeasurement
from quasistatic.posterior.observations.joint import JointObservation
from quasistatic.posterior.observations.known import KnownEntries
from quasistatic.posterior.observations.operators import Blur, Downsample
from quasistatic.posterior.observations.tilt import Tilt

__all__ = [
    "BitFlipChannel",
    "Blur",
    "Downsample",
    "GaussianMeasurement",
    "JointObservation",
    "KnownColumns",
    "KnownEntries",
    "LogFactor",
    "Observation",
    "Tilt",
    "as_observation",
]
