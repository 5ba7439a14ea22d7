"""Models of the image recipes on random rows: what is timed and checked needs no data files."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from torch import Generator, Tensor, nn

from quasistatic.errors import InputError
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import Recipe, Splits
from quasistatic.recipes.cifar10 import Cifar10
from quasistatic.recipes.dead_leaves import DeadLeaves
from quasistatic.recipes.mnist import BinaryMnist
from quasistatic.recipes.mnist8 import Mnist
from quasistatic.recipes.paper_images import PaperImages
from quasistatic.reverse.wiener import WienerBase

__all__ = ["model_of", "network_inputs", "random_rows", "stirred", "tiny_settings"]

UNET: dict[str, Any] = {"widths": [8, 16], "blocks": 1, "n_steps": 20}
PAPER: dict[str, Any] = {
    "conv_width": 3, "n_scales": 2, "dense_layers": 1, "dense_width": 8, "pixel_layers": 1, "pixel_width": 4, "n_steps": 20,
}  # fmt: skip


def tiny_settings(name: str) -> dict[str, Any]:
    """Settings of a tiny network, for a run that only shows that the program runs."""
    if name.endswith("-paper"):
        return PAPER
    return UNET | ({"size": 8} if name == "dead-leaves" else {})


def random_rows(recipe: Recipe, n: int, *, tiny: bool = False, seed: int = 0) -> Tensor:
    """Rows of the recipe's shape and kind: bits, levels, or numbers of unit variance."""
    draw = Generator().manual_seed(seed)
    if isinstance(recipe, BinaryMnist):
        return torch.randint(2, (n, 1, *(2 * [8 if tiny else 28])), generator=draw, dtype=torch.uint8)
    if isinstance(recipe, Cifar10 | Mnist):
        channels, side = (3, 32) if isinstance(recipe, Cifar10) else (1, 28)
        side = 8 if tiny else side
        return torch.randint(256, (n, channels, side, side), generator=draw, dtype=torch.uint8)
    if isinstance(recipe, DeadLeaves):
        return torch.randn(n, 1, recipe.size, recipe.size, generator=draw)
    if isinstance(recipe, PaperImages):
        channels, side = (3, 32) if recipe.images == "cifar10" else (1, 28)
        side = 8 if tiny else side
        return torch.randn(n, channels, side, side, generator=draw)
    raise InputError(f"{type(recipe).__name__} is no recipe of images that is planned for a GPU")


def model_of(recipe: Recipe, rows: Tensor) -> DiffusionModel:
    """Build the recipe's model; a Gaussian base is of white noise, which costs what another would."""
    with mock.patch.object(WienerBase, "fit", _white):
        return recipe.build(Splits(rows, rows, rows))


def _white(x: Tensor) -> WienerBase:
    d = x[0].numel()
    return WienerBase(torch.zeros(x.shape[1:]), torch.full((d,), 0.25), torch.eye(d))


def network_inputs(model: DiffusionModel, rows: Tensor, seed: int = 1) -> tuple[Tensor, Tensor]:
    """What the network of a model is asked for these rows, noisy, at steps spread over the chain."""
    seen: list[tuple[Tensor, Tensor]] = []

    def catch(_: nn.Module, arguments: tuple[Tensor, Tensor]) -> None:
        seen.append(arguments)
        raise _SeenError

    draw, device = Generator().manual_seed(seed), model.process.beta.device
    x_0 = model.encode(rows, draw)[0].float().to(device)
    # up to where something is left to be seen: a picture without any is one number everywhere, which a norm blows up
    t = torch.linspace(1, max(1, 3 * model.process.n_steps // 4), len(x_0), device=device).long()
    x_t = model.process.marginal(x_0, t).sample(draw)
    network: nn.Module = model.kernel.network  # type: ignore[assignment]
    hook = network.register_forward_pre_hook(catch)
    try:
        with torch.no_grad():
            model.kernel(x_t, t)
    except _SeenError:
        pass
    finally:
        hook.remove()
    return seen[0]


class _SeenError(Exception):
    pass


def stirred(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give layers that start at zero the random weights of a trained network's size, so that all layers are felt."""
    draw = Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            if p.dim() > 1 and not p.any():
                p.copy_(torch.randn(p.shape, generator=draw) / p[0].numel() ** 0.5)
    return network
