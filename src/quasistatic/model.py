"""Models in data units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from quasistatic.checks import instance_of, require_event_shape, require_finite_data, tensor_of, whole_number
from quasistatic.forward import ForwardProcess
from quasistatic.likelihood.bound import Bound, elbo, least_variance_method, null_log_prob
from quasistatic.likelihood.estimators import TimestepSampler, estimate_elbo
from quasistatic.likelihood.importance import importance_weighted_log_prob
from quasistatic.modules import shared_copy
from quasistatic.posterior.observations import Observation, as_observation
from quasistatic.posterior.result import PosteriorSamples
from quasistatic.posterior.smc import posterior_sample, require_room
from quasistatic.random import Rng, rng_of
from quasistatic.reverse import ReverseKernel
from quasistatic.reverse.first_step import with_first_step
from quasistatic.sample import require_room_for_samples, sample_ancestral
from quasistatic.storage.atomic import new_folder
from quasistatic.storage.files import path_of
from quasistatic.storage.modules import save_module, saveable
from quasistatic.transforms import Transform

__all__ = ["DiffusionModel"]


@saveable
class DiffusionModel(nn.Module):
    """A generative model with a normalised likelihood, in data units.

    Parameters
    ----------
    transform : Transform
        Data units to model units; its log-determinant enters every likelihood.
    process : ForwardProcess
        Forward process. The kernel uses its steps.
    kernel : ReverseKernel
        Reverse kernel. It holds the process: ``model.process`` is ``model.kernel.process``.
    event_shape : sequence of int
        Shape of one example.

    Raises
    ------
    InputError
        If an argument is of another type, or the kernel's network does not fit events of this shape.
    """

    transform: Transform
    kernel: ReverseKernel

    def __init__(
        self,
        transform: Transform,
        process: ForwardProcess,
        kernel: ReverseKernel,
        event_shape: tuple[int, ...] | list[int],
    ) -> None:
        super().__init__()
        instance_of("transform", transform, Transform, "a transform of quasistatic")
        instance_of("process", process, ForwardProcess, "a forward process of quasistatic")
        instance_of("kernel", kernel, ReverseKernel, "a reverse kernel of quasistatic")
        instance_of("event_shape", event_shape, (tuple, list), "a list of whole numbers")
        self.event_shape = tuple(whole_number("an axis of event_shape", n, 1) for n in event_shape)
        self.transform = transform
        self.kernel = kernel.on(process)
        self.kernel.check_event(self.event_shape)

    @property
    def process(self) -> ForwardProcess:
        """The forward process, which is held by the kernel."""
        return self.kernel.process

    def __repr__(self) -> str:
        kernel, n = type(self.kernel).__name__, sum(p.numel() for p in self.parameters())
        return f"DiffusionModel({kernel} of {n} parameters, {self.process!r}, events of shape {self.event_shape})"

    def encode(self, x: Any, generator: Rng | None = None) -> tuple[Tensor, Tensor]:
        """Check data and transform it to model units.

        Parameters
        ----------
        x : array or Tensor, shape (n, *event_shape)
            Data. With a transform that completes rows nan is a missing entry, and every likelihood is that of the
            observed entries.
        generator : Generator or RowStreams, optional
            Source of the transform's draws.

        Returns
        -------
        z : Tensor, shape (n, *event_shape), float64
            Data in model units.
        log_det : Tensor, shape (n,)
            Log-determinant of the transform.

        Raises
        ------
        InputError
            If the data has another shape, or a value that the process cannot have.
        """
        x = tensor_of("x", x, device=self.process.beta.device)
        rng_of("generator", generator)
        require_event_shape(x, self.event_shape)
        there = x.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf) if self.transform.takes_missing else x
        require_finite_data(there)
        self.process.check(there)
        return self.transform(x.double(), generator)

    def elbo(self, x: Any, *, generator: Rng | None = None, first_step: str = "learned", method: str | None = None) -> Bound:
        """Compute the lower bound of log p(x) of each row.

        The bound is of a density in data units, or of a probability for bits and dequantised integers.

        Parameters
        ----------
        x : array or Tensor, shape (n, *event_shape)
            Data.
        generator : Generator or RowStreams, optional
            Source of the draws.
        first_step : {"learned", "fixed"}
            Score the learned p(x_0 | x_1), or the paper's fixed one.
        method : {"marginal", "trajectory"}, optional
            See :func:`quasistatic.likelihood.bound.elbo`; by default marginal, and trajectory for mixture kernels.
        """
        method = least_variance_method(self.kernel) if method is None else method
        with torch.no_grad():
            z, log_det = self.encode(x, generator)
            kernel = with_first_step(self.kernel, first_step)
            terms = elbo(self.process, kernel, z, generator=generator, method=method)
        return terms.plus_log_det(log_det)

    def estimate_elbo(
        self,
        x: Any,
        n_timesteps: int = 8,
        *,
        sampler: TimestepSampler | None = None,
        generator: Rng | None = None,
        first_step: str = "learned",
    ) -> Bound:
        """Estimate the bound of each row from some timesteps, unbiased.

        See :func:`~quasistatic.likelihood.estimators.estimate_elbo`.

        Parameters
        ----------
        x : array or Tensor, shape (n, *event_shape)
            Data.
        n_timesteps : int
            Timesteps drawn for each row.
        sampler : TimestepSampler, optional
            Gives the probabilities of the timesteps; uniform if not given.
        generator : Generator or RowStreams, optional
            Source of the draws.
        first_step : {"learned", "fixed"}
            Score the learned p(x_0 | x_1), or the paper's fixed one.
        """
        whole_number("n_timesteps", n_timesteps, 0)
        with torch.no_grad():
            z, log_det = self.encode(x, generator)
            kernel, n, rng = with_first_step(self.kernel, first_step), n_timesteps, generator
            terms = estimate_elbo(self.process, kernel, z, n_timesteps=n, sampler=sampler, generator=rng)
        return terms.plus_log_det(log_det)

    def log_prob(self, x: Any, n_trajectories: int = 100, *, generator: Rng | None = None) -> Tensor:
        """Estimate log p(x) of each row by importance weighting (eq. 9).

        In expectation it is between the bound and log p, and closer to log p with more trajectories.

        Parameters
        ----------
        x : array or Tensor, shape (n, *event_shape)
            Data.
        n_trajectories : int
            Forward trajectories of each row.
        generator : Generator or RowStreams, optional
            Source of the draws. With a stream for each row the result of a row does not depend on the other rows.

        Returns
        -------
        Tensor, shape (n,)
            Nats.
        """
        with torch.no_grad():
            z, log_det = self.encode(x, generator)
            n, rng = n_trajectories, generator
            estimate = importance_weighted_log_prob(self.process, self.kernel, z, n_trajectories=n, generator=rng)
        return estimate + log_det

    def null_log_prob(self, x: Any, *, generator: Rng | None = None) -> Tensor:
        """Return the log likelihood under the null model, nats.

        Parameters
        ----------
        x : array or Tensor, shape (n, *event_shape)
            Data.
        generator : Generator or RowStreams, optional
            Source of the transform's draws.
        """
        with torch.no_grad():
            z, log_det = self.encode(x, generator)
            return null_log_prob(self.process, z) + log_det

    def sample(self, n: int, *, generator: Generator | None = None, n_steps: int | None = None) -> Tensor:
        """Draw n examples in data units.

        Parameters
        ----------
        n : int
            Number of examples.
        generator : Generator, optional
            Source of the draws.
        n_steps : int, optional
            Number of steps of a respaced chain; T if not given.

        Returns
        -------
        Tensor, shape (n, *event_shape)
        """
        whole_number("the number of samples", n, 1)
        rng_of("generator", generator)
        require_room_for_samples(self.process, self.kernel, (n, *self.event_shape))
        process = self.process if n_steps is None else self.process.respaced(n_steps)
        z = sample_ancestral(process, self.kernel, (n, *self.event_shape), generator=generator)
        return self.transform.inverse(z.double())

    def posterior(
        self,
        observation: Observation | Callable[[Tensor], Tensor],
        n_particles: int = 1000,
        *,
        n_steps: int | None = None,
        twist: str = "lookahead",
        weighted: bool = True,
        moves: int = 0,
        generator: Generator | None = None,
        chunk: int | None = None,
        n_runs: int = 1,
    ) -> PosteriorSamples:
        r"""Draw weighted posterior samples in data units.

        Parameters
        ----------
        observation : Observation or callable
            What is known about x, in data units; one observation or a batch of them. A function is taken as log r(x), a
            :class:`~quasistatic.posterior.observations.LogFactor`.
        n_particles : int
            Particles of each observation.
        n_steps, twist, weighted, moves, generator, chunk, n_runs
            See :func:`quasistatic.posterior.smc.posterior_sample`.

        Returns
        -------
        PosteriorSamples
            Known entries have exactly their known values in the samples. ``log_evidence`` is :math:`\log \int p(x)\,
            r(x)\, dx` in nats: for known entries their log density (or log probability), for a measurement that of y.
        """
        whole_number("n_particles", n_particles, 1)
        require_room(self.process, n_particles, math.prod(self.event_shape))
        about_x = as_observation(observation).on(self.event_shape, self.process.beta.device)
        about_z = about_x.through(self.transform, generator, n_particles)
        p = posterior_sample(
            self.process, self.kernel, about_z, n_particles, shape=self.event_shape,
            n_steps=n_steps, twist=twist, weighted=weighted, moves=moves, generator=generator, chunk=chunk, n_runs=n_runs,
        )  # fmt: skip
        x = self.transform.inverse(p.x.reshape(-1, *self.event_shape)).view(-1, p.n_particles, *self.event_shape)
        x = about_x.restore(x).view(p.x.shape)
        log_jacobian = 0.0 if about_z.log_jacobian is None else about_z.log_jacobian.squeeze(0)
        return replace(p, x=x, log_evidence=p.log_evidence + log_jacobian)

    def on(self, process: ForwardProcess) -> DiffusionModel:
        """Return the same model on another process.

        All parameters are shared.
        """
        instance_of("process", process, ForwardProcess, "a forward process of quasistatic")
        other = shared_copy(self)
        other.kernel = self.kernel.on(process)
        return other

    def save(self, path: str | Path, **extra: Any) -> None:
        """Write the model as a folder of safetensors and JSON.

        Parameters
        ----------
        path : str or Path
            The folder.
        **extra
            JSON-ready values that are kept beside the model.
        """
        with new_folder(path_of("path", path)) as folder:
            save_module(self, folder, extra)
