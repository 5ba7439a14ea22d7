"""What the README and the documentation show does run, and what they link to is there.

The ```python blocks of one file are run in order in one namespace, as a reader would type them. A block on
the line after ``<!-- skip -->`` is only shown.
"""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.exists()]
SKIP = "<!-- skip -->"


@dataclass(frozen=True)
class Block:
    """Source of one block and the line of its file it starts on, so that an error points into the page."""

    source: str
    first_line: int


def python_blocks(page: str) -> Iterator[Block]:
    """The blocks of ``page`` that are to run, in order."""
    lines = page.splitlines()
    start: int | None = None
    other = False  # inside a block of another language, where ```python would be text
    for number, line in enumerate(lines):
        if start is not None and line.rstrip() == "```":
            if start == 0 or lines[start - 1].strip() != SKIP:
                yield Block("\n".join(lines[start + 1 : number]) + "\n", start + 2)
            start = None
        elif start is None and not other and line.rstrip() == "```python":
            start = number
        elif start is None and line.startswith("```"):
            other = not other
    if start is not None:
        raise ValueError(f"the block that opens on line {start + 1} is never closed")


def run(block: Block, namespace: dict[str, object], name: str) -> None:
    """Run a block; one written as a session (``>>>``) is also held to the output it shows."""
    if not block.source.lstrip().startswith(">>>"):
        padded = "\n" * (block.first_line - 1) + block.source
        exec(compile(padded, name, "exec"), namespace)
        return
    session = doctest.DocTestParser().get_doctest(block.source, namespace, name, name, block.first_line - 1)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
    failed, _ = runner.run(session, out=report.append, clear_globs=False)
    namespace.update(session.globs)
    if failed:
        raise AssertionError("".join(report))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what a block writes is nobody's litter
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in python_blocks(page.read_text(encoding="utf-8")):
        run(block, namespace, str(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\((?![a-z]+:|#)([^)\s]+)\)", text)
    missing = [target for target in targets if not (page.parent / target.split("#")[0]).exists()]
    assert missing == []


def test_every_page_is_in_the_navigation() -> None:
    # BaseLoader: mkdocs.yml may hold tags that only mkdocs knows; here the names of the files are enough.
    navigation = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)["nav"]
    listed = {target for entry in navigation for target in entry.values()}
    assert listed == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}


def test_every_public_module_is_in_the_reference() -> None:
    package = ROOT / "src" / "quasistatic"
    modules = {path.stem for path in [*package.glob("*.py"), *package.glob("*/")] if path.stem[0] != "_"}
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^::: quasistatic\.(\w+)", page, flags=re.MULTILINE))
    assert modules - {"cli", "recipes"} - listed == set(), "docs/api.md lacks these modules"


def test_the_glossary_gives_each_word_once_and_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^\*\*(.+?)\*\*$", text, flags=re.MULTILINE)
    assert len(words) > 20
    assert words == sorted(set(words), key=str.casefold)


PAGE = """\
```python
x = 1
```
```text
```
<!-- skip -->
```python
x = undefined
```

```python
>>> y = x + 1
>>> y
2
```
"""


def test_blocks_share_a_namespace_and_skipped_ones_do_not_run() -> None:
    blocks = list(python_blocks(PAGE))
    found = [(block.source, block.first_line) for block in blocks]
    assert found == [("x = 1\n", 2), (">>> y = x + 1\n>>> y\n2\n", 12)]
    namespace: dict[str, object] = {}
    for block in blocks:
        run(block, namespace, "page")
    assert (namespace["x"], namespace["y"]) == (1, 2)


def test_a_session_that_shows_something_else_fails() -> None:
    with pytest.raises(AssertionError, match="Expected:\n    3\nGot:\n    2"):
        run(Block(">>> 1 + 1\n3\n", 1), {}, "page")


def test_an_error_points_at_the_line_of_the_page() -> None:
    with pytest.raises(NameError) as caught:
        run(Block("y = 1\nundefined\n", 40), {}, "page")
    assert caught.traceback[-1].lineno + 1 == 41  # pytest counts lines from zero


def test_a_block_that_is_never_closed_is_named() -> None:
    with pytest.raises(ValueError, match="opens on line 2"):
        list(python_blocks("text\n```python\nx = 1\n"))
