r"""Docstrings speak the dialect of numpydoc, mkdocs reads markdown: translate when the pages are built.

``.. math:: x`` becomes ``\[x\]``, the role ``math`` becomes ``\(x\)``, a role that names a thing code.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

INLINE = re.compile(r":math:`([^`]+)`")
NAME = re.compile(r":(?:class|func|meth|mod|attr):`~?([^`]+)`")
# The formula stands on the line of the directive or below it, up to the first line indented no deeper.
DISPLAY = re.compile(
    r"""
    ^(?P<indent>[ ]*)\.\.[ ]math::
    (?P<body>.*(?:\n(?:(?P=indent)[ ]+\S.*|[ ]*(?=\n(?P=indent)[ ]+\S)))*)
    """,
    flags=re.MULTILINE | re.VERBOSE,
)


def to_markdown(text: str) -> str:
    text = DISPLAY.sub(_display, text)
    return NAME.sub(r"`\1`", INLINE.sub(r"\\(\1\\)", text))


def _display(match: re.Match[str]) -> str:
    first, _, rest = match["body"].partition("\n")
    formula = f"{first.strip()}\n{textwrap.dedent(rest)}".strip()
    return textwrap.indent(f"\\[\n{formula}\n\\]", match["indent"])


class NumpydocMarkup(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
