"""Real vectors that fade into white noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from quasistatic.distributions import Distribution, Gaussian
from quasistatic.forward.base import ForwardProcess
from quasistatic.storage.modules import saveable

__all__ = ["GaussianDiffusion"]


@saveable
class GaussianDiffusion(ForwardProcess):
    r"""Fixed Gaussian process that carries data to unit white noise.

    One step shrinks the state and refills the lost variance with noise,

    .. math:: q(x_t \mid x_{t-1}) = \mathcal{N}(x_t;\, \sqrt{1-\beta_t}\,x_{t-1},\, \beta_t I),

    hence :math:`q(x_t \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\,x_0,\, (1-\bar\alpha_t) I)`.
    The data should have zero mean and unit mean square, so that little is left to erase.

    Parameters
    ----------
    beta : Tensor, shape (T,)
        Diffusion rates of steps 1 to T, each strictly between 0 and 1.

    References
    ----------
    Sohl-Dickstein et al. (2015), Section 2.1 and Table App. 1.

    Examples
    --------
    What the signal loses, the noise gains:

    >>> q = GaussianDiffusion(beta=torch.tensor([0.25, 0.5]))
    >>> q.alpha_bar.tolist()
    [1.0, 0.75, 0.375]
    >>> q.marginal(torch.full((1, 3), 2.0), t=torch.tensor([2])).var.tolist()
    [[0.625, 0.625, 0.625]]
    """

    _groups: ClassVar[dict[str, slice]] = {
        "step": slice(0, 2), "marginal": slice(2, 4), "posterior": slice(4, 7), "mixed": slice(6, 10),
    }  # fmt: skip

    def __init__(self, beta: Tensor) -> None:
        super().__init__(beta)
        now, before = slice(1, None), slice(None, -1)
        signal, noise, rate = self.alpha_bar, self.noise_bar, self.beta

        def after_data(values: Tensor, at_data: float) -> Tensor:
            return torch.cat([values.new_full((1,), at_data), values])

        # posterior mean: x_0 and x_t in these shares; its variance is beta_t scaled down by what is known of x_0
        share_0 = after_data(signal[before].sqrt() * rate[now] / noise[now], 1.0)
        share_t = after_data((1 - rate[now]).sqrt() * noise[before] / noise[now], 0.0)
        var = after_data(rate[now] * noise[before] / noise[now], 0.0)
        # the same for x_0 = signal x_t + sd F: shares of x_t and of F, whose square is that of var F
        sd_0 = after_data(noise[now].sqrt(), 0.0)
        whole, gain = share_0 * signal.sqrt() + share_t, share_0 * sd_0
        columns = [(1 - rate).sqrt(), rate, signal.sqrt(), noise, share_0, share_t, var, whole, gain, gain.square()]
        self.register_buffer("_table", torch.stack(columns, 1), persistent=False)

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
        share_0, share_t, var = self._at(t, x_t, "posterior")
        return Gaussian(torch.addcmul(share_0 * x_0, share_t, x_t), var)

    def _posterior_over(self, given: Distribution, x_t: Tensor, t: int) -> Distribution:
        back, share = self.posterior(given.mean, x_t, t), self._at(t, x_t, "posterior")[0]
        return given.rescaled(back.mean, share, back.var)

    def _data_given_step(self, step: Distribution, x_t: Tensor, t: int, least: float) -> Distribution:
        back, share = self.posterior(torch.zeros_like(x_t), x_t, t), self._at(t, x_t, "posterior")[0]
        own = back.var[0].flatten()[0] / share.square()
        smallest = torch.minimum(least * own, self.noise_bar[t].to(own))
        return step.unscaled((step.mean - back.mean) / share, share, own, smallest)
