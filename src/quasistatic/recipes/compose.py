"""Images larger than those of a model: drawn patch by patch, each given what is known of it."""

from __future__ import annotations

from itertools import product

import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.model import DiffusionModel

__all__ = ["compose"]


def compose(
    model: DiffusionModel,
    image: Tensor,
    known: Tensor,
    *,
    n_steps: int | None = None,
    repeats: int = 4,
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw the unknown pixels of an image with a model of patches.

    Windows of the model's size lie on a grid of half their side. That with the most known pixels, of those with unknown
    ones, is next: its unknown pixels are drawn given the known ones, and are known from then on. While the chain walks back,
    known pixels follow their own path :math:`q(x_{t-1} \mid x_t, x_0)` and the others the model's kernel; every step is taken
    ``repeats`` times, with one forwards between, in which the two come to agree (Lugmayr et al. 2022). That draws
    from about the model's law of a patch given its known pixels, without weights that would say how nearly; the whole is no
    draw of a joint density, and knows nothing over more than a patch.

    Parameters
    ----------
    model : DiffusionModel
        Of events (channels, side, side).
    image : Tensor, shape (channels, height, width)
        In data units; what stands at unknown pixels is not looked at.
    known : Tensor of bool, shape (height, width)
    n_steps : int, optional
        Walk fewer steps of the chain.
    repeats : int
        Of every step, at least 1.
    generator : Generator, optional

    Returns
    -------
    Tensor, shape of ``image``
        The known pixels as they were.

    References
    ----------
    Lugmayr et al. (2022), RePaint: inpainting using denoising diffusion probabilistic models, Algorithm 1.
    """
    if repeats < 1:
        raise InputError(f"repeats must be at least 1, got {repeats}")
    if n_steps is not None and n_steps < model.diffusion.n_steps:
        model = model.on(model.diffusion.respaced(n_steps))
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
        image[:, *window] = _draw(model, here, mask, repeats, generator)
        known[window] = True
    return image


def _starts(length: int, side: int) -> list[int]:
    return sorted({*range(0, length - side, max(1, side // 2)), length - side})


def _draw(model: DiffusionModel, patch: Tensor, known: Tensor, repeats: int, generator: Generator | None) -> Tensor:
    """One patch given its known pixels."""
    if not known.any():
        return model.sample(1, generator=generator)[0].double()
    diffusion = model.diffusion
    with torch.inference_mode():
        # what stands at unknown pixels must be data, but has no say
        z, _ = model.encode(torch.where(known, patch, patch[:, known].mean())[None], generator)
        x = torch.where(known, diffusion.marginal(z, diffusion.n_steps).sample(generator),
                        diffusion.stationary(z.shape, z.dtype).sample(generator)).float()  # fmt: skip
        z = z.float()
        for t in range(diffusion.n_steps, 0, -1):
            for again in range(repeats if t > 1 else 1):
                if again:
                    x = diffusion.step(x, t).sample(generator)
                drawn = model.kernel(x, t).sample(generator)
                x = torch.where(known, diffusion.posterior(z, x, t).sample(generator) if t > 1 else z, drawn)
    return torch.where(known, patch, model.transform.inverse(x.double())[0])
