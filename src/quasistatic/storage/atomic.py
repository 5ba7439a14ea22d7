"""Files and folders that are written completely or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from quasistatic.errors import InputError

__all__ = ["clear_half_written", "new_folder", "whole_file", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one move.

    A reader sees the old text or the new one.
    """
    temporary = _beside(path)
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Write a folder that appears only when it is complete.

    An existing folder is replaced if the new one has a file for each of its entries.

    Raises
    ------
    InputError
        If ``path`` is something else than such a folder, which is left as it is.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        for written in (*temporary.iterdir(), temporary):
            _sync(written)
        _move(temporary, path)
        _sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _move(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``."""
    if not path.exists():
        os.replace(new, path)
        return
    if not path.is_dir():
        raise InputError(f"{path} is a file, but a folder is to be written there: choose another name")
    strangers = {entry.name for entry in path.iterdir()} - {entry.name for entry in new.iterdir()}
    if strangers:
        raise InputError(f"saving to {path} would delete {min(strangers)} there: choose another folder")
    old = _beside(path)
    os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def clear_half_written(folder: Path) -> None:
    """Delete incomplete files of a killed process.

    No other process may be writing to ``folder``.
    """
    for left in folder.glob(".*.tmp"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    # not by the module tempfile, whose files are private to the user; a model follows the umask
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that appears when it is complete.

    Other processes see the old file until then.

    The bytes go to a temporary file in the same folder (made if missing), which takes the name at the end. If
    an error occurs, the old file is unchanged and the temporary one is removed.

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
    # not by tempfile.mkstemp, whose files are private to the user; a report follows the umask
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
