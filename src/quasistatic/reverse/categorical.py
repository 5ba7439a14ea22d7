"""Denoiser of classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from quasistatic.distributions import Categorical, Masked, one_hot
from quasistatic.errors import InputError
from quasistatic.forward import CategoricalDiffusion
from quasistatic.reverse.kernel import Denoiser
from quasistatic.storage.modules import saveable

__all__ = ["CategoricalDenoiser"]


@saveable
class CategoricalDenoiser(Denoiser[CategoricalDiffusion]):
    r"""Denoiser that predicts independent classes.

    The network corrects the exact prediction for independent entries of the given rates. For each entry

    .. math:: \log \hat p(x_0 = k \mid x_t) = \log \mathrm{rate}_k + \log q(x_t \mid x_0 = k) + u_t F_k + \mathrm{const},

    where :math:`u_t` is :meth:`CategoricalDiffusion.log_ratio_difference` (one for an absorbing process). F starts at
    zero. A zero network is thus the exact model of independent entries. The kernel averages the forward posterior,
    :math:`\sum_{x_0} \hat p(x_0 \mid x_t)\, q(x_{t-1} \mid x_t, x_0)`. Under an absorbing process only masked entries
    are predicted. The KL of a step is then :math:`-\log \hat p(x_0 \mid x_t)` of these, times the probability
    :math:`(\bar\alpha_{t-1} - \bar\alpha_t) / (1 - \bar\alpha_t)` that they are shown in this step.

    The network's input is :meth:`inputs`, the one-hot state with the classes as channels. Its outputs are in the same
    order: K blocks of d corrections, as the flattened (batch, K C, H, W) of an image network.

    Parameters
    ----------
    process : CategoricalDiffusion
        The process that the kernel reverses.
    network : Module
        (batch, K c, \*rest) for events (c, \*rest), time -> (batch, :meth:`n_outputs`). It may have K - 1 blocks of
        outputs; the correction of class 0 is zero then.
    rate : Tensor, shape (K,) or (\*event, K)
        Rates of the classes in the data, for all entries or for each, positive.

    Raises
    ------
    InputError
        If a rate is not positive, or the network does not fit.

    Examples
    --------
    Untrained, it is exact for independent classes: the last step back from a mask has their rates.

    >>> from quasistatic.networks import ResidualMLP
    >>> q = CategoricalDiffusion(torch.tensor([1.0]), n_classes=3, kind="absorbing")
    >>> net = ResidualMLP(2 * 3, CategoricalDenoiser.n_outputs(2, 3))
    >>> kernel = CategoricalDenoiser(q, net, rate=torch.tensor([0.2, 0.2, 0.6]))
    >>> [round(p, 4) for p in kernel(torch.full((1, 2), 3.0), t=1).dense().log_probs.exp()[0, 0].tolist()]
    [0.2, 0.2, 0.6, 0.0]
    """

    rate: Tensor

    def __init__(self, process: CategoricalDiffusion, network: nn.Module, rate: Tensor) -> None:
        super().__init__(process, network)
        k = process.n_classes
        if rate.shape[-1:] != (k,) or not (rate > 0).all():
            raise InputError(f"rate must be positive and of shape (..., {k}), got {tuple(rate.shape)}: {rate.tolist()}")
        self.register_buffer("rate", rate.double(), persistent=False)
        if event := tuple(rate.shape[:-1]):
            self._check_network(event, math.prod(event) * k, math.prod(event) * (k - 1))

    @staticmethod
    def n_outputs(n_dims: int, n_classes: int) -> int:
        """Return the number of outputs the network must have.

        It is d K, or d for two classes.

        Parameters
        ----------
        n_dims : int
            Entries d of one example.
        n_classes : int
            K.
        """
        return n_dims * (n_classes if n_classes > 2 else 1)

    def inputs(self, x_t: Tensor) -> Tensor:
        r"""Return the one-hot state, zero where it is masked.

        Events (c, \*rest) become (batch, K c, \*rest).
        """
        hot = one_hot(x_t, self.process.n_classes).movedim(-1, 1)
        return hot.flatten(1, 2) if hot.dim() > 2 else hot

    def distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Categorical | Masked:
        return self.process.posterior(self.data_distribution(out, x_t, t), x_t, t)

    def data_distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Categorical:
        prior = self.rate.log().to(x_t.dtype) + self.process.log_likelihood(x_t, t)
        correction = out.view(len(x_t), -1, *x_t.shape[1:]).movedim(1, -1)
        if correction.shape[-1] == self.process.n_classes - 1:
            correction = pad(correction, (1, 0))
        return Categorical(torch.log_softmax(prior + self._scale(x_t, t) * correction, -1))

    def _scale(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        """Return the scale of the network's logits."""
        return self.process.log_ratio_difference(x_t, t)
