"""Abalone: sex in letters, seven lengths and weights, rings as levels, in one table; scored, drawn, and conditioned.

Set QUASISTATIC_DATA to a folder that holds tabular/abalone.csv (UCI), or give the path as argument.
"""

import os
import sys
from pathlib import Path

import numpy as np

from quasistatic import DiffusionDensity

path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.environ["QUASISTATIC_DATA"], "tabular", "abalone.csv")
rows = [line.split(",") for line in path.read_text().split()][: int(os.environ.get("ROWS", "4177"))]
table = np.array([[row[0], *map(float, row[1:])] for row in rows], dtype=object)

# rings could pass for levels, but a shell may have more of them than any seen before
model = DiffusionDensity(types={8: "integer"}, max_updates=int(os.environ.get("STEPS", "3000")), random_state=0).fit(
    table[::2]
)
print(model.elbo(table[1::2]).mean("bits"), "of held-out rows: densities of numbers, probabilities of sex and rings")
infant = model.condition({0: "I"}, n_draws=200)
male = model.condition({0: "M"}, n_draws=200)
print(f"mean rings: {np.mean(infant.draws[:, 0, 8]):.1f} of infants, {np.mean(male.draws[:, 0, 8]):.1f} of males")
print("three new shells:", *model.sample(3, random_state=1).tolist(), sep="\n")
