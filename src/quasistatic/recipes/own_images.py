"""Pictures of the user: a folder, or one array on disk."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from torch import Generator, Tensor

from quasistatic.datasets.augment import random_crop, random_flip
from quasistatic.errors import InputError
from quasistatic.io.image_folders import Images, open_images
from quasistatic.io.pixels import Background
from quasistatic.recipes.base import Splits
from quasistatic.recipes.images import image_training
from quasistatic.recipes.levels import LevelRecipe
from quasistatic.storage.files import open_regular
from quasistatic.train import Augment, TrainConfig

if TYPE_CHECKING:
    from quasistatic.train.source import Rows

__all__ = ["OwnImages"]

HELD, NUMBERS = 20_000, 2**26  # maximum count of images of a split in memory, and of numbers in them
ENDS = 2**24  # bytes at the start and at the end of an array in its digest


@dataclass(frozen=True)
class OwnImages(LevelRecipe):
    """Diffusion of 8-bit grey or colour images.

    The images are a folder of .png, .jpg, .. files, or a .npy or .npz array. They may be larger than memory.
    """

    data: str = ""
    """The folder or file; ``--data`` sets it."""
    crop: int = 0
    """Side of square crops: anywhere in training images, at the centre of others; 0 for whole images."""
    channels: Literal[0, 1, 3] = 0
    """1 for grey, 3 for colour, to convert a folder of both; 0 keeps the images as they are."""
    background: Background = "white"
    """Colour behind transparent pixels: white, black or grey."""
    flips: Literal["yes", "no"] = "no"
    """Use mirror images in training."""
    levels: int = 256
    validation: float = 0.1
    test: float = 0.1
    """Shares of the images held out, at random by ``split_seed``."""
    split_seed: int = 0
    train: TrainConfig = field(default_factory=lambda: image_training(8000))

    def _path(self) -> Path:
        if not self.data:
            raise InputError(
                "the images recipe needs pictures: give --data FOLDER of .png or .jpg files, or a .npy or .npz file"
            )
        return Path(self.data)

    def background_colour(self) -> str:
        return self.background

    def n_levels(self) -> int:
        return self.levels

    def fingerprint(self) -> str:
        """Return a digest of the data.

        For a folder it covers names and sizes of the files, for a file its two ends and its length.
        """
        path, digest = self._path(), hashlib.sha256()
        try:
            if path.is_dir():
                for file in sorted(path.iterdir()):
                    digest.update(f"{file.name} {file.stat().st_size}\n".encode())
            else:
                with open_regular(path, "a folder of images, or a .npy or .npz file") as file_:
                    digest.update(file_.read(ENDS))
                    length = file_.seek(0, 2)
                    file_.seek(max(0, length - ENDS))
                    digest.update(file_.read() + str(length).encode())
        except OSError as error:
            raise InputError(f"the data {self.data} cannot be read: {error.strerror}") from error
        return digest.hexdigest()

    def _opened(self, crop: int = 0) -> Images:
        common, channels = self.crop > 0 and not crop, self.channels or None
        return open_images(self._path(), crop or None, channels, common=common, background=self.background)

    def note(self) -> str | None:
        """Return how transparent pixels are blended, where there are some."""
        whole = self._opened()
        if not whole.n_transparent:
            return None
        return (
            f"{whole.n_transparent} of {len(whole)} pictures may have transparent pixels, which are blended with "
            f"{self.background} (background={self.background})"
        )

    def splits(self, seed: int) -> Splits:
        whole = self._opened()
        if whole.dtype.kind not in "bu":
            raise InputError(f"{self.data} holds numbers of type {whole.dtype}, but images are levels from 0, of type uint8")
        squares = self._opened(self.crop)
        parts = whole.split(self.split_seed, self.validation, self.test)
        train, validation, test = (Images(squares.event_shape, squares.dtype, part.rows, squares.read) for part in parts)
        counts = {"training": len(train), "validation": len(validation)}
        for name, n in counts.items():
            if n < 2:
                raise InputError(f"{self.data} holds {len(whole)} images, which leaves {n} for {name}: 2 are needed")
        most = max(2, min(HELD, NUMBERS // math.prod(squares.event_shape)))
        in_memory = self.crop == 0 and len(train) <= most
        held = torch.as_tensor(train[:most]) if self.crop == 0 else self._crops(parts[0], most)
        return Splits(
            held,
            torch.as_tensor(validation[: min(self.n_validation, most)]),
            torch.as_tensor(test[: min(self.n_test, most)]),
            source=None if in_memory else cast("Rows", parts[0]),
        )

    def _crops(self, train: Images, most: int) -> Tensor:
        """Draw random crops of the training images.

        Images that are few or large give several crops.
        """
        generator = Generator().manual_seed(0)
        area = math.prod(train.event_shape[1:]) // self.crop**2
        times = max(1, min(max(16, area), most // len(train)))
        rows = np.random.default_rng(0).permutation(len(train))[:most]
        drawn = []
        for some in np.array_split(rows, -(-len(rows) // 64)):
            x = torch.as_tensor(train[np.sort(some)])  # each image is read once for all of its crops
            drawn += [random_crop(x, self.crop, generator) for _ in range(times)]
        return torch.cat(drawn)

    def augment(self, splits: Splits) -> Augment | None:
        if not self.crop and self.flips == "no":
            return None

        def vary(x: Tensor, generator: Generator) -> Tensor:
            x = random_crop(x, self.crop, generator) if self.crop else x
            return random_flip(x, generator) if self.flips == "yes" else x

        return vary
