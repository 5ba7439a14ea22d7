"""The least and the most likely rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from quasistatic.errors import InputError
from quasistatic.plots import extreme_rows


def table(n: int = 21, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    cells = np.empty((n, d), dtype=object)
    for j in range(d):
        cells[:, j] = np.arange(n, dtype=float)
    cells[:, 1] = ["common"] * (n - 1) + ["rare"]
    cells[4, 0] = None
    return cells, -np.arange(n, dtype=float)


def draw(cells: np.ndarray, scores: np.ndarray, surprise: np.ndarray | None = None, **settings: Any) -> Any:
    n, d = cells.shape
    odd = np.zeros((n, d)) if surprise is None else surprise
    return extreme_rows(cells, scores, odd, [f"c{j}" for j in range(d)], [f"line {i}" for i in range(n)], **settings)


def words(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_rows_come_in_order_least_likely_first() -> None:
    told = words(draw(*table(), n=2))
    assert [word for word in told if word.startswith("line")] == ["line 20", "line 19", "line 0", "line 1"]
    assert told[:5] == ["", "log p, nats", "c0", "c1", "c2"]
    assert told[5:10] == ["line 20", "-20.0", "20", "rare", "20"]


def test_only_the_order_of_surprise_within_a_column_makes_cells_dark() -> None:
    cells, scores = table()
    surprise = np.zeros((21, 3))
    surprise[:, 0] = 1e-9 * np.arange(21)
    surprise[4, 0] = np.nan
    axes = draw(cells, scores, surprise, n=10).axes[0]
    shade: list[Any] = [p.get_alpha() for p in axes.patches if isinstance(p, Rectangle)]  # of rows 20 down to 11
    assert shade[0] == 0.75
    assert shade == sorted(shade, reverse=True)
    assert len(shade) == 10
    assert "–" in words(axes.figure)


def test_of_many_columns_those_that_stand_out_are_shown() -> None:
    surprise = np.random.default_rng(0).normal(size=(300, 12))
    surprise[7, [2, 9]] = 50.0
    scores = np.zeros(300)
    scores[7] = -99.0
    head = words(draw(surprise.astype(object), scores, surprise, n=1))[2:10]
    assert {"c2", "c9"} <= set(head)
    assert head == sorted(head, key=lambda name: int(name[1:]))


def test_a_label_and_a_surprise_for_each() -> None:
    cells, scores = table()
    with pytest.raises(InputError, match=r"got 21, 2, \(21, 3\) and 3"):
        extreme_rows(cells, scores, np.zeros((21, 3)), ["a", "b", "c"], ["x", "y"])
    with pytest.raises(InputError, match=r"a score for each cell .* \(21, 2\)"):
        draw(cells, scores, np.zeros((21, 2)))
    with pytest.raises(InputError, match="at least two rows"):
        draw(cells[:1], scores[:1])
