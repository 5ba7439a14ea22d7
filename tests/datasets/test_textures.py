"""Textures of unit variance: the convention of the noise, what is cut from where, and that sets do not meet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quasistatic.datasets import bark, textures
from quasistatic.datasets.bark import load_bark
from quasistatic.datasets.textures import load_dead_leaves, noise_ceiling, noisy_patches, standardise
from quasistatic.errors import InputError


def clean(train: int, validation: int = 1, test: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(5.0 + 3.0 * rng.random((n, 70, 70)) for n in (train, validation, test))  # type: ignore[return-value]


# --------------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize("noise", [0.0, 0.06, 1.0])
def test_noise_is_added_to_unit_variance_and_taken_out_of_the_scale_again(noise):
    sets = clean(20, 6, 6)
    out = standardise(*sets, noise=noise, seed=3)
    mean, sd = sets[0].mean(), sets[0].std()
    assert (out.mean, out.sd, out.noise) == pytest.approx((mean, sd, noise))
    for x, raw in zip((out.train, out.validation, out.test), sets, strict=True):
        assert x.dtype == np.float32
        residual = x[:, 0] * math.sqrt(1.0 + noise**2) - (raw - mean) / sd
        # sd of n normal draws has a relative error of 1 / sqrt(2n); five of them are a false alarm of 6e-7 a set
        assert residual.std() == pytest.approx(noise, abs=5 * noise / math.sqrt(2 * x.size) + 1e-6)
        assert abs(residual.mean()) <= 5 * noise / math.sqrt(x.size) + 1e-6
    n = out.train.size  # of its variance: at most sqrt(2 / n) for uniform pixels with Gaussian noise
    assert out.train.var() == pytest.approx(1.0, abs=5 * math.sqrt(2.0 / n) + 1e-6)


def test_statistics_come_from_the_training_set_alone():
    train, validation, test = clean(5, 5, 5)
    out = standardise(train, 100.0 + validation, -test)
    assert out.train.mean() == pytest.approx(0.0, abs=1e-5)
    assert out.validation.mean() == pytest.approx(100.0 / train.std(), rel=0.01)


def test_noise_differs_between_sets_and_is_fixed_by_the_seed():
    same = clean(4)[0]
    first, again, other = (standardise(same, same, same, 0.5, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train, again.train)
    assert np.array_equal(first.test, again.test)
    for a, b in (
        (first.train, first.test),
        (first.train, first.validation),
        (first.validation, first.test),
        (first.train, other.train),
    ):
        # noise of variance 0.5^2 / (1 + 0.5^2) = 0.2 in each, independent: the difference has twice that
        assert (a - b).var() == pytest.approx(0.4, rel=5 * math.sqrt(2.0 / a.size))


def test_patches_are_the_tiles_of_the_same_noisy_images():
    sets = clean(3, 2, 2)
    whole = noisy_patches(*sets, size=None, noise=0.1)
    assert whole.train.shape == (3, 1, 70, 70)
    for size in (32, 64, 70):
        per_side = 70 // size
        cut = noisy_patches(*sets, size=size, noise=0.1)
        assert cut.train.shape == (3 * per_side**2, 1, size, size)
        assert (cut.mean, cut.sd, cut.noise) == (whole.mean, whole.sd, 0.1)
        for k, patch in enumerate(cut.test):
            image, place = divmod(k, per_side**2)
            top, left = (size * i for i in divmod(place, per_side))
            assert np.array_equal(patch, whole.test[image, :, top : top + size, left : left + size])


def test_the_ceiling_is_the_negative_entropy_of_the_noise():
    # the clean image known, log N(x; clean, s'^2) on average, by 200000 draws: sd 0.72 bits, so 5 errors are 0.008
    s = 0.06 / math.sqrt(1.0 + 0.06**2)
    xi = np.random.default_rng(0).standard_normal(200_000)
    log_density = -0.5 * xi**2 - math.log(s * math.sqrt(2.0 * math.pi))
    assert noise_ceiling(0.06) == pytest.approx(log_density.mean() / math.log(2.0), abs=0.012)
    assert noise_ceiling(0.03) - noise_ceiling(0.06) == pytest.approx(1.0, abs=0.01)


def test_numbers_out_of_range_are_named():
    sets = clean(1, 1, 1)
    with pytest.raises(InputError, match=r"noise must be finite and at least 0, got -0\.1"):
        noisy_patches(*sets, noise=-0.1)
    with pytest.raises(InputError, match="a patch of 71 pixels does not fit into images of 70 x 70"):
        noisy_patches(*sets, size=71)
    with pytest.raises(InputError, match=r"images of standard deviation 0\.0 cannot be scaled to 1"):
        standardise(np.ones((2, 4, 4)), sets[1], sets[2])
    with pytest.raises(InputError, match=r"noise must be finite and above 0, got 0\.0"):
        noise_ceiling(0.0)


# --------------------------------------------------------------------------------------------- dead leaves


def test_leaves_are_generated_once_and_kept_under_all_their_numbers(tmp_path, monkeypatch):
    first = load_dead_leaves(3, 2, 1, size=16, folder=tmp_path)
    assert [x.shape for x in first] == [(3, 16, 16), (2, 16, 16), (1, 16, 16)]
    assert len({image.tobytes() for x in first for image in x}) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["dead_leaves-1-3-2-1-16-1.5-128.0-0"]
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"r_min": 2.0},
        {"r_max": 64},
        {"size": 17},
        {"n_train": 4},
        {"n_validation": 3},
        {"n_test": 2},
    ]
    for other in others:
        load_dead_leaves(**({"n_train": 3, "n_validation": 2, "n_test": 1, "size": 16, "folder": tmp_path} | other))
    assert len(list(tmp_path.iterdir())) == 1 + len(others)
    monkeypatch.setattr(textures, "dead_leaves", None)
    for x, again in zip(first, load_dead_leaves(3, 2, 1, size=16, folder=tmp_path), strict=True):
        assert np.array_equal(x, again)
        assert isinstance(again, np.memmap)


def test_a_set_that_was_not_finished_is_not_there(tmp_path, monkeypatch):
    def fails_in_the_second_set(n, *_, seed):
        if n == 2:
            raise KeyboardInterrupt
        return np.zeros((n, 16, 16))

    monkeypatch.setattr(textures, "dead_leaves", fails_in_the_second_set)
    with pytest.raises(KeyboardInterrupt):
        load_dead_leaves(3, 2, 1, size=16, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_leaves_that_cannot_be_kept_are_told_of(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"dead leaves cannot be kept in .*file"):
        load_dead_leaves(1, 1, 1, size=16, folder=tmp_path / "file")
    with pytest.raises(InputError, match=r"seed must be .*at least 0, got -1"):
        load_dead_leaves(seed=-1, folder=tmp_path)


# ---------------------------------------------------------------------------------------------------- bark


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Four lossless images, 96 x 96, whose grey level tells the part of the photograph and the photograph."""
    y, x = np.mgrid[:96, :96]
    part = np.where(x < 72, 0, np.where(y < 48, 1, 2))
    for k, name in enumerate(bark.FILES):
        grey = (20 + 60 * part + 10 * k).astype(np.uint8)
        Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / name, format="png")
    monkeypatch.setattr(bark, "find", lambda folder, name: tmp_path / name)
    return tmp_path


