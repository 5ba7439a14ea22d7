"""Estimates and tables as text."""

from __future__ import annotations

import html
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasistatic.errors import InputError, printable
from quasistatic.reporting.text import format_estimate, html_table, markdown_table, text_table


@pytest.mark.parametrize(
    ("value", "standard_error", "text"),
    [
        # Two digits of the error set the place; a closing zero of the error goes, and its place with it.
        (2.3512, 0.0101, "2.35 ± 0.01"),
        (2.3512, 0.0123, "2.351 ± 0.012"),
        (2.3512, 0.0096, "2.3512 ± 0.0096"),
        (2.3512, 0.00996, "2.35 ± 0.01"),  # 0.00996 is 0.010 in two digits
        (2.0, 0.01, "2.00 ± 0.01"),  # zeros of the value within the error's place are digits
        (-0.001, 0.2, "0.0 ± 0.2"),  # no minus before a rounded zero
        (-4.0942, 0.0, "-4.0942 ± 0"),
        (-2.3219280949, 0.0, "-2.32193 ± 0"),
        (5321.4, 123.0, "5320 ± 120"),
        (5321.4, 1.4, "5321.4 ± 1.4"),
        (5321.4, 14.0, "5321 ± 14"),
        (0.05, 3.0, "0 ± 3"),
        (-2.3245, 1e-4, "-2.3245 ± 0.0001"),
        (-2.32192809488, 1e-12, "-2.32193 ± 0"),  # an error of rounding is no error of sampling
        (2.35123, None, "2.351"),
        (math.nan, 0.1, "nan ± 0.1"),
        (-math.inf, 0.1, "-inf ± 0.1"),
        (2.35123, math.inf, "2.351 ± inf"),
        (np.float32(0.5), np.float32(0.25), "0.50 ± 0.25"),
    ],
)
def test_the_error_sets_the_digits(value, standard_error, text):
    assert format_estimate(value, standard_error, "bits", 10000) == f"{text} bits (n = 10000)"
    assert format_estimate(value, standard_error) == text


def test_one_example_has_no_standard_error_and_the_text_says_so():
    assert format_estimate(2.35123, math.nan, "bits", 1) == "2.351 bits (standard error unknown, n = 1)"


def test_a_negative_standard_error_is_an_error():
    with pytest.raises(InputError, match=r"a standard error must not be negative, got -0\.1"):
        format_estimate(1.0, -0.1)


@given(st.floats(-1e4, 1e4), st.floats(1e-6, 1e3))
def test_the_text_read_back_is_the_estimate_within_its_own_digits(value, standard_error):
    shown, error = map(float, format_estimate(value, standard_error).split(" ± "))
    # Two significant digits: the error is off by at most 5 %; the value by at most half of the error's last
    # place, and so by no more than half of the error.
    assert error == pytest.approx(standard_error, rel=0.0501)
    assert abs(shown - value) <= 0.5 * error * (1 + 1e-9)


ROWS = [
    {"model": "paper", "bits": 2.35, "n": 10000},
    {"model": "<ours> | a\\b", "bits": np.float64(2.623449), "n": None},
]


def test_numbers_stand_to_the_right_and_columns_line_up():
    assert text_table(ROWS, {"model": "Model", "bits": "Bound", "n": "n"}).split("\n") == [
        "Model         Bound      n",
        "------------  -----  -----",
        "paper          2.35  10000",
        "<ours> | a\\b  2.623",
    ]


# The letters are those that mean something in one of the three formats.
TEXT = st.text(alphabet="ab<>&|\\\"' \n", max_size=8)
CELL = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.floats(), TEXT)


@given(st.lists(st.fixed_dictionaries({"a": CELL, "b": CELL}), max_size=4))
def test_html_holds_every_text_escaped_and_no_tag_of_its_own_making(rows):
    page = html_table(rows, ["a", "b"])
    tags = set(re.findall(r"<(/?\w+)", page))
    assert tags <= {t for tag in ("table", "thead", "tbody", "tr", "th", "td") for t in (tag, f"/{tag}")}
    cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", page, flags=re.DOTALL)]
    assert len(cells) == 2 * len(rows)
    for cell, value in zip(cells, (row[key] for row in rows for key in ("a", "b")), strict=True):
        if isinstance(value, str):
            assert cell == printable(value)
        elif isinstance(value, bool):
            assert cell == ("yes" if value else "no")


@given(st.lists(st.fixed_dictionaries({"a": CELL, "b": CELL}), max_size=4))
def test_text_and_markdown_have_one_line_per_row(rows):
    assert len(text_table(rows, ["a", "b"]).split("\n")) == 2 + len(rows)
    lines = markdown_table(rows, ["a", "b"]).split("\n")
    assert len(lines) == 2 + len(rows)
    # An unescaped bar would be a cell more.
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3 for line in lines)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (True, "yes"),
        (np.False_, "no"),
        (3, "3"),
        (np.int64(1234567), "1234567"),
        (0.123456, "0.1235"),
        (np.float32(2.5), "2.5"),
        (12345.6, "12346"),
        (-9999.7, "-10000"),
        (1e20, "1e+20"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        ("2.50", "2.50"),
    ],
)
def test_a_cell_is_what_a_reader_expects(value, cell):
    assert markdown_table([{"x": value}], ["x"]).split("\n")[2] == f"| {cell} |"


def test_truth_is_no_number():
    assert markdown_table([{"x": True, "y": np.True_, "z": 1}], ["x", "y", "z"]).split("\n")[1] == "|---|---|---:|"


def test_markdown_escapes_bars_and_tags():
    assert markdown_table(ROWS, ["model", "bits"]).split("\n")[3] == "| &lt;ours> \\| a\\\\b | 2.623 |"


def test_missing_keys_are_empty_cells_and_headings_may_be_chosen():
    assert html_table([{}], {"x": "a & b"}).count("<td></td>") == 1
    assert "<th>a &amp; b</th>" in html_table([{}], {"x": "a & b"})


def test_a_table_needs_a_column():
    with pytest.raises(InputError, match="at least one column"):
        text_table([{}], [])
