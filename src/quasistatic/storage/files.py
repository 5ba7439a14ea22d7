"""Safe reading of JSON, JSONL and YAML files.

Only regular files of limited size are opened, and keys and types are checked.

A JSON file is read against a schema (:mod:`quasistatic.storage.schema`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quasistatic.checks import shown
from quasistatic.errors import InputError
from quasistatic.storage.schema import Check, Optional, a_record

__all__ = [
    "digest_of", "open_regular", "path_of", "plain_yaml", "read_json", "read_log", "read_text", "read_yaml", "refuse_links",
    "regular_file", "strict",
]  # fmt: skip

MOST_BYTES = 64 * 2**20  # bytes of a JSON file
MOST_LOG = 2**28
MOST_YAML = 2**20
DEEPEST = 100  # lists in lists
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)  # fmt: skip


def regular_file(path: str | os.PathLike[str], what: str = "a file", *, most: float = math.inf) -> Path:
    """Check that a path is a readable regular file.

    Raises
    ------
    InputError
        If it is missing, a folder, a pipe, a socket, a device, a link to itself, too large, or may not be read.
    """
    path = path_of("a file name", path)
    try:
        found = path.stat()
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        why = "it is a link to itself" if error.errno == errno.ELOOP else error.strerror
        raise InputError(f"{path} cannot be opened: {why}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_it, name in _KINDS if is_it(found.st_mode)), "no file")
        raise InputError(f"{path} is {kind}, but {what} is needed")
    if found.st_size > most:
        raise InputError(f"{path} has {found.st_size} bytes, but {what} may have at most {most:.0f}")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read; check its permissions")
    return path


def path_of(name: str, value: Any) -> Path:
    """Check that a value is a valid path."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name} must be text or a path, got {shown(value)}")
    text = os.fspath(value)
    if not isinstance(text, str) or not text or "\0" in text:
        raise InputError(f"{name} must be the name of a file or folder, got {shown(text)}")
    return Path(text)


@contextmanager
def open_regular(path: str | os.PathLike[str], what: str = "a file", *, most: float = math.inf) -> Iterator[Any]:
    """Open a regular file for reading bytes.

    An ``OSError`` in the block becomes an ``InputError``.
    """
    path = regular_file(path, what, most=most)
    try:
        # do not block if the file has been replaced by a pipe
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)), "rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def read_text(path: str | os.PathLike[str], *, most: float = MOST_BYTES) -> str:
    """Read a text file in UTF-8 of limited size."""
    with open_regular(path, "a text file", most=most) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: it is not text in UTF-8 (byte {error.start})") from None


def digest_of(path: str | os.PathLike[str]) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with open_regular(path, "a data file") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: str | os.PathLike[str], schema: Mapping[str, Check | Optional]) -> dict[str, Any]:
    """Read an object from a JSON file and check its keys.

    Raises
    ------
    InputError
        Naming the file, and the key where one is wrong: if the file is missing, no regular file, larger than 64 MB, no
        JSON, nested too deep, holds nan or infinity, or a key is missing or of another type.
    """
    return _parsed(read_text(path), schema, path)


def read_log(path: str | os.PathLike[str], schema: Mapping[str, Check | Optional]) -> list[dict[str, Any]]:
    """Read a JSONL file with one checked object on each line.

    At least one line is required.
    """
    lines = read_text(path, most=MOST_LOG).splitlines()
    if not lines:
        raise InputError(f"{path} is damaged: it is empty")
    return [_parsed(line, schema, path, f"line {number}: ") for number, line in enumerate(lines, start=1)]


def _parsed(text: str, schema: Mapping[str, Check | Optional], path: object, place: str = "") -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_no_constant)
        _require_shallow(value)
        return a_record(schema)("it", value)
    except RecursionError:
        raise InputError(f"{path} is damaged: {place}it is nested more than {DEEPEST} deep") from None
    except InputError as error:
        raise InputError(f"{path} is damaged: {place}{error}") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {place}{error}") from None


def _no_constant(word: str) -> None:
    raise InputError(f"it holds {word}, which is no number of JSON")


def _require_shallow(value: Any) -> None:
    """Refuse deeply nested values and numbers beyond float64."""
    level = [value]
    for _ in range(DEEPEST):
        level = [part for whole in level for part in _parts(whole)]
        if any(_not_finite(part) for part in level):
            raise InputError("it holds a number that is not finite")
        if not level:
            return
    raise InputError(f"it is nested more than {DEEPEST} deep")


def _parts(value: Any) -> Iterable[Any]:
    """Return the values of a dictionary or the entries of a list."""
    match value:
        case dict():
            return value.values()
        case list():
            return value
    return ()


def _not_finite(value: Any) -> bool:
    """Return whether a value is an infinite or nan float."""
    return isinstance(value, float) and not math.isfinite(value)


def strict(value: Any) -> Any:
    """Replace numbers that JSON does not have by None.

    Such as the standard error of one row, or minus infinity.

    Examples
    --------
    >>> strict({"bound": -2.5, "terms": [float("nan"), 1]})
    {'bound': -2.5, 'terms': [None, 1]}
    """
    match value:
        case dict():
            return {k: strict(v) for k, v in value.items()}
        case list() | tuple():
            return [strict(v) for v in value]
    return None if _not_finite(value) else value


def read_yaml(path: str | os.PathLike[str], schema: Mapping[str, Check | Optional]) -> dict[str, Any]:
    """Read a mapping from a YAML file and check its keys."""
    try:
        return a_record(schema)("it", plain_yaml(read_text(path, most=MOST_YAML)))
    except InputError as error:
        prefix = "" if str(path) in str(error) else f"{path} is damaged: "
        raise InputError(f"{prefix}{error}") from None


def plain_yaml(text: str) -> Any:
    """Parse YAML without aliases and Python tags.

    Values may be nested 100 deep.

    Examples
    --------
    >>> plain_yaml("{a: 1, b: [x, 2.5]}")
    {'a': 1, 'b': ['x', 2.5]}
    """
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise InputError("YAML aliases (*name) are not allowed")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise InputError(f"it is nested more than {DEEPEST} deep")
        return yaml.safe_load(text)
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"it is nested more than {DEEPEST} deep") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:  # ValueError: dates such as 2020-13-45
        raise InputError(f"it is no YAML: {' '.join(str(error).split())[:200]}") from None


def refuse_links(folder: Path, *names: str) -> None:
    """Refuse links among entries of a run folder.

    Files are written only inside of the folder. The folder itself may be a link.

    """
    for name in names:
        for path in _with_contents(folder / name):
            if path.is_symlink():
                raise InputError(f"{path} is a link, and what a run writes must stay inside its folder: remove the link")


def _with_contents(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        for inside, folders, files in os.walk(path):
            yield from (Path(inside, name) for name in (*folders, *files))
