"""Arrays in .npy and .npz files, opened safely.

The header is read first; the numbers only if the file is whole and not too large. A pickle inside is never opened. A
compressed file may not unpack to far more bytes than it has.
"""

from __future__ import annotations

import gzip
import io
import lzma
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from quasistatic.errors import InputError
from quasistatic.memory import require_memory
from quasistatic.storage.files import open_regular, regular_file

__all__ = ["ArrayFile", "open_array", "refuse_bomb", "unpacked"]

LARGE, RATIO = 2**28, 100  # bytes unpacked that are always allowed, and the largest ratio to the packed bytes beyond
_HEADER = 2**16  # bytes of a header
_STEP = 2**22
_DAMAGES = (
    ValueError, EOFError, OSError, LookupError, RuntimeError, NotImplementedError, SyntaxError, TypeError, OverflowError,
    RecursionError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    tokenize.TokenError,
)  # fmt: skip


@dataclass(frozen=True)
class ArrayFile:
    """An array on disk whose header was read.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
        Of real numbers or truth values.
    read : callable
        Reads the numbers. ``mapped=True`` maps a file that is not compressed into memory.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[..., NDArray[Any]]


def open_array(path: Path, *, pick: str | None = None) -> ArrayFile:
    """Open the one array of a .npy or .npz file.

    Parameters
    ----------
    path : Path
        A file that ends in .npz is an archive.
    pick : str, optional
        Name of the array to take from an .npz file with several.

    Raises
    ------
    InputError
        If the file is missing, damaged, encrypted, packed by an unknown method, holds Python objects or entries that are
        no real numbers, or is not as long as its header says.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "x.npy"), np.zeros((3, 2)))
    ...     found = open_array(Path(folder, "x.npy"))
    ...     found.shape, found.read().sum().item()
    ((3, 2), 0.0)
    """
    path = regular_file(path, "a file of numbers")
    return _open_npz(path, pick) if path.suffix.lower() == ".npz" else _open_npy(path)


def _open_npy(path: Path) -> ArrayFile:
    with _reading(path), open_regular(path) as file:
        shape, fortran, dtype = _header(file, path)
        start = file.tell()
        _require_length(path, shape, dtype, path.stat().st_size - start)

    def read(*, mapped: bool = False) -> NDArray[Any]:
        if mapped:
            return _mapped(path, dtype, start, shape, fortran)
        _require_room(path, shape, dtype)
        with _reading(path), open_regular(path) as raw:
            raw.seek(start)
            return _filled(raw, shape, fortran, dtype, path)

    return ArrayFile(shape, dtype, read)


def _open_npz(path: Path, pick: str | None) -> ArrayFile:
    with _reading(path), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        member = _member(archive, path, pick)
        with archive.open(member) as packed:
            shape, fortran, dtype = _header(packed, path)
            start = packed.tell()
        _require_length(path, shape, dtype, member.file_size - start)
        refuse_bomb(path, member.compress_size, member.file_size)

    def read(*, mapped: bool = False) -> NDArray[Any]:
        if mapped and member.compress_type == zipfile.ZIP_STORED:
            with _reading(path), open_regular(path) as raw:  # the array follows a local header, a name and an extra field
                raw.seek(member.header_offset + 26)
                lengths = struct.unpack("<2H", raw.read(4))
            return _mapped(path, dtype, member.header_offset + 30 + sum(lengths) + start, shape, fortran)
        _require_room(path, shape, dtype)
        with _reading(path), open_regular(path) as raw, zipfile.ZipFile(raw) as again, again.open(member) as packed:
            _header(packed, path)
            array = _filled(packed, shape, fortran, dtype, path)
            packed.read(1)  # reading to the end compares the checksum
        return array

    return ArrayFile(shape, dtype, read)


def _member(archive: zipfile.ZipFile, path: Path, pick: str | None) -> zipfile.ZipInfo:
    """Return the member of the archive to read."""
    members = archive.infolist()
    found = [m for m in members if pick is not None and m.filename in (pick, f"{pick}.npy")] or members
    if len(found) != 1:
        names = ", ".join(m.filename.removesuffix(".npy") for m in members[:20]) or "none"
        rule = "exactly one array" if pick is None else f"one array, or one named {pick}"
        raise InputError(f"{path.name} must hold {rule}, but holds {len(members)} ({names})")
    if found[0].flag_bits & 0x1:
        raise InputError(f"{path.name} is encrypted: save it without a password")
    return found[0]


def _header(file: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and type of an array."""
    start = file.read(8)
    if len(start) < 8 or start[:6] != np.lib.format.MAGIC_PREFIX:
        raise InputError(f"{path.name} is not a whole NumPy file of numbers: it does not start as an array does")
    if start[:6] == np.lib.format.MAGIC_PREFIX and (start[6], start[7]) not in ((1, 0), (2, 0), (3, 0)):
        raise InputError(f"{path.name} is not a whole NumPy file of numbers: its version {start[6]}.{start[7]} is unknown")
    wide = start[6] > 1
    length = file.read(4 if wide else 2)
    n = struct.unpack("<I" if wide else "<H", length)[0]
    if n > _HEADER:
        raise InputError(f"{path.name} is not a whole NumPy file of numbers: its header has {n} bytes")
    words = io.BytesIO(length + file.read(n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        parse = np.lib.format.read_array_header_2_0 if wide else np.lib.format.read_array_header_1_0
        shape, fortran, dtype = parse(words)
    if dtype.hasobject:
        raise InputError(f"{path.name} holds Python objects (a pickle), which are never loaded; save it as numbers")
    if dtype.kind not in "biuf" or dtype.subdtype is not None:
        raise InputError(f"{path.name} holds entries of type {dtype}, but real numbers are needed")
    if len(shape) > 32 or any(n < 0 for n in shape):
        raise InputError(f"{path.name} is not a whole NumPy file of numbers: its shape is {shape}")
    return tuple(int(n) for n in shape), bool(fortran), dtype


def _require_length(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], there: int) -> None:
    needed = math.prod(shape) * dtype.itemsize
    if needed != there:
        mismatch = f"shape {shape} of type {dtype} takes {needed} bytes, but there are {there}"
        raise InputError(f"{path.name} is not a whole NumPy file of numbers: {mismatch}")


def _require_room(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    needed = math.prod(shape) * (dtype.itemsize + 8.0)  # as stored, and in float64
    require_memory(f"{path.name} of shape {shape}", needed, "read fewer rows", data=True)


def _filled(file: Any, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    """Read the numbers of an array in parts."""
    flat = np.empty(math.prod(shape), dtype)
    raw, at = flat.view(np.uint8) if flat.size else np.empty(0, np.uint8), 0
    while at < len(raw):
        part = file.read(min(_STEP, len(raw) - at))
        if not part:
            raise InputError(f"{path.name} is not a whole NumPy file of numbers: it ends after {at} bytes of {len(raw)}")
        raw[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)
    return flat.reshape(shape, order="F" if fortran else "C")


def _mapped(path: Path, dtype: np.dtype[Any], start: int, shape: tuple[int, ...], fortran: bool) -> NDArray[Any]:
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    with _reading(path):
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Re-raise the errors of a damaged file as InputError."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGES as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path.name} is not a whole NumPy file of numbers ({why})") from error


# ------------------------------------------------------------------------------------------------- packed bytes


def refuse_bomb(path: Path, packed: int, unpacked: float) -> None:
    """Refuse a file that unpacks to far more bytes than it has.

    Parameters
    ----------
    path : Path
    packed : int
        Bytes of the file.
    unpacked : float
        Bytes that it unpacks to.
    """
    if unpacked > LARGE and unpacked > RATIO * max(1, packed):
        size = f"{packed / 1e6:.3g} MB would unpack to {unpacked / 1e6:.4g} MB"
        raise InputError(f"{path.name} is packed too tightly to be trusted: {size}; save it uncompressed")


@contextmanager
def unpacked(path: Path) -> Iterator[Callable[[int], bytes]]:
    """Open a plain, .gz or .xz file.

    The block gets a function that reads the next bytes. A file that unpacks to far more bytes than it has is refused
    (:func:`refuse_bomb`).

    Raises
    ------
    InputError
        If the file cannot be opened or does not decompress.
    """
    with open_regular(path) as file:
        kind = path.suffix.lower()
        packed = path.stat().st_size
        stream = _stream(file, kind)
        taken = 0

        def read(most: int) -> bytes:
            nonlocal taken
            parts: list[bytes] = []
            left = most
            while left > 0:
                try:
                    part = stream.read(min(_STEP, left))
                except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
                    raise InputError(f"{path} is damaged: it does not decompress ({error})") from error
                if not part:
                    break
                taken, left = taken + len(part), left - len(part)
                refuse_bomb(path, packed, taken)
                parts.append(part)
            return b"".join(parts)

        yield read


def _stream(file: BinaryIO, kind: str) -> Any:
    """Return the unpacked stream of a file."""
    if kind == ".gz":
        return gzip.GzipFile(fileobj=file)
    return lzma.LZMAFile(file) if kind == ".xz" else file
