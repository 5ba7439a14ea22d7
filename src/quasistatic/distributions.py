r"""Probability distributions over batches of events: what every kernel returns.

A distribution holds one law per row: parameters are batch first, any event shape behind, and every
result that is a number per row has shape ``(batch,)`` and is in nats. These families are enough for all
processes and for mixtures of their kernels:

============================  ==================================================  ============
class                         law of one row                                      ``has_kl``
============================  ==================================================  ============
:class:`Gaussian`             :math:`\mathcal{N}(\mu, \mathrm{diag}\,v)`          yes
:class:`FullGaussian`         :math:`\mathcal{N}(\mu, L L^\top)`                  yes
:class:`Bernoulli`            :math:`\prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}`       yes
:class:`Categorical`          :math:`\prod_i p_{i, x_i}`                          yes
:class:`Masked`               the same, but for a share that is masked            yes
:class:`Mixture`              :math:`\sum_m w_m\, c_m(x)`                         no
============================  ==================================================  ============

Where ``has_kl`` is false there is no closed form, and the bound scores the law at a draw instead.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable

from quasistatic.linalg import cholesky
from quasistatic.noise import normal, uniform
from quasistatic.printing import Described

__all__ = [
    "Bernoulli",
    "BlockProduct",
    "Categorical",
    "Distribution",
    "FullGaussian",
    "Gaussian",
    "Masked",
    "Mixture",
    "one_hot",
]

LOG_2PI = math.log(2.0 * math.pi)


def _sum(x: Tensor) -> Tensor:
    """Sum over the event: (batch, *event) -> (batch,)."""
    return x.sum(-1) if x.dim() == 2 else x.flatten(1).sum(1)


class Distribution(Described, ABC):
    """One law per row of a batch; see the module's table for the families."""

    has_kl: bool = True

    @abstractmethod
    def sample(self, generator: Generator | None = None) -> Tensor:
        """Draw one event per row, shape (batch, *event)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log density or log mass of each row of ``x`` in nats, shape (batch,)."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Entropy of each row in nats, shape (batch,)."""

    @abstractmethod
    def kl(self, other: Distribution) -> Tensor:
        """KL(self || other) of each row in nats, shape (batch,)."""

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        """Nats that each row loses when ``other`` is taken for it, (batch,).

        KL(self || other), but -log other(mean) for the first ``n_points`` rows, which are points at their mean: what
        a training batch loses, whose first rows are at t = 1.
        """
        parts = []
        if n_points:
            parts.append(-other[:n_points].log_prob(self.mean[:n_points]))  # type: ignore[attr-defined]
        if n_points < len(self.mean):  # type: ignore[attr-defined]
            parts.append(self[n_points:].kl(other[n_points:]))
        return torch.cat(parts)

    @abstractmethod
    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        """Renormalised product with ``other`` and the log of its normaliser, (batch,)."""

    @abstractmethod
    def __getitem__(self, rows: slice) -> Distribution:
        """The laws of some of the rows."""

    def _unsupported(self, what: str, other: Distribution | None = None) -> NotImplementedError:
        with_ = f" with {type(other).__name__}" if other is not None else ""
        return NotImplementedError(f"{what} of {type(self).__name__}{with_} has no closed form")


