"""Writing of figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from quasistatic.errors import InputError
from quasistatic.plots.style import drawn
from quasistatic.storage.atomic import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_figure"]

_KINDS = ("pdf", "png", "svg")


@drawn
def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file.

    The ending (png, pdf, svg) sets the format. The file is complete or not written at all.

    Raises
    ------
    InputError
        If the ending is another.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> save_figure(Figure(), "figure.jpg")
    Traceback (most recent call last):
    quasistatic.errors.InputError: a figure's file must end in .pdf, .png or .svg, got 'figure.jpg'
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in _KINDS:
        raise InputError(f"a figure's file must end in .pdf, .png or .svg, got {os.fspath(path)!r}")
    with whole_file(path) as file:
        figure.savefig(file, format=kind, dpi=200)
