"""``python -m posteriors NAME ... [--runs RUNS] [--seeds K] [--records FOLDER]``: measure, and write the records."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

import torch

from posteriors.common import RECORDS, Clock, say, write

# name -> what it needs in RUNS, each trained by `quasistatic train NAME --out RUNS/NAME`
NAMES = {
    "exact": "nothing",
    "swiss_roll": "swiss-roll",
    "heartbeat": "heartbeat-mixture, and heartbeat if it is there",
    "ising": "nothing: trains its own model, three minutes",
    "coverage": "swiss-roll; trains a model of digits, a minute",
    "images": "mnist-binary or cifar10, those that are there, and scikit-image",
}


def main() -> None:
    told = "; ".join(f"{name} needs {what}" for name, what in NAMES.items())
    parser = argparse.ArgumentParser(prog="python -m posteriors", description=__doc__, epilog=told)
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    parser.add_argument("--seeds", type=int, default=3, help="of the posteriors' draws, from 0; the models stay")
    parser.add_argument("--records", type=Path, default=RECORDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.names:
        for k in range(asked.seeds):
            say(f"{name}, seed {k}")
            clock = Clock()
            found = import_module(f"posteriors.{name}").measure(asked.runs, k)
            for row, measured in found.items():
                write(row, k, measured, clock.told(), asked.records)


if __name__ == "__main__":
    main()
