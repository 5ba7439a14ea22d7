r"""Mixture of conditional Gaussian scale mixtures.

The density of an image is a product over its pixels in raster order. Each pixel x is conditioned on the pixels c of a causal
neighbourhood, which are some rows above it and the pixels to its left,

.. math:: p(x \mid c) = \sum_{k,s} p(k, s \mid c)\, \mathcal{N}(x;\, a_k^\top c + u_k,\, e^{-\alpha_{ks}}), \qquad
          p(k, s \mid c) \propto \exp\Big(\eta_{ks} + w_k^\top c
          - \tfrac12 e^{\alpha_{ks}} \sum_n \beta_{kn}^2 (b_n^\top c)^2\Big),

where the components share their directions b, and the scales s of a component share its predictor a. The paper compares
its model of dead leaves with this density (Sohl-Dickstein et al. 2015, Table 2).

Pixels at the left, right and upper edge have only a part of the neighbourhood. Each such part has a conditional of its
own, so the product over all pixels is a normalised density of the image.

References
----------
Theis, Hosseini, Bethge (2012), "Mixtures of conditional Gaussian scale mixtures applied to multiscale image
representations", PLoS ONE 7(7). The linear terms w and the offsets u are additions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn

from quasistatic.baselines.conditional_gsm import ConditionalGSM
from quasistatic.baselines.neighbourhood import View, contexts_of, view_of
from quasistatic.errors import InputError
from quasistatic.estimate import Estimate
from quasistatic.storage.modules import saveable

__all__ = ["MCGSM"]

CHUNK = 2**16  # pixels scored at once
N_MOMENTS = 2**17  # pixels that set the coordinates
N_VALIDATION = 2**15  # validation pixels of one evaluation
EVERY, PATIENCE = 50, 10  # updates between evaluations, and evaluations without improvement that end a fit


@saveable
class MCGSM(nn.Module):
    r"""Density of grey images of any size.

    Images are (n, H, W) or (n, 1, H, W) and at least 2 ``reach`` wide; numbers are nats in their own units. The
    conditionals of the edges are for an image cut out of a larger scene, as patches of textures are.

    Parameters
    ----------
    reach : int
        The neighbourhood has ``reach`` rows of 2 reach + 1 pixels above, and ``reach`` pixels to the left: 24 for 3.
    n_components, n_scales : int
        K and S.
    borders : bool
        Have conditionals for the edges. Without them only the interior can be scored.

    Examples
    --------
    >>> model = MCGSM(reach=1, n_components=2, n_scales=2)
    >>> image = model.sample(3, (5, 4), generator=Generator().manual_seed(0))
    >>> model.log_prob(image).shape
    torch.Size([3])
    """

    def __init__(self, reach: int = 3, n_components: int = 12, n_scales: int = 4, borders: bool = True) -> None:
        super().__init__()
        if reach < 1:
            raise InputError(f"reach must be at least 1, got {reach}")
        self.reach, self.borders = reach, borders
        size = 2 * reach + 1
        views = {view_of(i, j, size, reach) for i in range(reach + 1) for j in range(size)}
        self.interior = View(reach, reach, reach)
        self.views = [self.interior, *sorted(views - {self.interior}, reverse=True)] if borders else [self.interior]
        self.conditionals = nn.ModuleDict(
            {v.name: ConditionalGSM(len(v.offsets), n_components, n_scales) for v in self.views}
        ).double()

    @classmethod
    @torch.enable_grad()
    def fit(
        cls,
        images: Tensor,
        validation: Tensor,
        *,
        reach: int = 3,
        n_components: int = 12,
        n_scales: int = 4,
        borders: bool = True,
        n_updates: int = 2000,
        border_updates: int = 400,
        batch_size: int = 4096,
        learning_rate: float = 0.02,
        seed: int = 0,
    ) -> MCGSM:
        """Fit each conditional by maximum likelihood at random pixels.

        The pixels have its view or a wider one. The optimiser is Adam with a falling rate. The parameters that score best
        on ``validation`` are kept; a fit ends after ten evaluations, one every 50 updates, without improvement.

        Parameters
        ----------
        images, validation : Tensor, shape (n, H, W) or (n, 1, H, W)
            Patches or whole textures; their statistics are assumed to be the same everywhere.
        reach, n_components, n_scales, borders
            Of the model.
        n_updates, border_updates : int
            Most updates for the interior, and for each conditional of the edges (24 for ``reach`` 3).
        batch_size : int
            Pixels of an update.
        learning_rate : float
        seed : int
            Of the start and of the pixels.
        """
        if min(n_updates, border_updates) < 0 or batch_size < 1:
            raise InputError(
                f"n_updates must be at least 0 and batch_size at least 1, got {n_updates}, {border_updates} and {batch_size}"
            )
        model = cls(reach, n_components, n_scales, borders)
        generator = Generator().manual_seed(seed)
        train, held_out = (model._grey(x, interior=True).float() for x in (images, validation))
        for view in model.views:
            conditional = model._conditional(view).float()
            limit = n_updates if view == model.interior else border_updates
            _fit(conditional, view, train, held_out, limit, batch_size, learning_rate, generator)
        return model.double()

    def log_prob(self, images: Tensor) -> Tensor:
        """Return the log density of each image, edges included, (n,), nats."""
        return self.pixel_log_prob(images).sum((1, 2))

    def pixel_log_prob(self, images: Tensor, *, interior: bool = False) -> Tensor:
        """Return the log density of each pixel given the pixels before it.

        Parameters
        ----------
        images : Tensor, shape (n, H, W) or (n, 1, H, W)
        interior : bool
            Score only pixels with the whole neighbourhood.

        Returns
        -------
        Tensor, shape (n, H, W), or (n, H - R, W - 2R) for the interior, R = ``reach``
            Nats.
        """
        x, reach = self._grey(images, interior=interior).double(), self.reach
        with torch.no_grad():
            if interior:
                rows, columns = torch.arange(reach, x.shape[1]), torch.arange(reach, x.shape[2] - reach)
                return self._score(x, self.interior, rows, columns)
            out = torch.empty_like(x)
            for view, rows, columns in self._regions(*x.shape[1:]):
                out[:, rows[:, None], columns] = self._score(x, view, rows, columns)
        return out

    def bits_per_pixel(self, images: Tensor, *, interior: bool = False) -> Estimate:
        """Return the mean log density in bits per pixel.

        Parameters
        ----------
        images : Tensor, shape (n, H, W) or (n, 1, H, W)
        interior : bool
            Score only pixels with the whole neighbourhood.
        """
        each = self.pixel_log_prob(images, interior=interior)
        return Estimate.of(each.sum((1, 2)), "bits_per_pixel", tuple(each.shape[1:]))

    def sample(self, n: int, size: tuple[int, int], *, generator: Generator | None = None) -> Tensor:
        """Draw images, one pixel after the other.

        Parameters
        ----------
        n : int
        size : tuple of int
            Height and width.
        generator : Generator, optional

        Returns
        -------
        Tensor, shape (n, H, W)
        """
        x = self._grey(torch.zeros(n, *size, dtype=torch.float64), interior=False)
        with torch.no_grad():
            for i, j in itertools.product(*map(range, size)):
                view = view_of(i, j, size[1], self.reach)
                context = contexts_of(x, view, torch.tensor([i]), torch.tensor([j]))
                x[:, i, j] = self._conditional(view).sample(context, generator)
        return x

    def _conditional(self, view: View) -> ConditionalGSM:
        conditional = self.conditionals[view.name]
        assert isinstance(conditional, ConditionalGSM)
        return conditional

    def _score(self, x: Tensor, view: View, rows: Tensor, columns: Tensor) -> Tensor:
        """Score the pixels in the given rows and columns, (n, rows, columns)."""
        parts = []
        for some in x.split(max(1, CHUNK // (len(rows) * len(columns)))):
            pixels = some[:, rows[:, None], columns]
            log_prob = self._conditional(view).log_prob(pixels.flatten(), contexts_of(some, view, rows, columns))
            parts.append(log_prob.view_as(pixels))
        return torch.cat(parts)

    def _regions(self, height: int, width: int) -> Iterator[tuple[View, Tensor, Tensor]]:
        """Yield each view with the rows and columns of its pixels."""
        views: dict[View, tuple[set[int], set[int]]] = {}
        for i, j in itertools.product(range(height), range(width)):
            rows, columns = views.setdefault(view_of(i, j, width, self.reach), (set(), set()))
            rows.add(i)
            columns.add(j)
        for view, (rows, columns) in views.items():
            yield view, torch.tensor(sorted(rows)), torch.tensor(sorted(columns))

    def _grey(self, images: Tensor, *, interior: bool) -> Tensor:
        """Check images, and give them the shape (n, H, W)."""
        x = torch.as_tensor(images)
        if x.dim() == 4 and x.shape[1] == 1:
            x = x.squeeze(1)
        if x.dim() != 3 or not len(x):
            raise InputError(f"images must have shape (n, H, W) or (n, 1, H, W), got {tuple(x.shape)}")
        least = (self.reach + 1, 2 * self.reach + 1) if interior else (1, 2 * self.reach)
        if x.shape[1] < least[0] or x.shape[2] < least[1]:
            raise InputError(f"images must be at least {least[0]} x {least[1]} for reach {self.reach}, "
                             f"got {x.shape[1]} x {x.shape[2]}")  # fmt: skip
        if not interior and not self.borders:
            raise InputError("this MCGSM was fitted without borders: score the interior only, or fit with borders=True")
        return x


def _draw(images: Tensor, view: View, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw random pixels (n,) and contexts (n, n_context)."""
    count, height, width = images.shape
    image = torch.randint(count, (n,), generator=generator)
    row = torch.randint(view.above, height, (n,), generator=generator)
    column = torch.randint(view.left, width - view.right, (n,), generator=generator)
    place = (image * height + row) * width + column
    jump = torch.tensor([i * width + j for i, j in view.offsets], dtype=torch.long)
    flat = images.flatten()
    return flat[place], flat[place.unsqueeze(1) + jump]


def _fit(
    conditional: ConditionalGSM,
    view: View,
    train: Tensor,
    validation: Tensor,
    n_updates: int,
    batch_size: int,
    learning_rate: float,
    generator: Generator,
) -> None:
    """Fit one conditional, and keep the parameters of its best evaluation."""
    conditional.standardise(*_draw(train, view, N_MOMENTS, generator))
    conditional.perturb(generator)
    held_out = _draw(validation, view, N_VALIDATION, generator)
    optimiser = torch.optim.Adam(conditional.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    best, best_update, kept = -math.inf, 0, conditional.state_dict()
    for update in range(n_updates + 1):
        if update % EVERY == 0 or update == n_updates:
            with torch.no_grad():
                score = conditional.log_prob(*held_out).mean().item()
            if score > best:
                best, best_update = score, update
                kept = {name: value.clone() for name, value in conditional.state_dict().items()}
            if update == n_updates or update - best_update >= PATIENCE * EVERY:
                break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * min(1.0, 2.0 * (1.0 - update / n_updates))
        optimiser.zero_grad()
        (-conditional.log_prob(*_draw(train, view, batch_size, generator)).mean()).backward()
        optimiser.step()
    conditional.load_state_dict(kept)
