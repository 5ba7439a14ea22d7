"""The end of a training step: clip the gradient, move the weights, follow them with their mean."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.train.ema import Ema

__all__ = ["Update"]


class Update:
    r"""AdamW on a gradient whose norm is at most ``clip``, then the running mean, and no gradients left.

    It is torch's optimiser and torch's state, called at its kernel: ``AdamW.step`` and ``clip_grad_norm_`` look up,
    group and check the same lists at every step, which takes a small network as long as a fifth of its arithmetic.

    Parameters
    ----------
    optimiser : torch.optim.AdamW
        Fused, with one group of parameters.
    ema : Ema
        Of the same parameters.
    clip : float
        Largest norm of the gradient.
    """

    def __init__(self, optimiser: torch.optim.AdamW, ema: Ema, clip: float) -> None:
        self.optimiser, self.ema, self.clip = optimiser, ema, clip
        self._slots: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])

    @torch.no_grad()
    def __call__(self, rate: float) -> None:
        """Take one step at this learning rate."""
        weights = self.ema.live
        gradients = [p.grad for p in weights]
        (group,) = self.optimiser.param_groups
        group["lr"] = rate
        if not self._ready() or any(g is None for g in gradients):
            torch.nn.utils.clip_grad_norm_(weights, self.clip, foreach=True)
            self.optimiser.step()
        else:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # type: ignore[arg-type]
            mean, square, step = self._slots
            torch._foreach_add_(step, 1.0)
            torch._fused_adamw_(
                weights, gradients, mean, square, [], step,  # type: ignore[arg-type]
                lr=rate, beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
                eps=group["eps"], amsgrad=False, maximize=False, grad_scale=(norm / self.clip).clamp_min_(1.0).float(),
            )  # fmt: skip
        for p in weights:
            p.grad = None
        self.ema.update()

    def _ready(self) -> bool:
        """Whether the optimiser has its state, made at its first step or restored; hold on to it."""
        state, weights = self.optimiser.state, self.ema.live
        if not weights or "exp_avg" not in state.get(weights[-1], {}):
            return False
        if not self._slots[0] or self._slots[0][-1] is not state[weights[-1]]["exp_avg"]:
            if any("exp_avg" not in state.get(p, {}) for p in weights):
                return False
            self._slots = tuple([state[p][k] for p in weights] for k in ("exp_avg", "exp_avg_sq", "step"))  # type: ignore[assignment]
        return True
