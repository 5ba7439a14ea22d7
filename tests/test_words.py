"""The words of the documentation: short first lines, the field's names, and complete sections."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quasistatic

ROOT = Path(quasistatic.__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "quasistatic").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BANNED = (
    "law", "laws", "told", "tell", "tells", "telling", "said", "ask", "asks", "asked", "asking", "feel", "dear", "parted",
    "mend", "mended", "hole", "holes", "gap", "gaps", "pierced", "founder", "founders", "surprise", "furniture",
    "scaffolding", "boredom", "dissolving", "dissolve", "dissolves", "lent",
)  # fmt: skip
WORD = re.compile(rf"(?<![A-Za-z])({'|'.join(BANNED)})(?![A-Za-z]|\(\))", re.IGNORECASE)  # file.tell() is Python's


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Name and docstring of a module, its classes and its functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield f"{path.name}:{getattr(node, 'name', 'module')}", text


def first_line(text: str) -> str:
    return text.split("\n\n")[0].replace("\n", " ")


SUMMARIES = [(name, first_line(text)) for path in SOURCES for name, text in docstrings(path)]


def n_words(summary: str) -> int:
    return len(summary.split())


def test_first_lines_are_short() -> None:
    lengths = [n_words(summary) for _, summary in SUMMARIES]
    long = [f"{name}: {summary}" for name, summary in SUMMARIES if n_words(summary) > 12]
    assert len(lengths) > 800
    assert statistics.median(lengths) <= 8
    assert len(long) <= 0.05 * len(lengths), "\n".join(long)


def test_first_lines_are_one_sentence() -> None:
    wrong = [f"{name}: {summary}" for name, summary in SUMMARIES if not summary.endswith((".", ".*")) or ";" in summary]
    assert wrong == []


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_is_of_the_private_language(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [f"{i}: {line.strip()}" for i, line in enumerate(lines, 1) if WORD.search(line)] == []


def public_callables() -> Iterator[tuple[str, Any]]:
    """Public functions and classes with all their public methods."""
    for name in quasistatic.__all__:
        value = getattr(quasistatic, name)
        if inspect.isclass(value):
            yield name, value
            for attribute, member in vars(value).items():
                if inspect.isfunction(member) and not attribute.startswith("_"):
                    yield f"{name}.{attribute}", member
        elif callable(value):
            yield name, value


@pytest.mark.parametrize(
    ("name", "value"), list(public_callables()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_public_callables_describe_their_parameters(name: str, value: Any) -> None:
    try:
        parameters = [p for p in inspect.signature(value).parameters if p not in ("self", "cls")]
    except ValueError:
        return
    text = inspect.getdoc(value) or ""
    if inspect.isclass(value) and issubclass(value, BaseException):
        return
    if len(parameters) < 2 or value.__doc__ is None:  # a method of a family is documented in its base class
        return
    section = text.split("Parameters\n----------")[-1] if "Parameters\n----------" in text else ""
    missing = [p for p in parameters if not re.search(rf"^\s*\*{{0,2}}(?:\w+, )*{p}\b", section, re.MULTILINE)]
    missing = [p for p in missing if not re.search(rf"\b{p}\b.* :", section)]
    assert missing == [], f"{name} does not describe {missing}"


def test_the_reference_lists_modules_that_exist() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in re.findall(r"^::: (quasistatic[\w.]*)", page, re.MULTILINE):
        importlib.import_module(name)
