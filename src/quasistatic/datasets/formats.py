"""File formats of the classic image sets.

Each reader checks the size and the header of the file. No format is a pickle. Compressed files (``.gz``, ``.xz``) are
recognised by their ending.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quasistatic.errors import InputError
from quasistatic.io.array_files import open_array, unpacked
from quasistatic.memory import require_memory

__all__ = ["read_amat", "read_cifar", "read_idx", "read_packed"]

_IDX_UINT8_3D = 0x00000803
_MOST = 2**29  # bytes of a file whose length nothing else says
_CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read images of an idx3-ubyte file.

    The file may be gzipped. The result has one channel.

    The header is four big-endian 32-bit integers: magic number 2051, images, rows, columns.

    Returns
    -------
    ndarray of uint8, shape (n, 1, rows, columns)

    Raises
    ------
    InputError
        If the magic number is another one or the length is not what the header says.
    """
    with unpacked(path) as read:
        header = read(16)
        if len(header) < 16:
            raise InputError(f"{path} has {len(header)} bytes, but an idx file of images has a header of 16")
        magic, n, rows, columns = struct.unpack(">4I", header)
        if magic != _IDX_UINT8_3D:
            raise InputError(f"{path} starts with {magic}, but an idx file of images starts with {_IDX_UINT8_3D}")
        size = n * rows * columns
        expected = f"{n} images of {rows} x {columns} and the header make {16 + size}"
        if path.suffix.lower() not in (".gz", ".xz") and path.stat().st_size != 16 + size:
            raise InputError(f"{path} is damaged: it holds {path.stat().st_size} bytes, but {expected}")
        require_memory(f"{path.name} of {n} images of {rows} x {columns}", 2.0 * size, "take fewer images", data=True)
        raw = read(size + 1)
    if len(raw) != size:
        held = f"more than {16 + size}" if len(raw) > size else str(16 + len(raw))
        raise InputError(f"{path} is damaged: it holds {held} bytes, but {expected}")
    return np.frombuffer(raw, np.uint8).reshape(n, 1, rows, columns)


def read_cifar(path: Path) -> NDArray[np.uint8]:
    """Read images of one binary CIFAR-10 batch.

    The file may be compressed.

    A record of 3073 bytes is a label from 0 to 9 and the red, green and blue planes, row by row.

    Returns
    -------
    ndarray of uint8, shape (n, 3, 32, 32)

    Raises
    ------
    InputError
        If the file is not made of such records.
    """
    raw = np.frombuffer(_bytes(path), np.uint8)
    if len(raw) == 0 or len(raw) % _CIFAR_RECORD:
        raise InputError(f"{path} is damaged: its {len(raw)} bytes are no whole number of {_CIFAR_RECORD}-byte records")
    records = raw.reshape(-1, _CIFAR_RECORD)
    if records[:, 0].max() > 9:
        bad = int(np.argmax(records[:, 0] > 9))
        raise InputError(f"{path} is damaged: record {bad + 1} has label {records[bad, 0]}, but labels are 0 to 9")
    return np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)


def read_amat(path: Path) -> NDArray[np.uint8]:
    """Read a text file of binary 28 x 28 images.

    Each row has 784 digits 0 or 1, separated by blanks.

    Returns
    -------
    ndarray of uint8, shape (n, 1, 28, 28)

    Raises
    ------
    InputError
        If there is anything but zeros, ones and white space, or a row of another length.
    """
    raw = np.frombuffer(_bytes(path), np.uint8)
    text = raw[(raw != ord(" ")) & (raw != ord("\r"))]
    if len(text) and text[-1] != ord("\n"):
        text = np.append(text, np.uint8(ord("\n")))
    if len(text) == 0 or len(text) % 785 or (text[784::785] != ord("\n")).any():
        raise InputError(f"{path} is damaged: every line must hold 784 digits")
    bits = text.reshape(-1, 785)[:, :784] - np.uint8(ord("0"))
    if bits.max() > 1:
        row, column = divmod(int(np.argmax(bits > 1)), 784)
        raise InputError(f"{path} is damaged: digit {column + 1} of line {row + 1} is neither 0 nor 1")
    return bits.reshape(-1, 1, 28, 28)


def read_packed(path: Path, part: str) -> NDArray[np.uint8]:
    """Read packed bits of 28 x 28 images.

    Each row of the array ``part`` of the npz file has 98 bytes of ``numpy.packbits``.

    Returns
    -------
    ndarray of uint8, shape (n, 1, 28, 28)

    Raises
    ------
    InputError
        If the file is damaged or the array is missing or has another shape or type.
    """
    try:
        found = open_array(path, pick=part)
    except InputError as error:
        raise InputError(f"{path} is not a whole npz file with an array {part!r}: {error}") from error
    if found.dtype != np.uint8 or len(found.shape) != 2 or found.shape[1] != 98:
        rule = "but packed images have shape (n, 98) and type uint8"
        raise InputError(f"array {part!r} of {path} has shape {found.shape} and type {found.dtype}, {rule}")
    return np.unpackbits(found.read(), axis=1, count=784).reshape(-1, 1, 28, 28)


def _bytes(path: Path) -> bytes:
    with unpacked(path) as read:
        raw = read(_MOST + 1)
    if len(raw) > _MOST:
        raise InputError(f"{path} holds more than {_MOST} bytes, which no file of these images does")
    return raw
