"""Figures from numpy arrays, independent of models.

matplotlib is imported only when a figure is drawn.
"""

from __future__ import annotations

from quasistatic.plots.bits import bit_rates
from quasistatic.plots.calibration import (
    Coverage,
    coverage,
    energy_score,
    rank_histogram,
    rank_test,
    ranks,
    sliced_wasserstein,
)
from quasistatic.plots.extremes import extreme_rows
from quasistatic.plots.figures import align_to_first_one, heartbeat_figure, swiss_roll_figure
from quasistatic.plots.files import save_figure
from quasistatic.plots.images import image_grid
from quasistatic.plots.intervals import coverage_curve
from quasistatic.plots.learning import learning_curve
from quasistatic.plots.marginals import column_marginals
from quasistatic.plots.pairs import pair_plot
from quasistatic.plots.panels import image_panels
from quasistatic.plots.posteriors import posterior_images, posterior_intervals, posterior_points
from quasistatic.plots.steps import entropy_band, outside_band, step_costs

__all__ = [
    "Coverage",
    "align_to_first_one",
    "bit_rates",
    "column_marginals",
    "coverage",
    "coverage_curve",
    "energy_score",
    "entropy_band",
    "extreme_rows",
    "heartbeat_figure",
    "image_grid",
    "image_panels",
    "learning_curve",
    "outside_band",
    "pair_plot",
    "posterior_images",
    "posterior_intervals",
    "posterior_points",
    "rank_histogram",
    "rank_test",
    "ranks",
    "save_figure",
    "sliced_wasserstein",
    "step_costs",
    "swiss_roll_figure",
]
