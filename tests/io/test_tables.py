"""Tables of numbers: what is read comes back exactly, and what is wrong is named with its place."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quasistatic.errors import InputError
from quasistatic.io import text_tables
from quasistatic.io.splits import split_rows
from quasistatic.io.table_checks import require_binary
from quasistatic.io.tables import column_names, read_array

SEPARATORS = {
    "comma": ",",
    "comma and space": ", ",
    "semicolon": ";",
    "tab": "\t",
    "space": " ",
    "spaces": "   ",
}
HEADERS = {"header": ["height", "weight", "age"], "quoted": ['"a, b"', '"c;d"', '"e"'], "no header": None}


def table(n: int = 12, d: int = 3) -> np.ndarray:
    return np.random.default_rng(n + d).normal(size=(n, d))


def write(folder: Path, text: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def as_text(x: np.ndarray, separator: str = ",", header: list[str] | None = None) -> str:
    lines = [separator.join(repr(float(value)) for value in row) for row in x]
    return "\n".join(([separator.join(header)] if header else []) + lines) + "\n"


def fails(path: Path, message: str) -> None:
    """Reading raises one sentence that matches."""
    with pytest.raises(InputError, match=message) as caught:
        read_array(path)
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------- what can be read


@pytest.mark.parametrize("ending", ["csv", "txt", "tsv", "CSV"])
@pytest.mark.parametrize("separator", SEPARATORS.values(), ids=SEPARATORS)
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_text_comes_back_bit_for_bit(tmp_path, ending, separator, header):
    if header and not separator.strip(" ") and " " in "".join(header):
        header = [name.replace(" ", "") for name in header]
    x = table()
    path = write(tmp_path, as_text(x, separator, header), f"data.{ending}")
    back = read_array(path)
    np.testing.assert_array_equal(back, x)
    assert back.dtype == np.float64
    assert back.flags.c_contiguous


@settings(max_examples=40, deadline=None)
@given(x=hnp.arrays(np.float64, (10, 2), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_float_survives_text(tmp_path_factory, x):
    path = write(tmp_path_factory.mktemp("floats"), as_text(x))
    np.testing.assert_array_equal(read_array(path), x)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_, ">f8"])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_numpy_files_of_any_real_type_are_read(tmp_path, dtype, ending):
    x = (table() > 0).astype(dtype)
    path = tmp_path / f"data.{ending}"
    if ending == "npy":
        np.save(path, np.asfortranarray(x))
    else:
        np.savez_compressed(path, anything=x)
    back = read_array(str(path))
    np.testing.assert_array_equal(back, x.astype(np.float64))
    assert back.dtype == np.float64
    assert back.flags.c_contiguous


def test_blank_lines_byte_order_mark_crlf_and_quotes_are_harmless(tmp_path):
    x = table()
    lines = as_text(x, header=["a", "b", "c"]).splitlines()
    lines[5] = ",".join(f'"{cell}"' for cell in lines[5].split(","))
    path = tmp_path / "data.csv"
    path.write_bytes(("\ufeff" + "\r\n\r\n".join(["", *lines, "", ""])).encode())
    np.testing.assert_array_equal(read_array(path), x)
    assert column_names(path, 3) == ["a", "b", "c"]


def test_one_column_may_have_a_name_of_several_words(tmp_path):
    path = write(tmp_path, "Sea level\n" + "\n".join(map(str, range(10))))
    np.testing.assert_array_equal(read_array(path), np.arange(10.0)[:, None])
    assert column_names(path, 1) == ["Sea level"]


@pytest.mark.parametrize("header", [["a", "b", "c"], None], ids=["header", "no header"])
def test_sound_tables_never_take_the_slow_path(tmp_path, monkeypatch, header):
    # NumPy's reader is several times faster than a loop in Python; the loop is only for finding the culprit.
    monkeypatch.setattr(text_tables, "_scan", lambda *_: pytest.fail("line by line"))
    x = table(2000)
    for separator in SEPARATORS.values():
        text = "\ufeff" + as_text(x, separator, header)  # with the mark that spreadsheets put first
        np.testing.assert_array_equal(read_array(write(tmp_path, text)), x)


def test_slow_path_reads_what_only_python_understands(tmp_path, monkeypatch):
    x = table()
    path = write(tmp_path, as_text(x, ";", ["a", "b", "c"]))

    def refuse(*args, **kwargs):
        raise ValueError("no")

    monkeypatch.setattr(np, "loadtxt", refuse)
    np.testing.assert_array_equal(read_array(path), x)


# ---------------------------------------------------------------------------------------------- wrong files


def test_missing_folder_unknown_and_empty_files_are_named(tmp_path):
    fails(tmp_path / "none.csv", r"there is no file .*none\.csv")
    fails(tmp_path, "is a folder, but a file of numbers is needed")
    fails(
        write(tmp_path, "1,2", "data.xlsx"),
        r"data\.xlsx ends in '\.xlsx', but must end in one of \.npy, \.npz, ",
    )
    fails(write(tmp_path, "1,2", "data"), "data ends in no dot and letters, but must end in one of")
    for name in ("data.csv", "data.npy", "data.npz"):
        fails(write(tmp_path, "", name), f"{name} is empty")
    fails(write(tmp_path, "\n \n\n"), r"data\.csv is empty")


def test_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes("größe,b\n".encode("latin-1") + b"1,2\n" * 12)
    fails(path, "is not text in UTF-8")


@pytest.mark.parametrize("shape", [(12,), (12, 4, 4), ()])
def test_other_than_two_dimensions_are_refused_with_the_shape(tmp_path, shape):
    np.save(tmp_path / "data.npy", np.zeros(shape))
    shown = str(shape).replace("(", r"\(").replace(")", r"\)")
    fails(tmp_path / "data.npy", rf"has shape {shown}, but a table must be two-dimensional \(rows, columns\)")


def test_short_and_columnless_tables_are_refused(tmp_path):
    fails(write(tmp_path, as_text(table(9))), "has 9 rows, but at least 10 are needed")
    fails(write(tmp_path, "1,2\n"), "has 1 row, but at least 10 are needed")
    fails(write(tmp_path, "a,b,c\n"), "has 0 rows, but at least 10 are needed")
    np.save(tmp_path / "data.npy", np.zeros((12, 0)))
    fails(tmp_path / "data.npy", r"has shape \(12, 0\), but a table needs at least one column")
    assert len(read_array(write(tmp_path, as_text(table(10))))) == 10


class Trap:
    """Unpickling this runs code."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_pickles_are_never_opened(tmp_path, ending):
    path = tmp_path / f"data.{ending}"
    x = np.array([[Trap()]] * 12, dtype=object)
    np.save(path, x, allow_pickle=True) if ending == "npy" else np.savez(path, x)
    fails(path, r"holds Python objects \(a pickle\), which are never loaded; save it as numbers")


