"""Array files are judged by their headers; damaged, encrypted and tightly packed ones are one sentence."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from quasistatic.datasets.formats import read_amat, read_cifar, read_idx, read_packed
from quasistatic.errors import InputError
from quasistatic.io import array_files
from quasistatic.io.array_files import open_array
from quasistatic.io.image_folders import open_images
from quasistatic.io.observations import read_observed
from quasistatic.io.tables import read_array, read_cells, read_cells_in_parts

X = np.random.default_rng(2).normal(size=(12, 3))


def npy(x: np.ndarray = X, **rest: bool) -> bytes:
    out = io.BytesIO()
    np.save(out, x, **rest)  # type: ignore[arg-type]
    return out.getvalue()


def npz(content: bytes, name: str = "x.npy", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def header(text: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


def says(shape: str, kind: str = "<f8") -> bytes:
    return header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n", bytes(80))


def flagged(content: bytes, at: int, value: int) -> bytes:
    """Change a byte of the directory of a zip file."""
    raw = bytearray(content)
    raw[raw.index(b"PK\x01\x02") + at] = value
    return bytes(raw)


FAULTS = {
    "pickle.npy": npy(np.array([[{}, 1]]), allow_pickle=True), "cut.npy": npy()[:-8], "longer.npy": npy() + b"more",
    "empty.npy": b"", "magic.npy": b"\x93NUMPY", "version.npy": b"\x93NUMPY\x09\x00" + npy()[8:],
    "many.npy": says("(10**12, 2)"),
    "rows.npy": says("(1000000000000, 2)"), "beyond.npy": says("(9223372036854775808, 2)"), "negative.npy": says("(-5, 2)"),
    "code.npy": header("__import__('os')"), "deep.npy": header("(" * 5000), "type.npy": says("(5, 2)", "zz"),
    "text.npy": npy(np.array([["a", "b"]])), "complex.npy": npy(X + 1j), "dates.npy": npy(np.full((12, 2), "2020", "M8[Y]")),
    "record.npy": npy(np.zeros(12, [("a", float), ("b", int)])), "garbage.npz": b"PK\x03\x04" + bytes(90), "none.npz": b"",
    "bytes.npz": npz(b"hello"), "unnamed.npz": npz(b"hello", "x"), "encrypted.npz": flagged(npz(npy()), 8, 1),
    "method.npz": flagged(npz(npy()), 10, 99), "pickle.npz": npz(npy(np.array([[{}, 1]]), allow_pickle=True)),
    "sum.npz": npz(npy(), method=zipfile.ZIP_STORED).replace(npy()[-16:], bytes(16)), "short.npz": npz(npy()[:-8]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_sentence_whoever_reads(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FAULTS[name])
    readers = (
        lambda p: open_array(p).read(), read_array, read_cells, lambda p: list(read_cells_in_parts(p, 5)),
        lambda p: read_observed(p, (3,)), lambda p: open_images(p)[:], lambda p: read_packed(p, "x"),
    )  # fmt: skip
    for read in readers:
        with pytest.raises(InputError, match=path.stem) as said:
            read(path)
        assert "\n" not in str(said.value)


def test_an_encrypted_file_says_what_to_do(tmp_path):
    (tmp_path / "x.npz").write_bytes(FAULTS["encrypted.npz"])
    with pytest.raises(InputError, match=r"^x\.npz is encrypted: save it without a password$"):
        open_array(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "stored.npz"])
def test_whole_arrays_are_read_and_mapped(tmp_path, name):
    path = tmp_path / name
    for x in (X, np.asfortranarray(X), X.astype(">f4"), X > 0, X[:, 0]):
        method = zipfile.ZIP_STORED if name == "stored.npz" else zipfile.ZIP_DEFLATED
        path.write_bytes(npy(x) if name == "x.npy" else npz(npy(x), method=method))
        found = open_array(path)
        assert (found.shape, found.dtype) == (x.shape, x.dtype)
        assert (found.read() == x).all()
        assert (found.read(mapped=True) == x).all()


def test_one_of_several_arrays_is_picked_by_name(tmp_path):
    np.savez(tmp_path / "x.npz", x=X, y=X[:3])
    assert open_array(tmp_path / "x.npz", pick="y").shape == (3, 3)
    with pytest.raises(InputError, match=r"must hold exactly one array, but holds 2 \(x, y\)"):
        open_array(tmp_path / "x.npz")


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "LARGE", 2**20)


@pytest.mark.usefixtures("tight")
def test_what_is_packed_too_tightly_is_refused_unread(tmp_path, monkeypatch):
    (tmp_path / "x.npz").write_bytes(npz(npy(np.zeros((2**19, 2)))))
    monkeypatch.setattr(array_files, "_filled", None)
    with pytest.raises(InputError, match=r"x\.npz is packed too tightly to be trusted: .* would unpack to 8\.389 MB"):
        open_array(tmp_path / "x.npz")


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_packed_bytes_are_bounded(tmp_path, ending, pack):
    bomb = pack(struct.pack(">4I", 2051, 2**19, 4, 4) + bytes(2**23))
    (tmp_path / f"bomb{ending}").write_bytes(bomb)
    for read in (read_idx, read_cifar, read_amat):
        with pytest.raises(InputError, match=r"packed too tightly|is damaged") as said:
            read(tmp_path / f"bomb{ending}")
        assert "\n" not in str(said.value)
    whole = struct.pack(">4I", 2051, 3, 2, 2) + bytes(range(12))
    (tmp_path / f"x{ending}").write_bytes(pack(whole))
    assert read_idx(tmp_path / f"x{ending}").shape == (3, 1, 2, 2)
    for cut in (pack(whole)[:-9], pack(whole[:-1]), pack(whole + b"1"), b"hello"):
        (tmp_path / f"x{ending}").write_bytes(cut)
        with pytest.raises(InputError, match=r"is damaged|header of 16"):
            read_idx(tmp_path / f"x{ending}")


def test_a_header_of_far_more_than_the_file_is_refused_unread(tmp_path):
    (tmp_path / "x").write_bytes(struct.pack(">4I", 2051, 2**31, 2**10, 2**10))
    with pytest.raises(InputError, match="is damaged: it holds 16 bytes"):
        read_idx(tmp_path / "x")


def test_a_line_without_end_is_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr("quasistatic.io.text_tables._LONGEST", 1000)
    (tmp_path / "x.csv").write_text("a,b\n" + "1" * 2000 + ",2\n")
    for read in (read_array, read_cells):
        with pytest.raises(InputError, match=r"more than 1000 characters|which is not a number|must be finite"):
            read(tmp_path / "x.csv")


@pytest.mark.parametrize("ending", [".csv", ".npy", ".npz", ".parquet", ".png"])
def test_pipes_are_not_waited_for(tmp_path, ending):
    import os

    path = Path(tmp_path, f"pipe{ending}")
    os.mkfifo(path)
    for read in (read_array, read_cells, lambda p: read_observed(p, (3,)), open_images):
        with pytest.raises(InputError):
            read(path)


def test_parquet_cells_hold_one_value(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    for cells in ([[1, 2]] * 12, [{"k": 1}] * 12):
        parquet.write_table(pa.table({"a": cells, "b": list(range(12))}), tmp_path / "x.parquet")
        with pytest.raises(
            InputError, match=r"column 'a' of x\.parquet holds .*, but cells must be numbers, truth values or text"
        ):
            read_cells(tmp_path / "x.parquet")
