"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from quasistatic.errors import InputError
from quasistatic.plots import learning_curve, save_figure
from quasistatic.storage.atomic import whole_file


def test_until_it_is_complete_others_see_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_failing_half_way_leaves_the_old_file_and_no_litter(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def write_half() -> None:
        with whole_file(path) as file:
            file.write(b"half of the n")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_disk_that_fills_at_the_end_leaves_the_old_file(tmp_path, monkeypatch, stage):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, stage, full)
    with pytest.raises(OSError, match="No space left"), whole_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_made(tmp_path):
    with whole_file(tmp_path / "figures" / "deep" / "a.txt") as file:
        file.write(b"new")
    assert (tmp_path / "figures" / "deep" / "a.txt").read_bytes() == b"new"


def test_the_file_has_the_rights_that_the_umask_gives(tmp_path):
    old = os.umask(0o022)
    try:
        with whole_file(tmp_path / "a.txt") as file:
            file.write(b"new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


@pytest.mark.parametrize(("name", "head"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")])
def test_the_ending_chooses_the_format(tmp_path, name, head):
    save_figure(learning_curve([]), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(head)


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = learning_curve([])
    figure.axes[0].set_title("$\\frac{$")
    with pytest.raises(ValueError, match="frac"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_another_ending_is_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.pdf, \.png or \.svg"):
        save_figure(learning_curve([]), tmp_path / "sub" / "a.jpg")
    assert list(tmp_path.iterdir()) == []
