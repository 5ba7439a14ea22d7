"""The examples run: trained for a moment, on as few rows as will do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = {
    "anomalies_ecg": ("ecg5000/ECG5000_TRAIN.csv", "AUROC 0."),
    "impute_wisconsin": ("tabular/breast-cancer-wisconsin.data", "16 real gaps"),
    "mixed_abalone": ("tabular/abalone.csv", "three new shells"),
}


def output(name: str, **settings: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("STEPS", "ROWS")} | settings
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def quick(name: str) -> str:
    return output(name, STEPS="3", ROWS="200")


def test_bit_strings() -> None:
    assert "the truth is -4 bits" in quick("bit_strings")


@pytest.mark.slow
def test_bit_strings_end_near_the_truth() -> None:
    told = output("bit_strings")
    density, total = (float(line.split(": ")[1].split()[0].rstrip(";")) for line in told.splitlines()[:2])
    assert -4.05 < density < -3.98
    assert 0.96 < total < 1.02
    filled, truth = told.splitlines()[-1].removeprefix("missing bits filled: ").split(" truth: ")
    assert filled == truth


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_an_example_on_a_file(name: str) -> None:
    file, said = FILES[name]
    if not Path(os.environ.get("QUASISTATIC_DATA", "."), file).exists():
        pytest.skip(f"{file} is not in QUASISTATIC_DATA")
    assert said in quick(name)


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"bit_strings", *FILES}
