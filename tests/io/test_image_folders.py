"""A user's own images: pixels come back, nothing is read before it is asked for, and faults are named by file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quasistatic.errors import InputError
from quasistatic.io.image_folders import open_images


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(256, size=shape, dtype=np.uint8)


def folder_of(folder: Path, x: np.ndarray, ending: str = "png") -> Path:
    """Images (n, height, width[, 3]) under names that do not sort as they were written."""
    for k in reversed(range(len(x))):
        Image.fromarray(x[k]).save(folder / f"{k:03d}.{ending}")
    return folder


# -------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("ending", ["png", "bmp", "PNG"])
def test_colour_images_come_back_in_the_order_of_their_names(tmp_path, ending):
    x = pixels(12, 5, 7, 3)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    images = open_images(folder_of(tmp_path, x, ending))
    assert images.shape == (12, 3, 5, 7)
    assert images.dtype == np.uint8
    assert np.array_equal(images[:], x.transpose(0, 3, 1, 2))


def test_grey_images_have_one_channel_and_lossless_webp_is_read(tmp_path):
    x = pixels(3, 6, 4)
    images = open_images(folder_of(tmp_path, x))
    assert np.array_equal(images[:], x[:, None])
    colour = pixels(1, 6, 4, 3)[0]
    (tmp_path / "w").mkdir()
    Image.fromarray(colour).save(tmp_path / "w" / "a.webp", lossless=True)
    assert np.array_equal(open_images(tmp_path / "w")[0], colour.transpose(2, 0, 1))


def test_jpegs_are_read_as_pillow_decodes_them(tmp_path):
    smooth = np.linspace(0, 255, 32 * 32).reshape(1, 32, 32).astype(np.uint8)
    images = open_images(folder_of(tmp_path, smooth, "jpg"))
    assert np.abs(images[0].astype(int) - smooth).max() < 10


@pytest.mark.parametrize("index", [3, -1, slice(2, 9, 3), [7, 0, 7], np.arange(10) % 3 == 0, np.array([], int)])
def test_indices_mean_what_they_mean_for_arrays(tmp_path, index):
    x = pixels(10, 4, 4)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "f").mkdir()
    for images in (open_images(folder_of(tmp_path / "f", x)), open_images(tmp_path / "x.npy")):
        assert np.array_equal(images[index], x[:, None][index])


def test_the_centre_is_cut_out_of_images_of_many_sizes(tmp_path):
    big, wide = pixels(8, 9), pixels(4, 7)
    Image.fromarray(big).save(tmp_path / "a.png")
    Image.fromarray(wide).save(tmp_path / "b.png")
    images = open_images(tmp_path, crop=4)
    assert np.array_equal(images[0][0], big[2:6, 2:6])
    assert np.array_equal(images[1][0], wide[:, 1:5])


def test_grey_is_itu_r_601_luma_when_asked_for(tmp_path):
    x = pixels(2, 16, 16, 3)
    Image.fromarray(x[0]).save(tmp_path / "a.png")
    Image.fromarray(x[1]).convert("RGBA").save(tmp_path / "b.png")
    grey = open_images(tmp_path, channels=1)[:]
    assert np.abs(grey[:, 0] - x @ [0.299, 0.587, 0.114]).max() < 0.51
    assert np.array_equal(open_images(tmp_path, channels=3)[:], x.transpose(0, 3, 1, 2))


def mixed(folder: Path, fault: str) -> None:
    folder_of(folder, pixels(2, 8, 8, 3))
    bad = folder / "bad.png"
    if fault == "size":
        Image.fromarray(pixels(8, 9, 3)).save(bad)
    elif fault == "channels":
        Image.fromarray(pixels(8, 8)).save(bad)
    elif fault == "small":
        Image.fromarray(pixels(3, 8, 3)).save(bad)
    elif fault == "alpha":
        Image.fromarray(pixels(8, 8, 4)).save(bad)
    elif fault == "real":
        Image.fromarray(pixels(8, 8).astype(np.float32)).save(bad, format="TIFF")
    elif fault == "no image":
        bad.write_bytes(b"not an image")


FAULTS = {
    "size": ({}, r"bad\.png has 9 x 8 pixels and 3 channels, but 000\.png has 8 x 8 pixels and 3 channels: .* give crop"),
    "channels": ({}, r"bad\.png has 8 x 8 pixels and 1 channel, but 000\.png has .* 3 channels: .* or give channels"),
    "small": ({"crop": 4}, r"bad\.png has 8 x 3 pixels, but crop 4 must fit into every image"),
    "alpha": ({}, r"bad\.png has transparent pixels: channels=3, or 1 for grey, blends"),
    "real": ({"channels": 1}, r"bad\.png holds real numbers \(mode F\): save it with 8 or 16 bits for each channel"),
    "no image": ({}, r"bad\.png is not an image that can be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_image_unlike_the_others_is_named(tmp_path, fault):
    settings, sentence = FAULTS[fault]
    mixed(tmp_path, fault)
    with pytest.raises(InputError, match=sentence):
        open_images(tmp_path, **settings)  # type: ignore[arg-type]


def test_an_image_cut_short_is_named_when_it_is_asked_for(tmp_path):
    folder_of(tmp_path, pixels(3, 64, 64, 3))
    whole = (tmp_path / "001.png").read_bytes()
    (tmp_path / "001.png").write_bytes(whole[: len(whole) // 2])
    images = open_images(tmp_path)
    assert images[[0, 2]].shape == (2, 3, 64, 64)
    with pytest.raises(InputError, match=r"001\.png is not an image that can be read"):
        images[:]


def test_missing_and_empty_folders_and_bad_settings_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(InputError, match=r"holds no images \(\.png, \.jpg"):
        open_images(tmp_path)
    with pytest.raises(InputError, match="there is no file or folder"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"must be a folder of images or end in \.npy or \.npz"):
        open_images(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="crop must be at least 1, got 0"):
        open_images(tmp_path, crop=0)
    with pytest.raises(InputError, match="channels must be 1 or 3, got 2"):
        open_images(tmp_path, channels=2)


# --------------------------------------------------------------------------------------------------- arrays


def save(path: Path, x: np.ndarray) -> Path:
    {".npy": np.save, ".npz": np.savez}.get(path.suffix, np.savez_compressed)(path, x)
    return path


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, ">f8", np.bool_])
def test_arrays_come_back(tmp_path, ending, order, dtype):
    x = np.array(pixels(5, 3, 6, 4), dtype, order=order)
    images = open_images(save(tmp_path / f"x.{ending}", x))
    assert images.shape == x.shape
    assert images.dtype == x.dtype
    assert np.array_equal(images[:], x)
    assert np.array_equal(open_images(tmp_path / f"x.{ending}", crop=2)[1], x[1, :, 2:4, 1:3])


def test_a_compressed_npz_comes_back(tmp_path):
    x = pixels(5, 6, 4)
    np.savez_compressed(tmp_path / "x.npz", x)
    assert np.array_equal(open_images(tmp_path / "x.npz")[:], x[:, None])


def test_an_array_far_larger_than_memory_is_opened_and_a_row_read(tmp_path):
    # A sparse file of 4 TiB: what is not written reads as zero and takes no room on disk.
    n, path = 2**20, tmp_path / "x.npy"
    try:
        np.lib.format.open_memmap(path, "w+", np.uint8, (n, 2048, 2048))[-2, 9] = 7
    except OSError:
        pytest.skip("this file system has no files of 4 TiB")
    images = open_images(path)
    assert (images[n - 2][0, 9] == 7).all()
    assert not images[[0, n - 1]].any()


def test_a_stored_npz_is_mapped(tmp_path):
    path = save(tmp_path / "x.npz", pixels(50, 1, 8, 8))
    images = open_images(path)
    raw = bytearray(path.read_bytes())
    at = raw.find(images[20].tobytes())
    raw[at] ^= 255
    path.write_bytes(raw)
    assert images[20][0, 0, 0] == raw[at]  # the change on disk is seen, so nothing was read before


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_faults_of_arrays_are_named(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    cases = {
        r"x.* has shape \(5, 4\), but images must have shape": np.zeros((5, 4)),
        r"x.* has shape \(0, 4, 4\), but images must have shape .* without a zero": np.zeros((0, 4, 4)),
        r"has 4 channels, but must have 1 or 3; move the last axis to place 1": np.zeros((2, 4, 4, 3)),
        r"has 2 channels, but must have 1 or 3$": np.zeros((2, 2, 4, 4)),
        r"holds entries of type complex128, but real numbers are needed": np.zeros((2, 4, 4), complex),
    }
    for sentence, x in cases.items():
        with pytest.raises(InputError, match=sentence):
            open_images(save(path, x))
    with pytest.raises(InputError, match="has images of 5 x 4 pixels, but crop 5 must fit into them"):
        open_images(save(path, np.zeros((2, 4, 5))), crop=5)
    with pytest.raises(InputError, match=r"has 3 channels, but must have 1$"):
        open_images(save(path, np.zeros((2, 3, 4, 4))), channels=1)
    with pytest.raises(InputError, match=r"not a whole NumPy file|never loaded"):
        open_images(save(path, np.array([{}], dtype=object)))
    whole = save(path, pixels(9, 8, 8)).read_bytes()
    for raw in (b"", whole[: len(whole) // 2]):
        path.write_bytes(raw)
        with pytest.raises(InputError, match="not a whole NumPy file of numbers"):
            open_images(path)


def test_an_archive_of_two_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(InputError, match="must hold exactly one array, but holds 2"):
        open_images(tmp_path / "x.npz")


def test_a_pixel_that_is_no_number_is_named_when_it_is_asked_for(tmp_path):
    x = np.zeros((9, 4, 4), np.float32)
    x[5, 1, 1] = np.nan
    images = open_images(save(tmp_path / "x.npy", x))
    assert images[:5].shape == (5, 1, 4, 4)
    with pytest.raises(InputError, match=r"image 6 of .*x\.npy has a pixel that is not finite"):
        images[3:]


# --------------------------------------------------------------------------------------------------- splits


def test_a_split_parts_the_images_by_its_seed(tmp_path):
    x = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1) * np.ones((1, 1, 3, 3), np.uint8)
    images = open_images(save(tmp_path / "x.npy", x))
    parts = images.split(seed=1, validation=0.2, test=0.1)
    assert [part.shape[0] for part in parts] == [28, 8, 4]
    seen = np.concatenate([part[:][:, 0, 0, 0] for part in parts])
    assert np.array_equal(seen, np.random.default_rng(1).permutation(40))
    assert not np.array_equal(seen, np.arange(40))
    again = parts[0].split(seed=2)[0]
    assert set(again[:][:, 0, 0, 0]) <= set(seen[:28])


def test_the_largest_square_that_all_have_is_taken_only_where_they_differ(tmp_path):
    Image.fromarray(pixels(8, 9)).save(tmp_path / "a.png")
    assert open_images(tmp_path, common=True).event_shape == (1, 8, 9)
    Image.fromarray(pixels(12, 7)).save(tmp_path / "b.png")
    images = open_images(tmp_path, common=True)
    assert images.event_shape == (1, 7, 7)
    assert np.array_equal(images[1][0], pixels(12, 7)[2:9])