def levels(x: np.ndarray, splits: textures.TextureSplits) -> np.ndarray:
    return np.floor(x * splits.sd + splits.mean + 1e-4).astype(int)


def test_crops_stay_in_their_part_and_reach_all_of_it(photographs):
    splits = load_bark(size=16, n_train=200)
    assert splits.train.shape == (200, 1, 16, 16)
    assert splits.validation.shape == splits.test.shape == (4 * 3, 1, 16, 16)
    for part, x in enumerate((splits.train, splits.validation, splits.test)):
        assert set(np.unique(levels(x, splits))) - {20 + 60 * part + 10 * k + 1 for k in range(4)} == {
            20 + 60 * part + 10 * k for k in range(4)
        }


def test_pixels_are_dequantised_once_and_scaled_by_the_training_part(photographs):
    splits = load_bark(size=20, n_train=300)
    # levels 20, 30, 40, 50 and uniform noise: mean 35.5, variance 125 + 1/12
    assert splits.mean == pytest.approx(35.5, abs=0.01)
    assert splits.sd**2 == pytest.approx(125 + 1 / 12, abs=0.1)
    noise = (splits.train * splits.sd + splits.mean) % 10.0
    assert noise.min() >= -1e-4
    assert noise.max() <= 1.0001
    assert noise.var() == pytest.approx(1 / 12, rel=0.02)
    # A pixel keeps its noise in every crop that it is in: few new values after many crops of one place.
    assert len(np.unique(splits.train)) <= 4 * 96 * 72
    assert len(np.unique(splits.train)) < 0.3 * splits.train.size


def test_patches_that_measure_lie_side_by_side_and_hold_each_pixel_once(photographs):
    parts, cut = bark.bark_parts(seed=3), load_bark(size=8, n_train=5, seed=3)
    for part, patches in ((parts.validation, cut.validation), (parts.test, cut.test)):
        assert part.shape == (4, 1, 48, 24)
        assert np.array_equal(np.sort(part, axis=None), np.sort(patches, axis=None))
    assert not np.array_equal(textures.tiles(parts.test, 8), cut.test)  # a prefix stands for all photographs


def test_the_seed_decides_and_faults_are_named(photographs):
    first, again, other = (load_bark(8, 5, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)
    with pytest.raises(InputError, match="a patch of 25 pixels does not fit into images of 48 x 24"):
        load_bark(25)
    with pytest.raises(InputError, match="at least 1 training patch, got 0"):
        load_bark(8, n_train=0)
    Image.fromarray(np.zeros((96, 97, 3), np.uint8)).save(photographs / bark.FILES[2], format="png")
    with pytest.raises(InputError, match=r"birch.* has shape \(96, 97\), but bark_brown.* has \(96, 96\)"):
        load_bark(8)
    (photographs / bark.FILES[1]).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"willow.* is not an image that can be read"):
        load_bark(8)
