"""Breast cancer cells with their 16 real gaps, and more made: filled by draws, with intervals.

Set QUASISTATIC_DATA to a folder that holds tabular/breast-cancer-wisconsin.data (UCI), or give the path as argument.
"""

import os
import sys
from pathlib import Path

import numpy as np

from quasistatic import DiffusionDensity

home = Path(os.environ.get("QUASISTATIC_DATA", "."), "tabular", "breast-cancer-wisconsin.data")
path = Path(sys.argv[1]) if len(sys.argv) > 1 else home
cells = [line.split(",")[1:] for line in path.read_text().split()]
table = np.array([[np.nan if cell == "?" else float(cell) for cell in row] for row in cells])
real = np.isnan(table)
made = (np.random.default_rng(0).random(table.shape) < 0.1) & ~real
holes = np.where(made, np.nan, table)

model = DiffusionDensity(max_updates=int(os.environ.get("STEPS", "1500")), random_state=0).fit(holes)
filled = model.impute(holes, n_draws=20)
numbers = made & (np.arange(table.shape[1]) < 9)  # the last column is the diagnosis
low, high = filled.quantile(0.05), filled.quantile(0.95)
inside = ((low <= table) & (table <= high))[numbers].mean()
error = np.sqrt(np.mean((filled.mean - table)[numbers] ** 2))
print(f"{real.sum()} real gaps and {made.sum()} made; root mean square error {error:.2f} of levels 1 to 10")
print(f"the truth lies between the 5 and 95 % quantiles in {100 * inside:.0f} % of the made gaps")
print(f"bare nuclei of the first real gap: {filled.draws[:, real.any(1), 5][:, 0]}")
