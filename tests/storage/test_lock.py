"""One writer for each run folder."""

from __future__ import annotations

import os

import pytest

from quasistatic.errors import InputError
from quasistatic.storage.lock import sole_writer

pytest.importorskip("fcntl")


def test_a_folder_is_held_while_the_block_lasts(tmp_path):
    with sole_writer(tmp_path / "run"):
        with pytest.raises(InputError, match="another process is training in"), sole_writer(tmp_path / "run"):
            pass
        with sole_writer(tmp_path / "other"):
            pass
    with sole_writer(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_a_process_that_ends_lets_go(tmp_path):
    pid = os.fork()
    if pid == 0:
        held = sole_writer(tmp_path)
        held.__enter__()
        os._exit(0)
    os.waitpid(pid, 0)
    with sole_writer(tmp_path):
        pass


def test_a_disk_without_locks_holds_nothing(tmp_path, monkeypatch):
    import fcntl

    def unknown(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with sole_writer(tmp_path), sole_writer(tmp_path):
        pass


def test_an_error_inside_lets_go(tmp_path):
    with pytest.raises(KeyboardInterrupt), sole_writer(tmp_path):
        raise KeyboardInterrupt
    with sole_writer(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "a").write_text("")
    sentence = r"the run folder .*a/b cannot be made: Not a directory"
    with pytest.raises(InputError, match=sentence), sole_writer(tmp_path / "a" / "b"):
        pass
