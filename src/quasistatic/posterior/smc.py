r"""Sequential Monte Carlo along the reverse chain.

Particles go from noise to data by the twisted kernels m of :mod:`quasistatic.posterior.twisting`, and carry the weight

.. math:: w_t = \frac{\pi(x_T)}{m(x_T)} \prod_{s = t+1}^{T} \frac{p(x_{s-1} \mid x_s)}{m(x_{s-1} \mid x_s)}\; \psi_t(x_t),
          \qquad \psi_0 = r,

whose ratio from one step to the next is what the paper's normalised kernel drops (Sohl-Dickstein et al. 2015, eq. 21
against 22). Where the effective sample size falls below a share of N, particles are resampled. The mean of the weights is an
unbiased estimate of the evidence for any N, any potentials and any proposal that is positive wherever p r is.

Observations are treated in blocks of as many as fit into one chunk, so memory does not grow with their number. The
particles of one observation go through the network in chunks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from quasistatic.checks import generator_of, one_of, true_or_false, whole_number
from quasistatic.errors import InputError
from quasistatic.forward import ForwardProcess
from quasistatic.memory import require_memory
from quasistatic.posterior.observations import Observation, as_observation
from quasistatic.posterior.particles import ParticleSystem, checked
from quasistatic.posterior.resampling import systematic
from quasistatic.posterior.result import PosteriorSamples, lineage_error
from quasistatic.posterior.twisting import TWISTS, TwistedKernel
from quasistatic.posterior.warning import warn_if_poor
from quasistatic.reverse import ReverseKernel

__all__ = ["posterior_sample", "require_room", "systematic"]


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
    r"""Draw weighted samples of a posterior.

    They are samples of p(x) r(x), with an estimate of the log evidence :math:`\log \int p(x)\, r(x)\, dx`.

    Parameters
    ----------
    process : ForwardProcess
        The prior's grid of steps.
    kernel : ReverseKernel
        The prior's.
    observation : Observation or callable
        In the model's units; with B observations each has its own particles. A function is log r(x).
    n_particles : int
        N for each observation.
    shape : sequence of int
        Of one event.
    n_steps : int, optional
        Take fewer steps of the same chain.
    twist : {"lookahead", "constant", "power"}
        How r enters the steps; see :mod:`quasistatic.posterior.twisting`. With weights all three are right as N grows, and
        the look-ahead needs the smallest N.
    weighted : bool
        False for the paper's method: no weights, no evidence, and a bias that no N removes.
    moves : int
        After resampling, draw each particle's last step anew this many times, to be accepted or not (Metropolis-Hastings).
        Copies become different, for one more evaluation of the network each.
    generator : Generator, optional
        Of all draws.
    chunk : int, optional
        Particles that go through the network at once; by default about a million entries.
    n_runs : int
        Independent runs of n_particles each, pooled by their evidence. The error of the log evidence is then measured by
        how far their evidences differ. With "power" there is no other error. With "constant" there is none, as the
        weights' tails are too heavy for runs to show it.

    Returns
    -------
    PosteriorSamples
        In float64.

    Warns
    -----
    PosteriorWarning
        If the effective sample size is too small (:func:`~quasistatic.posterior.warning.least_effective`), no particle has
        a positive weight, or the observation contradicts the model: its null model, independent noise, explains the
        observation a thousand times better.

    Examples
    --------
    A standard normal measured as 2 with error 1: posterior N(1, 1/2), evidence N(2; 0, 2).

    >>> import math
    >>> import torch
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
    _check_options(process, n_particles, n_steps, twist, weighted, moves, generator, chunk, n_runs)
    if n_steps is not None and n_steps != process.n_steps:
        process = process.respaced(n_steps)
    kernel = TwistedKernel(kernel, process, observation, twist)
    if observation.has_zeros and weighted and twist != "lookahead":
        raise InputError(
            f'entries known exactly cannot be held at every step and weighted as well: with twist "{twist}" '
            'pass weighted=False, or use twist "lookahead"'
        )
    ready = observation.on(tuple(shape), process.beta.device)
    width, n_rows = math.prod(shape), max(1, ready.n_observations // ready.n_copies)
    require_room(process, n_particles, width, n_rows)
    chunk = chunk or max(64, 2**20 // max(1, math.prod(shape)))
    runs = []
    for _ in range(n_runs):
        with torch.no_grad():
            blocks = []
            for rows in _blocks(ready, max(1, chunk // n_particles)):
                about = ready.rows(rows.to(process.beta.device))
                particles = ParticleSystem(kernel, about, n_particles, chunk, weighted, moves, generator)
                for t in range(process.n_steps, 0, -1):
                    particles.step(t)
                blocks.append(_samples(particles))
        runs.append(blocks[0] if len(blocks) == 1 else PosteriorSamples.joined(blocks))
    posterior = runs[0] if n_runs == 1 else PosteriorSamples.pooled(runs)
    if twist == "constant":  # weights of such heavy tails that runs agree with each other and not with the truth
        posterior = replace(posterior, log_evidence_error=torch.full_like(posterior.log_evidence_error, math.nan))
    posterior = posterior if ready.batched else posterior.observation(0)
    if weighted:
        warn_if_poor(posterior, _null_evidence(process, ready, shape))
    return posterior


def _check_options(
    process: ForwardProcess,
    n_particles: int,
    n_steps: int | None,
    twist: str,
    weighted: bool,
    moves: int,
    generator: Generator | None,
    chunk: int | None,
    n_runs: int,
) -> None:
    """Refuse options of :func:`posterior_sample` that are out of range."""
    whole_number("the number of particles", n_particles, 1)
    if chunk is not None:
        whole_number("the number of particles in a chunk", chunk, 1)
    whole_number("the number of moves", moves, 0)
    one_of("twist", twist, TWISTS)
    true_or_false("weighted", weighted)
    generator_of("generator", generator)
    whole_number("n_runs", n_runs, 1)
    if n_steps is not None:
        whole_number("n_steps", n_steps, 1)


def require_room(process: ForwardProcess, n_particles: int, width: int, n_rows: int = 1) -> None:
    """Refuse more particles than fit into the memory of the CPU.

    Parameters
    ----------
    process : ForwardProcess
        Whose device counts.
    n_particles : int
        For each observation.
    width : int
        Numbers of a particle.
    n_rows : int
        Number of observations.
    """
    if process.beta.device.type == "cpu":
        require_memory(
            f"{n_particles} particles of {width} numbers" + (f" for each of {n_rows} observations" if n_rows > 1 else ""),
            8.0 * n_particles * (12 * width + 16) + 8.0 * n_particles * n_rows * (width + 4),
            "choose fewer",
        )


def _blocks(observation: Observation, most: int) -> list[Tensor]:
    """Split observations into blocks."""
    return list(torch.arange(observation.n_observations).split(most * observation.n_copies))


def _samples(particles: ParticleSystem) -> PosteriorSamples:
    """Return the weighted samples at the end of the chain."""
    n, n_rows = particles.n, particles.n_rows
    log_w = checked(particles.log_path).view(n_rows, n)
    total = torch.logsumexp(log_w, 1)
    log_evidence = total - math.log(n) if particles.weighted else torch.full_like(total, math.nan)
    possible = torch.isfinite(total).unsqueeze(1)
    log_weights = torch.where(possible, log_w - total.unsqueeze(1), -math.log(n))
    x = particles.x.view(n_rows, n, *particles.x.shape[1:])
    error = lineage_error(log_weights, particles.ancestors, log_evidence)
    if particles.kernel.twist != "lookahead":
        error = torch.full_like(error, math.nan)
    return PosteriorSamples(x, log_weights, log_evidence, particles.ancestors, particles.n_resampled, error)


def _null_evidence(process: ForwardProcess, observation: Observation, shape: Sequence[int]) -> Tensor | None:
    """Return the log evidence under the null model.

    The result is (B,), or None without a closed form.
    """
    if not observation.has_closed_form:
        return None
    tilt = observation.product(process.null((observation.n_observations, *shape), torch.float64))
    if tilt.difference is not None:
        return None
    each = tilt.log_z.view(-1, observation.n_copies)
    return torch.logsumexp(each, 1) - math.log(observation.n_copies)
