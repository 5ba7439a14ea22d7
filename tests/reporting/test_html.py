"""The report: one file, complete, safe, and never half-written."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from quasistatic.plots import heartbeat_figure, image_grid, learning_curve
from quasistatic.reporting.html import Section, write_report

PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def figures():
    return (
        learning_curve([{"update": 1, "train": 0.0}]),
        heartbeat_figure([("a", np.eye(5))]),
        image_grid(np.eye(4)[None]),
    )


@pytest.fixture
def page(tmp_path):
    one, two, three = figures()
    sections = [
        Section("Result", "First.\n\nSecond.", [{"model": "ours", "bits": 2.62}], (one,)),
        Section("Figures", figures=(two, three)),
    ]
    write_report(tmp_path / "report.html", "A report", sections)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_every_figure_is_inside_as_a_whole_png_with_its_caption(page):
    images = [attributes for tag, attributes in Page(page).tags if tag == "img"]
    assert len(images) == 3
    for attributes, figure in zip(images, figures(), strict=True):
        head, _, body = str(attributes["src"]).partition(",")
        assert head == "data:image/png;base64"
        pixels = base64.b64decode(body, validate=True)
        assert pixels.startswith(PNG)
        assert pixels.endswith(b"IEND\xaeB`\x82")
        assert attributes["alt"] == figure.get_label()
        assert figure.get_label() in Page(page).text


def test_nothing_refers_outside_the_file_and_nothing_runs(page):
    seen = Page(page)
    names = {tag for tag, _ in seen.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "a", "base", "form", "svg"}
    for tag, attributes in seen.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "srcset", "action", "background"):
            assert name not in attributes
        assert "src" not in attributes or (tag == "img" and str(attributes["src"]).startswith("data:"))
    without_images = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert "//" not in without_images
    assert "url(" not in without_images
    assert "@import" not in without_images


def test_the_page_is_well_formed_and_reads_in_both_lights(page):
    seen = Page(page)
    assert seen.open == []
    assert "prefers-color-scheme: dark" in page
    # Every variable of the light page has its dark twin.
    light, dark = re.findall(r":root \{(.*?)\}", page, flags=re.DOTALL)
    assert set(re.findall(r"--\w+", light)) == set(re.findall(r"--\w+", dark))


def test_all_text_is_escaped(tmp_path):
    evil = "<script>alert('x')</script> & \"q\""
    figure = learning_curve([])
    figure.set_label(evil)
    section = Section(evil, evil, [{evil: evil}], (figure,))
    write_report(tmp_path / "r.html", evil, [section])
    seen = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in seen.tags}
    # title, heading of the page, of the section, paragraph, table's heading and cell, caption
    assert seen.text.count(evil) == 7
    assert [attributes["alt"] for tag, attributes in seen.tags if tag == "img"] == [evil]


def test_empty_lines_part_paragraphs_and_a_table_has_the_keys_of_all_rows(tmp_path):
    write_report(tmp_path / "r.html", "t", [Section("h", "a\n\nb\n\n\n\nc", [{"x": 1}, {"y": 2, "x": 3}])])
    seen = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in seen.tags].count("p") == 3
    assert [tag for tag, _ in seen.tags].count("th") == 2
    assert [tag for tag, _ in seen.tags].count("td") == 4


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_report(tmp_path / name, "t", [Section("h", figures=figures())])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_figure_that_fails_leaves_the_old_report(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, "old", [])
    old = path.read_bytes()
    good, broken = learning_curve([]), learning_curve([])
    broken.axes[0].set_title("$\\frac{$")  # matplotlib notices at drawing time
    with pytest.raises(ValueError, match="frac"):
        write_report(path, "new", [Section("h", figures=(good, broken))])
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
