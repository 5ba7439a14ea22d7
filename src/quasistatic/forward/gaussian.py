"""Gaussian forward process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from quasistatic.distributions import Distribution, Gaussian
from quasistatic.forward.base import ForwardProcess
from quasistatic.forward.coefficients import shifted
from quasistatic.storage.modules import saveable

__all__ = ["GaussianDiffusion"]


@saveable
class GaussianDiffusion(ForwardProcess):
    r"""Forward process that adds Gaussian noise to real vectors.

    One step shrinks the state and adds noise of the variance that is lost,

    .. math:: q(x_t \mid x_{t-1}) = \mathcal{N}(x_t;\, \sqrt{1-\beta_t}\,x_{t-1},\, \beta_t I),

    hence :math:`q(x_t \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\,x_0,\, (1-\bar\alpha_t) I)`.
    The data should have zero mean and unit mean square. Then the KL of x_T from the stationary distribution is small.

    The :meth:`coefficients` of a step are

    ``shrink``, ``rate``
        :math:`\sqrt{1 - \beta_t}` and :math:`\beta_t`.
    ``sqrt_alpha_bar``, ``noise``
        :math:`\sqrt{\bar\alpha_t}` and :math:`1 - \bar\alpha_t`.
    ``x_0_share``, ``x_t_share``, ``posterior_var``
        The posterior has the mean ``x_0_share * x_0 + x_t_share * x_t`` and this variance.
    ``state_share``, ``correction_share``, ``correction_share_square``
        The posterior mean at :math:`x_0 = \sqrt{\bar\alpha_t} x_t + \sqrt{1 - \bar\alpha_t} F` is
        ``state_share * x_t + correction_share * F``.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Diffusion rates of steps 1 to T, each strictly between 0 and 1.

    References
    ----------
    Sohl-Dickstein et al. (2015), Section 2.1 and Table App. 1.

    Examples
    --------
    The variance that the signal loses is added as noise:

    >>> q = GaussianDiffusion(beta=torch.tensor([0.25, 0.5]))
    >>> q.alpha_bar.tolist()
    [1.0, 0.75, 0.375]
    >>> q.marginal(torch.full((1, 3), 2.0), t=torch.tensor([2])).var.tolist()
    [[0.625, 0.625, 0.625]]
    """

    _groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "step": ("shrink", "rate"),
        "marginal": ("sqrt_alpha_bar", "noise"),
        "posterior": ("x_0_share", "x_t_share", "posterior_var"),
        "reverse": ("posterior_var", "state_share", "correction_share", "correction_share_square"),
    }

    def __init__(self, beta: Tensor) -> None:
        super().__init__(beta)
        now, before = slice(1, None), slice(None, -1)
        signal, noise, rate = self.alpha_bar, self.noise_bar, self.beta
        x_0_share = shifted(signal[before].sqrt() * rate[now] / noise[now], 1.0)
        x_t_share = shifted((1 - rate[now]).sqrt() * noise[before] / noise[now], 0.0)
        correction_share = x_0_share * shifted(noise[now].sqrt(), 0.0)
        self._keep_coefficients(
            {
                "shrink": (1 - rate).sqrt(),
                "rate": rate,
                "sqrt_alpha_bar": signal.sqrt(),
                "noise": noise,
                "x_0_share": x_0_share,
                "x_t_share": x_t_share,
                "posterior_var": shifted(rate[now] * noise[before] / noise[now], 0.0),
                "state_share": x_0_share * signal.sqrt() + x_t_share,
                "correction_share": correction_share,
                "correction_share_square": correction_share.square(),
            }
        )

    def with_beta(self, beta: Tensor) -> GaussianDiffusion:
        return GaussianDiffusion(beta.to(self.beta.device))

    def stationary(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Gaussian:
        mean = torch.zeros(*shape, dtype=dtype, device=self.beta.device)
        return Gaussian(mean, torch.ones_like(mean))

    def step(self, x_prev: Tensor, t: int | Tensor) -> Gaussian:
        shrink, rate = self._at(t, x_prev, "step")
        return Gaussian(shrink * x_prev, rate)

    def marginal(self, x_0: Tensor, t: int | Tensor) -> Gaussian:
        signal, noise = self._at(t, x_0, "marginal")
        return Gaussian(signal * x_0, noise)

    def posterior(self, x_0: Tensor, x_t: Tensor, t: int | Tensor) -> Gaussian:
        x_0_share, x_t_share, var = self._at(t, x_t, "posterior")
        return Gaussian(torch.addcmul(x_0_share * x_0, x_t_share, x_t), var)

    def _posterior_over(self, given: Distribution, x_t: Tensor, t: int) -> Distribution:
        back, share = self.posterior(given.mean, x_t, t), self._at(t, x_t, "posterior")[0]
        return given.rescaled(back.mean, share, back.var)

    def _data_given_step(self, step: Distribution, x_t: Tensor, t: int, least: float) -> Distribution:
        back, share = self.posterior(torch.zeros_like(x_t), x_t, t), self._at(t, x_t, "posterior")[0]
        own = back.var[0].flatten()[0] / share.square()
        smallest = torch.minimum(least * own, self.noise_bar[t].to(own))
        return step.unscaled((step.mean - back.mean) / share, share, own, smallest)
