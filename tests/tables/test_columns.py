"""Kinds of columns: what is inferred, what is refused, and that coding is undone by decoding."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quasistatic.errors import InputError
from quasistatic.tables.columns import Column, describe_columns
from quasistatic.tables.inference import infer

TEXT = np.array(["M", "F", "I", None, "M"], dtype=object)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([0.5, 1.0, 2.0], "numeric"),
        ([1.0, 2.0, 3.0] * 4, "ordinal"),
        ([0.0, 1.0, 1.0, math.nan], "binary"),
        ([5.0, 5.0, 5.0], "constant"),
        (list(range(100)), "integer"),
        ([1.0, 2.0, 3.0], "integer"),  # too few to tell
        ([0.0, 1e9, 3.0], "numeric"),
        ([True, False, True], "binary"),
    ],
)
def test_what_a_column_of_numbers_is(cells: list[float], kind: str) -> None:
    assert infer(np.array(cells), "x").kind == kind


def test_a_range_may_be_said_beyond_what_was_seen() -> None:
    still = infer(np.array([2.0, 2.0, 2.0]), "x", "ordinal:0..3")
    assert (still.kind, still.n_levels) == ("ordinal", 4)
    assert still.encode(np.array([0.0, 3.0, 4.0]))[1].tolist() == [False, False, True]
    assert infer(np.array([5.0, 9.0]), "x", "integer:-10..100").values == (-10.0, 100.0)
    for kind, sentence in (
        ("ordinal:0..8", "is given the range 0 to 8, but holds 9"),
        ("integer:6..20", "is given the range 6 to 20, but holds 5"),
        ("ordinal:8..0", "may have a range as in"),
        ("numeric:0..9", "may have a range as in"),
        ("ordinal:0-9", "may have a range as in"),
        ("levels:0..9", "must be one of"),
        ("ordinal:0..99", "has 100 levels, but the most is 64"),
    ):
        with pytest.raises(InputError, match=sentence):
            infer(np.array([5.0, 9.0]), "x", kind)


def test_what_a_column_of_text_is() -> None:
    assert infer(TEXT, "sex") == Column("sex", "categorical", ("F", "I", "M"))
    assert infer(TEXT[[0, 1, 3]], "sex").kind == "binary"
    assert infer(np.array(["1.5", "2.5", ""], dtype=object), "x").kind == "numeric"


@pytest.mark.parametrize("kind", ["integer", "ordinal", "categorical"])
def test_codes_and_back(kind: str) -> None:
    cells = np.array([3.0, 5.0, math.nan, 4.0, 5.0])
    column = infer(cells, "quality", kind)
    codes, wrong = column.encode(cells)
    assert np.nanmin(codes) == 0.0
    assert not wrong.any()
    np.testing.assert_array_equal(column.decode(codes), cells)


def test_text_codes_and_back() -> None:
    column = infer(TEXT, "sex")
    codes, wrong = column.encode(TEXT)
    assert codes[:3, 0].tolist() == [2.0, 0.0, 1.0]
    assert math.isnan(codes[3, 0])
    assert column.decode(codes).tolist() == TEXT.tolist()
    assert not wrong.any()


def test_the_marks_of_data_frames_are_missing_too() -> None:
    mark = type("NAType", (), {"__eq__": lambda self, other: NotImplemented, "__hash__": object.__hash__})()
    codes, _ = infer(TEXT, "sex").encode(np.array(["M", mark, np.nan], dtype=object))
    assert np.isnan(codes[:, 0]).tolist() == [False, True, True]


def test_what_was_never_possible_is_marked() -> None:
    assert infer(TEXT, "sex").encode(np.array(["X", "M"], dtype=object))[1].tolist() == [True, False]
    assert infer(np.array([3.0, 5.0] * 3), "q", "ordinal").encode(np.array([4.0, 6.0, 3.5]))[1].tolist() == [
        False,
        True,
        True,
    ]
    assert infer(np.array([7.0, 7.0]), "k").encode(np.array([7.0, 8.0, math.nan]))[1].tolist() == [False, True, False]
    assert infer(np.arange(100.0), "i").encode(np.array([-1.0, 5.5, 99.0]))[1].tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("cells", "kind", "sentence"),
    [
        (np.full(3, math.nan), None, "'x' has no observed entry: leave it out"),
        (np.array([1.0, math.inf]), None, "holds inf, but every number must be finite"),
        (np.array([1.0, 2.5]), "ordinal", "cannot be ordinal: it holds 2.5"),
        (np.array([1.0, 2.0, 3.0]), "binary", "cannot be binary: it holds 3 different values"),
        (TEXT, "numeric", "cannot be numeric: it holds 'M'"),
        (np.array([1.0, 2.0]), "number", "must be one of numeric, integer"),
        (np.array([f"id {i}" for i in range(70)], dtype=object), None, "holds 70 different values"),
    ],
)
def test_what_is_refused(cells: np.ndarray, kind: str | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        infer(cells, "x", kind)


def test_a_number_that_is_none_is_named_when_it_comes() -> None:
    with pytest.raises(InputError, match="'x' is numeric, but holds 'tall'"):
        Column("x", "numeric").encode(np.array([1.0, "tall"], dtype=object))


def test_kinds_are_told_in_lines() -> None:
    columns = [Column("a", "numeric"), Column("b", "binary", (0.0, 1.0)), Column("c", "numeric")]
    assert describe_columns(columns) == "numeric: a, c\nbinary: b"
