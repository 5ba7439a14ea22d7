"""Style of all figures: colours, sizes, no global state."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from quasistatic.errors import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BAND", "DATA", "INK", "MODEL", "NULL", "OUTSIDE", "STYLE", "TRUTH", "drawn", "new_figure", "plain_label"]

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's palette: its pairs stay apart for every common kind of colour blindness and in grey print.
DATA = "#0072B2"
MODEL = "#D55E00"
TRUTH = "#009E73"
NULL = "#7A7A7A"
BAND = "#56B4E9"
OUTSIDE = "#AA3377"
INK = "#26282B"

# Any: matplotlib's type for it lists every setting by name, and differs from release to release.
STYLE: Any = {
    "axes.edgecolor": "#8A8F96",
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titlecolor": INK,
    "figure.facecolor": "white",
    "figure.titlesize": 12,
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.color": "#E4E7EB",
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "savefig.bbox": None,
    "savefig.facecolor": "auto",
    "text.color": INK,
    "text.usetex": False,
    "xtick.color": "#5A6068",
    "xtick.labelsize": 9,
    "ytick.color": "#5A6068",
    "ytick.labelsize": 9,
}


def drawn(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function under the style of this library.

    The user's matplotlib settings are ignored and restored.

    matplotlib reads its settings both when an artist is made and when it is rendered, so functions that draw
    and functions that save carry this decorator. The user's settings are back afterwards.
    """

    @wraps(function)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    return styled


def plain_label(name: object, most: int = 40) -> str:
    r"""Make a user's name printable in a figure.

    It is short, without control characters or formulas.

    Examples
    --------
    >>> plain_label("price in $\n")
    'price in \\$\\n'
    """
    text = printable(str(name))
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")


def new_figure(width: float, height: float, caption: str) -> Figure:
    """Create an empty figure, in inches.

    It belongs to no window system and is not in the global list of figures.

    The caption travels as the figure's label; a report prints it under the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07)  # inches
    figure = Figure(figsize=(width, height), layout=layout, dpi=150)
    FigureCanvasAgg(figure)
    figure.set_label(printable(caption))
    return figure
