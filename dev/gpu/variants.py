"""Ways to run the same training step, one change at a time, each checked before it is timed and beside the plain step.

The order is a search: precision, then the compiler, then layout, attention and optimiser on top of the fastest so far,
then the batch. A way that fails, or whose network is not the one in float32, is told and never chosen; so is a batch of
another size, which makes another training. The dropout of the recipe is left out, so that two ways can be compared
number by number; its price is the last line.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu.checks import LIMITS, gradient_of, relative_error, strict
from gpu.clock import Deadline, milliseconds
from gpu.models import model_of, network_inputs, random_rows, stirred
from gpu.step import graphed, library_step, plain_step
from quasistatic.recipes.base import Recipe

__all__ = ["Way", "best_way", "measure_ways", "stages"]

ATTENTION = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs")
SECONDS = {"no": 15.0, "default": 90.0, "reduce-overhead": 90.0, "max-autotune-no-cudagraphs": 300.0}
"""Of a call that must be left for a way to be begun, by its compiler: guesses, on the safe side."""
ROUNDS, REPEATS = 15, 20  # twenty steps are timed together: the loop looks at its losses at every twentieth


@dataclass(frozen=True)
class Way:
    """How a step is run."""

    precision: str = "bfloat16"
    """float32, tf32 or bfloat16."""
    compile: str = "no"
    """no, or a mode of torch.compile; reduce-overhead replays CUDA graphs of the network."""
    channels_last: bool = True
    """Memory format of the weights."""
    attention: str = "auto"
    """auto for torch's choice, or one of its kernels."""
    foreach: bool = False
    """Whether the optimiser is torch's unfused one."""
    batch: int = 128
    dropout: float = 0.0

    @property
    def name(self) -> str:
        words = [self.precision, f"compile {self.compile}", f"batch {self.batch}"]
        words += [] if self.channels_last else ["channels first"]
        words += [f"{self.attention} attention"] if self.attention != "auto" else []
        words += ["foreach optimiser"] if self.foreach else []
        words += [f"dropout {self.dropout:g}"] if self.dropout else []
        return ", ".join(words)


