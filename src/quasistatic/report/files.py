"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from quasistatic.errors import InputError
from quasistatic.report.style import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_figure", "whole_file"]

_KINDS = ("pdf", "png", "svg")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open ``path`` for writing bytes, so that others see the old file until the new one is complete.

    The bytes go to a temporary file in the same folder (made if missing), which takes the name at the end. If
    anything fails before, the old file stays as it was and the temporary one is removed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole_file(pathlib.Path(folder, "a.txt")) as file:
    ...         _ = file.write(b"complete")
    ...     pathlib.Path(folder, "a.txt").read_text()
    'complete'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile.mkstemp: its files stay private to the user, while a report should follow the umask.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@drawn
def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to ``path``, whole or not at all; the ending (png, pdf, svg) chooses the format.

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
