"""Figures, tables and reports from numpy arrays, strings and plain dicts; knows nothing of models.

matplotlib is imported only when a figure is drawn.
"""

from __future__ import annotations

from quasistatic.report.bits import bit_rates
from quasistatic.report.calibration import (
    Coverage,
    coverage,
    energy_score,
    rank_histogram,
    rank_test,
    ranks,
    sliced_wasserstein,
)
from quasistatic.report.extremes import extreme_rows
from quasistatic.report.figures import align_to_first_one, heartbeat_figure, swiss_roll_figure
from quasistatic.report.files import save_figure, whole_file
from quasistatic.report.html import Section, write_report
from quasistatic.report.images import image_sheet
from quasistatic.report.intervals import coverage_curve
from quasistatic.report.learning import learning_curve
from quasistatic.report.marginals import column_marginals
from quasistatic.report.pairs import pair_plot
from quasistatic.report.panels import image_panels
from quasistatic.report.posteriors import posterior_images, posterior_intervals, posterior_points
from quasistatic.report.steps import entropy_band, outside_band, step_costs
from quasistatic.report.tables import format_estimate, html_table, markdown_table, text_table

__all__ = [
    "Coverage",
    "Section",
    "align_to_first_one",
    "bit_rates",
    "column_marginals",
    "coverage",
    "coverage_curve",
    "energy_score",
    "entropy_band",
    "extreme_rows",
    "format_estimate",
    "heartbeat_figure",
    "html_table",
    "image_panels",
    "image_sheet",
    "learning_curve",
    "markdown_table",
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
    "text_table",
    "whole_file",
    "write_report",
]
