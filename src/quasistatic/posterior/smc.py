r"""Sequential Monte Carlo along the reverse chain: weighted posterior samples and log evidence.

Particles walk from noise to data by the tilted kernels m of :mod:`quasistatic.posterior.observations`, and carry the weight

.. math:: w_t = \frac{\pi(x_T)}{m(x_T)} \prod_{s = t+1}^{T} \frac{p(x_{s-1} \mid x_s)}{m(x_{s-1} \mid x_s)}\; \psi_t(x_t),
          \qquad \psi_0 = r,

whose ratio from one step to the next is what the paper's normalised kernel drops (Sohl-Dickstein et al. 2015, eq. 21
against 22). Where the effective sample size falls below a share of N, particles are resampled. The mean of the weights is an
unbiased estimate of the evidence for any N, any potentials and any proposal that misses nothing.

Observations are treated in blocks of as many as fit into one chunk, so memory does not grow with their number; the
particles of one observation go through the network in chunks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from quasistatic.checks import generator_of, one_of, require_memory, true_or_false, whole_number
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.posterior.observations import Observation
from quasistatic.posterior.observations.base import as_observation
from quasistatic.posterior.particles import Cloud, checked
from quasistatic.posterior.resampling import systematic
from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning, lineage_error
from quasistatic.posterior.twisting import TwistedKernel
from quasistatic.reverse import ReverseKernel

__all__ = ["posterior_sample", "require_room", "systematic"]

_CONTRADICTION = math.log(1000.0)


def posterior_sample(
    process: ForwardProcess,
    kernel: ReverseKernel,
    observation: Observation | Callable[[Tensor], Tensor],
    n_particles: int,
    *,
    shape: Sequence[int],
    n_steps: int | None = None,
    twist: str = "lookahead",
    weighted: bool = True,
    moves: int = 0,
    generator: Generator | None = None,
    chunk: int | None = None,
    n_runs: int = 1,
) -> PosteriorSamples:
    r"""Draw weighted samples of p(x) r(x) and estimate the log evidence :math:`\log \int p(x)\, r(x)\, dx`.

    Parameters
    ----------
    diffusion : Diffusion
    kernel : ReverseKernel
        The prior's.
    evidence : Evidence or callable
        In the model's units; with B observations each has its own particles.
    n_particles : int
        N for each observation.
    shape : sequence of int
        Of one event.
    n_steps : int, optional
        Walk fewer steps of the same chain.
    spread : {"lookahead", "constant", "power"}
        How r is spread over the steps; see :mod:`quasistatic.posterior.twisting`. With weights all three are right as N
        grows, and looking ahead needs the smallest N.
    weighted : bool
        False for the paper's method: no weights, no evidence, and a bias that no N removes.
    moves : int
        After resampling, draw each particle's last step anew so many times, to be accepted or not (Metropolis-Hastings):
        copies part, for one more evaluation of the network each.
    generator : Generator, optional
    chunk : int, optional
        Particles that go through the network at once; by default about a million entries.
    n_runs : int
        Independent runs of n_particles each, pooled by their evidence. How far their evidences differ is the error of the
        log evidence, and with "power" the only one there is; with "constant" there is none, as the weights' tails are too
        heavy for runs to show it.

    Returns
    -------
    Posterior
        In float64.

    Warns
    -----
    PosteriorWarning
        If the effective sample size has collapsed, no particle has a positive weight, or the evidence contradicts the
        model: its null model, independent noise, explains what was seen a thousand times better.

    Examples
    --------
    A standard normal measured as 2 with error 1: posterior N(1, 1/2), evidence N(2; 0, 2).

    >>> from quasistatic.posterior.observations import GaussianMeasurement
    >>> from quasistatic.likelihood.exact import ExactGaussianMixtureKernel
    >>> from quasistatic.forward import GaussianDiffusion
    >>> from quasistatic.schedules import geometric
    >>> q = GaussianDiffusion(geometric(10))
    >>> prior = ExactGaussianMixtureKernel(q, torch.zeros(1, 1), 1.0, family="diagonal")
    >>> seen = GaussianMeasurement(torch.tensor([2.0]), std=1.0)
    >>> p = posterior_sample(q, prior, seen, 20_000, shape=(1,), generator=torch.Generator().manual_seed(0))
    >>> abs(p.mean.item() - 1.0) < 0.02, abs(p.log_evidence.item() + 0.5 * math.log(4 * math.pi) + 1.0) < 0.01
    (True, True)
    """
    observation = as_observation(observation)
    whole_number("the number of particles", n_particles, 1)
    if chunk is not None:
        whole_number("the number of particles in a chunk", chunk, 1)
    whole_number("the number of moves", moves, 0)
    one_of("twist", twist, ("lookahead", "constant", "power"))
    true_or_false("weighted", weighted)
    generator_of("generator", generator)
    whole_number("n_runs", n_runs, 1)
    if n_steps is not None:
        whole_number("n_steps", n_steps, 1)
    if n_steps is not None and n_steps != process.n_steps:
        process = process.respaced(n_steps)
    tilted = TwistedKernel(kernel, process, observation, twist)
    if observation.vanishes and weighted and twist != "lookahead":
        raise InputError(
            f'entries known exactly cannot be held at every step and weighted as well: with twist "{twist}" '
            'take weighted=False, with weights take twist "lookahead"'
        )
    ready = observation.on(tuple(shape), process.beta.device)
    width, n_rows = math.prod(shape), max(1, ready.n_observations // ready.versions)
    require_room(process, n_particles, width, n_rows)
    chunk = chunk or max(64, 2**20 // max(1, math.prod(shape)))
    runs = []
    for _ in range(n_runs):
        with torch.no_grad():
            blocks = []
            for rows in _blocks(ready, max(1, chunk // n_particles)):
                seen = ready.rows(rows.to(process.beta.device))
                cloud = Cloud(tilted, seen, n_particles, chunk, weighted, moves, generator)
                for t in range(process.n_steps, 0, -1):
                    cloud.step(t)
                blocks.append(_summed_up(cloud))
        runs.append(blocks[0] if len(blocks) == 1 else PosteriorSamples.joined(blocks))
    posterior = runs[0] if n_runs == 1 else PosteriorSamples.pooled(runs)
    if twist == "constant":  # weights of such heavy tails that runs agree with each other and not with the truth
        posterior = replace(posterior, log_evidence_error=torch.full_like(posterior.log_evidence_error, math.nan))
    posterior = posterior if ready.batched else posterior.observation(0)
    if weighted:
        _warn_if_poor(posterior, _null_evidence(process, ready, shape))
    return posterior


def require_room(process: ForwardProcess, n_particles: int, width: int, n_rows: int = 1) -> None:
    """Refuse more particles of ``width`` numbers than fit into the memory of the CPU, for each of some observations."""
    if process.beta.device.type == "cpu":
        require_memory(
            f"{n_particles} particles of {width} numbers" + (f" for each of {n_rows} observations" if n_rows > 1 else ""),
            8.0 * n_particles * (12 * width + 16) + 8.0 * n_particles * n_rows * (width + 4),
            "choose fewer",
        )


def _blocks(observation: Observation, most: int) -> list[Tensor]:
    """Rows of the evidence for at most so many observations after the others."""
    v = observation.versions
    return list(torch.arange(observation.n_observations).split(most * v))


def _summed_up(cloud: Cloud) -> PosteriorSamples:
    log_w = checked(cloud.log_path).view(cloud.n_rows, cloud.n)
    total = torch.logsumexp(log_w, 1)
    log_evidence = total - math.log(cloud.n) if cloud.weighted else torch.full_like(total, math.nan)
    possible = torch.isfinite(total).unsqueeze(1)
    log_weights = torch.where(possible, log_w - total.unsqueeze(1), -math.log(cloud.n))
    x = cloud.x.view(cloud.n_rows, cloud.n, *cloud.x.shape[1:])
    error = lineage_error(log_weights, cloud.ancestors, log_evidence)
    if cloud.kernel.twist != "lookahead":
        error = torch.full_like(error, math.nan)
    return PosteriorSamples(x, log_weights, log_evidence, cloud.ancestors, cloud.n_resampled, error)


def _null_evidence(process: ForwardProcess, observation: Observation, shape: Sequence[int]) -> Tensor | None:
    """Log evidence of each observation under the null model, (B,), where it has a closed form."""
    if not observation.closed:
        return None
    null = process.null((observation.n_observations, *shape), torch.float64)
    each = observation.product(null).log_z.view(-1, observation.versions)
    return torch.logsumexp(each, 1) - math.log(observation.versions)


def _warn_if_poor(posterior: PosteriorSamples, null: Tensor | None) -> None:
    n = posterior.n_particles
    impossible = torch.atleast_1d(posterior.log_evidence == -torch.inf)
    effective = torch.atleast_1d(torch.minimum(posterior.ess, posterior.n_ancestors))
    if impossible.any():
        _warn(
            impossible,
            "the evidence contradicts the model: it is impossible for every particle, so the samples mean nothing",
        )
    if null is not None:
        worse = null - torch.atleast_1d(posterior.log_evidence)
        if (contradicted := (worse > _CONTRADICTION) & ~impossible).any():
            _warn(
                contradicted,
                "the evidence contradicts the model: independent noise explains what was seen "
                f"e^{worse[contradicted].max().item():.0f} times better, so do not trust the samples",
            )
    enough = min(10.0, max(0.1 * n, 0.5 * min(n, 4)))  # of a handful, two
    poor = (effective < enough) & ~impossible
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
