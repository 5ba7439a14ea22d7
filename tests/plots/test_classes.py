"""Classes in figures of tables: by their names, the rare ones together, points on strips of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quasistatic.errors import InputError
from quasistatic.plots import column_marginals, pair_plot
from quasistatic.plots.classes import pooled

CLASSES = [None, ["setosa", "versicolor hybrid", "virginica"], [f"city number {i}" for i in range(14)]]
NAMES = ["length", "species", "city"]


def rows(n: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    city = np.minimum(draw.geometric(0.2, n) - 1, 13)
    return np.stack([draw.normal(size=n), draw.integers(0, 3, n), city], 1).astype(float)


def ticks(axes, axis: str) -> list[str]:  # type: ignore[no-untyped-def]
    return [label.get_text() for label in getattr(axes, f"get_{axis}ticklabels")()]


def test_rare_classes_are_counted_together() -> None:
    data, samples = rows(500)[:, 2], rows(300, 1)[:, 2]
    data[3] = np.nan
    told, made, names = pooled(data, samples, CLASSES[2] or [])
    assert len(names) == 10
    assert names[-1] == "other (5)"
    assert np.isnan(told[3])
    for code, name in enumerate(names[:-1]):
        old = (CLASSES[2] or []).index(name)
        assert (told == code).sum() == (data == old).sum()
        assert (made == code).sum() == (samples == old).sum()
    assert (told == 9).sum() == np.sum(~np.isnan(data)) - (told < 9).sum()
    assert pooled(data, samples, ["a"] * 10)[2] == ["a"] * 10


def test_columns_name_their_classes() -> None:
    figure = column_marginals(rows(200), rows(300, 1), NAMES, CLASSES)
    assert ticks(figure.axes[1], "x") == ["setosa", "versic…ybrid", "virginica"]
    assert ticks(figure.axes[2], "x")[-1] == "other (5)"
    bars: list[Any] = list(figure.axes[1].patches)
    shares = [bar.get_height() for bar in bars]
    assert sum(shares) == pytest.approx(2.0)
    assert {label.get_rotation() for label in figure.axes[2].get_xticklabels()} == {90.0}


def test_pairs_name_their_classes_and_keep_data_and_samples_apart() -> None:
    figure = pair_plot(rows(200), rows(300, 1), NAMES, CLASSES)
    places: list[Any] = [axes.get_subplotspec() for axes in figure.axes]
    panels = {(at.rowspan.start, at.colspan.start): axes for at, axes in zip(places, figure.axes, strict=True)}
    assert ticks(panels[1, 0], "y") == ["setosa", "versic…ybrid", "virginica"]
    data, samples = (points.get_offsets() for points in panels[1, 0].collections)
    assert (np.asarray(data)[:, 1] % 1 > 0.5).all()  # below its class
    assert (np.asarray(samples)[:, 1] % 1 < 0.5).all()
    assert len(panels[1, 1].patches) == 6
    with pytest.raises(InputError, match="classes must be one for each of 3 columns, got 2"):
        pair_plot(rows(20), rows(20), NAMES, CLASSES[:2])


def test_two_columns_of_classes_are_a_table_of_shares() -> None:
    data, samples = rows(200)[:, 1:], rows(300, 1)[:, 1:]
    data[:, 1], samples[:, 1] = data[:, 0], 1.0
    data[0, 1] = np.nan
    levels = [["a", "b", "c"], ["u", "v", "w"]]
    axes = pair_plot(data, samples, ["first", "second"], levels).axes[1]
    assert ticks(axes, "x") == levels[0]
    assert ticks(axes, "y") == levels[1]
    shares = np.array([int(text.get_text()) for text in axes.texts]).reshape(2, 3, 3)
    assert (np.diag(shares[0]) > 20).all()
    assert shares[0].sum() == pytest.approx(np.trace(shares[0])) == pytest.approx(100, abs=2)
    assert (shares[1][:, [0, 2]] == 0).all()
    for k, values in enumerate((data[1:], samples)):
        expected = [round(100 * np.mean((values[:, 0] == i) & (values[:, 1] == 1))) for i in range(3)]
        assert shares[k][:, 1].tolist() == expected
    bars: list[Any] = list(axes.patches)
    shades = np.array([bar.get_facecolor()[3] for bar in bars]).reshape(2, 3, 3)
    assert (shades == 0).sum() == (shares == 0).sum()
    assert shades.max() == pytest.approx(0.9)
    assert not axes.collections  # no points


def test_many_classes_have_shades_alone_and_whole_numbers_whole_ticks() -> None:
    data = rows(200)[:, [2, 2]]
    assert not pair_plot(data, data, ["a", "b"], [CLASSES[2], CLASSES[2]]).axes[1].texts
    figure = pair_plot(rows(200)[:, 1:], rows(200)[:, 1:], NAMES[1:])
    assert all(tick % 1 == 0 for tick in figure.axes[1].get_yticks())