@pytest.mark.parametrize("x", [np.full((12, 2), "1.0"), np.zeros((12, 2), complex), np.zeros((12, 2), "M8[s]")])
def test_entries_that_are_not_real_numbers_are_refused(tmp_path, x):
    np.save(tmp_path / "data.npy", x)
    fails(tmp_path / "data.npy", "holds entries of type .*, but real numbers are needed")


def test_archives_must_hold_one_array(tmp_path):
    np.savez(tmp_path / "two.npz", x=table(), y=table())
    fails(tmp_path / "two.npz", r"must hold exactly one array, but holds 2 \(x, y\)")
    np.savez(tmp_path / "none.npz")
    fails(tmp_path / "none.npz", r"must hold exactly one array, but holds 0 \(none\)")


def test_broken_numpy_files_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, table())
    whole = buffer.getvalue()
    for name, content in (("cut.npy", whole[:-8]), ("head.npy", whole[:20]), ("text.npy", b"1,2,3\n" * 12)):
        (tmp_path / name).write_bytes(content)
        fails(tmp_path / name, f"{name} is not a whole NumPy file of numbers")
    np.savez_compressed(tmp_path / "data.npz", x=table())
    packed = (tmp_path / "data.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(packed[:-40])
    fails(tmp_path / "cut.npz", r"cut\.npz is not a whole NumPy file")
    start = zipfile.ZipFile(tmp_path / "data.npz").infolist()[0].header_offset + 60
    (tmp_path / "bad.npz").write_bytes(packed[:start] + b"\xff" * 40 + packed[start + 40 :])
    fails(tmp_path / "bad.npz", r"bad\.npz is not a whole NumPy file")


# ---------------------------------------------------------------------------------------------- wrong cells


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("abc", "'abc', which is not a number"),
        ("1.2.3", "'1.2.3', which is not a number"),
        ("1_000", "'1_000', which is not a number"),
        ("# note", "'# note', which is not a number"),
        ("", "empty, but every cell needs a number"),
        ("?", "'[?]', which is not a number"),
    ],
)
@pytest.mark.parametrize("header", [["height", "weight", "age"], None], ids=["header", "no header"])
def test_the_first_bad_cell_is_named_with_line_and_column(tmp_path, cell, what, header):
    lines = as_text(table(), ",", header).splitlines()
    where = 7  # counted from one
    cells = lines[where - 1].split(",")
    lines[where - 1] = ",".join([cells[0], cell, cells[2]])
    lines[-1] = "later,is,worse"
    column = "column 'weight'" if header else "column 2"
    fails(write(tmp_path, "\n".join(lines)), rf"^line 7, {column} of data\.csv is {what}$")


def test_a_hash_does_not_hide_the_rest_of_a_line(tmp_path):
    lines = as_text(table()).splitlines()
    lines[3] += " # doubtful"
    fails(write(tmp_path, "\n".join(lines)), r"line 4, column 3 of data\.csv is '.* # doubtful', which is not")


