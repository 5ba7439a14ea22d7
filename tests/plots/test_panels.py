"""Panels: each image where it belongs, on one scale for all."""

from __future__ import annotations

import numpy as np
import pytest

from quasistatic.errors import InputError
from quasistatic.plots import image_panels


def test_panels_show_their_images_in_reading_order_black_at_zero_and_white_at_one():
    grey = np.linspace(0.0, 1.0, 4)[:, None, None] * np.ones((4, 5, 5))
    figure = image_panels([("a", grey), ("b", 1.0 - grey)], "caption")
    assert figure.get_label() == "caption"
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    for axes, images in zip(figure.axes, (grey, 1.0 - grey), strict=True):
        sheet = np.asarray(axes.images[0].get_array())
        centres = [sheet[y, x, 0] for y in (3, 9) for x in (3, 9)]
        assert centres == pytest.approx(images[:, 0, 0])


def test_a_single_image_fills_its_panel_and_a_column_is_a_column():
    colour = np.random.default_rng(0).random((1, 6, 7, 3))
    figure = image_panels([("one", colour)], "")
    assert np.array_equal(np.asarray(figure.axes[0].images[0].get_array()), colour[0])
    tall = image_panels([("t", np.zeros((3, 6, 6)))] * 2, "", columns=1)
    assert np.asarray(tall.axes[0].images[0].get_array()).shape[:2] == (22, 8)


def test_no_panels_and_no_images_are_refused():
    with pytest.raises(InputError, match="needs one panel at least"):
        image_panels([], "")
    with pytest.raises(InputError, match="images of 'odd' must have shape"):
        image_panels([("odd", np.zeros((3, 3)))], "")
