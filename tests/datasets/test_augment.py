"""Random changes of batches: rates, places and what stays as it was. False alarms are those of tests/chance.py."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from chance import check_frequencies, check_mean
from quasistatic.datasets.augment import binarise, random_crop, random_flip, random_symmetry
from quasistatic.errors import InputError


def numbered(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Entries that tell where they came from."""
    return torch.arange(n * channels * height * width).view(n, channels, height, width)


def test_binarised_pixels_are_on_at_the_rate_of_their_grey_level(generator):
    levels = torch.arange(256, dtype=torch.uint8).repeat(4000, 1)
    bits = binarise(levels, generator)
    assert bits.dtype == torch.uint8
    check_mean(bits.double(), torch.arange(256) / 255.0)


def test_binarisation_needs_grey_levels(generator):
    with pytest.raises(InputError, match=r"type uint8, got torch\.float32"):
        binarise(torch.rand(3), generator)


def test_half_of_the_images_are_mirrored_and_none_is_changed_otherwise(generator):
    x = numbered(4000, 2, 3, 5)
    y = random_flip(x, generator)
    mirrored = (y.flip(-1) == x).flatten(1).all(1)
    assert torch.equal(y[~mirrored], x[~mirrored])
    check_mean(mirrored.double(), 0.5, resolves=0.05)


def test_the_eight_symmetries_of_the_square_are_equally_likely(generator):
    x = numbered(1, 2, 3, 3)
    all_eight = [z for y in (x, x.flip(-1), x.flip(-2), x.flip(-1, -2)) for z in (y, y.transpose(-1, -2))]
    drawn = random_symmetry(x.expand(8000, -1, -1, -1), generator)
    seen = torch.stack([(drawn == z).flatten(1).all(1) for z in all_eight])
    assert torch.equal(seen.sum(0), torch.ones(8000, dtype=torch.long))
    check_frequencies(seen.sum(1), torch.full((8,), 1 / 8))


def test_what_is_not_square_has_no_such_symmetries(generator):
    with pytest.raises(InputError, match="got images of 3 x 5"):
        random_symmetry(numbered(1, 1, 3, 5), generator)


def test_crops_are_windows_of_their_image_uniform_over_the_places(generator):
    x, size = numbered(30_000, 2, 4, 6), 3
    y = random_crop(x, size, generator)
    top, left = (y[:, 0, 0, 0] % 24) // 6, y[:, 0, 0, 0] % 6
    windows = x.unfold(2, size, 1).unfold(3, size, 1)[torch.arange(len(x)), :, top, left]
    assert torch.equal(y, windows)
    check_frequencies(torch.bincount(top * 4 + left, minlength=8), torch.full((8,), 1 / 8))


def test_a_crop_of_the_whole_is_the_whole_and_a_larger_one_is_refused(generator):
    x = numbered(3, 1, 4, 4)
    assert torch.equal(random_crop(x, 4, generator), x)
    for size in (0, 5):
        with pytest.raises(InputError, match=f"a crop of {size} pixels does not fit into images of 4 x 4"):
            random_crop(x, size, generator)


def test_the_generator_decides():
    x = numbered(50, 1, 8, 8).to(torch.uint8)
    for change in (binarise, random_flip, lambda x, g: random_crop(x, 4, g)):
        first, same, other = (change(x, Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, same)
        assert not torch.equal(first, other)
