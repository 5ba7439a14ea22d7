"""Image files are read as a viewer shows them: turned, blended, and in eight bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from quasistatic.errors import InputError
from quasistatic.io.image_folders import open_images
from quasistatic.io.observations import read_mask, read_observed
from quasistatic.io.pixels import read_header, read_pixels, write_pixels


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_pictures_are_turned_as_exif_says(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{ending}"
    Image.fromarray(pixels(16, 24, 3)).save(file, exif=exif)
    with Image.open(file) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    read = read_pixels(file, 3)
    assert np.array_equal(read.transpose(1, 2, 0), upright)
    assert read_header(file) == (3, *upright.shape[:2], False)
    assert np.array_equal(open_images(tmp_path)[0], read)
    assert np.array_equal(read_observed(file, read.shape).rows[0], read)


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), ("grey", 128)])
def test_transparent_pixels_show_the_background_not_what_they_hide(tmp_path: Path, background: str, level: int) -> None:
    colour, alpha = pixels(6, 6, 3), np.zeros((6, 6), np.uint8)
    alpha[1], alpha[2] = 255, 128
    over = np.dstack([colour, alpha])
    Image.fromarray(over).save(tmp_path / "a.png")
    read = read_pixels(tmp_path / "a.png", 3, background).transpose(1, 2, 0)
    assert np.array_equal(read[1], colour[1])
    assert (read[[0, 3, 4, 5]] == level).all()
    blended = level + (colour[2].astype(float) - level) * 128 / 255
    assert np.abs(read[2] - blended).max() < 1.01
    assert open_images(tmp_path, channels=3, background=background).n_transparent == 1
    assert np.array_equal(open_images(tmp_path, channels=3, background=background)[0].transpose(1, 2, 0), read)


def test_grey_with_transparency_has_one_channel(tmp_path: Path) -> None:
    grey = Image.fromarray(pixels(4, 4))
    grey.putalpha(Image.fromarray(np.full((4, 4), 255, np.uint8)))
    grey.save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png") == (1, 4, 4, True)
    assert np.array_equal(read_pixels(tmp_path / "a.png", 1)[0], pixels(4, 4))


def test_palettes_are_read_by_their_colours(tmp_path: Path) -> None:
    index = (pixels(5, 5) % 3).astype(np.uint8)
    palettes = {"colour": [10, 20, 30, 200, 0, 0, 0, 0, 250], "grey": [9, 9, 9, 90, 90, 90, 200, 200, 200]}
    for name, palette in palettes.items():
        image = Image.fromarray(index).convert("P")
        image.putpalette(palette)
        image.save(tmp_path / f"{name}.png")
        wanted = np.array(palette, np.uint8).reshape(3, 3)[index]
        assert np.array_equal(read_pixels(tmp_path / f"{name}.png", 3).transpose(1, 2, 0), wanted)
        assert read_header(tmp_path / f"{name}.png").channels == (3 if name == "colour" else 1)
    assert np.array_equal(read_pixels(tmp_path / "grey.png", 1)[0], np.array([9, 90, 200], np.uint8)[index])


def test_a_palette_may_have_a_transparent_entry(tmp_path: Path) -> None:
    image = Image.fromarray((pixels(5, 5) % 2).astype(np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.save(tmp_path / "a.png", transparency=1)
    assert read_header(tmp_path / "a.png").transparent
    read = read_pixels(tmp_path / "a.png", 3).transpose(1, 2, 0)
    assert np.array_equal(read, np.array([[10, 20, 30], [255, 255, 255]], np.uint8)[pixels(5, 5) % 2])


def test_one_bit_is_black_and_white_and_sixteen_bits_become_eight(tmp_path: Path) -> None:
    bits = pixels(4, 6) > 127
    Image.fromarray(bits).save(tmp_path / "bits.png")
    assert np.array_equal(read_pixels(tmp_path / "bits.png", 1)[0], 255 * bits.astype(np.uint8))
    assert read_header(tmp_path / "bits.png").channels == 1
    deep = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_pixels(tmp_path / "deep.png", 1)[0].tolist() == [[0, 0, 1, 1, 128, 255]]
    assert read_header(tmp_path / "deep.png") == (1, 1, 6, False)


def test_pictures_that_cannot_be_shown_are_named(tmp_path: Path) -> None:
    Image.fromarray(pixels(4, 4).astype(np.float32)).save(tmp_path / "real.png", format="TIFF")
    with pytest.raises(InputError, match=r"real\.png holds real numbers \(mode F\): save it with 8 or 16 bits"):
        read_header(tmp_path / "real.png")
    with pytest.raises(InputError, match="background must be one of white, black, grey, got 'red'"):
        read_pixels(tmp_path / "real.png", 1, "red")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_back(tmp_path: Path, channels: int) -> None:
    x = pixels(channels, 5, 7)
    write_pixels(tmp_path / "a.png", x)
    assert np.array_equal(read_pixels(tmp_path / "a.png", channels), x)


def test_a_picture_of_another_shape_is_not_scrambled_into_place(tmp_path: Path) -> None:
    write_pixels(tmp_path / "a.png", pixels(1, 4, 16))
    with pytest.raises(InputError, match=r"a\.png has 16 x 4 pixels, but this model takes 8 x 8: crop or resize it"):
        read_observed(tmp_path / "a.png", (1, 8, 8))


def test_what_a_mask_does_not_show_is_unknown(tmp_path: Path) -> None:
    known = pixels(6, 6) > 127
    image = Image.fromarray(np.full((6, 6), 255, np.uint8))
    image.putalpha(Image.fromarray(255 * known.astype(np.uint8)))
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", (1, 6, 6), 1)[0, 0], known)


def test_pillow_is_not_imported_before_a_picture_is_read() -> None:
    code = "import sys, quasistatic.io.pixels; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
