"""What was measured on one device, in one file that a later call goes on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quasistatic.storage.atomic import write_text
from quasistatic.storage.files import strict

__all__ = ["Numbers"]


class Numbers:
    """Sections of numbers, written to disk whenever one changes; those of another device or torch are left behind.

    Parameters
    ----------
    path : Path
        ``numbers.json``, which need not exist.
    where : dict
        What the numbers hold for: names of the device and of the versions.
    """

    def __init__(self, path: Path, where: dict[str, str]) -> None:
        self.path = path
        self.all: dict[str, Any] = {"where": where}
        if path.exists():
            there = json.loads(path.read_text("utf-8"))
            if there.get("where") == where:
                self.all = there

    def __getitem__(self, name: str) -> Any:
        return self.all[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A section, if it is there."""
        return self.all.get(name, default)

    def put(self, name: str, value: Any) -> None:
        """Set a section and write all."""
        self.all[name] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(strict(self.all), indent=1))
