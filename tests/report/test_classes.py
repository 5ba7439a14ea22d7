"""Classes in figures of tables: by their names, the rare ones together, points on strips of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quasistatic.errors import InputError
from quasistatic.report import column_marginals, pair_plot
from quasistatic.report.pairs import pooled

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
    assert {label.get_rotation() for label in figure.axes[2].get_xticklabels()} == {40.0}


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
