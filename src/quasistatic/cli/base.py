"""The base class of all commands."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from quasistatic.streams import say

__all__ = ["Command", "known", "print_warnings", "progress"]


@dataclass(kw_only=True)
class Command(ABC):
    """A command with typed options."""

    continues: ClassVar[bool] = False
    """Whether the same command continues an interrupted one."""

    json: bool = False
    """Print one JSON object and nothing else."""

    @abstractmethod
    def run(self) -> dict[str, Any]:
        """Do the work and return the result as plain data."""

    @abstractmethod
    def print(self, result: dict[str, Any]) -> None:
        """Print the result for people."""


def known(value: float | None) -> float:
    """Return a number, nan where JSON holds null."""
    return math.nan if value is None else value


def progress(what: str) -> None:
    """Print a line on standard error, once for all processes."""
    if os.environ.get("RANK", "0") == "0":
        say(what)


def print_warnings(result: dict[str, Any]) -> None:
    """Print the warnings of a result."""
    for sentence in result.get("warnings", []):
        print(f"WARNING: {sentence}")
