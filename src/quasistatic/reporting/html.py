"""A report as one self-contained HTML file."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from quasistatic.errors import printable
from quasistatic.plots.style import drawn
from quasistatic.reporting.text import html_table
from quasistatic.storage.atomic import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Section", "write_report"]

_CSS = """\
:root { color-scheme: light dark; --ink: #26282b; --page: #ffffff; --soft: #5a6068; --line: #d9dde3;
  --tint: #f5f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --page: #16181c; --soft: #a3aab4; --line: #363b43; --tint: #1f2228; }
}
body { margin: 0 auto; max-width: 58rem; padding: 2rem 1.25rem 4rem; background: var(--page);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1.5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { max-width: 44rem; white-space: pre-line; }
.lead { font-size: 1.15rem; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem; text-align: left; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
tbody tr:nth-child(even) { background: var(--tint); }
.number { text-align: right; }
figure { margin: 1.5rem 0; }
/* The figures are drawn on white; in a dark page they keep a white card with a margin. */
figure img { display: block; max-width: 100%; height: auto; background: #ffffff;
  border: 1px solid var(--line); border-radius: 6px; padding: .5rem; box-sizing: border-box; }
figcaption { max-width: 44rem; margin-top: .5rem; color: var(--soft); font-size: .9rem; }
"""

# The policy makes the browser itself refuse anything that is not in this file.
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
<h1>{title}</h1>
{lead}{body}
</body>
</html>
"""


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Parameters
    ----------
    heading : str
    text : str
        Plain text; an empty line starts a new paragraph.
    table : list of dicts, optional
        Its columns are the keys, in the order in which they first occur.
    figures : tuple of figures
        Shown after the table, each with its label as caption.

    Examples
    --------
    >>> Section("Result", "Held-out data.", table=[{"model": "ours", "bits": 2.62}]).figures
    ()
    """

    heading: str
    text: str = ""
    table: Sequence[Mapping[str, Any]] | None = None
    figures: tuple[Figure, ...] = ()


@drawn
def write_report(path: str | os.PathLike[str], title: str, sections: Sequence[Section], *, lead: str = "") -> None:
    """Write sections as one self-contained HTML file.

    All text is escaped; the same input gives the same bytes.

    Parameters
    ----------
    path : path
        Its folder is made if it is missing; an old file is replaced only by a complete new one.
    title : str
    sections : sequence of Section
    lead : str
        The first sentence, in larger letters under the title.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(pathlib.Path(folder, "report.html"), "a < b", [Section("Result")])
    ...     "<h1>a &lt; b</h1>" in pathlib.Path(folder, "report.html").read_text(encoding="utf-8")
    True
    """
    opening = f'<p class="lead">{_escaped(lead)}</p>\n' if lead else ""
    body = "\n".join(_section(section) for section in sections)
    page = _PAGE.format(title=_escaped(title), css=_CSS, lead=opening, body=body)
    with whole_file(path) as file:
        file.write(page.encode("utf-8"))


def _section(section: Section) -> str:
    parts = [f"<h2>{_escaped(section.heading)}</h2>"]
    paragraphs = section.text.replace("\r\n", "\n").split("\n\n")
    parts += [f"<p>{_escaped(text.strip())}</p>" for text in paragraphs if text.strip()]
    if section.table:
        columns = list(dict.fromkeys(key for row in section.table for key in row))
        parts.append(f'<div class="wide">{html_table(section.table, columns)}</div>')
    parts += [_figure(figure) for figure in section.figures]
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _escaped(text: str) -> str:
    """Escape text for HTML and spell control characters."""
    return escape("\n".join(printable(line) for line in text.split("\n")))


def _figure(figure: Figure) -> str:
    pixels = io.BytesIO()
    # Without matplotlib's signature, which names its version and home page.
    figure.savefig(pixels, format="png", dpi=192, metadata={"Software": None})
    source = base64.b64encode(pixels.getvalue()).decode("ascii")
    # A CSS inch has 96 pixels; twice as many stay sharp on fine screens.
    width = round(96 * figure.get_size_inches()[0])
    caption = escape(str(figure.get_label()))
    below = f"\n<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img width="{width}" alt="{caption}" src="data:image/png;base64,{source}">{below}</figure>'
