"""The denoiser of mixed tables: one network, and a read-out of its own for each block of columns."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from quasistatic.checks import MOST_WIDTH, whole_number
from quasistatic.distributions import Distribution, Joint, Mixture
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, ForwardProcess, GaussianDiffusion, MixedDiffusion
from quasistatic.reverse.bernoulli import BernoulliDenoiser
from quasistatic.reverse.categorical import CategoricalDenoiser
from quasistatic.reverse.gaussian import GaussianDenoiser
from quasistatic.reverse.kernel import NetworkKernel
from quasistatic.storage.modules import saveable

__all__ = ["MixedDenoiser"]

SHARPNESS = 4.0  # of a mixture's logits: components must be able to become sure of their classes


class _Head(Protocol):
    def law(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution: ...

    def _data(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution: ...


class _SharpBits(BernoulliDenoiser):
    def _unit(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        return x_t.new_tensor(SHARPNESS)


class _SharpClasses(CategoricalDenoiser):
    def _unit(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        return x_t.new_tensor(SHARPNESS)


@saveable
class MixedDenoiser(NetworkKernel):
    r"""A product of laws over the blocks of a table, or a mixture of M such products, for x_0 given x_t.

    One network sees all columns and corrects, for each block, the exact answer for independent columns:
    :class:`GaussianDenoiser`, :class:`BernoulliDenoiser` and :class:`CategoricalDenoiser` read their share of its
    answer. Its corrections start at zero, so with one component a zero network is the exact model of white numbers beside
    independent bits and classes of the process's own rates, for every T; with a whitened block of numbers that is the
    Gaussian fit. Within one step the blocks are independent given :math:`x_t`, or, as a mixture, given the component.

    Parameters
    ----------
    diffusion : MixedDiffusion
        Its parts may be Gaussian, binomial and categorical; the rates of the data are their ``rho``.
    network : Module
        (batch, :meth:`n_inputs`), time -> (batch, :meth:`n_outputs`).
    covariance : {"diagonal", "full"}
        Of the block of numbers.
    n_components : int
        Components M of the mixture; their starts are spread at random.

    Examples
    --------
    Untrained, two steps are as exact as any number:

    >>> from quasistatic.likelihood.bound import elbo
    >>> from quasistatic.networks import ResidualMLP
    >>> beta = torch.tensor([0.5, 0.9])
    >>> q = MixedDiffusion([GaussianDiffusion(beta), BernoulliDiffusion(beta, 0.25)], [[0], [1]])
    >>> net = ResidualMLP(MixedDenoiser.n_inputs(q), MixedDenoiser.n_outputs(q))
    >>> x = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    >>> with torch.no_grad():
    ...     total = elbo(q, MixedDenoiser(q, net), x, method="trajectory").total
    >>> round(total.item(), 4)      # log N(0; 0, 1) + log 0.25
    -2.3052
    """

    process: MixedDiffusion  # type: ignore[assignment]

    def __init__(
        self, process: MixedDiffusion, network: nn.Module, covariance: str = "diagonal", n_components: int = 1
    ) -> None:
        super().__init__()
        whole_number("n_components", n_components, 1, MOST_WIDTH)
        self.process = process
        self.network = network
        self.covariance, self.n_components = covariance, n_components
        self.sizes = [_n_outputs(part, len(c), covariance) for part, c in _parts(process)]
        self.heads = [self._head(part, len(c)) for part, c in _parts(process)]
        n_columns = sum(len(c) for _, c in _parts(process))
        self._check_network((n_columns,), self.n_outputs(process, covariance, n_components))
        if n_components > 1:
            starts = [
                _start(part, len(c), size, n_components) for (part, c), size in zip(_parts(process), self.sizes, strict=True)
            ]
            self.start = nn.Parameter(torch.cat(starts, 1))

    def _head(self, part: ForwardProcess, d: int) -> _Head:
        nothing = nn.Identity()  # heads read, and never ask
        if isinstance(part, GaussianDiffusion):
            return GaussianDenoiser(part, nothing, d, self.covariance)
        sharp = self.n_components > 1
        if isinstance(part, BernoulliDiffusion):
            return (_SharpBits if sharp else BernoulliDenoiser)(part, nothing, part.rho.expand(d))
        if isinstance(part, CategoricalDiffusion):
            return (_SharpClasses if sharp else CategoricalDenoiser)(part, nothing, part.rho)
        raise InputError(f"a mixed table cannot have a block of {type(part).__name__}")

    @staticmethod
    def n_inputs(process: MixedDiffusion) -> int:
        """What the network sees: numbers and bits as they are, classes one-hot."""
        return sum(len(c) * getattr(part, "n_classes", 1) for part, c in _parts(process))

    @staticmethod
    def n_outputs(process: MixedDiffusion, covariance: str = "diagonal", n_components: int = 1) -> int:
        """Outputs the network must have: the sum over the blocks, M times, and M weights if M > 1."""
        each = sum(_n_outputs(part, len(c), covariance) for part, c in _parts(process))
        return n_components * (each + (n_components > 1))

    def on(self, process: ForwardProcess) -> MixedDenoiser:
        other = super().on(process)
        if other is not self:
            assert isinstance(process, MixedDiffusion)
            other.heads = [other._head(part, len(c)) for part, c in _parts(process)]
        return other

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        super()._apply(fn, recurse)
        self.heads = [self._head(part, len(c)) for part, c in _parts(self.process)]  # follow to another device
        return self

    def inputs(self, x_t: Tensor) -> Tensor:
        seen = [
            head.inputs(x) if isinstance(head, CategoricalDenoiser) else x
            for head, (_, x) in zip(self.heads, self.process.blocks(x_t), strict=True)
        ]
        return torch.cat([block.flatten(1).to(x_t.dtype) for block in seen], 1)

    def law(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self._read(out, x_t, t, "law")

    def denoise(self, x_t: Tensor, t: int | Tensor) -> Distribution:
        r"""Law of the data, :math:`\hat p(x_0 \mid x_t)`: a product over blocks, or the mixture of products."""
        return self._read(self.ask(x_t, t), x_t, t, "_data")

    def _read(self, out: Tensor, x_t: Tensor, t: int | Tensor, which: str) -> Distribution:
        m = self.n_components
        if m == 1:
            return self._product(out, x_t, t, which)
        log_weights = torch.log_softmax(out[:, -m:], 1)
        each = (out[:, :-m].reshape(len(out), m, -1) + self.start.to(out.dtype)).flatten(0, 1)
        t = t.repeat_interleave(m, 0) if isinstance(t, Tensor) else t
        return Mixture(log_weights, self._product(each, x_t.repeat_interleave(m, 0), t, which))

    def _product(self, out: Tensor, x_t: Tensor, t: int | Tensor, which: str) -> Joint:
        shares = torch.split_with_sizes(out, self.sizes, 1)
        laws = [
            getattr(head, which)(share, x, t)
            for head, share, (_, x) in zip(self.heads, shares, self.process.blocks(x_t), strict=True)
        ]
        return Joint(laws, self.process.columns)


def _parts(process: MixedDiffusion) -> list[tuple[ForwardProcess, Tensor]]:
    return list(zip(process.parts, process.columns, strict=True))  # type: ignore[arg-type]


def _n_outputs(part: ForwardProcess, d: int, covariance: str) -> int:
    if isinstance(part, GaussianDiffusion):
        return GaussianDenoiser.n_outputs(d, covariance)
    if isinstance(part, CategoricalDiffusion):
        return CategoricalDenoiser.n_outputs(d, part.n_classes)
    return d


def _start(part: ForwardProcess, d: int, size: int, n_components: int) -> Tensor:
    """Where the components begin: the means of numbers a deviation apart, the logits of classes by half a unit."""
    if isinstance(part, GaussianDiffusion):
        return torch.cat([torch.randn(n_components, d), torch.zeros(n_components, size - d)], 1)
    return 0.5 * torch.randn(n_components, size)
