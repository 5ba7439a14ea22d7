"""An exclusive lock on a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quasistatic.errors import InputError

__all__ = ["sole_writer"]


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Lock a folder for this process.

    The folder is made if it is missing. The lock ends with the process. Two trainings in one folder would delete each
    other's checkpoints. Systems and disks without locks are not protected.

    Raises
    ------
    InputError
        If another process holds the folder, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the run folder {folder} cannot be made: {error.strerror}") from error
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sentence = f"another process is training in {folder}: wait for it or choose another folder"
            raise InputError(sentence) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
