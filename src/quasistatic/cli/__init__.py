"""The command ``quasistatic``. Each group of commands has a file."""

from quasistatic.cli.main import COMMANDS, main

__all__ = ["COMMANDS", "main"]
