"""Bit strings: eight bits of which the second half repeats the first; density, gaps, and a broken copy found."""

import os

import numpy as np

from quasistatic import DiffusionDensity

half = np.random.default_rng(0).integers(0, 2, (1000, 4))
bits = np.concatenate([half, half], 1).astype(float)

steps = int(os.environ.get("STEPS", "1500"))
model = DiffusionDensity(n_steps=20, n_components=8, max_steps=steps, learning_rate=3e-3, random_state=0).fit(bits)
broken = bits[:5].copy()
broken[:, 0] = 1 - broken[:, 0]
print(model.bound(bits).mean("bits"), "where the truth is -4 bits")
print("score of whole copies", model.score(bits[:5]), "and of broken ones", model.score(broken))
holes = bits[:3].copy()
holes[:, 4:6] = np.nan
print("gaps filled:", model.impute(holes).mean[:, 4:6].tolist(), "truth:", bits[:3, 4:6].tolist())
