"""The paper's fixed first step."""

from __future__ import annotations

from torch import Tensor

from quasistatic.distributions import Distribution
from quasistatic.forward import ForwardProcess
from quasistatic.reverse.kernel import ReverseKernel
from quasistatic.storage.modules import saveable

__all__ = ["FixedFirstStep"]


@saveable
class FixedFirstStep(ReverseKernel):
    r"""A kernel whose last step to the data is not learned: the paper's edge (eq. 44).

    .. math:: p(x_0 \mid x_1) = q(x_1 \mid x_0)\, \pi(x_0) / \pi(x_1) = T_\pi(x_0 \mid x_1; \beta_1),

    the forward step run backwards. All other steps are those of ``kernel``. Under it the bound cannot pass
    :math:`-H(X_1)`, so beta_1 alone sets a ceiling of about :math:`-\frac12 \log_2 2\pi e \beta_1` bits a dimension.

    Parameters
    ----------
    kernel : ReverseKernel
    diffusion : Diffusion
    """

    first_step = "fixed"

    def __init__(self, kernel: ReverseKernel, process: ForwardProcess) -> None:
        super().__init__()
        self.kernel = kernel
        self.process = process

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        """Law of one step back; a batch holds either first steps only or none."""
        first = t == 1 if isinstance(t, int) else (t == 1).all()
        if first:
            return self.process.step(x_t, t)
        if isinstance(t, Tensor) and (t == 1).any():
            raise ValueError("under a stationary first step a batch must not mix t = 1 with other steps")
        return self.kernel(x_t, t)

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Distribution | None:
        return self.kernel.denoise(x_t, t)

    def on(self, process: ForwardProcess) -> FixedFirstStep:
        if process is self.process:
            return self
        return FixedFirstStep(self.kernel.on(process), process)
