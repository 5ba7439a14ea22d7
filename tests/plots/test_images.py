"""Sheets of images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from quasistatic.errors import InputError
from quasistatic.plots import image_grid
from quasistatic.plots.images import montage


def shown(figure: Figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


@given(
    n=st.integers(1, 7),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    columns=st.integers(1, 7),
    margin=st.integers(0, 2),
    top=st.integers(0, 3),
)
def test_every_image_can_be_cut_back_out_of_the_sheet_and_the_rest_is_white(n, size, columns, margin, top):
    height, width = size
    images = np.random.default_rng(0).uniform(0, 0.9, (n, height, width, 3))
    sheet = montage(images, columns, margin=margin, top=top)
    for i, image in enumerate(images):
        y, x = top + (i // columns) * (height + top), margin + (i % columns) * (width + margin)
        tile = sheet[y : y + height, x : x + width]
        assert (tile == image).all()
        tile[:] = 1.0
    assert (sheet == 1.0).all()


def test_the_scale_is_common_to_all_images():
    # Two flat images, 0 and 4, on the sheet of one row: black and white, whatever each alone would be.
    images = np.stack([np.zeros((8, 8)), np.full((8, 8), 4.0)])
    sheet = shown(image_grid(images, columns=2))
    margin = 1
    assert (sheet[margin : margin + 8, margin : margin + 8] == 0).all()
    assert (sheet[margin : margin + 8, 2 * margin + 8 : 2 * margin + 16] == 1).all()


def test_values_are_scaled_between_vmin_and_vmax_and_clipped_beyond():
    image = np.array([[[-5.0, 0.0], [1.0, 9.0]]])
    sheet = shown(image_grid(image, vmin=-1, vmax=3))
    assert sheet[1:3, 1:3, 0].tolist() == [[0.0, 0.25], [0.5, 1.0]]


def test_missing_pixels_are_neither_grey_nor_in_the_way_of_the_scale():
    image = np.array([[[0.0, np.nan], [1.0, 2.0]]])
    red, green, blue = shown(image_grid(image))[1, 2]
    assert red < green < blue
    assert shown(image_grid(image))[2, 1:3, 0].tolist() == [0.5, 1.0]


def test_colour_keeps_its_channels():
    image = np.zeros((1, 2, 2, 3))
    image[0, 0, 1] = (1.0, 0.5, 0.0)
    assert shown(image_grid(image))[1, 2].tolist() == [1.0, 0.5, 0.0]


def test_grey_with_and_without_a_channel_axis_look_the_same():
    images = np.random.default_rng(0).random((3, 4, 5))
    assert (shown(image_grid(images)) == shown(image_grid(images[..., None]))).all()


def test_titles_are_shown_in_order():
    figure = image_grid(np.zeros((3, 8, 8)), titles=["a", "b", "c"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b", "c"]


def test_a_heading_says_which_sheet_it_is_and_moves_no_pixel():
    x = np.random.default_rng(0).random((1, 4, 4))
    plain, named = image_grid(x), image_grid(x, heading="Samples of the model", caption="Drawn.")
    assert [text.get_text() for text in named.texts] == ["Samples of the model"]
    assert (shown(plain) == shown(named)).all()
    assert (plain.get_label(), named.get_label()) == ("1 images, 4 × 4 pixels, on one scale of brightness.", "Drawn.")
    box = named.texts[0].get_window_extent()
    assert box.x1 <= named.bbox.x1  # it fits, though the sheet is narrow
    assert box.y0 >= named.axes[0].get_window_extent().y1  # and lies above it


def test_a_title_too_long_for_its_place_is_cut():
    figure = image_grid(np.zeros((12, 8, 8)), columns=12, titles=["a very long title"] * 12)
    text = figure.axes[0].texts[0].get_text()
    assert text.endswith("…")
    assert "a very long title".startswith(text[:-1])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"images": np.zeros((4, 4))}, r"images must have shape .*, got \(4, 4\)"),
        ({"images": np.zeros((4, 4, 4, 2))}, r"images must have shape .*, got \(4, 4, 4, 2\)"),
        ({"images": np.zeros((4, 4, 4)), "columns": 0}, "columns must be at least 1, got 0"),
        ({"images": np.zeros((4, 4, 4)), "vmin": 1, "vmax": 1}, "vmin must lie below vmax, got 1 and 1"),
        ({"images": np.zeros((4, 4, 4)), "titles": ["a"]}, "titles must be one per image, 4, got 1"),
    ],
)
def test_bad_sheets_are_named(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        image_grid(**arguments)


def test_flat_images_and_images_without_a_pixel_are_drawn():
    assert (shown(image_grid(np.full((1, 2, 2), 7.0)))[1:3, 1:3] == 0).all()
    assert np.isfinite(shown(image_grid(np.full((1, 2, 2), np.nan)))).all()
