"""Running a command in the test process, and what it left on its streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from matplotlib.figure import Figure

import small
from quasistatic import cli


@dataclass(frozen=True)
class Told:
    """What a command left behind."""

    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Its answer: one object on stdout, and nothing else there."""
        assert self.status == 0, self.err
        assert self.out.count("\n") == 1
        answer = small.read_strictly(self.out)
        assert isinstance(answer, dict)
        return answer

    def sentence(self, *progress: str) -> str:
        """Its complaint, in one line after those of progress."""
        assert (self.status, self.out) == (2, "")
        *before, said = self.err.splitlines()
        assert before == [*progress]
        assert said.startswith("quasistatic: ")
        return said.removeprefix("quasistatic: ")


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    def run(*words: object) -> Told:
        capfd.readouterr()
        try:
            cli.main([str(word) for word in words])
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return Told(status, *capfd.readouterr())

    return run


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write empty pictures, which is quick; how figures look is tested where they are drawn."""
    real = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kwargs: real(Figure((1, 1)), *args, **kwargs))
