"""Estimates and tables as text."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np

from quasistatic.errors import InputError, printable

__all__ = ["format_estimate", "html_table", "markdown_table", "text_table"]

Rows = Sequence[Mapping[str, Any]]
Columns = Sequence[str] | Mapping[str, str]


def format_estimate(value: float, standard_error: float | None, unit: str = "", n: int | None = None) -> str:
    """Format a value with the digits that its error supports.

    The error is rounded to two significant digits, a closing zero is dropped, and the value is rounded to the
    same decimal place. Without an error (None) the value stands alone with four significant digits, with an
    error of nan (one example) the text says that it is unknown, and an error of zero, or of rounding alone
    (1e-12 of the value), leaves six significant digits.

    Parameters
    ----------
    value : float
    standard_error : float or None
    unit : str
        Printed after the numbers.
    n : int, optional
        Number of examples behind the value.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If the standard error is negative.

    Examples
    --------
    >>> format_estimate(2.3512, 0.0101, "bits", 10000)
    '2.35 ± 0.01 bits (n = 10000)'
    >>> format_estimate(2.3512, 0.0123, "bits")
    '2.351 ± 0.012 bits'
    >>> format_estimate(-2.3219281, 0.0, "bits")
    '-2.32193 ± 0 bits'
    >>> format_estimate(-14.4385619, 1e-16, "bits")
    '-14.4386 ± 0 bits'
    """
    remarks = [] if n is None else [f"n = {n}"]
    if standard_error is not None and standard_error < 0:
        raise InputError(f"a standard error must not be negative, got {standard_error}")
    if standard_error is None:
        numbers = f"{value:.4g}"
    elif math.isnan(standard_error):
        numbers = f"{value:.4g}"
        remarks.insert(0, "standard error unknown")
    elif not math.isfinite(value) or not math.isfinite(standard_error):
        numbers = f"{value:.4g} ± {standard_error:.2g}"
    elif standard_error <= 1e-12 * abs(value):  # an error of rounding, not of sampling
        numbers = f"{value:.6g} ± 0"
    else:
        numbers = _rounded(value, standard_error)
    words = [numbers, unit, f"({', '.join(remarks)})" if remarks else ""]
    return " ".join(word for word in words if word)


def _rounded(value: float, standard_error: float) -> str:
    error = Decimal(f"{standard_error:.1e}").normalize()
    # An integer's closing zeros are place holders, not digits: 120 is known to tens.
    rounded = Decimal(repr(float(value))).quantize(error, rounding=ROUND_HALF_EVEN)
    return f"{rounded + 0:f} ± {error:f}"  # + 0 turns -0.00 into 0.00


def text_table(rows: Rows, columns: Columns) -> str:
    """Format a table for the terminal.

    Columns are aligned, numbers to the right.

    Parameters
    ----------
    rows : list of dicts
        A missing key or None is an empty cell; floats are shown with four significant digits,
        truth as yes and no.
    columns : list of keys, or dict from key to heading
        What to show, in this order.

    Returns
    -------
    str
        Lines joined by newlines, without a closing one.

    Examples
    --------
    >>> rows = [{"model": "paper", "bits": 2.35}, {"model": "ours", "bits": 2.6234}]
    >>> print(text_table(rows, ["model", "bits"]))
    model   bits
    -----  -----
    paper   2.35
    ours   2.623
    """
    headings, cells, numeric = _cells(rows, columns)
    cells = [[" ".join(cell.split()) for cell in row] for row in [headings, *cells]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [cells[0], ["-" * width for width in widths], *cells[1:]]
    ]
    return "\n".join(lines)


def markdown_table(rows: Rows, columns: Columns) -> str:
    r"""Format a table in Markdown.

    The arguments are those of :func:`text_table`.

    Examples
    --------
    >>> print(markdown_table([{"model": "a|b", "bits": 2.35}], {"model": "Model", "bits": "Bound (bits)"}))
    | Model | Bound (bits) |
    |---|---:|
    | a\|b | 2.35 |
    """
    headings, cells, numeric = _cells(rows, columns)
    rule = "|" + "|".join("---:" if right else "---" for right in numeric) + "|"
    lines = ["| " + " | ".join(_markdown(cell) for cell in row) + " |" for row in [headings, *cells]]
    return "\n".join([lines[0], rule, *lines[1:]])


def _markdown(cell: str) -> str:
    escaped = " ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|")
    return escaped.replace("<", "&lt;")


def html_table(rows: Rows, columns: Columns) -> str:
    """Format a table in HTML with escaped text.

    The arguments are those of :func:`text_table`.

    Examples
    --------
    >>> print(html_table([{"model": "<b>", "bits": 2.35}], ["model", "bits"]))
    <table>
    <thead><tr><th>model</th><th class="number">bits</th></tr></thead>
    <tbody>
    <tr><td>&lt;b&gt;</td><td class="number">2.35</td></tr>
    </tbody>
    </table>
    """
    headings, cells, numeric = _cells(rows, columns)

    def line(row: list[str], tag: str) -> str:
        marks = [' class="number"' if right else "" for right in numeric]
        inner = (f"<{tag}{mark}>{html.escape(cell)}</{tag}>" for cell, mark in zip(row, marks, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(line(row, "td") + "\n" for row in cells)
    return f"<table>\n<thead>{line(headings, 'th')}</thead>\n<tbody>\n{body}</tbody>\n</table>"


def _cells(rows: Rows, columns: Columns) -> tuple[list[str], list[list[str]], list[bool]]:
    """Headings, cells as text, and which columns hold numbers and nothing else."""
    keys = list(columns)
    if not keys:
        raise InputError("a table needs at least one column, got none")
    headings = [printable(str(columns[key]) if isinstance(columns, Mapping) else key) for key in keys]
    values = [[row.get(key) for key in keys] for row in rows]
    numeric = []
    for column in range(len(keys)):
        filled = [row[column] for row in values if row[column] is not None]
        numeric.append(bool(filled) and all(_is_number(value) for value in filled))
    return headings, [[_cell(value) for value in row] for row in values], numeric


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, bool | np.bool_)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    # this includes numpy's scalars; whole numbers have __index__ and keep all their digits
    if _is_number(value) and not hasattr(value, "__index__"):
        # 12346 rather than 1.235e+04
        return f"{float(value):.0f}" if 9999.5 <= abs(value) < 1e15 else f"{float(value):.4g}"
    return printable(str(value))
