"""Presets: each can be made, they grow, and the documentation shows them as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from quasistatic.recipes.catalogue import CATALOGUE
from quasistatic.recipes.presets import PRESETS, preset_rows
from quasistatic.reporting.text import markdown_table
from quasistatic.runs.settings import make_recipe

PAGE = Path(__file__).parents[2] / "docs" / "images.md"


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_belong_to_their_recipe_and_grow(name):
    assert CATALOGUE[name].presets is PRESETS[name]
    small, base, large = (make_recipe(name, preset=preset) for preset in ("small", "base", "large"))
    for less, more in ((small, base), (base, large)):
        assert less.train.n_updates * less.train.batch_size < more.train.n_updates * more.train.batch_size
        assert sum(less.widths) * less.blocks < sum(more.widths) * more.blocks  # type: ignore[attr-defined]


def test_the_page_shows_the_table_as_it_is():
    rows = preset_rows()
    assert markdown_table(rows, list(rows[0])) in PAGE.read_text(encoding="utf-8")
