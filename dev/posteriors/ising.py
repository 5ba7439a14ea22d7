"""A 4 x 3 Ising model, all of whose 4096 states can be listed, and a model that learned from its samples."""

from __future__ import annotations

import math
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posteriors.common import Measured, say, seed
from quasistatic.forward import BernoulliDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.posterior.observations import BitFlipChannel, KnownEntries, Observation
from quasistatic.posterior.result import PosteriorWarning
from quasistatic.reverse import BernoulliDenoiser
from quasistatic.schedules import constant_erasure
from quasistatic.train import TrainConfig, fit
from quasistatic.transforms import Chain

ROWS, COLUMNS, COUPLING, FIELD = 4, 3, 0.35, 0.1
N, N_STEPS, N_COMPONENTS, N_TRAIN, STEPS = 20_000, 50, 6, 1_000_000, 20_000


@cache
def law() -> tuple[Tensor, Tensor]:
    """All states as bits, (4096, 12), and their probabilities."""
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * (ROWS * COLUMNS))
    spin = (2 * states - 1).view(-1, ROWS, COLUMNS)
    energy = COUPLING * ((spin[:, 1:] * spin[:, :-1]).sum((1, 2)) + (spin[:, :, 1:] * spin[:, :, :-1]).sum((1, 2)))
    return states, torch.softmax(energy + FIELD * spin.sum((1, 2)), 0)


@cache
def learned() -> DiffusionModel:
    states, probs = law()
    drawn = states[torch.multinomial(probs, N_TRAIN + 5000, replacement=True, generator=seed(1))].float()
    d, rate = ROWS * COLUMNS, drawn[:N_TRAIN].double().mean(0)
    torch.manual_seed(0)
    q = BernoulliDiffusion(constant_erasure(N_STEPS), rate)
    network = ResidualMLP(d, BernoulliDenoiser.n_outputs(d, N_COMPONENTS), 96, 2)
    model = DiffusionModel(Chain(), q, BernoulliDenoiser(q, network, rate, N_COMPONENTS), (d,))
    config = TrainConfig(n_updates=STEPS, batch_size=512, learning_rate=2e-3, evaluate_every=STEPS // 4)
    return fit(model, drawn[:N_TRAIN], drawn[N_TRAIN:], config, quiet=True)


def problems(of_seed: int) -> dict[str, Observation]:
    """Some spins known, none of them or all of them likely, and readings through a 10 % channel."""
    states, probs = law()
    generator = seed(700 + of_seed)
    made: dict[str, Observation] = {}
    for k in (2, 4, 6):
        mask = torch.zeros(ROWS * COLUMNS, dtype=torch.bool)
        mask[torch.randperm(ROWS * COLUMNS, generator=generator)[:k]] = True
        made[f"{k} known"] = KnownEntries(mask, states[int(torch.multinomial(probs, 1, generator=generator))])
    mask = torch.tensor([True, True] + [False] * 8 + [True, True])
    made["opposite corners"] = KnownEntries(mask, torch.tensor([1.0, 1.0] + [0.0] * 10))
    x = states[int(torch.multinomial(probs, 1, generator=generator))]
    flipped = torch.rand(x.shape, generator=generator) < 0.1
    made["channel"] = BitFlipChannel(torch.where(flipped, 1 - x, x), 0.1)
    return made


def measure(runs: Path, of_seed: int) -> dict[str, Measured]:
    model, (states, probs) = learned(), law()
    details: dict[str, Any] = {
        "n_particles": N, "n_steps": N_STEPS, "n_components": N_COMPONENTS, "coupling": COUPLING, "field": FIELD,
        "training": {"rows": N_TRAIN, "n_updates": STEPS, "seed": 0},
    }  # fmt: skip
    told: dict[str, dict[str, float]] = {}
    for name, observation in problems(of_seed).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PosteriorWarning)
            p = model.posterior(observation, N, generator=seed(of_seed))
        log_joint = probs.log() + observation.on((ROWS * COLUMNS,)).log_r(states)
        truth = torch.softmax(log_joint, 0) @ states
        off = (p.mean - truth).abs()
        told[name] = {
            "marginals_off": off.max().item(),
            "marginals_error": (truth * (1 - truth) / p.n_ancestors).sqrt()[off.argmax()].item(),
            "log_evidence_off": p.log_evidence.item() - torch.logsumexp(log_joint, 0).item(),
            "log_evidence_error": p.log_evidence_error.item(),
            "lines": p.n_ancestors.item(),
        }
        say(f"{name}: {told[name]}")
    at = max(told, key=lambda name: told[name]["marginals_off"])
    log_z = max(told, key=lambda name: abs(told[name]["log_evidence_off"]))
    assert all(math.isfinite(v["log_evidence_off"]) for v in told.values())
    details |= told | {"worst_marginal_at": at, "worst_evidence_at": log_z}
    evidence_off, error = abs(told[log_z]["log_evidence_off"]), told[log_z]["log_evidence_error"]
    return {
        "posterior-ising": Measured(told[at]["marginals_off"], told[at]["marginals_error"], N, details),
        "posterior-ising-evidence": Measured(evidence_off, error, N, details),
    }
