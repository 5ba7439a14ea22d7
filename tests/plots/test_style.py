"""The report disturbs neither the import time nor the user's own figures."""

from __future__ import annotations

import os
import subprocess
import sys

import matplotlib

from quasistatic.plots import learning_curve, save_figure

LIGHT = """
import sys
import quasistatic.plots
assert not [name for name in sys.modules if name.split(".")[0] in ("matplotlib", "torch", "sklearn")]
"""

NO_PYPLOT = """
import sys, io
import numpy as np
from quasistatic import plots as report
bits, x = np.eye(5), np.random.default_rng(0).normal(size=(9, 2))
rows = [("a", x)] * 3
drawn = [
    report.swiss_roll_figure(rows, rows, [("a", x, x)] * 3), report.heartbeat_figure([("a", bits)]),
    report.image_grid(bits[None]), report.pair_plot(x, x), report.bit_rates(bits, bits),
    report.learning_curve([]), report.step_costs([1, 0], [1, 1], [0, 0]),
    report.entropy_band([1, 0], [0, 0], [1, 1], [1, 1]),
]
for figure in drawn:
    figure.savefig(io.BytesIO())
assert "matplotlib.pyplot" not in sys.modules
"""


def run(code: str) -> None:
    # The child sees the package where this process does, installed or not.
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr


def test_importing_the_report_imports_no_plotting_and_no_models():
    run(LIGHT)


def test_no_figure_touches_pyplot():
    run(NO_PYPLOT)


def test_the_users_settings_come_back(tmp_path):
    before = dict(matplotlib.rcParams)
    save_figure(learning_curve([]), tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


def test_the_users_settings_do_not_change_the_figure(tmp_path):
    save_figure(learning_curve([{"update": 1, "train": 0.0}]), tmp_path / "a.png")
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "axes.spines.top": True}):
        save_figure(learning_curve([{"update": 1, "train": 0.0}]), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
