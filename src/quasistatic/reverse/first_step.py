"""The paper's fixed first step."""

from __future__ import annotations

from torch import Tensor

from quasistatic.checks import one_of
from quasistatic.distributions import Distribution
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.reverse.kernel import FirstStep, ReverseKernel
from quasistatic.storage.modules import saveable

__all__ = ["FixedFirstStep", "with_first_step"]


@saveable
class FixedFirstStep(ReverseKernel[ForwardProcess]):
    r"""A kernel with the paper's fixed first step (eq. 44).

    .. math:: p(x_0 \mid x_1) = q(x_1 \mid x_0)\, \pi(x_0) / \pi(x_1) = T_\pi(x_0 \mid x_1; \beta_1),

    the forward step run backwards. All other steps are those of ``kernel``. The bound is then at most
    :math:`-H(X_1)`, so that beta_1 alone sets a ceiling of about :math:`-\frac12 \log_2 2\pi e \beta_1` bits per dimension.

    Parameters
    ----------
    kernel : ReverseKernel
        Kernel of the steps t = 2..T.
    process : ForwardProcess, optional
        Steps to move the kernel to; its own if not given.
    """

    first_step: FirstStep = "fixed"

    def __init__(self, kernel: ReverseKernel, process: ForwardProcess | None = None) -> None:
        super().__init__(kernel.process if process is None else process)
        self.kernel = kernel.on(self.process)

    @property
    def n_components(self) -> int:  # type: ignore[override]
        """Components of the kernel's distributions."""
        return self.kernel.n_components

    def forward(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self.process.step(x_t, t) if self._at_first(t) else self.kernel(x_t, t)

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Distribution | None:
        return self.process.step(x_t, t) if self._at_first(t) else self.kernel.denoise(x_t, t)

    def _at_first(self, t: int | Tensor) -> bool:
        if isinstance(t, int):
            return t == 1
        first = t == 1
        if first.all():
            return True
        if first.any():
            raise InputError("a batch must not mix t = 1 with other steps under a fixed first step: split it")
        return False

    def check_event(self, event_shape: tuple[int, ...]) -> None:
        self.kernel.check_event(event_shape)

    def move_to(self, process: ForwardProcess) -> None:
        self.kernel = self.kernel.on(process)
        super().move_to(process)


def with_first_step(kernel: ReverseKernel, first_step: str) -> ReverseKernel:
    """Return a kernel with the learned or the fixed first step.

    Parameters
    ----------
    kernel : ReverseKernel
        A kernel that may have a fixed first step itself.
    first_step : {"learned", "fixed"}
        "learned" returns the kernel as it is.
    """
    one_of("first_step", first_step, ("learned", "fixed"))
    fixed = first_step == "fixed" and kernel.first_step != "fixed"
    return FixedFirstStep(kernel) if fixed else kernel