def stages(batch: int, dropout: float, cuda: bool) -> list[Callable[[Way], list[Way]]]:
    """What to try on top of the fastest way so far, stage by stage."""
    modes = MODES if cuda else ()
    kernels = ATTENTION if cuda else {"math": SDPBackend.MATH}
    return [
        lambda _: [Way(precision, batch=batch) for precision in (("float32", "tf32") if cuda else ("float32",))],
        lambda _: [Way("bfloat16", batch=batch)],
        lambda best: [replace(best, compile=mode) for mode in modes],
        lambda best: [replace(best, channels_last=False), replace(best, foreach=True)],
        lambda best: [replace(best, attention=name) for name in kernels],
        lambda best: [replace(best, batch=n) for n in (batch // 2, 2 * batch, 4 * batch)],
        lambda best: [replace(best, dropout=dropout)] if dropout else [],
    ]


def measure_ways(
    recipe: Recipe, device: torch.device, deadline: Deadline, *, tiny: bool = False,
    known: list[dict[str, Any]] | None = None, report: Callable[[list[dict[str, Any]]], None] = lambda _: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Go through the stages as the time allows; ``known`` lines are not measured again, ``report`` is told each new list."""
    found = list(known or [])
    batch = 4 if tiny else recipe.train.batch_size
    for stage in stages(batch, getattr(recipe, "dropout", 0.0), device.type == "cuda"):
        best = best_way(found, batch) or Way("float32", batch=batch)
        for way in stage(best):
            if any(line["name"] == way.name for line in found):
                continue
            if deadline.left() < SECONDS[way.compile]:
                continue  # for the next call
            found.append(_line(recipe, way, device, tiny))
            report(found)
    return found


def best_way(lines: list[dict[str, Any]], batch: int) -> Way | None:
    """The fastest way whose numbers are right, with the batch of the recipe and no dropout."""
    right = [line for line in lines if line["correct"] and line["way"]["batch"] == batch and not line["way"]["dropout"]]
    return Way(**min(right, key=lambda line: line["step_ms"])["way"]) if right else None


def _line(recipe: Recipe, way: Way, device: torch.device, tiny: bool) -> dict[str, Any]:
    """Check a way, time its step and the plain one; a way that cannot be run here says why."""
    line: dict[str, Any] = {"name": way.name, "way": asdict(way), "correct": False}
    try:
        with _running(way):
            line |= _measured(recipe, way, device, tiny)
    except Exception as error:  # of a compiler, a kernel that is not there, or the memory: all are findings
        line["failed"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if device.type == "cuda":
        torch.cuda.empty_cache()
    torch._dynamo.reset()
    return line


def _measured(recipe: Recipe, way: Way, device: torch.device, tiny: bool) -> dict[str, Any]:
    if hasattr(recipe, "dropout"):
        recipe = dataclasses.replace(recipe, dropout=way.dropout)  # type: ignore[call-arg]
    rows = random_rows(recipe, 4 * way.batch, tiny=tiny)
    model, amp = model_of(recipe, rows), way.precision == "bfloat16"
    network: nn.Module = stirred(model.kernel.network)  # type: ignore[arg-type]
    x, time = network_inputs(model, rows)
    model, x, time = model.to(device), x.to(device), time.to(device)
    if not way.channels_last:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    line: dict[str, Any] = {"correct": False}
    reference = copy.deepcopy(network)  # of the same weights, neither compiled nor rounded
    fresh = [copy.deepcopy(network) for _ in range(2)]
    if way.compile != "no":
        for each in (network, fresh[0]):
            each.compile(mode=None if way.compile == "default" else way.compile)
    if not way.dropout:
        line |= _right(network, reference, x[: way.batch], time[: way.batch], way.precision)
    with torch.no_grad():
        n_out = reference(x[:1], time[:1]).shape[1]
    rounds, repeats = (2, 2) if tiny else (ROUNDS, REPEATS)
    step = library_step(model, recipe, rows, batch=way.batch, amp=amp, foreach=way.foreach)
    plain = plain_step(fresh[0], x, time, n_out, batch=way.batch, amp=amp, foreach=way.foreach)
    line["step_ms"] = milliseconds(step, device, rounds, repeats)
    line["plain_ms"] = milliseconds(plain, device, rounds, repeats)
    line["step_again_ms"] = milliseconds(step, device, rounds, repeats)  # a difference below this spread is noise
    line["ratio"] = line["step_ms"] / line["plain_ms"]
    line["images_per_s"] = 1e3 * way.batch / line["step_ms"]
    if device.type == "cuda" and way.compile == "no" and not way.foreach:
        whole = plain_step(fresh[1], x, time, n_out, batch=way.batch, amp=amp, capturable=True)
        try:
            line["plain_graph_ms"] = milliseconds(graphed(whole), device, rounds, repeats)
        except RuntimeError as error:  # a step that cannot be captured is still one that can be run
            line["plain_graph_failed"] = " ".join(str(error).split())[:300]
    return line


def _right(network: nn.Module, reference: nn.Module, x: Tensor, time: Tensor, precision: str) -> dict[str, Any]:
    """Whether answer and gradient are those of the network in float32, on a batch of the size that is timed."""
    out = gradient_of(network, x, time, amp=precision == "bfloat16")
    with strict(), sdpa_kernel(SDPBackend.MATH):
        ref = gradient_of(reference, x, time, amp=False)
    errors = {part: relative_error(out[part], ref[part]) for part in ref}
    right = errors["forward"] <= LIMITS[precision] and errors["gradient"] <= LIMITS[f"{precision} gradient"]
    return {"correct": right, "forward_error": errors["forward"], "gradient_error": errors["gradient"]}


@contextmanager
def _running(way: Way) -> Iterator[None]:
    with ExitStack() as stack:
        if way.precision == "float32":
            stack.enter_context(strict())
        elif way.precision == "tf32":
            stack.enter_context(_tf32())
        stack.enter_context(nullcontext() if way.attention == "auto" else sdpa_kernel(ATTENTION[way.attention]))
        yield


@contextmanager
def _tf32() -> Iterator[None]:
    """Within the block convolutions and products in float32 may be taken in TF32."""
    with strict():
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        yield