class Gaussian(Distribution):
    r"""Normal law with independent coordinates, :math:`\mathcal{N}(\mu, \mathrm{diag}\,v)`.

    Parameters
    ----------
    mean : Tensor, shape (batch, *event)
    var : Tensor
        Variance (not deviation), broadcastable to ``mean``; zero means a point mass.

    Examples
    --------
    Two unit normals at 0 and 2 multiply to one at 1 with half the variance:

    >>> a, b = Gaussian(torch.zeros(1, 1), torch.ones(1, 1)), Gaussian(torch.full((1, 1), 2.0), torch.ones(1, 1))
    >>> product, log_z = a.times(b)
    >>> product.mean.item(), product.var.item()
    (1.0, 0.5)
    >>> round(log_z.exp().item(), 4)      # N(2; 0, 2)
    0.1038
    """

    def __init__(self, mean: Tensor, var: Tensor) -> None:
        self.mean = mean
        self.var = var if var.shape == mean.shape else var.expand(mean.shape)

    def __getitem__(self, rows: slice) -> Gaussian:
        return Gaussian(self.mean[rows], self.var[rows])

    def sample(self, generator: Generator | None = None) -> Tensor:
        return torch.addcmul(self.mean, self.var.sqrt(), normal(self.mean, generator))

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * _sum((x - self.mean).square() / self.var + self.var.log() + LOG_2PI)

    def entropy(self) -> Tensor:
        return 0.5 * _sum(self.var.log() + (LOG_2PI + 1.0))

    def kl(self, other: Distribution) -> Tensor:
        if isinstance(other, FullGaussian):
            return other._kl_from(self)
        if not isinstance(other, Gaussian):
            raise self._unsupported("kl", other)
        log_ratio = self.var.log() - other.var.log()
        # expm1(r) - r keeps its digits where the two variances nearly agree
        return 0.5 * _sum(torch.expm1(log_ratio) - log_ratio + (self.mean - other.mean).square() / other.var)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        if not isinstance(other, Gaussian) or self.mean.requires_grad or self.var.requires_grad:
            return super().cost(other, n_points)
        return _GaussianCost.apply(other.mean, other.var, self.mean, self.var, n_points)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        if not isinstance(other, Gaussian):
            raise self._unsupported("times", other)
        total = self.var + other.var
        gain = self.var / total
        mean = self.mean + gain * (other.mean - self.mean)
        return Gaussian(mean, gain * other.var), Gaussian(self.mean, total).log_prob(other.mean)


class _GaussianCost(torch.autograd.Function):
    r"""Cost of :math:`\mathcal{N}(m, v)` for :math:`\mathcal{N}(\mu, w)` with its gradient in m and v in closed form.

    .. math:: \partial_m = (m - \mu) / v, \qquad
              \partial_v = -\left(w / v - 1 + (m - \mu)^2 / v\right) / 2v,

    for KL and, with w = 0, for the points. A graph of thirty nodes says the same, in a tenth of a small network's step.
    """

    @staticmethod
    def forward(ctx: Any, m: Tensor, v: Tensor, mu: Tensor, w: Tensor, n_points: int) -> Tensor:
        log_ratio = torch.log(w / v)
        excess = torch.expm1(log_ratio)
        nats = excess - log_ratio
        if n_points:
            nats[:n_points] = v[:n_points].log() + LOG_2PI
        shift = m - mu
        pull = shift / v
        ctx.save_for_backward(pull, torch.addcmul(excess, shift, pull) / v)
        return 0.5 * _sum(torch.addcmul(nats, shift, pull))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        pull, press = ctx.saved_tensors
        weight = weight.view(-1, *(1,) * (pull.dim() - 1))
        return weight * pull, (-0.5 * weight) * press, None, None, None


