"""Bit strings whose second half repeats the first: density, missing bits filled, a broken copy found."""

import itertools
import os

import numpy as np

from quasistatic import DiffusionDensity

half = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
strings = np.concatenate([half, half], 1)  # all 16 that are possible, each with probability 1/16
rows, steps = (int(os.environ.get(name, default)) for name, default in (("ROWS", "4000"), ("STEPS", "3000")))
bits = strings[np.random.default_rng(0).integers(16, size=rows)]

model = DiffusionDensity(
    n_members=1, n_steps=20, n_components=16, max_updates=steps, width=64, learning_rate=3e-3, random_state=0
)
model.fit(bits).set_params(n_trajectories=100)  # more paths for each score: closer to the log density, and less noise
score = model.score_samples(strings)
print(f"log density: {score.mean() / np.log(2.0):.3f} bits per string, mean over all 16; the truth is -4 bits")
print(f"probability of the 16 together: {np.exp(score).sum():.3f}; the truth is 1")
broken = strings.copy()
broken[:, 0] = 1.0 - broken[:, 0]
print(f"score of the least likely copy: {score.min():.2f} nats; of the most likely broken one:", end=" ")
print(f"{model.score_samples(broken).max():.2f} nats")
holes = strings[[1, 6, 12]]
holes[:, 4:6] = np.nan
print("missing bits filled:", model.impute(holes).mean[:, 4:6].tolist(), "truth:", strings[[1, 6, 12], 4:6].tolist())
