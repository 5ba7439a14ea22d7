"""Denoiser of tables with columns of several kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from quasistatic.checks import MOST_WIDTH, whole_number
from quasistatic.distributions import Distribution, Joint, Mixture
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, ForwardProcess, GaussianDiffusion, MixedDiffusion
from quasistatic.reverse.bernoulli import BernoulliDenoiser
from quasistatic.reverse.categorical import CategoricalDenoiser
from quasistatic.reverse.gaussian import GaussianDenoiser
from quasistatic.reverse.kernel import Denoiser, repeat_steps
from quasistatic.storage.modules import saveable

__all__ = ["MixedDenoiser"]

SHARPNESS = 4.0  # scale of a mixture's logits, so that components can become certain of their classes

Process = TypeVar("Process", bound=ForwardProcess)


class _SharpBits(BernoulliDenoiser):
    def _scale(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        return x_t.new_tensor(SHARPNESS)


class _SharpClasses(CategoricalDenoiser):
    def _scale(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        return x_t.new_tensor(SHARPNESS)


class _Block(ABC, Generic[Process]):
    """One block of d columns with its denoiser.

    It has its sizes and its random start.
    """

    def __init__(self, process: Process, d: int, covariance: str) -> None:
        self.process, self.d, self.covariance = process, d, covariance

    @property
    def n_inputs(self) -> int:
        """Inputs of the network."""
        return self.d

    @property
    def n_outputs(self) -> int:
        """Outputs of the network."""
        return self.d

    @abstractmethod
    def head(self, mixture: bool) -> Denoiser:
        """Build a denoiser without a network.

        It reads this block's share of the outputs.
        """

    def start(self, n_components: int) -> Tensor:
        """Draw where the components begin, (n_components, n_outputs): logits half a unit apart."""
        return 0.5 * torch.randn(n_components, self.n_outputs)


class _Numbers(_Block[GaussianDiffusion]):
    @property
    def n_outputs(self) -> int:
        return GaussianDenoiser.n_outputs(self.d, self.covariance)

    def head(self, mixture: bool) -> Denoiser:
        return GaussianDenoiser(self.process, nn.Identity(), self.d, self.covariance)

    def start(self, n_components: int) -> Tensor:
        """Draw means a deviation apart.

        The covariances start at zero.
        """
        means = torch.randn(n_components, self.d)
        return torch.cat([means, torch.zeros(n_components, self.n_outputs - self.d)], 1)


class _Bits(_Block[BernoulliDiffusion]):
    def head(self, mixture: bool) -> Denoiser:
        return (_SharpBits if mixture else BernoulliDenoiser)(self.process, nn.Identity(), self.process.rho.expand(self.d))


class _Classes(_Block[CategoricalDiffusion]):
    @property
    def n_inputs(self) -> int:
        return self.d * self.process.n_classes

    @property
    def n_outputs(self) -> int:
        return CategoricalDenoiser.n_outputs(self.d, self.process.n_classes)

    def head(self, mixture: bool) -> Denoiser:
        return (_SharpClasses if mixture else CategoricalDenoiser)(self.process, nn.Identity(), self.process.rho)


@saveable
class MixedDenoiser(Denoiser[MixedDiffusion]):
    r"""Denoiser that predicts blocks of columns, or a mixture.

    The input of one network is all columns. For each block it corrects the exact prediction for independent columns, as
    :class:`GaussianDenoiser`, :class:`BernoulliDenoiser` and :class:`CategoricalDenoiser` do. The corrections start at
    zero. With one component a zero network is thus the exact model of white numbers beside independent bits and classes
    with the rates of the process, for every T. With a whitened block of numbers that is the Gaussian fit. Within one step
    the blocks are independent given :math:`x_t`, or, as a mixture, given the component.

    Parameters
    ----------
    process : MixedDiffusion
        Its parts may be Gaussian, Bernoulli and categorical; the rates of the data are their ``rho``.
    network : Module
        (batch, :meth:`n_inputs`), time -> (batch, :meth:`n_outputs`).
    covariance : {"diagonal", "full"}
        Of the block of numbers.
    n_components : int
        Components M of the mixture, initialised at random.

    Raises
    ------
    InputError
        If a part is of another kind, or the network does not fit.

    Examples
    --------
    Before training, two steps give the same bound as any other number:

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

    _kinds: ClassVar[dict[type[ForwardProcess], type[_Block[Any]]]] = {
        GaussianDiffusion: _Numbers, BernoulliDiffusion: _Bits, CategoricalDiffusion: _Classes,
    }  # fmt: skip

    def __init__(
        self, process: MixedDiffusion, network: nn.Module, covariance: str = "diagonal", n_components: int = 1
    ) -> None:
        super().__init__(process, network)
        self.n_components = whole_number("n_components", n_components, 1, MOST_WIDTH)
        self.covariance = covariance
        blocks = self._blocks(process, covariance)
        self.sizes = [block.n_outputs for block in blocks]
        self.heads = [block.head(n_components > 1) for block in blocks]
        self._check_network((process.n_columns,), self.n_outputs(process, covariance, n_components))
        if n_components > 1:
            self.start = nn.Parameter(torch.cat([block.start(n_components) for block in blocks], 1))

    @classmethod
    def _blocks(cls, process: MixedDiffusion, covariance: str = "diagonal") -> list[_Block[Any]]:
        blocks = []
        for part, columns in zip(process.processes, process.columns, strict=True):
            kind = next((cls._kinds[c] for c in type(part).__mro__ if c in cls._kinds), None)
            if kind is None:
                raise InputError(
                    f"a mixed table cannot have a block of {type(part).__name__}: "
                    "use Gaussian, Bernoulli or categorical processes"
                )
            blocks.append(kind(part, len(columns), covariance))
        return blocks

    @classmethod
    def n_inputs(cls, process: MixedDiffusion) -> int:
        """Return the number of inputs of the network.

        A number or a bit needs one input, a column of K classes needs K.
        """
        return sum(block.n_inputs for block in cls._blocks(process))

    @classmethod
    def n_outputs(cls, process: MixedDiffusion, covariance: str = "diagonal", n_components: int = 1) -> int:
        """Return the number of outputs the network must have.

        It is M times that of the blocks, and M weights if M > 1.

        Parameters
        ----------
        process : MixedDiffusion
            The process of the table.
        covariance : {"diagonal", "full"}
            Of the block of numbers.
        n_components : int
            Components M of the mixture.
        """
        each = sum(block.n_outputs for block in cls._blocks(process, covariance))
        return n_components * (each + (n_components > 1))

    def move_to(self, process: MixedDiffusion) -> None:
        super().move_to(process)
        self.heads = [block.head(self.n_components > 1) for block in self._blocks(process, self.covariance)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):  # type: ignore[no-untyped-def]
        super()._apply(fn, recurse)
        self.move_to(self.process)  # the heads are no submodules: they are built anew on the new device
        return self

    def inputs(self, x_t: Tensor) -> Tensor:
        parts = [head.inputs(x) for head, (_, x) in zip(self.heads, self.process.blocks(x_t), strict=True)]
        return torch.cat([part.flatten(1).to(x_t.dtype) for part in parts], 1)

    def distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self._joint_or_mixture(out, x_t, t, [head.distribution for head in self.heads])

    def data_distribution(self, out: Tensor, x_t: Tensor, t: int | Tensor) -> Distribution:
        return self._joint_or_mixture(out, x_t, t, [head.data_distribution for head in self.heads])

    def _joint_or_mixture(self, out: Tensor, x_t: Tensor, t: int | Tensor, reads: Sequence[_Read]) -> Distribution:
        m = self.n_components
        if m == 1:
            return self._joint(out, x_t, t, reads)
        log_weights = torch.log_softmax(out[:, -m:], 1)
        each = (out[:, :-m].reshape(len(out), m, -1) + self.start.to(out.dtype)).flatten(0, 1)
        return Mixture(log_weights, self._joint(each, x_t.repeat_interleave(m, 0), repeat_steps(t, m), reads))

    def _joint(self, out: Tensor, x_t: Tensor, t: int | Tensor, reads: Sequence[_Read]) -> Joint:
        shares = torch.split_with_sizes(out, self.sizes, 1)
        blocks = zip(reads, shares, self.process.blocks(x_t), strict=True)
        return Joint([read(share, x, t) for read, share, (_, x) in blocks], self.process.columns)


_Read = Callable[[Tensor, Tensor, int | Tensor], Distribution]
