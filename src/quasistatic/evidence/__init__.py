r"""What is known about x, and kernels multiplied by it.

========================================  ==============================================================
:class:`KnownEntries`                     some entries exactly: inpainting, imputation
:class:`KnownColumns`                     the same of a mixed table, whose numbers are whitened
:class:`GaussianMeasurement`              y = A x + noise: denoising, deblurring, tomography
:class:`Blur`, :class:`Downsample`        operators A of images
:class:`BitFlips`                         bits through a noisy channel
:class:`LogEvidence`                      any log r(x), with gradient or without
``a & b``, :class:`Product`               all of them at once
========================================  ==============================================================

:class:`TiltedKernel` is the chain's kernel multiplied by one of them; :func:`quasistatic.smc.posterior_sample` runs it
with weights.
"""

from quasistatic.evidence.base import Evidence, Product, Tilt
from quasistatic.evidence.columns import KnownColumns
from quasistatic.evidence.flips import BitFlips
from quasistatic.evidence.function import LogEvidence
from quasistatic.evidence.gaussian import GaussianMeasurement
from quasistatic.evidence.kernel import TiltedKernel
from quasistatic.evidence.known import KnownEntries
from quasistatic.evidence.operators import Blur, Downsample

__all__ = [
    "BitFlips",
    "Blur",
    "Downsample",
    "Evidence",
    "GaussianMeasurement",
    "KnownColumns",
    "KnownEntries",
    "LogEvidence",
    "Product",
    "Tilt",
    "TiltedKernel",
]
