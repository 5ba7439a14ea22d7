"""The trained heartbeat with some bits known, and read through a channel that flips bits: five phases to sum over."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posteriors.common import Measured, say, seed, trained
from quasistatic.datasets.heartbeat import heartbeat_atoms
from quasistatic.model import DiffusionModel
from quasistatic.posterior.observations import BitFlipChannel, KnownEntries, Observation
from quasistatic.posterior.result import PosteriorSamples, PosteriorWarning

N, N_LONG, RATE = 20_000, 1000, 0.1


def problems(of_seed: int) -> dict[str, Observation]:
    """1 to 5 bits of a sequence known, where and which at random, and three readings through the channel."""
    atoms, generator = torch.as_tensor(heartbeat_atoms()).double(), seed(500 + of_seed)
    made: dict[str, Observation] = {}
    for k in range(1, 6):
        mask = torch.zeros(20, dtype=torch.bool)
        mask[torch.randperm(20, generator=generator)[:k]] = True
        made[f"{k} known"] = KnownEntries(mask, atoms[torch.randint(5, (), generator=generator)])
    for i in range(3):
        x = atoms[torch.randint(5, (), generator=generator)]
        flipped = torch.rand(20, generator=generator) < RATE
        made[f"channel, reading {i + 1}"] = BitFlipChannel(torch.where(flipped, 1 - x, x), RATE)
    return made


def truth(observation: Observation) -> tuple[Tensor, float]:
    """Phase probabilities and log evidence, by enumeration."""
    log_joint = observation.on((20,)).log_r(torch.as_tensor(heartbeat_atoms()).double()) - math.log(5.0)
    return torch.softmax(log_joint, 0), torch.logsumexp(log_joint, 0).item()


def phases(p: PosteriorSamples) -> Tensor:
    return p.weights @ (p.x.unsqueeze(1) == torch.as_tensor(heartbeat_atoms()).double()).all(2).double()


def compared(model: DiffusionModel, observation: Observation, n: int, of_seed: int) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        p = model.posterior(observation, n, generator=seed(of_seed))
    probs, log_z = truth(observation)
    return {
        "phases_off": (phases(p) - probs).abs().max().item(),
        "log_evidence_off": p.log_evidence.item() - log_z,
        "log_evidence": log_z,
        "log_evidence_error": p.log_evidence_error.item(),
        "lines": p.n_ancestors.item(),
    }


def contradiction(model: DiffusionModel, of_seed: int) -> dict[str, Any]:
    """Two neighbours that both beat."""
    known = KnownEntries(torch.arange(20) < 2, torch.ones(20))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PosteriorWarning)
        p = model.posterior(known, N, generator=seed(of_seed))
    return {
        "log_evidence": p.log_evidence.item(),
        "warning": next((str(w.message) for w in caught if issubclass(w.category, PosteriorWarning)), None),
        "ess": p.ess.item(),
        "lines": p.n_ancestors.item(),
    }


def measure(runs: Path, of_seed: int) -> dict[str, Measured]:
    model = trained(runs, "heartbeat-mixture")
    details: dict[str, Any] = {"n_particles": N, "n_steps": model.process.n_steps, "rate": RATE}
    told = {name: compared(model, observation, N, of_seed) for name, observation in problems(of_seed).items()}
    details |= told | {"contradiction": contradiction(model, of_seed)}
    say(f"contradiction: {details['contradiction']}")
    if (runs / "heartbeat").exists() and of_seed == 0:
        long = trained(runs, "heartbeat")
        some = {k: v for k, v in problems(of_seed).items() if k in ("3 known", "channel, reading 1")}
        steps = f"independent bits, T = {long.process.n_steps}, {N_LONG} particles"
        details[steps] = {name: compared(long, observation, N_LONG, of_seed) for name, observation in some.items()}
        say(f"{steps}: {details[steps]}")
    phase = max(told, key=lambda name: told[name]["phases_off"])
    log_z = max(told, key=lambda name: abs(told[name]["log_evidence_off"]))
    share = truth(problems(of_seed)[phase])[0].max().item()
    error = math.sqrt(share * (1 - share) / told[phase]["lines"])
    return {
        "posterior-heartbeat": Measured(told[phase]["phases_off"], error, N, {"worst_at": phase, **details}),
        "posterior-heartbeat-evidence": Measured(
            abs(told[log_z]["log_evidence_off"]), told[log_z]["log_evidence_error"], N, {"worst_at": log_z, **details}
        ),
    }
