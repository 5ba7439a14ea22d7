"""Denoisers of classes: the law of x_0 given x_t, sent through the forward posterior."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from quasistatic.distributions import Categorical, Masked, one_hot
from quasistatic.errors import InputError
from quasistatic.forward import CategoricalDiffusion
from quasistatic.reverse.kernel import NetworkKernel
from quasistatic.storage.modules import saveable

__all__ = ["CategoricalDenoiser"]


@saveable
class CategoricalDenoiser(NetworkKernel):
    r"""Independent classes for x_0 given x_t, and from them the kernel of any step.

    The network corrects the exact answer for independent entries of the given rates: for each entry

    .. math:: \log \hat p(x_0 = k \mid x_t) = \log \mathrm{rate}_k + \log q(x_t \mid x_0 = k) + u_t F_k + \mathrm{const},

    where :math:`u_t` is the evidence of one class (:meth:`CategoricalDiffusion.evidence_of_one_class`; one for an
    absorbing process). F starts at zero, so a zero network is already the exact model of independent entries. The
    kernel averages the forward posterior, :math:`\sum_{x_0} \hat p(x_0 \mid x_t)\, q(x_{t-1} \mid x_t, x_0)`. Under an
    absorbing process only masked entries are predicted, and the KL of a step is :math:`-\log \hat p(x_0 \mid x_t)` of
    these, times the probability :math:`(\bar\alpha_{t-1} - \bar\alpha_t) / (1 - \bar\alpha_t)` of being shown.

    The network sees :meth:`inputs`, a one-hot picture of the state with the classes as channels, and answers in the
    same order: K blocks of d corrections, as an image network's (batch, K C, H, W) is when flattened.

    Parameters
    ----------
    diffusion : CategoricalDiffusion
    network : Module
        (batch, K c, \*rest) for events (c, \*rest), time -> (batch, :meth:`n_outputs`). One block less than K will do as
        well: the correction of class 0 is zero then.
    rate : Tensor, shape (K,) or (\*event, K)
        Rates of the classes in the data, for all entries or for each, positive.

    Examples
    --------
    Untrained, it knows independent classes exactly: the last step back from a mask is their rates.

    >>> from quasistatic.networks import ResidualMLP
    >>> q = CategoricalDiffusion(torch.tensor([1.0]), n_classes=3, kind="absorbing")
    >>> net = ResidualMLP(2 * 3, CategoricalDenoiser.n_outputs(2, 3))
    >>> kernel = CategoricalDenoiser(q, net, rate=torch.tensor([0.2, 0.2, 0.6]))
    >>> [round(p, 4) for p in kernel(torch.full((1, 2), 3.0), t=1).dense().log_probs.exp()[0, 0].tolist()]
    [0.2, 0.2, 0.6, 0.0]
    """

    process: CategoricalDiffusion  # type: ignore[assignment]
    rate: Tensor

    def __init__(self, process: CategoricalDiffusion, network: nn.Module, rate: Tensor) -> None:
        super().__init__()
        k = process.n_classes
        if rate.shape[-1:] != (k,) or not (rate > 0).all():
            raise InputError(f"rate must be positive and of shape (..., {k}), got {tuple(rate.shape)}: {rate.tolist()}")
        self.process = process
        self.network = network
        self.register_buffer("rate", rate.double(), persistent=False)
        if event := tuple(rate.shape[:-1]):
            self._check_network(event, math.prod(event) * k, math.prod(event) * (k - 1))

    @staticmethod
    def n_outputs(n_dims: int, n_classes: int) -> int:
        """Outputs the network must have: d K, or for two classes one logit for each entry, d."""
        return n_dims * (n_classes if n_classes > 2 else 1)

    def inputs(self, x_t: Tensor) -> Tensor:
        r"""One-hot state, (batch, K c, \*rest) for events (c, \*rest), zeros where it is masked."""
        seen = one_hot(x_t, self.process.n_classes).movedim(-1, 1)
        return seen.flatten(1, 2) if seen.dim() > 2 else seen

    def law(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Categorical | Masked:
        return self.process.posterior(self._data(out, x_t, t), x_t, t)

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Categorical:
        r"""Law of the data, :math:`\hat p(x_0 \mid x_t)`: independent classes."""
        return self._data(self.ask(x_t, t), x_t, t)

    def _data(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Categorical:
        known = self.rate.log().to(x_t.dtype) + self.process.log_likelihood(x_t, t)
        others = out.view(len(x_t), -1, *x_t.shape[1:]).movedim(1, -1)
        if others.shape[-1] == self.process.n_classes - 1:
            others = pad(others, (1, 0))
        return Categorical(torch.log_softmax(known + self._unit(x_t, t) * others, -1))

    def _unit(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """What the network's answers are counted in."""
        return self.process.evidence_of_one_class(x_t, t)