class FullGaussian(Distribution):
    r"""Normal law with any covariance, :math:`\mathcal{N}(\mu, L L^\top)`.

    Parameters
    ----------
    mean : Tensor, shape (batch, *event)
    scale_tril : Tensor, shape (batch, d, d)
        Lower Cholesky factor of the covariance of the flattened event, d = prod(event).

    Examples
    --------
    >>> p = FullGaussian(torch.zeros(1, 2), torch.tensor([[[2.0, 0.0], [1.0, 1.0]]]))
    >>> p.cov.tolist()
    [[[4.0, 2.0], [2.0, 2.0]]]
    >>> round(p.entropy().item(), 4)      # log(2 pi e) + log det L
    3.531
    """

    def __init__(self, mean: Tensor, scale_tril: Tensor) -> None:
        self.mean = mean
        self.scale_tril = scale_tril

    def __getitem__(self, rows: slice) -> FullGaussian:
        return FullGaussian(self.mean[rows], self.scale_tril[rows])

    @property
    def cov(self) -> Tensor:
        """Covariance of the flattened event, (batch, d, d)."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def var(self) -> Tensor:
        """Marginal variances, (batch, *event)."""
        return self.scale_tril.square().sum(-1).view_as(self.mean)

    def _log_det(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _solve(self, y: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.scale_tril, y, upper=False)

    def sample(self, generator: Generator | None = None) -> Tensor:
        noise = normal(self.mean.flatten(1), generator)
        return self.mean + (self.scale_tril @ noise.unsqueeze(-1)).view_as(self.mean)

    def log_prob(self, x: Tensor) -> Tensor:
        z = self._solve((x - self.mean).flatten(1).unsqueeze(-1))
        return -0.5 * z.square().sum((1, 2)) - self._log_det() - 0.5 * z.shape[1] * LOG_2PI

    def entropy(self) -> Tensor:
        return self._log_det() + 0.5 * self.scale_tril.shape[-1] * (LOG_2PI + 1.0)

    def _kl_from(self, q: Gaussian) -> Tensor:
        """KL(q || self) for a q with independent coordinates."""
        scaled = self._solve(torch.diag_embed(q.var.flatten(1).sqrt()))
        shift = self._solve((q.mean - self.mean).flatten(1).unsqueeze(-1))
        trace = scaled.square().sum((1, 2)) + shift.square().sum((1, 2))
        return 0.5 * (trace - scaled.shape[-1]) - scaled.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def kl(self, other: Distribution) -> Tensor:
        if isinstance(other, Gaussian):
            other = FullGaussian(other.mean, torch.diag_embed(other.var.flatten(1).sqrt()))
        if not isinstance(other, FullGaussian):
            raise self._unsupported("kl", other)
        scaled = other._solve(self.scale_tril)
        shift = other._solve((self.mean - other.mean).flatten(1).unsqueeze(-1))
        trace = scaled.square().sum((1, 2)) + shift.square().sum((1, 2))
        return 0.5 * (trace - scaled.shape[-1]) + other._log_det() - self._log_det()

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        if isinstance(other, Gaussian):
            other = FullGaussian(other.mean, torch.diag_embed(other.var.flatten(1).sqrt()))
        if not isinstance(other, FullGaussian):
            raise self._unsupported("times", other)
        total = FullGaussian(self.mean, cholesky(self.cov + other.cov))
        gain = torch.cholesky_solve(self.cov, total.scale_tril).mT  # cov1 (cov1 + cov2)^-1
        shift = (gain @ (other.mean - self.mean).flatten(1).unsqueeze(-1)).view_as(self.mean)
        cov = gain @ other.cov
        product = FullGaussian(self.mean + shift, cholesky(0.5 * (cov + cov.mT)))
        return product, total.log_prob(other.mean)


class Bernoulli(Distribution):
    """Independent bits, one for each entry of ``probs``.

    Parameters
    ----------
    probs : Tensor, shape (batch, *event)
        Probability of a one, from 0 to 1, both ends allowed.
    complement : Tensor, optional
        Probability of a zero, 1 - probs if not given. Whoever knows it to more digits should give it: where a bit
        is nearly sure, ``1 - probs`` has none left, and its logarithm and gradient are lost with them.

    Examples
    --------
    >>> p = Bernoulli(torch.tensor([[0.2, 1.0]]))
    >>> [round(v, 4) for v in p.log_prob(torch.tensor([[0.0, 1.0]])).exp().tolist()]
    [0.8]
    """

    def __init__(self, probs: Tensor, complement: Tensor | None = None) -> None:
        self.probs = probs
        self.complement = 1.0 - probs if complement is None else complement

    @property
    def mean(self) -> Tensor:
        """Expected bits, the probabilities themselves."""
        return self.probs

    def __getitem__(self, rows: slice) -> Bernoulli:
        return Bernoulli(self.probs[rows], self.complement[rows])

    def sample(self, generator: Generator | None = None) -> Tensor:
        p = self.probs
        u = uniform(p.shape, generator, like=p)
        return (u < p).to(p.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        return _sum(torch.xlogy(x, self.probs) + torch.xlogy(1.0 - x, self.complement))

    def entropy(self) -> Tensor:
        return -_sum(torch.xlogy(self.probs, self.probs) + torch.xlogy(self.complement, self.complement))

    def kl(self, other: Distribution) -> Tensor:
        if not isinstance(other, Bernoulli):
            raise self._unsupported("kl", other)
        one, zero = self.probs, self.complement
        own = torch.xlogy(one, one) + torch.xlogy(zero, zero)
        return _sum(own - torch.xlogy(one, other.probs) - torch.xlogy(zero, other.complement))

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        if not isinstance(other, Bernoulli):
            raise self._unsupported("times", other)
        one, zero = self.probs * other.probs, self.complement * other.complement
        total = one + zero
        return Bernoulli(one / total, zero / total), _sum(total.log())


class Categorical(Distribution):
    r"""Independent classes, one for each entry of the event.

    Events hold the index of the class, 0 to K - 1, as a number of the precision of the probabilities.

    Parameters
    ----------
    log_probs : Tensor, shape (batch, \*event, K)
        Normalised log-probabilities; -inf is allowed.

    Examples
    --------
    >>> p = Categorical(torch.tensor([[[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]]).log())
    >>> [round(v, 4) for v in p.log_prob(torch.tensor([[2.0, 0.0]])).exp().tolist()]
    [0.5]
    >>> p.kl(p).item()
    0.0
    """

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs

    @classmethod
    def points(cls, x: Tensor, n_classes: int) -> Categorical:
        r"""Laws that are sure of the classes ``x``, (batch, \*event)."""
        return cls(one_hot(x, n_classes).to(x.dtype).log())

    @property
    def n_classes(self) -> int:
        """Number K of classes."""
        return self.log_probs.shape[-1]

    def __getitem__(self, rows: slice) -> Categorical:
        return Categorical(self.log_probs[rows])

    def sample(self, generator: Generator | None = None) -> Tensor:
        # as many classes as have been passed when u of the whole is; one of probability zero is never the next
        below = self.log_probs.exp().cumsum(-1)
        u = uniform(below.shape[:-1], generator, like=below)
        return (below <= (u * below[..., -1]).unsqueeze(-1)).sum(-1).to(below.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        return _sum(self._each_log_prob(x))

    def _each_log_prob(self, x: Tensor) -> Tensor:
        return self.log_probs.gather(-1, x.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        return _sum(self._each_entropy())

    def _each_entropy(self) -> Tensor:
        return -self._mean_of(self.log_probs)

    def kl(self, other: Distribution) -> Tensor:
        if isinstance(other, Masked):
            other = other.dense()
        if not isinstance(other, Categorical):
            raise self._unsupported("kl", other)
        return _sum(self._mean_of(self.log_probs - other.log_probs))

    def _mean_of(self, values: Tensor) -> Tensor:
        """Expectation of (batch, *event, K) values that do not count where the probability is zero."""
        return (self.log_probs.exp() * values.masked_fill(self.log_probs == -math.inf, 0.0)).sum(-1)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        return self.kl(other)  # which for a point is -log other(point)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        if isinstance(other, Masked):
            other = other.dense()
        if not isinstance(other, Categorical):
            raise self._unsupported("times", other)
        both = self.log_probs + other.log_probs
        total = torch.logsumexp(both, -1)
        return Categorical(both - total.unsqueeze(-1)), _sum(total)


class Masked(Distribution):
    r"""Entries that are masked with a probability of their own and show a class else.

    The mask is one more class, of index K: the law of all that an absorbing process does. It is a family of its own,
    because data that is known needs no table of K classes here, and because a KL leaves only what is shown.

    Parameters
    ----------
    shown : Tensor, shape (batch, \*event), or Categorical
        The class that is shown, or its law.
    n_classes : int
        K.
    mask, show : Tensor, shape (batch, \*event)
        Probability of the mask, and one minus it.

    Examples
    --------
    >>> p = Masked(torch.tensor([[1.0, 0.0]]), 2, torch.tensor([[0.25, 1.0]]), torch.tensor([[0.75, 0.0]]))
    >>> p.log_prob(torch.tensor([[1.0, 2.0]])).exp().item(), p.log_prob(torch.tensor([[0.0, 2.0]])).exp().item()
    (0.75, 0.0)
    """

    def __init__(self, shown: Tensor | Categorical, n_classes: int, mask: Tensor, show: Tensor) -> None:
        self.shown = shown
        self.n_classes = n_classes
        self.mask, self.show = mask, show

    def __getitem__(self, rows: slice) -> Masked:
        return Masked(self.shown[rows], self.n_classes, self.mask[rows], self.show[rows])

    def _shown_law(self) -> Categorical:
        known = self.shown
        # a state that is masked is never shown, whatever stands for it
        return Categorical.points(known % self.n_classes, self.n_classes) if isinstance(known, Tensor) else known

    def dense(self) -> Categorical:
        """The same law as one of K + 1 classes."""
        shown = self.show.log().unsqueeze(-1) + self._shown_law().log_probs
        return Categorical(torch.cat([shown, self.mask.log().unsqueeze(-1)], -1))

    def sample(self, generator: Generator | None = None) -> Tensor:
        x = self.shown if isinstance(self.shown, Tensor) else self.shown.sample(generator)
        u = uniform(x.shape, generator, like=x)
        return x.masked_fill(u < self.mask, float(self.n_classes))

    def log_prob(self, x: Tensor) -> Tensor:
        return _sum(torch.where(x == self.n_classes, self.mask.log(), self.show.log() + self._log_shown(x)))

    def _log_shown(self, x: Tensor) -> Tensor:
        """Log-probability of each entry's class if it is shown, and any number where ``x`` is the mask."""
        if isinstance(self.shown, Tensor):
            return torch.where(x == self.shown, 0.0, -math.inf).to(x.dtype)
        return self.shown._each_log_prob(x % self.n_classes)

    def entropy(self) -> Tensor:
        own = torch.xlogy(self.mask, self.mask) + torch.xlogy(self.show, self.show)
        return _sum((0.0 if isinstance(self.shown, Tensor) else self.show * self.shown._each_entropy()) - own)

    def kl(self, other: Distribution) -> Tensor:
        if isinstance(other, Categorical):
            return self.dense().kl(other)
        if not isinstance(other, Masked):
            raise self._unsupported("kl", other)
        if isinstance(self.shown, Tensor):
            of_shown = -other._log_shown(self.shown)
        else:
            law, other_law = self.shown, other._shown_law()
            of_shown = law._mean_of(law.log_probs - other_law.log_probs)
        return _sum(
            _x_log_ratio(self.mask, other.mask)
            + _x_log_ratio(self.show, other.show)
            + self.show * of_shown.masked_fill(self.show == 0, 0.0)
        )

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        return self.kl(other)  # which for a point is -log other(point)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        return self.dense().times(other)


def _x_log_ratio(p: Tensor, q: Tensor) -> Tensor:
    """Share of a KL, p log p / q, zero where p is."""
    if p.device.type == "cpu" and torch.equal(p, q):  # as in all steps of an absorbing process; to see it costs GPUs a wait
        return p.new_zeros(())
    return p * (p.log() - q.log()).masked_fill(p == 0, 0.0)


def one_hot(x: Tensor, n_classes: int) -> Tensor:
    """Whether each entry is of each class, (batch, *event, K); nowhere for the mask."""
    return x.unsqueeze(-1) == torch.arange(n_classes, dtype=x.dtype, device=x.device)


class Mixture(Distribution):
    r"""Weighted sum of M laws of one family for each row, :math:`\sum_m w_m c_m(x)`.

    Parameters
    ----------
    log_weights : Tensor, shape (batch, M)
        Log weights; each row's weights sum to one.
    components : Distribution
        Laws with batch ``batch * M``: component m of row b stands at ``b * M + m``.

    Examples
    --------
    >>> parts = Bernoulli(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> p = Mixture(torch.tensor([[0.25, 0.75]]).log(), parts)
    >>> round(p.log_prob(torch.ones(1, 2)).exp().item(), 4)
    0.75
    """

    has_kl = False

    def __init__(self, log_weights: Tensor, components: Distribution) -> None:
        self.log_weights = log_weights
        self.components = components

    @property
    def n_components(self) -> int:
        """Number M of components of each row."""
        return self.log_weights.shape[1]

    def __getitem__(self, rows: slice) -> Mixture:
        start, stop, stride = rows.indices(len(self.log_weights))
        if stride != 1:
            raise ValueError(f"rows of a mixture are taken one after the other, got a stride of {stride}")
        m = self.n_components
        return Mixture(self.log_weights[rows], self.components[start * m : stop * m])

    def _choose(self, drawn: Tensor, generator: Generator | None) -> Tensor:
        """Of (batch * M, *event) draws keep one of each row's M, by the weights."""
        weights = self.log_weights.exp()
        where = weights.device if generator is None else generator.device
        pick = torch.multinomial(weights.to(where), 1, generator=generator).squeeze(1).to(weights.device)
        rows = torch.arange(len(pick), device=pick.device) * self.n_components
        return drawn[rows + pick]

    def sample(self, generator: Generator | None = None) -> Tensor:
        return self._choose(self.components.sample(generator), generator)

    def log_prob(self, x: Tensor) -> Tensor:
        each = self.components.log_prob(x.repeat_interleave(self.n_components, 0))
        return torch.logsumexp(self.log_weights + each.view_as(self.log_weights), 1)

    def entropy(self) -> Tensor:
        raise self._unsupported("entropy")

    def kl(self, other: Distribution) -> Tensor:
        raise self._unsupported("kl", other)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        m = self.n_components
        parts, log_z = self.components.times(_repeated(other, m))
        log_weights = self.log_weights + log_z.view_as(self.log_weights)
        total = torch.logsumexp(log_weights, 1)
        return Mixture(log_weights - total[:, None], parts), total


def _repeated(p: Distribution, m: int) -> Distribution:
    """Each row of a plain law m times in succession, as the components of a mixture stand."""
    if isinstance(p, Gaussian):
        return Gaussian(p.mean.repeat_interleave(m, 0), p.var.repeat_interleave(m, 0))
    if isinstance(p, FullGaussian):
        return FullGaussian(p.mean.repeat_interleave(m, 0), p.scale_tril.repeat_interleave(m, 0))
    if isinstance(p, Bernoulli):
        return Bernoulli(p.probs.repeat_interleave(m, 0), p.complement.repeat_interleave(m, 0))
    if isinstance(p, Categorical):
        return Categorical(p.log_probs.repeat_interleave(m, 0))
    if isinstance(p, BlockProduct):
        return BlockProduct([_repeated(part, m) for part in p.parts], p.columns)
    raise NotImplementedError(f"a mixture times {type(p).__name__} is not defined")


class BlockProduct(Distribution):
    r"""Independent blocks of the columns of a table, each with a law of its own, :math:`\prod_b p_b(x_b)`.

    Parameters
    ----------
    parts : sequence of Distribution
        Laws over vectors, (batch, d_b).
    columns : sequence of Tensor of int
        Which columns of the event, (batch, d), each part is of; together they are 0 to d - 1, each once.

    Examples
    --------
    A number and a bit, the bit standing first:

    >>> number, bit = Gaussian(torch.zeros(1, 1), torch.ones(1, 1)), Bernoulli(torch.tensor([[0.25]]))
    >>> p = BlockProduct([number, bit], [torch.tensor([1]), torch.tensor([0])])
    >>> round(p.log_prob(torch.tensor([[1.0, 0.0]])).item(), 4)      # log 0.25 + log N(0; 0, 1)
    -2.3052
    """

    def __init__(self, parts: Sequence[Distribution], columns: Sequence[Tensor]) -> None:
        self.parts, self.columns = list(parts), list(columns)

    @property
    def has_kl(self) -> bool:  # type: ignore[override]
        """Whether every part has a closed-form KL."""
        return all(part.has_kl for part in self.parts)

    def __getitem__(self, rows: slice) -> BlockProduct:
        return BlockProduct([part[rows] for part in self.parts], self.columns)

    def sample(self, generator: Generator | None = None) -> Tensor:
        return self.joined([part.sample(generator) for part in self.parts])

    def joined(self, blocks: Sequence[Tensor]) -> Tensor:
        """Put blocks (batch, d_b) where they belong, (batch, d)."""
        order = torch.cat(self.columns)
        return torch.cat(list(blocks), 1).index_select(1, torch.argsort(order))

    def log_prob(self, x: Tensor) -> Tensor:
        each = [part.log_prob(x.index_select(1, c)) for part, c in zip(self.parts, self.columns, strict=True)]
        return torch.stack(each).sum(0)

    def entropy(self) -> Tensor:
        return torch.stack([part.entropy() for part in self.parts]).sum(0)

    def kl(self, other: Distribution) -> Tensor:
        each = [p.kl(q) for p, q in zip(self.parts, self._blocks_of(other, "kl"), strict=True)]
        return torch.stack(each).sum(0)

    def cost(self, other: Distribution, n_points: int) -> Tensor:
        each = [p.cost(q, n_points) for p, q in zip(self.parts, self._blocks_of(other, "cost"), strict=True)]
        return torch.stack(each).sum(0)

    def times(self, other: Distribution) -> tuple[Distribution, Tensor]:
        products = [p.times(q) for p, q in zip(self.parts, self._blocks_of(other, "times"), strict=True)]
        return BlockProduct([p for p, _ in products], self.columns), torch.stack([log_z for _, log_z in products]).sum(0)

    def _blocks_of(self, other: Distribution, what: str) -> list[Distribution]:
        """The parts of another product over the same blocks."""
        same = isinstance(other, BlockProduct) and len(other.parts) == len(self.parts)
        if not same or any(not torch.equal(a, b) for a, b in zip(self.columns, other.columns, strict=True)):  # type: ignore[attr-defined]
            raise self._unsupported(what, other)
        return other.parts  # type: ignore[attr-defined]
