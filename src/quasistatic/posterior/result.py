"""Weighted samples of a posterior."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from quasistatic.checks import real_number, whole_number
from quasistatic.errors import InputError
from quasistatic.memory import require_memory
from quasistatic.printing import Described
from quasistatic.storage.atomic import new_folder, write_text
from quasistatic.storage.modules import read_pair, save_tensors

__all__ = ["PosteriorSamples", "PosteriorWarning"]


class PosteriorWarning(UserWarning):
    """A posterior whose samples should not be trusted."""


@dataclass(frozen=True, repr=False)
class PosteriorSamples(Described):
    r"""Weighted samples of :math:`\tilde p(x) \propto p(x)\, r(x)`.

    With B observations every array has a leading axis of B, with a single one it does not.

    Parameters
    ----------
    x : Tensor, shape (B, N, \*event) or (N, \*event)
        The samples.
    log_weights : Tensor, shape (B, N) or (N,)
        Normalised: their exponentials sum to one over N.
    log_evidence : Tensor, shape (B,) or ()
        Log of an unbiased estimate of :math:`\int p(x)\, r(x)\, dx`; nan for samples drawn without weights.
    ancestors : Tensor of int, shape (B, N) or (N,)
        Index of the draw of x_T that each sample descends from.
    n_resampled : Tensor of int, shape (B,) or ()
        How often the particles were resampled.
    log_evidence_error : Tensor, shape (B,) or ()
        Standard error of ``log_evidence``, nats. Of several runs it is measured by how far they differ; of a single run
        with the look-ahead it is estimated from the weights of the lines of descent (:func:`lineage_error`). It is nan
        where there is no reliable estimate: a single run with ``twist="power"``, and any with "constant", whose weights
        have tails so heavy that the particles that matter most may not have been drawn.

    Examples
    --------
    >>> import torch
    >>> p = PosteriorSamples.of(torch.tensor([[0.0], [1.0]]), torch.tensor([0.25, 0.75]).log(), torch.tensor(-1.0))
    >>> round(p.mean.item(), 4), round(p.ess.item(), 2), p.quantile(0.5).item()
    (0.75, 1.6, 1.0)
    """

    x: Tensor
    log_weights: Tensor
    log_evidence: Tensor
    ancestors: Tensor
    n_resampled: Tensor
    log_evidence_error: Tensor

    @classmethod
    def of(cls, x: Tensor, log_weights: Tensor, log_evidence: Tensor) -> PosteriorSamples:
        """Build weighted samples that were never resampled.

        Parameters
        ----------
        x : Tensor, shape (B, N, *event) or (N, *event)
            The samples.
        log_weights : Tensor, shape (B, N) or (N,)
            Up to a constant.
        log_evidence : Tensor, shape (B,) or ()
            Log evidence.
        """
        log_weights = log_weights - torch.logsumexp(log_weights, -1, keepdim=True)
        ancestors = torch.arange(log_weights.shape[-1], device=x.device).expand(log_weights.shape)
        n_resampled = torch.zeros_like(log_evidence, dtype=torch.long)
        return cls(x, log_weights, log_evidence, ancestors, n_resampled, lineage_error(log_weights, ancestors, log_evidence))

    @classmethod
    def joined(cls, parts: Sequence[PosteriorSamples]) -> PosteriorSamples:
        """Concatenate batches of observations."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    @classmethod
    def pooled(cls, runs: Sequence[PosteriorSamples]) -> PosteriorSamples:
        r"""Pool independent runs, weighted by their evidence.

        With estimates :math:`Z_r` of R runs the evidence is their mean, and the error of its logarithm
        :math:`\mathrm{sd}(Z_r) / (\sqrt R\, \bar Z)`.
        """
        log_z = torch.stack([run.log_evidence for run in runs])
        r, n = len(runs), runs[0].n_particles
        mean = torch.logsumexp(log_z, 0) - math.log(r)
        share = torch.where(torch.isfinite(mean), log_z - mean - math.log(r), -math.log(r))
        relative = (log_z - mean).exp()
        return cls(
            torch.cat([run.x for run in runs], runs[0].log_weights.dim() - 1),
            torch.cat([run.log_weights + part.unsqueeze(-1) for run, part in zip(runs, share, strict=True)], -1),
            mean,
            torch.cat([run.ancestors + k * n for k, run in enumerate(runs)], -1),
            torch.stack([run.n_resampled for run in runs]).sum(0),
            relative.std(0) / math.sqrt(r),
        )

    @property
    def batched(self) -> bool:
        """Whether there is an axis of observations."""
        return self.log_weights.dim() == 2

    @property
    def n_particles(self) -> int:
        """Number N of particles."""
        return self.log_weights.shape[-1]

    @property
    def weights(self) -> Tensor:
        """Weights that sum to one, the shape of ``log_weights``."""
        return self.log_weights.exp()

    @property
    def ess(self) -> Tensor:
        r"""Effective sample size of the weights.

        It is :math:`1 / \sum_i w_i^2`, from 1 to N.
        """
        return 1.0 / self.weights.square().sum(-1)

    @property
    def n_ancestors(self) -> Tensor:
        r"""Effective number of first draws that the samples descend from.

        It is :math:`1 / \sum_f W_f^2` with W_f the weight of all samples that descend from f. Equal to ``ess`` if nothing
        was resampled. Near one, all samples share one ancestor.
        """
        return 1.0 / self._by_ancestor().square().sum(-1)

    def _by_ancestor(self) -> Tensor:
        return torch.zeros_like(self.weights).scatter_add_(-1, self.ancestors, self.weights)

    def _weigh(self, values: Tensor) -> Tensor:
        """Weighted sum over the particles."""
        weights = self.weights.view(*self.weights.shape, *(1,) * (values.dim() - self.weights.dim()))
        return (weights * values).sum(self.log_weights.dim() - 1)

    @property
    def mean(self) -> Tensor:
        r"""Posterior mean, (B, \*event) or (\*event)."""
        return self._weigh(self.x)

    @property
    def std(self) -> Tensor:
        r"""Posterior standard deviation of each entry, (B, \*event) or (\*event)."""
        off = self.x - self.mean.unsqueeze(self.log_weights.dim() - 1)
        return self._weigh(off.square()).sqrt()

    def quantile(self, q: float) -> Tensor:
        """Return a quantile of each entry.

        It is the smallest draw below or at which lies a weight of q.

        Parameters
        ----------
        q : float
            From 0 to 1.
        """
        real_number("a quantile", q, least=0.0, most=1.0)
        axis = self.log_weights.dim() - 1
        x, order = self.x.sort(axis)
        weights = self.weights.view(*self.weights.shape, *(1,) * (x.dim() - self.weights.dim())).expand(x.shape)
        below = weights.gather(axis, order).cumsum(axis)
        reached = (below >= q - 1e-12).to(torch.uint8).argmax(axis, keepdim=True)
        return x.gather(axis, reached).squeeze(axis)

    def resample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        r"""Draw n samples of equal weight, with repeats.

        Parameters
        ----------
        n : int
            Number of draws of each observation.
        generator : Generator, optional
            Of the draws.

        Returns
        -------
        Tensor, shape (B, n, \*event) or (n, \*event)
        """
        whole_number("the number of samples", n, 1)
        numbers = self.x[..., 0, :].numel() if self.x.dim() > self.log_weights.dim() else 1
        require_memory(f"{n} samples", 32.0 * n * max(1, numbers), "draw fewer")
        rows = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return self.x[torch.arange(len(rows)).unsqueeze(1), rows] if self.batched else self.x[rows]

    def observation(self, b: int) -> PosteriorSamples:
        """Return the posterior of one of several observations."""
        if not self.batched:
            raise InputError("this posterior has a single observation")
        return replace(self, **{name: getattr(self, name)[b] for name in self.__dataclass_fields__})

    def to_arviz(self, n: int | None = None, *, generator: Generator | None = None) -> Any:
        """Convert to an ``arviz.InferenceData`` of equally weighted draws.

        It has one chain, whose first dimension is the observations.

        Parameters
        ----------
        n : int, optional
            Number of draws; as many as particles if not given.
        generator : Generator, optional
            Of the draws.
        """
        try:
            import arviz
        except ImportError:
            raise InputError("to_arviz needs arviz: install quasistatic[arviz]") from None
        draws = self.resample(n or self.n_particles, generator=generator)
        draws = draws.movedim(1, 0) if self.batched else draws
        return arviz.from_dict(posterior={"x": draws.unsqueeze(0).cpu().numpy()})

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON."""
        with new_folder(Path(path)) as folder:
            tensors = {name: getattr(self, name) for name in self.__dataclass_fields__}
            size = save_tensors(tensors, folder / "posterior.safetensors")
            write_text(folder / "posterior.json", json.dumps({"bytes": size, "kind": "posterior"}))

    @classmethod
    def load(cls, path: str | Path) -> PosteriorSamples:
        """Read a folder that :meth:`save` wrote."""
        _, tensors = read_pair(Path(path), "posterior")
        return cls(**tensors)


def lineage_error(log_weights: Tensor, ancestors: Tensor, log_evidence: Tensor) -> Tensor:
    r"""Estimate the standard error of a log evidence.

    It comes from lines of descent:
    :math:`\sqrt{(\sum_f W_f^2 - 1/N)\, N / (N - 1)}` with :math:`W_f` the weight of all particles that descend from
    the first draw f. It is right as N grows, errs on the large side under systematic resampling, and is nan where fewer
    than two effective lines are left.

    Parameters
    ----------
    log_weights : Tensor, shape (B, N) or (N,)
        Normalised.
    ancestors : Tensor of int, same shape
        Index of the first draw that each particle descends from.
    log_evidence : Tensor, shape (B,) or ()
        Log evidence.

    Returns
    -------
    Tensor, shape (B,) or ()

    References
    ----------
    Lee and Whiteley (2018), Variance estimation in the particle filter, to leading order.
    """
    n = log_weights.shape[-1]
    weights = log_weights.exp()
    squares = torch.zeros_like(weights).scatter_add_(-1, ancestors, weights).square().sum(-1)
    error = ((squares - 1.0 / n).clamp_min(0.0) * n / max(1, n - 1)).sqrt()
    return torch.where(torch.isfinite(log_evidence) & (squares <= 0.5), error, math.nan)
