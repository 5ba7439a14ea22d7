"""Images larger than those of a model: all patches drawn together, on a grid that moves at every step."""

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
    repeats: int = 1,
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw the unknown pixels of an image with a model of patches.

    The whole image walks the chain back at once. At every step it is cut into windows of the model's size, on a grid whose
    corner is drawn anew, and the model's kernel moves each window: over many steps every pixel has been seen with all that
    is around it, and no grid leaves a seam. Known pixels follow their own path :math:`q(x_{t-1} \mid x_t, x_0)`. With
    ``repeats`` above one each step is taken so many times, with one forwards between, in which known and unknown pixels
    come to agree better, and fine structure is lost. The whole is no draw of a joint density, and there are no weights that
    would say how nearly it is.

    Parameters
    ----------
    model : DiffusionModel
        Of events (channels, side, side), with a transform that treats pixels alike wherever they stand.
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
    if n_steps is not None and n_steps < model.process.n_steps:
        model = model.on(model.process.respaced(n_steps))
    side, (_, height, width) = model.event_shape[-1], image.shape
    if min(height, width) < side:
        raise InputError(f"an image of {width} x {height} pixels is smaller than the model's patches of {side}")
    image, known = image.double(), known.clone()
    with torch.inference_mode():
        there = product(_starts(0, height, side), _starts(0, width, side))
        windows = [(slice(i, i + side), slice(j, j + side)) for i, j in there]
        # what stands at unknown pixels must be data, but has no say
        some = image[:, known].mean() if known.any() else torch.zeros((), dtype=image.dtype)
        z = torch.zeros_like(image)
        encoded, _ = model.encode(_cut(torch.where(known, image, some), windows), generator)
        z = _put(z, encoded.double(), windows)
        x = _walk_back(model, z.float(), known, side, repeats, generator)
        drawn = torch.zeros_like(image)
        drawn = _put(drawn, model.transform.inverse(_cut(x, windows).double()), windows)
    return torch.where(known, image, drawn)


def _walk_back(
    model: DiffusionModel, z: Tensor, known: Tensor, side: int, repeats: int, generator: Generator | None
) -> Tensor:
    q, (_, height, width) = model.process, z.shape
    noise = q.stationary(z.shape, z.dtype).sample(generator)
    x = torch.where(known, q.marginal(z, q.n_steps).sample(generator), noise).float()
    for t in range(q.n_steps, 0, -1):
        for again in range(repeats if t > 1 else 1):
            if again:
                x = q.step(x, t).sample(generator).float()
            i, j = torch.randint(side, (2,), generator=generator).tolist()
            places = product(_starts(i, height, side), _starts(j, width, side))
            windows = [(slice(i, i + side), slice(j, j + side)) for i, j in places]
            windows = [window for window in windows if not known[window].all()]
            follows = (q.posterior(z, x, t).sample(generator) if t > 1 else z).float()
            if windows:
                moved = model.kernel(_cut(x, windows), t).sample(generator).float()
                x = torch.where(known, follows, _put(x.clone(), moved, windows))
            else:
                x = follows
    return x


def _starts(first: int, length: int, side: int) -> list[int]:
    """Where the windows of a grid with a corner at ``first`` begin, those over an edge moved inside."""
    return sorted({min(max(start, 0), length - side) for start in range(first - side, length, side)})


def _cut(image: Tensor, windows: list[tuple[slice, slice]]) -> Tensor:
    return torch.stack([image[:, rows, columns] for rows, columns in windows])


def _put(image: Tensor, patches: Tensor, windows: list[tuple[slice, slice]]) -> Tensor:
    for patch, (rows, columns) in zip(patches, windows, strict=True):
        image[:, rows, columns] = patch
    return image
