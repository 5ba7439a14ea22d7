"""Parameters of the scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from quasistatic.checks import (
    MOST,
    MOST_DEPTH,
    MOST_STEPS,
    MOST_WIDTH,
    instance_of,
    one_of,
    real_number,
    true_or_false,
    whole_number,
)
from quasistatic.io.cells import is_text
from quasistatic.tables.settings import TableSettings

__all__ = ["checked_settings"]


def checked_settings(e: Any) -> TableSettings:
    """Check the parameters of an estimator.

    scikit-learn requires this in ``fit``, not in ``__init__``.
    """
    between: Callable[..., Any] = partial(real_number, least=0.0, below=1.0)
    one_of("marginals", e.marginals, ("auto", "none", "power", "ratio"))
    true_or_false("average", e.average)
    instance_of("verbose", e.verbose, (bool, int), "True or False")
    if e.max_time is not None:
        real_number("max_time", e.max_time, above=0.0, infinite=True)
    return TableSettings(
        marginals=e.marginals,
        n_members=_unless_auto(e.n_members, partial(whole_number, "n_members", least=1, most=1000)),
        average=bool(e.average),
        n_steps=_unless_auto(e.n_steps, partial(whole_number, "n_steps", least=2, most=MOST_STEPS)),
        n_components=_unless_auto(e.n_components, partial(whole_number, "n_components", least=1, most=MOST_WIDTH)),
        width=whole_number("width", e.width, 1, MOST_WIDTH),
        depth=whole_number("depth", e.depth, 1, MOST_DEPTH),
        dropout=_unless_auto(e.dropout, partial(between, "dropout")),
        max_updates=_unless_auto(e.max_updates, partial(whole_number, "max_updates", least=1, most=MOST)),
        batch_size=whole_number("batch_size", e.batch_size, 2),
        learning_rate=real_number("learning_rate", e.learning_rate, above=0.0),
        validation_fraction=real_number("validation_fraction", e.validation_fraction, above=0.0, below=1.0),
        patience=0
        if e.patience is None
        else whole_number("patience", e.patience, 1, otherwise="None for all of max_updates"),
        n_trajectories=whole_number("n_trajectories", e.n_trajectories, 1),
    )


def _unless_auto(value: Any, check: Callable[[Any], Any]) -> Any:
    """Return None for "auto", else the checked value."""
    return None if is_text(value) and value == "auto" else check(value)
