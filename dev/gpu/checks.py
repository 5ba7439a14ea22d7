"""The code on a device against itself on the CPU in float64, on inputs drawn anew for every run.

An error is ‖out - ref‖ / ‖ref‖, the largest over the parts of an answer; what is not finite never passes. float32 lands
far under 1e-3 and TF32 near 3e-4, so the limit of 1e-4 for laws and bounds tells them apart. A gradient through a whole
network adds up roundings, and is given 1e-3. bfloat16 keeps eight bits: one product is off by 2e-3, a network by up to 2e-2
and its gradient by up to 5e-2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from gpu.models import model_of, network_inputs, random_rows, stirred
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, ForwardProcess, GaussianDiffusion
from quasistatic.likelihood.estimators import estimate_elbo
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.train.objective import Batch, Objective

__all__ = ["LIMITS", "Check", "check_all", "gradient_of", "relative_error", "strict"]

LIMITS = {"float32": 1e-4, "float32 gradient": 1e-3, "bfloat16": 2e-2, "bfloat16 gradient": 5e-2, "tf32": 2e-3,
          "tf32 gradient": 1e-2}  # fmt: skip

Answer = dict[str, Tensor]


@dataclass(frozen=True)
class Check:
    """One line: what was compared, how far off it is, and how far it may be."""

    name: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.error <= self.limit  # not for nan

    def told(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.passed}


def relative_error(out: Tensor, ref: Tensor) -> float:
    """‖out - ref‖ / ‖ref‖ in float64; infinite where a number is not finite.

    Examples
    --------
    >>> relative_error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0]))
    0.1
    >>> relative_error(torch.tensor([torch.nan]), torch.ones(1))
    inf
    """
    out, ref = out.detach().cpu().double(), ref.detach().cpu().double()
    if out.shape != ref.shape or not out.isfinite().all() or not ref.isfinite().all():
        return float("inf")
    return ((out - ref).norm() / ref.norm()).item()


@contextmanager
def strict() -> Iterator[None]:
    """Within the block, products in float32 are products in float32."""
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


def check_all(recipes: dict[str, Recipe], device: torch.device, seed: int, *, tiny: bool = False) -> list[Check]:
    """Check the forward processes, and for each recipe its kernel, its bound and its network."""
    found = []
    with strict():
        for name, q in processes(tiny).items():
            found += _forward(name, q, device, seed, tiny)
        for name, recipe in recipes.items():
            model = model_of(recipe, random_rows(recipe, 16, tiny=tiny, seed=seed))
            stirred(model.kernel.network, seed)  # type: ignore[arg-type]
            rows = random_rows(recipe, 8, tiny=tiny, seed=seed + 1)
            found += _kernel(name, model.eval(), rows, device, seed)
            found += _network(name, model, rows[:4], device)
    return found


def processes(tiny: bool) -> dict[str, ForwardProcess]:
    """The three families, as the recipes have them."""
    n_steps = 20 if tiny else 1000
    return {
        "Gaussian": GaussianDiffusion(geometric(n_steps, 12.0, -5.0)),
        "binomial": BernoulliDiffusion(constant_erasure(n_steps), 0.5),
        "absorbing": CategoricalDiffusion(constant_erasure(n_steps), 2, "absorbing"),
    }


def _forward(name: str, q: ForwardProcess, device: torch.device, seed: int, tiny: bool) -> list[Check]:
    draw, shape = Generator().manual_seed(seed), (8, 1, 4, 4) if tiny else (64, 3, 32, 32)
    x_0 = torch.randn(shape, generator=draw, dtype=torch.float64)
    if not isinstance(q, GaussianDiffusion):
        x_0 = (x_0 > 0).double()
    t = torch.randint(2, q.n_steps + 1, shape[:1], generator=draw)
    x_t = q.marginal(x_0, t).sample(draw)
    x_prev = q.posterior(x_0, x_t, t).sample(draw)

    def law(there: torch.device, dtype: torch.dtype) -> Answer:
        moved = copy.deepcopy(q).to(there)
        x, y, z, s = x_0.to(there, dtype), x_t.to(there, dtype), x_prev.to(there, dtype), t.to(there)
        return {
            "marginal": moved.marginal(x, s).log_prob(y),
            "update": moved.step(z, s).log_prob(y),
            "posterior": moved.posterior(x, y, s).log_prob(z),
            "terminal": moved.marginal(x, q.n_steps).entropy(),
        }

    return [_compared(f"forward process, {name}", law, device, "float32")]


def _kernel(name: str, model: DiffusionModel, rows: Tensor, device: torch.device, seed: int) -> list[Check]:
    """A chunk of (row, step) pairs, first steps among them: what each costs, and the gradient of all."""
    draw = Generator().manual_seed(seed)
    x_0 = model.encode(rows, draw)[0].double()
    q, k = model.process, 2
    t = torch.cat([torch.ones(k), torch.linspace(2, q.n_steps, len(x_0) - k)]).long()
    x_t = q.marginal(x_0, t).sample(draw)
    x_prev = q.posterior(x_0, x_t, t).sample(draw)

    def cost(there: torch.device, dtype: torch.dtype) -> Answer:
        moved = copy.deepcopy(model).to(there, dtype)
        x, y, z = (part.to(there, dtype) for part in (x_0, x_t, x_prev))
        batch = Batch(x, y, t.to(there), torch.ones(len(x), device=there, dtype=dtype), None, k)
        loss, each = Objective(moved.kernel)(batch)
        loss.backward()
        scores = moved.kernel(y[k:], batch.t[k:]).log_prob(z[k:])
        return {"cost": each, "law": scores, "gradient": _gradient(moved.kernel)}

    both = _answers(cost, device)
    found = [_named(f"kernel, {name}", both, "float32", lambda key: key != "gradient")]
    found.append(
        _named(f"gradient of a chunk of the bound, {name}", both, "float32 gradient", lambda key: key == "gradient")
    )
    bounds = []
    for there in (device, torch.device("cpu")):  # the same noise on both, drawn on the CPU, in the same precision
        moved = copy.deepcopy(model).to(there)
        with torch.no_grad():
            x = moved.encode(rows, Generator().manual_seed(seed))[0].float().to(there)
            same = Generator().manual_seed(seed)
            bounds.append(estimate_elbo(moved.process, moved.kernel, x, n_timesteps=4, generator=same).total)
    return [*found, Check(f"bound of the same draws, {name}", relative_error(*bounds), LIMITS["float32"])]


def _network(name: str, model: DiffusionModel, rows: Tensor, device: torch.device) -> list[Check]:
    x, time = network_inputs(model, rows)
    network: nn.Module = model.kernel.network  # type: ignore[assignment]
    ref = gradient_of(copy.deepcopy(network).double(), x.double(), time, amp=False)
    found = []
    for precision in ("float32", "bfloat16"):
        there = copy.deepcopy(network).to(device)
        out = gradient_of(there, x.to(device), time.to(device), amp=precision == "bfloat16")
        for part, key in (("forward", precision), ("gradient", f"{precision} gradient")):
            found.append(Check(f"network {part} in {precision}, {name}", relative_error(out[part], ref[part]), LIMITS[key]))
    return found


def gradient_of(network: nn.Module, x: Tensor, time: Tensor, *, amp: bool) -> Answer:
    """The answer of a network, and the gradient of all weights to a fixed random direction of the answer."""
    network.zero_grad()
    time = time.to(x.dtype) if time.is_floating_point() else time
    with torch.autocast(x.device.type, torch.bfloat16, amp):
        out = network(x, time)
    way = torch.randn(out.shape, generator=Generator().manual_seed(7)).to(out)
    out.backward(way)
    found = {"forward": out.detach().clone(), "gradient": _gradient(network)}
    network.zero_grad()
    return found


def _gradient(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten().cpu().double() for p in module.parameters() if p.grad is not None])


def _answers(answer: Callable[[torch.device, torch.dtype], Answer], device: torch.device) -> tuple[Answer, Answer]:
    return answer(device, torch.float32), answer(torch.device("cpu"), torch.float64)


def _compared(name: str, answer: Callable[[torch.device, torch.dtype], Answer], device: torch.device, key: str) -> Check:
    return _named(name, _answers(answer, device), key, lambda _: True)


def _named(name: str, both: tuple[Answer, Answer], key: str, wanted: Callable[[str], bool]) -> Check:
    out, ref = both
    return Check(name, max(relative_error(out[part], ref[part]) for part in ref if wanted(part)), LIMITS[key])
