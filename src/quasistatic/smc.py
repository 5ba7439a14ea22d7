r"""Sequential Monte Carlo along the reverse chain: weighted posterior samples and log evidence.

Particles walk from noise to data by the tilted kernels m of :mod:`quasistatic.evidence`, and carry the weight

.. math:: w_t = \frac{\pi(x_T)}{m(x_T)} \prod_{s = t+1}^{T} \frac{p(x_{s-1} \mid x_s)}{m(x_{s-1} \mid x_s)}\; \psi_t(x_t),
          \qquad \psi_0 = r,

whose ratio from one step to the next is what the paper's normalised kernel drops (Sohl-Dickstein et al. 2015, eq. 21
against 22). Where the effective sample size falls below a share of N, particles are resampled. The mean of the weights is an
unbiased estimate of the evidence for any N, any potentials and any proposal that misses nothing.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.evidence import Evidence, TiltedKernel
from quasistatic.evidence.kernel import Sight
from quasistatic.forward import Diffusion
from quasistatic.posterior import Posterior, PosteriorWarning
from quasistatic.reverse import ReverseKernel

__all__ = ["posterior_sample", "systematic"]


def systematic(log_weights: Tensor, generator: Generator | None = None) -> Tensor:
    """Systematic resampling: of each row's N particles, which to keep, (B, N) -> (B, N).

    Particle i is kept floor(N w_i) or ceil(N w_i) times, N w_i on average.

    Examples
    --------
    >>> systematic(torch.tensor([[0.5, 0.0, 0.0, 0.5]]).log()).tolist()
    [[0, 0, 3, 3]]
    """
    n = log_weights.shape[1]
    cumulative = torch.softmax(log_weights.double(), 1).cumsum(1)
    u = torch.rand(len(log_weights), 1, generator=generator, dtype=torch.float64, device=log_weights.device)
    points = (torch.arange(n, device=u.device) + u) / n * cumulative[:, -1:]
    return torch.searchsorted(cumulative, points, right=True).clamp_max(n - 1)


class _Cloud:
    """B rows of N particles, walked in chunks."""

    def __init__(
        self, kernel: TiltedKernel, evidence: Evidence, n: int, chunk: int, weighted: bool, generator: Generator | None
    ) -> None:
        self.kernel, self.evidence, self.n_rows, self.n = kernel, evidence, evidence.n_observations, n
        self.weighted, self.generator = weighted, generator
        self.device = kernel.diffusion.beta.device
        every = torch.arange(self.n_rows * n, device=self.device)
        self.chunks = [slice(int(c[0]), int(c[-1]) + 1) for c in every.split(chunk)]
        self.founders = torch.arange(n, device=self.device).repeat(self.n_rows, 1)
        self.n_resampled = torch.zeros(self.n_rows, dtype=torch.long, device=self.device)
        self.log_path = torch.zeros(self.n_rows * n, dtype=torch.float64, device=self.device)  # log of the product in w_t
        self.x = self._start()

    def _seen_by(self, chunk: slice) -> Evidence:
        """The observation of each particle in a chunk."""
        return self.evidence.rows(torch.arange(chunk.start, chunk.stop, device=self.device) // self.n)

    def _start(self) -> Tensor:
        diffusion, drawn = self.kernel.diffusion, []
        assert self.evidence.event is not None
        for chunk in self.chunks:
            noise = diffusion.stationary((chunk.stop - chunk.start, *self.evidence.event), torch.float64)
            move = self.kernel.start(noise, self._seen_by(chunk))
            x = move.law.sample(self.generator)
            if self.weighted:
                self.log_path[chunk] = move.score(x)
            drawn.append(x)
        return torch.cat(drawn)

    def step(self, t: int) -> None:
        sight = Sight.joined([self.kernel.look(self.x[chunk], t, self._seen_by(chunk)) for chunk in self.chunks])
        if self.weighted:
            sight = self._resample(sight)
        drawn = []
        for chunk in self.chunks:
            part = sight if len(self.chunks) == 1 else sight.take(torch.arange(chunk.start, chunk.stop, device=self.device))
            move = self.kernel.move(part, self.x[chunk], t, self._seen_by(chunk))
            x = move.law.sample(self.generator)
            if self.weighted:
                self.log_path[chunk] += move.score(x)
            drawn.append(x)
        self.x = torch.cat(drawn)

    def _resample(self, sight: Sight) -> Sight:
        """Resample the rows whose weights have become uneven."""
        log_w = _checked(self.log_path + sight.log_psi).view(self.n_rows, self.n)
        total = torch.logsumexp(log_w, 1, keepdim=True)
        ess = 1.0 / torch.softmax(log_w, 1).square().sum(1)
        uneven = (ess < 0.5 * self.n) & torch.isfinite(total[:, 0])
        if not uneven.any():
            return sight
        keep = torch.arange(self.n, device=self.device).repeat(self.n_rows, 1)
        keep[uneven] = systematic(log_w[uneven], self.generator)
        rows = (keep + self.n * torch.arange(self.n_rows, device=self.device).unsqueeze(1)).flatten()
        self.x, sight, log_path = self.x[rows], sight.take(rows), self.log_path[rows]
        # the weight w_t becomes its mean, so the product in it becomes the mean over psi_t
        level = (total - math.log(self.n)).expand(-1, self.n).flatten() - sight.log_psi
        self.log_path = torch.where(uneven.repeat_interleave(self.n), level, log_path)
        self.founders = self.founders.gather(1, keep)
        self.n_resampled += uneven
        return sight


def _checked(log_w: Tensor) -> Tensor:
    if log_w.isnan().any() or (log_w == torch.inf).any():
        raise InputError("a weight is nan or infinite: the kernel returned numbers that are no distribution")
    return log_w


def posterior_sample(
    diffusion: Diffusion,
    kernel: ReverseKernel,
    evidence: Evidence,
    n_particles: int,
    *,
    shape: Sequence[int],
    n_steps: int | None = None,
    spread: str = "lookahead",
    weights: bool = True,
    generator: Generator | None = None,
    chunk: int | None = None,
) -> Posterior:
    r"""Draw weighted samples of p(x) r(x) and estimate the log evidence :math:`\log \int p(x)\, r(x)\, dx`.

    Parameters
    ----------
    diffusion : Diffusion
    kernel : ReverseKernel
        The prior's.
    evidence : Evidence
        In the model's units; with B observations all are treated at once, each with its own particles.
    n_particles : int
        N for each observation.
    shape : sequence of int
        Of one event.
    n_steps : int, optional
        Walk fewer steps of the same chain.
    spread : {"lookahead", "constant", "power"}
        How r is spread over the steps; see :mod:`quasistatic.evidence.kernel`. With weights all three are right as N
        grows, and looking ahead needs the smallest N.
    weights : bool
        False for the paper's method: no weights, no evidence, and a bias that no N removes.
    generator : Generator, optional
    chunk : int, optional
        Particles that go through the network at once; by default about a million entries.

    Returns
    -------
    Posterior
        In float64.

    Warns
    -----
    PosteriorWarning
        If the effective sample size has collapsed, or no particle has a positive weight.

    Examples
    --------
    A standard normal measured as 2 with error 1: posterior N(1, 1/2), evidence N(2; 0, 2).

    >>> from quasistatic.evidence import GaussianMeasurement
    >>> from quasistatic.exact import ExactGaussianMixture
    >>> from quasistatic.forward import GaussianDiffusion
    >>> from quasistatic.schedules import geometric
    >>> q = GaussianDiffusion(geometric(10))
    >>> prior = ExactGaussianMixture(q, torch.zeros(1, 1), 1.0, family="diagonal")
    >>> seen = GaussianMeasurement(torch.tensor([2.0]), std=1.0)
    >>> p = posterior_sample(q, prior, seen, 20_000, shape=(1,), generator=torch.Generator().manual_seed(0))
    >>> abs(p.mean.item() - 1.0) < 0.02, abs(p.log_evidence.item() + 0.5 * math.log(4 * math.pi) + 1.0) < 0.01
    (True, True)
    """
    if n_particles < 1:
        raise InputError(f"the number of particles must be at least 1, got {n_particles}")
    if chunk is not None and chunk < 1:
        raise InputError(f"the number of particles in a chunk must be at least 1, got {chunk}")
    if n_steps is not None and n_steps != diffusion.n_steps:
        diffusion = diffusion.respaced(n_steps)
    tilted = TiltedKernel(kernel, diffusion, evidence, spread)
    if evidence.vanishes and weights and spread != "lookahead":
        raise InputError(
            f'entries known exactly cannot be held at every step and weighted as well: with spread "{spread}" '
            'take weights=False, with weights take spread "lookahead"'
        )
    ready = evidence.on(tuple(shape), diffusion.beta.device)
    chunk = chunk or max(64, 2**20 // max(1, math.prod(shape)))
    with torch.no_grad():
        cloud = _Cloud(tilted, ready, n_particles, chunk, weights, generator)
        for t in range(diffusion.n_steps, 0, -1):
            cloud.step(t)
        posterior = _summed_up(cloud, ready)
    if weights:
        _warn_if_poor(posterior)
    return posterior


def _summed_up(cloud: _Cloud, evidence: Evidence) -> Posterior:
    log_w = _checked(cloud.log_path).view(cloud.n_rows, cloud.n)
    total = torch.logsumexp(log_w, 1)
    log_evidence = total - math.log(cloud.n) if cloud.weighted else torch.full_like(total, math.nan)
    possible = torch.isfinite(total).unsqueeze(1)
    log_weights = torch.where(possible, log_w - total.unsqueeze(1), -math.log(cloud.n))
    x = cloud.x.view(cloud.n_rows, cloud.n, *cloud.x.shape[1:])
    posterior = Posterior(x, log_weights, log_evidence, cloud.founders, cloud.n_resampled)
    return posterior if evidence.batched else posterior.observation(0)


def _warn_if_poor(posterior: Posterior) -> None:
    n = posterior.n_particles
    impossible = torch.atleast_1d(posterior.log_evidence == -torch.inf)
    effective = torch.atleast_1d(torch.minimum(posterior.ess, posterior.n_founders))
    if impossible.any():
        _warn(
            impossible,
            "the evidence contradicts the model: it is impossible for every particle, so the samples mean nothing",
        )
    poor = (effective < min(10.0, 0.1 * n)) & ~impossible
    if poor.any():
        worst = effective[poor].min().item()
        _warn(
            poor,
            f"only {worst:.1f} of {n} particles count: do not trust the samples or the evidence; take more particles, "
            "more steps, or look whether the evidence contradicts the model",
        )


def _warn(which: Tensor, why: str) -> None:
    where = which.nonzero().flatten().tolist()
    for_ = f" (observations {', '.join(map(str, where[:5]))}{', ..' if len(where) > 5 else ''})" if len(which) > 1 else ""
    warnings.warn(why + for_, PosteriorWarning, stacklevel=4)
