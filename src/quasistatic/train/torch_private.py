"""Private entries of torch with public alternatives.

The private ones save microseconds per update, which is a tenth of the time of a small network. Each is tried once when
this module is imported, and the public call is used where it is missing or gives other numbers. The public calls give the
same numbers: bit for bit, except for the fused AdamW update, whose clipping differs by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

__all__ = [
    "HAS_COMPILED_CALL",
    "HAS_FOREACH",
    "HAS_FUSED_ADAMW",
    "add_to_each",
    "compile_network",
    "fused_adamw",
    "lerp_each",
    "norm_of_each",
    "resume_compiled",
    "suspend_compiled",
]


def _tried(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:  # whatever another version of torch raises
        return False


def fused_adamw(
    weights: list[Tensor],
    gradients: list[Tensor],
    state: tuple[list[Tensor], list[Tensor], list[Tensor]],
    *,
    rate: float,
    group: dict[str, Any],
    gradient_scale: Tensor,
) -> None:
    """Update weights by AdamW in one call.

    The gradients are first divided by ``gradient_scale``.

    Parameters
    ----------
    weights, gradients : list of Tensor
        The parameters and their gradients.
    state : tuple of three lists of Tensor
        First moments, second moments and numbers of updates, which are changed in place.
    rate : float
        Learning rate.
    group : dict
        A group of ``torch.optim.AdamW``: betas, weight_decay and eps.
    gradient_scale : Tensor, shape ()
        What the gradients are divided by, float32.
    """
    mean, square, count = state
    add_to_each(count, 1.0)
    torch._fused_adamw_(
        weights, gradients, mean, square, [], count,
        lr=rate, beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
        eps=group["eps"], amsgrad=False, maximize=False, grad_scale=gradient_scale,
    )  # fmt: skip


def add_to_each(values: list[Tensor], number: float) -> None:
    """Add a number to each tensor, in place."""
    if HAS_FOREACH:
        torch._foreach_add_(values, number)
    else:
        for value in values:
            value.add_(number)


def lerp_each(values: list[Tensor], targets: Sequence[Tensor], share: float) -> None:
    """Move each tensor towards its target, in place.

    Parameters
    ----------
    values : list of Tensor
        Tensors that are moved.
    targets : sequence of Tensor
        One for each.
    share : float
        From 0 to 1.
    """
    if HAS_FOREACH:
        torch._foreach_lerp_(values, list(targets), share)
    else:
        for value, target in zip(values, targets, strict=True):
            value.lerp_(target, share)


def norm_of_each(values: list[Tensor]) -> Tensor:
    """Return the Euclidean norm of each tensor, (n,)."""
    if HAS_FOREACH:
        return torch.stack(list(torch._foreach_norm(values)))
    return torch.stack([torch.linalg.vector_norm(value) for value in values])


def compile_network(network: nn.Module) -> None:
    """Compile the calls of a network.

    :func:`suspend_compiled` ends this. Weights and names do not change.
    """
    if HAS_COMPILED_CALL:
        network.compile()
    else:
        network.forward = torch.compile(network.forward)


def suspend_compiled(network: nn.Module) -> Any:
    """Use the ordinary calls of a network.

    The result is the argument of :func:`resume_compiled`.
    """
    if not HAS_COMPILED_CALL:
        return vars(network).pop("forward", None)
    call = cast(Any, network)._compiled_call_impl
    cast(Any, network)._compiled_call_impl = None
    return call


def resume_compiled(network: nn.Module, call: Any) -> None:
    """Compile the calls of a network again.

    Parameters
    ----------
    network : Module
        The network.
    call : object
        What :func:`suspend_compiled` returned.
    """
    if HAS_COMPILED_CALL:
        cast(Any, network)._compiled_call_impl = call
    elif call is not None:
        network.forward = call


def _foreach_works() -> bool:
    a, b = [torch.ones(2), torch.zeros(1)], [torch.zeros(2), torch.ones(1)]
    torch._foreach_add_(a, 1.0)
    torch._foreach_lerp_(a, b, 0.5)
    return [x.tolist() for x in a] == [[1.0, 1.0], [1.0]] and len(torch._foreach_norm(a)) == 2


def _fused_adamw_works() -> bool:
    ours, theirs, gradient = torch.ones(3), nn.Parameter(torch.ones(3)), torch.tensor([1.0, -2.0, 0.5])
    optimiser = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.1)
    theirs.grad = gradient / 2.0
    optimiser.step()
    state = [torch.zeros(3)], [torch.zeros(3)], [torch.zeros(())]
    fused_adamw([ours], [gradient], state, rate=0.1, group=optimiser.param_groups[0], gradient_scale=torch.tensor(2.0))
    return torch.allclose(ours, theirs.detach(), rtol=1e-5) and state[2][0].item() == 1.0


HAS_FOREACH = False
HAS_FOREACH = _tried(_foreach_works)
HAS_FUSED_ADAMW = _tried(_fused_adamw_works)
HAS_COMPILED_CALL = hasattr(nn.Module, "compile") and hasattr(nn.Module, "_compiled_call_impl")
