"""Images larger than the events of a model."""

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

    The whole image follows the reverse chain. At every step it is cut into windows of the model's size, on a grid whose
    corner is drawn anew, and the kernel moves each window. Over many steps every pixel is drawn together with all of
    its neighbours, and no grid leaves a visible seam. Known pixels follow their own path :math:`q(x_{t-1} \mid x_t,
    x_0)`.

    With ``repeats`` above one each step is repeated, with one forward step between. Known and unknown pixels then agree
    better, and fine structure is lost. The result is not a draw of a joint density.

    Parameters
    ----------
    model : DiffusionModel
        Model of events (channels, side, side) with a transform that is the same for all positions.
    image : Tensor, shape (channels, height, width)
        In data units. Values at unknown pixels are not used.
    known : Tensor of bool, shape (height, width)
        The pixels to keep.
    n_steps : int, optional
        Use a subset of the steps of the chain.
    repeats : int
        Repetitions of every step, at least 1.
    generator : Generator, optional

    Returns
    -------
    Tensor, shape of ``image``
        The known pixels are unchanged.

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
        # values at unknown pixels must be valid data, though they are not used
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
    """Return where the windows of a grid begin.

    Windows over an edge are moved inside.
    """
    return sorted({min(max(start, 0), length - side) for start in range(first - side, length, side)})


def _cut(image: Tensor, windows: list[tuple[slice, slice]]) -> Tensor:
    return torch.stack([image[:, rows, columns] for rows, columns in windows])


def _put(image: Tensor, patches: Tensor, windows: list[tuple[slice, slice]]) -> Tensor:
    for patch, (rows, columns) in zip(patches, windows, strict=True):
        image[:, rows, columns] = patch
    return image
