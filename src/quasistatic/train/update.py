"""Gradient clipping, AdamW and the running mean of weights."""

from __future__ import annotations

import torch
from torch import Tensor

from quasistatic.train import torch_private
from quasistatic.train.ema import Ema

__all__ = ["Update"]

State = tuple[list[Tensor], list[Tensor], list[Tensor]]


class Update:
    r"""AdamW on a clipped gradient, and the weights' running mean.

    The optimiser and its state are torch's, but the fused kernel is called directly where there is one.
    ``AdamW.step`` and ``clip_grad_norm_`` collect and check the same lists at every update, which takes a fifth of the time
    of a small network.

    Parameters
    ----------
    optimiser : torch.optim.AdamW
        Fused, with one group of parameters.
    ema : Ema
        Running mean of the same parameters.
    clip : float
        Largest norm of the gradient.
    """

    def __init__(self, optimiser: torch.optim.AdamW, ema: Ema, clip: float) -> None:
        self.optimiser, self.ema, self.clip = optimiser, ema, clip
        self._state: State = ([], [], [])

    @torch.no_grad()
    def __call__(self, rate: float) -> None:
        """Make one update at this learning rate, and drop the gradients."""
        weights = self.ema.live
        gradients = [p.grad for p in weights if p.grad is not None]
        (group,) = self.optimiser.param_groups
        group["lr"] = rate
        if torch_private.HAS_FUSED_ADAMW and len(gradients) == len(weights) and self._ready():
            norm = torch.linalg.vector_norm(torch_private.norm_of_each(gradients))
            scale = (norm / self.clip).clamp_min_(1.0).float()
            torch_private.fused_adamw(weights, gradients, self._state, rate=rate, group=group, gradient_scale=scale)
        else:
            torch.nn.utils.clip_grad_norm_(weights, self.clip, foreach=True)
            self.optimiser.step()
        for p in weights:
            p.grad = None
        self.ema.update()

    def _ready(self) -> bool:
        """Collect the optimiser's state, if it exists.

        Return False before the first update, which creates that state.
        """
        state, weights = self.optimiser.state, self.ema.live
        if not weights or "exp_avg" not in state.get(weights[-1], {}):
            return False
        if not self._state[0] or self._state[0][-1] is not state[weights[-1]]["exp_avg"]:
            if any("exp_avg" not in state.get(p, {}) for p in weights):
                return False
            mean, square, count = ([state[p][k] for p in weights] for k in ("exp_avg", "exp_avg_sq", "step"))
            self._state = mean, square, count
        return True
