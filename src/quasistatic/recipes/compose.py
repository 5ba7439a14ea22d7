"""Images larger than those of a model: drawn patch by patch, each given what is known of it."""

from __future__ import annotations

from itertools import product

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.evidence import KnownEntries
from quasistatic.model import DiffusionModel

__all__ = ["compose"]


def compose(
    model: DiffusionModel, image: Tensor, known: Tensor, *, n_steps: int | None = None, generator: Generator | None = None
) -> Tensor:
    """Draw the unknown pixels of an image with a model of patches.

    Windows of the model's size lie on a grid of half their side. That with the most known pixels, of those with unknown
    ones, is next: its unknown pixels are drawn given the known ones, and are known from then on. Known entries are held to
    their own noisy path while the chain walks back (:meth:`DiffusionModel.posterior` with one particle, and so without
    weights). Each patch is so a draw of the model given its surroundings, but for the missing weights; the whole is none of
    a joint density, and knows nothing over more than a patch.

    Parameters
    ----------
    model : DiffusionModel
        Of events (channels, side, side).
    image : Tensor, shape (channels, height, width)
        In data units; what stands at unknown pixels is not looked at.
    known : Tensor of bool, shape (height, width)
    n_steps : int, optional
        Walk fewer steps of the chain.
    generator : Generator, optional

    Returns
    -------
    Tensor, shape of ``image``
        The known pixels as they were.
    """
    side, (_, height, width) = model.event_shape[-1], image.shape
    if min(height, width) < side:
        raise InputError(f"an image of {width} x {height} pixels is smaller than the model's patches of {side}")
    image, known = image.clone().double(), known.clone()
    places = list(product(_starts(height, side), _starts(width, side)))
    while not known.all():
        counts = [int(known[i : i + side, j : j + side].sum()) for i, j in places]
        i, j = places[max(range(len(places)), key=lambda k: counts[k] if counts[k] < side * side else -1)]
        window = slice(i, i + side), slice(j, j + side)
        here, mask = image[:, *window], known[window]
        image[:, *window] = _draw(model, here, mask, n_steps, generator)
        known[window] = True
    return image


def _starts(length: int, side: int) -> list[int]:
    return sorted({*range(0, length - side, max(1, side // 2)), length - side})


def _draw(model: DiffusionModel, patch: Tensor, known: Tensor, n_steps: int | None, generator: Generator | None) -> Tensor:
    """One patch given its known pixels."""
    if not known.any():
        return model.sample(1, generator=generator, n_steps=n_steps)[0].double()
    seen = KnownEntries(known.expand(patch.shape), torch.where(known, patch, torch.zeros_like(patch)))
    return model.posterior(seen, 1, n_steps=n_steps, weights=False, generator=generator).x[0].double()