def test_first_line_with_a_number_is_no_header(tmp_path):
    fails(write(tmp_path, "id,2019,2020\n" + as_text(table())), r"line 1, column 1 of data\.csv is 'id'")


def test_lines_are_counted_in_the_file_blank_ones_too(tmp_path):
    text = "\n\na,b\n\n" + "1,2\n\n" * 11 + "3,x\n"
    line = text.splitlines().index("3,x") + 1
    fails(write(tmp_path, text), f"line {line}, column 'b' of")


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("", "1,2", "line 7 of data.csv has 2 cells, but line 1 has 3"),
        ("", "1,2,3,4", "line 7 of data.csv has 4 cells, but line 1 has 3"),
        ("a,b,c\n", "1", "line 8 of data.csv has 1 cell, but the header has 3"),
    ],
)
def test_ragged_rows_are_named_with_their_line(tmp_path, header, row, message):
    lines = as_text(table()).splitlines()
    lines[6] = row
    fails(write(tmp_path, header + "\n".join(lines)), f"^{message}$")


def test_a_header_of_another_length_is_ragged_too(tmp_path):
    fails(write(tmp_path, "a,b\n" + as_text(table())), r"line 2 of data\.csv has 3 cells, but the header has 2")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_the_first_entry_that_is_not_finite_is_named(tmp_path, value):
    x = table()
    x[4, 2] = float(value)
    x[9, 0] = np.nan
    np.save(tmp_path / "data.npy", x)
    fails(tmp_path / "data.npy", rf"^row 5, column 3 of data\.npy is {value}, but every number must be finite$")
    path = write(tmp_path, as_text(x, header=["a", "b", "c"]))
    fails(path, rf"^row 5, column 'c' of data\.csv is {value}, but every number must be finite$")


# ----------------------------------------------------------------------------------- names, bits and splits


def test_column_names_come_from_the_header_or_are_counted(tmp_path):
    assert column_names(write(tmp_path, as_text(table(), ";", ["a b", "", "c"])), 3) == [
        "a b",
        "column 2",
        "c",
    ]
    assert column_names(write(tmp_path, as_text(table())), 3) == ["column 1", "column 2", "column 3"]
    np.save(tmp_path / "data.npy", table())
    assert column_names(tmp_path / "data.npy", 2) == ["column 1", "column 2"]
    with pytest.raises(InputError, match=r"the header of data\.csv has 2 names, but the table has 3 columns"):
        column_names(write(tmp_path, "a,b\n"), 3)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8, np.bool_])
def test_binary_tables_pass_unchanged(dtype):
    x = (table() > 0).astype(dtype)
    assert require_binary(x, "bits") is x


@pytest.mark.parametrize("value", [2.0, -1.0, 0.5, np.nan, 1 + 1e-12])
def test_the_first_entry_that_is_not_a_bit_is_named(value):
    x = np.zeros((12, 3))
    x[3, 1] = value
    x[3, 2] = x[7, 0] = 9.0
    message = f"^row 4, column 2 of bits.npy is {value}, but binary data must be 0 or 1$"
    with pytest.raises(InputError, match=message.replace("+", r"\+")):
        require_binary(x, "bits.npy")
    with pytest.raises(InputError, match=r"bits has shape \(3,\), but a table must be two-dimensional"):
        require_binary(np.zeros(3), "bits")


@given(
    n=st.integers(10, 500),
    seed=st.integers(0, 2**32),
    validation=st.floats(0, 0.45),
    test=st.floats(0, 0.45),
)
def test_splits_are_disjoint_exhaustive_and_as_large_as_asked(n, seed, validation, test):
    train, middle, last = split_rows(n, seed, validation, test)
    assert sorted(np.concatenate([train, middle, last])) == list(range(n))
    for part, fraction in ((middle, validation), (last, test)):
        assert (len(part) == 0) == (fraction == 0)
        assert abs(len(part) - n * fraction) <= 1


def test_split_depends_on_its_seed_alone():
    order = np.random.default_rng(4).permutation(100)
    train, validation, test = split_rows(100, seed=4)
    np.testing.assert_array_equal(np.concatenate([train, validation, test]), order)
    assert (len(train), len(validation), len(test)) == (80, 10, 10)
    assert not np.array_equal(train, split_rows(100, seed=5)[0])


def test_bad_splits_are_refused():
    with pytest.raises(InputError, match=r"the test fraction must be at least 0 and below 1, got 1\.0"):
        split_rows(100, 0, test=1.0)
    with pytest.raises(InputError, match=r"the validation fraction must be .*, got nan"):
        split_rows(100, 0, validation=float("nan"))
    with pytest.raises(InputError, match=r"10 rows with fractions 0\.5 and 0\.5 held out leave no row"):
        split_rows(10, 0, validation=0.5, test=0.5)
    with pytest.raises(InputError, match="seed must be at least 0, got -1"):
        split_rows(10, -1)
