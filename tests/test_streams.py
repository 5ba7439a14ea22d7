"""Streams that are closed, broken, full or of a small character set stop nothing; names cannot move the cursor."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import quasistatic
import tiny
from quasistatic.errors import InputError, printable
from quasistatic.plots import column_marginals, pair_plot, save_figure
from quasistatic.reporting.html import Section, write_report
from quasistatic.reporting.text import text_table
from quasistatic.streams import SafeStream, safe_stderr, say
from quasistatic.tables.columns import Column, describe_columns

EVIL = "w\x1b[2J\u202e$\\frac$\nx\r"


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise OSError(28, "No space left on device")

    def isatty(self) -> bool:
        raise ValueError("closed")


def small_set(encoding: str) -> tuple[io.TextIOWrapper, io.BytesIO]:
    raw = io.BytesIO()
    return io.TextIOWrapper(raw, encoding), raw


@pytest.mark.parametrize("stream", [Broken(), None])
def test_a_broken_stream_takes_progress_and_drops_it(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    say("step 1 ± 2")
    bar = safe_stderr()
    assert bar.write("x") == 1
    bar.flush()
    assert not bar.isatty()


def test_letters_that_a_stream_does_not_have_are_spelled():
    stream, raw = small_set("ascii")
    SafeStream(stream).write("-5.9 ± 1.2 − ÿ\n")
    stream.flush()
    assert raw.getvalue() == b"-5.9 +- 1.2 - \\xff\n"


@pytest.mark.parametrize("stream", [Broken(), small_set("ascii")[0], None])
def test_a_training_does_not_depend_on_the_stream_it_reports_to(tmp_path, monkeypatch, stream):
    quiet = tiny.train(None).state_dict()
    monkeypatch.setattr(sys, "stderr", stream)
    loud = tiny.train(tmp_path / "run", quiet=False).state_dict()
    assert all((loud[k] == quiet[k]).all() for k in quiet)


def command(words: list[str], after: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command through a shell that redirects its streams."""
    src = str(Path(quasistatic.__file__).parents[1])
    line = f'"{sys.executable}" -m quasistatic {" ".join(words)} {after}'
    return subprocess.run(
        ["bash", "-c", line], env={**os.environ, "PYTHONPATH": src, **env}, capture_output=True, text=True, timeout=120
    )  # fmt: skip


def test_a_command_outlives_its_reader_and_its_error_stream():
    assert command(["recipes"], "| true; exit ${PIPESTATUS[0]}").returncode == 0
    closed = command(["recipes"], ">&- 2>&-")
    assert (closed.returncode, closed.stdout, closed.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_a_full_disk_is_one_sentence():
    full = command(["recipes"], "> /dev/full")
    assert full.returncode == 2
    assert full.stderr == (
        "quasistatic: the result could not be written to standard output: No space left on device\n"
    )  # fmt: skip


def test_an_answer_is_printed_in_any_locale():
    plain = command(["recipes"], "", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (plain.returncode, plain.stderr) == (0, "")
    assert plain.stdout.isascii()


def test_names_are_escaped_wherever_a_person_reads_them(tmp_path, capsys):
    safe = printable(EVIL)
    assert safe == r"w\x1b[2J\u202e$\frac$\nx\r"
    assert str(InputError(f"column {EVIL}")) == f"column {safe}"
    say(EVIL.replace("\n", ""))
    assert "\x1b" not in capsys.readouterr().err
    assert describe_columns([Column(EVIL, "numeric")]) == f"numeric: {safe}"
    assert text_table([{"a": EVIL}], ["a"]).splitlines()[-1] == safe
    write_report(tmp_path / "r.html", EVIL, [Section(EVIL, EVIL, [{EVIL: EVIL}])])
    page = (tmp_path / "r.html").read_text()
    assert not {"\x1b", "\u202e", "\r"} & set(page)
    x = [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]
    for figure in (pair_plot(x, x, [EVIL, "b"]), column_marginals(x[:2], x[:2], [EVIL, "b"], [[EVIL, "b"], None])):
        save_figure(figure, tmp_path / "figure.png")
        assert "\x1b" not in str(figure.get_label())
