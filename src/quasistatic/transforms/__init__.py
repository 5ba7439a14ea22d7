r"""Changes of variables between data units and model units.

``forward(x)`` returns ``(z, log_det)`` with :math:`\log p_x(x) = \log p_z(z) + \text{log\_det}`, so that a number
in data units is a density of the data; ``inverse(z)`` maps back. All work in float64.

**Integers** such as 8-bit grey levels have a likelihood in one of two senses, which are never mixed:

- ``Chain(Dequantise(256), Affine(...))``: a *density* of integers plus uniform noise. With unit variance in z, the
  paper's K is that density in z, in bits per pixel, higher is better.
- ``Levels(256)``: a *mass*. z is a grid of values without noise, p(x_0 | x_1) must give each of them a probability, and
  there is no Jacobian. As bits/dim it is minus its base-2 logarithm per entry, lower is better.

:func:`bits_per_dim_from_k` sets the first beside the second.
"""

from quasistatic.transforms.base import Chain, Elementwise, Transform
from quasistatic.transforms.columns import OnColumns
from quasistatic.transforms.integers import Dequantise, HistogramGaussianizer, Levels, bits_per_dim_from_k
from quasistatic.transforms.linear import Affine, Whiten
from quasistatic.transforms.missing import Complete
from quasistatic.transforms.power import YeoJohnson

__all__ = [
    "Affine",
    "Chain",
    "Complete",
    "Dequantise",
    "Elementwise",
    "HistogramGaussianizer",
    "Levels",
    "OnColumns",
    "Transform",
    "Whiten",
    "YeoJohnson",
    "bits_per_dim_from_k",
]
