"""Files that go home with a call: no more than it may bring, the numbers first; and data that comes in compressed pieces."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path

from quasistatic.errors import InputError

__all__ = ["BYTES", "FILES", "deliver", "put"]

FILES, BYTES = 8, 62 * 2**20
"""What one call brings back: eight files of 16 MiB at most, 64 MiB together."""


def deliver(files: list[Path], out: Path, skip: int = 0) -> int:
    """Copy files to ``out``, leaving out the first ``skip``, as many as may go; how many have gone, those skipped included.

    Raises
    ------
    InputError
        If there are not so many files.
    """
    if skip > len(files) or skip < 0:
        raise InputError(f"skip must be between 0 and {len(files)}, the number of files there are, got {skip}")
    out.mkdir(parents=True, exist_ok=True)
    gone, room = skip, BYTES
    for file in files[skip : skip + FILES]:
        room -= file.stat().st_size
        if room < 0:
            break
        shutil.copyfile(file, out / file.name)
        gone += 1
    return gone


def put(source: Path, target: Path) -> list[Path]:
    """Copy a folder of data into another, folder by folder, and unpack what is .xz on the way: it is read at every start.

    Raises
    ------
    InputError
        If there is no such folder.
    """
    if not source.is_dir():
        raise InputError(f"there is no folder {source} to take data from")
    made = []
    for file in sorted(source.rglob("*")):
        if not file.is_file():
            continue
        new = target / file.relative_to(source)
        new.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".xz":
            new = new.with_suffix("")
            with lzma.open(file) as packed, open(new, "wb") as plain:
                shutil.copyfileobj(packed, plain)
        else:
            shutil.copyfile(file, new)
        made.append(new)
    return made
