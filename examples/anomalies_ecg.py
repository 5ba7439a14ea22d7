"""Anomalous heartbeats: train on normal ones, score all; how well does the score part them?

Set QUASISTATIC_DATA to a folder that holds ecg5000/ECG5000_TRAIN.csv (UCR archive), or give the path as argument.
"""

import os
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from quasistatic import DiffusionDensity

path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.environ["QUASISTATIC_DATA"], "ecg5000", "ECG5000_TRAIN.csv")
# 140 samples a beat; means of four neighbours keep its shape
table = np.loadtxt(path, delimiter=",")
beats, normal = table[:, :140].reshape(-1, 35, 4).mean(2), table[:, 140] == 1
train = normal & (np.random.default_rng(0).random(len(beats)) < 0.6)

model = DiffusionDensity(max_updates=int(os.environ.get("STEPS", "1500")), random_state=0).fit(beats[train])
rest = ~train
scores = model.anomaly_score(beats[rest])
print(f"AUROC {roc_auc_score(~normal[rest], scores):.3f} over {rest.sum()} beats, {(~normal[rest]).sum()} of them abnormal")
