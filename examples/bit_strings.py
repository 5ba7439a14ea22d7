"""Bit strings whose second half repeats the first: density, missing bits filled, a broken copy found."""

import os

import numpy as np

from quasistatic import DiffusionDensity

half = np.random.default_rng(0).integers(0, 2, (1500, 4))
bits, new = np.split(np.concatenate([half, half], 1).astype(float), [1000])

steps = int(os.environ.get("STEPS", "1500"))
model = DiffusionDensity(n_steps=20, n_components=8, max_steps=steps, learning_rate=3e-3, random_state=0).fit(bits)
broken = bits[:5].copy()
broken[:, 0] = 1 - broken[:, 0]
score = model.score_samples(new) / np.log(2.0)
print(f"{score.mean():.3f} ± {score.std() / len(score) ** 0.5:.3f} bits on new rows, where the truth is -4 bits")
print("score of whole copies", model.score(bits[:5]), "and of broken ones", model.score(broken))
holes = bits[:3].copy()
holes[:, 4:6] = np.nan
print("gaps filled:", model.impute(holes).mean[:, 4:6].tolist(), "truth:", bits[:3, 4:6].tolist())
