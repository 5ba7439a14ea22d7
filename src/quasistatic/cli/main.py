"""Parsing of the command line and exit status.

Standard output holds the result, standard error the progress. The exit status is 0 for success and 2 for bad usage or
input, with one sentence. Heavy modules are imported when a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import tyro

from quasistatic.cli.base import Command
from quasistatic.cli.evaluation import Evaluate, Report
from quasistatic.cli.posteriors import Denoise, Inpaint
from quasistatic.cli.sampling import Sample
from quasistatic.cli.tables import Impute, Score
from quasistatic.cli.termination import output, raising_on_sigterm
from quasistatic.cli.training import Recipes, Reproduce, Train
from quasistatic.errors import InputError, Terminated, printable
from quasistatic.memory import out_of_memory
from quasistatic.storage.files import strict
from quasistatic.streams import prepared_streams, say

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, type[Command]] = {
    "recipes": Recipes,
    "train": Train,
    "evaluate": Evaluate,
    "sample": Sample,
    "denoise": Denoise,
    "inpaint": Inpaint,
    "score": Score,
    "impute": Impute,
    "report": Report,
    "reproduce": Reproduce,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    The process exits with status 0 on success and 2 on bad usage or input.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``quasistatic``; those of the process by default.
    """
    with prepared_streams(), raising_on_sigterm():
        command = None
        with output(_fail):
            command = _parse(list(sys.argv[1:] if argv is None else argv))
        if command is None:
            return  # the reader of the help text has closed the pipe
        result = _run(command)
        if os.environ.get("RANK", "0") != "0":
            return  # of many processes under torchrun, the first one prints
        with output(_fail):
            if command.json:
                print(json.dumps(strict(result), allow_nan=False))
            else:
                text = io.StringIO()
                with contextlib.redirect_stdout(text):
                    command.print(result)
                for line in text.getvalue().splitlines():
                    print(printable(line))


def _run(command: Command) -> dict[str, Any]:
    """Run a command and print errors of the user as one sentence."""
    continues = "; the same command goes on from the last checkpoint" * command.continues
    try:
        return command.run()
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except RecursionError:
        _fail("the input is nested too deep to be read")
    except (MemoryError, RuntimeError, ValueError) as error:
        if not out_of_memory(error):
            raise
        _fail("there is not enough memory for this: choose smaller numbers, or fewer rows at once")
    except KeyboardInterrupt:
        say(f"stopped{continues}")
        sys.exit(130)
    except Terminated as end:
        say(f"terminated{continues}")
        sys.exit(end.code)


def _parse(words: list[str]) -> Command:
    """Build a command from its words."""
    message = io.StringIO()
    commands: dict[str, Any] = {**COMMANDS}
    try:
        with contextlib.redirect_stderr(message):
            return tyro.extras.subcommand_cli_from_dict(
                commands, args=words, prog="quasistatic", config=(tyro.conf.FlagCreatePairsOff,),
                description="Generative models with a normalised likelihood.",
            )  # fmt: skip
    except SystemExit as end:
        if not end.code:
            _print_settings(words)
            raise
        command = next((f" {word}" for word in words[:1] if word in COMMANDS), "")
        _fail(f"{_unframed(message.getvalue())}; see quasistatic{command} --help")


def _print_settings(words: list[str]) -> None:
    """Print the settings of the recipe, in the help of ``train RECIPE``."""
    from quasistatic.recipes.catalogue import CATALOGUE

    if words[:1] == ["train"] and (named := [word for word in words[1:2] if word in CATALOGUE]):
        from quasistatic.runs.settings import settings_help

        print(settings_help(named[0]))


def _unframed(text: str) -> str:
    """Return the sentence of a framed error message of tyro."""
    lines = [line.strip(" │┃|") for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]
    ends = [i for i, line in enumerate(lines) if i and not line.strip("─━╰╯┗┛-")]
    sentence = " ".join(lines[1 : min(ends, default=len(lines))]).strip(" .") or "the command is not understood"
    return " ".join(sentence.split())


def _fail(sentence: str) -> NoReturn:
    say(f"quasistatic: {printable(sentence)}")
    sys.exit(2)
