"""Figures, tables and reports from numpy arrays, strings and plain dicts; knows nothing of models.

matplotlib is imported only when a figure is drawn.
"""

from __future__ import annotations

from quasistatic.report.bits import bit_rates
from quasistatic.report.figures import align_to_first_one, heartbeat_figure, swiss_roll_figure
from quasistatic.report.files import save_figure, whole_file
from quasistatic.report.html import Section, write_report
from quasistatic.report.images import image_sheet
from quasistatic.report.learning import learning_curve
from quasistatic.report.marginals import column_marginals
from quasistatic.report.pairs import pair_plot
from quasistatic.report.steps import entropy_band, outside_band, step_costs
from quasistatic.report.tables import format_estimate, html_table, markdown_table, text_table

__all__ = [
    "Section",
    "align_to_first_one",
    "bit_rates",
    "column_marginals",
    "entropy_band",
    "format_estimate",
    "heartbeat_figure",
    "html_table",
    "image_sheet",
    "learning_curve",
    "markdown_table",
    "outside_band",
    "pair_plot",
    "save_figure",
    "step_costs",
    "swiss_roll_figure",
    "text_table",
    "whole_file",
    "write_report",
]
