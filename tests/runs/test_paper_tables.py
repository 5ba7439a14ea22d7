"""The paper's tables: our numbers in the paper's unit, beside numbers that fit each other."""

from __future__ import annotations

import math

import pytest

from evaluations import evaluation

from quasistatic.recipes.catalogue import CATALOGUE
from quasistatic.runs.paper_tables import PER_NUMBER, SAMPLES, TABLES, _TABLE_1, compared

RESULT = {"bound": 1.25, "standard_error": 0.01, "gain": 3.3, "gain_standard_error": 0.02, "n": 7}


def test_tables_are_made_of_recipes_that_say_so():
    for row in _TABLE_1:
        assert "table-1" in CATALOGUE[row.recipe].reproduces
    named = {name for name, entry in CATALOGUE.items() if "table-1" in entry.reproduces}
    assert named == {row.recipe for row in _TABLE_1}
    for item, samples in SAMPLES.items():
        assert all(item in CATALOGUE[name].reproduces for name in samples)


@pytest.mark.parametrize("row", [row for row in _TABLE_1 if row.gain], ids=lambda row: row.recipe)
def test_the_papers_gains_are_its_k_less_the_null_model(row):
    k, gain = (float(text.split()[0]) for text in (row.k, row.gain))
    null = {"swiss roll": -2 * PER_NUMBER, "CIFAR-10": -3 * PER_NUMBER}.get(row.data, -PER_NUMBER)
    if row.data == "binary heartbeat":
        null = 20 * (0.2 * math.log2(0.2) + 0.8 * math.log2(0.8))
    assert gain == pytest.approx(k - null, abs=0.06)  # the paper rounds to a tenth


def test_without_results_all_rows_are_there_and_ours_are_empty():
    for item in TABLES:
        rows = compared(item, {})
        assert len({tuple(row) for row in rows}) == 1
        assert not any(row[key] for row in rows for key in row if key.startswith("ours"))


def test_bits_of_levels_are_told_as_k_with_the_null_model_of_unit_variance():
    k = {"bits_per_pixel_at_unit_variance": {"value": 7.81, "standard_error": 0.03, "n": 9}}
    levels = RESULT | {"bound": -3.4, "channels": 3, "converted": k}
    other = {"bits_per_dim_of_levels": {"value": -4.0, "standard_error": 0.01, "n": 9}}
    rows = compared("table-1", {"cifar10": evaluation(levels), "bark": evaluation(RESULT | {"converted": other})})
    told = {row["recipe"]: row for row in rows}
    assert told["cifar10"]["ours K"].startswith("7.81 ± 0.03")
    assert told["cifar10"]["ours K - L_null"].startswith("13.95 ± 0.03")
    assert told["bark"]["ours K"].startswith("1.25 ± 0.01")
    assert told["bark"]["ours K - L_null"].startswith("3.30")


def test_the_first_step_of_the_paper_has_a_column_of_its_own():
    edge = RESULT | {"fixed_first_step": {"value": 1.125, "standard_error": 0.02, "n": 5}}
    told = {row["recipe"]: row for row in compared("table-1", {"mnist-paper": evaluation(edge)})}["mnist-paper"]
    assert told["ours K, first step fixed"].startswith("1.12")
    assert "n = 5" in told["ours K, first step fixed"]


def test_a_lead_and_a_parzen_number_are_told_with_what_they_are():
    pair = {"value": 0.2, "standard_error": 0.01, "n": 9}
    leaves = RESULT | {"baseline": {"name": "MCGSM", "lead_paired": pair} | pair}
    samples = {"n": 50, "parzen": pair, "parzen_sd": 0.2, "training_images_instead": 300.0}
    rows = compared("table-2", {"dead-leaves": evaluation(leaves), "mnist": evaluation(RESULT | {"samples": samples})})
    lead = next(row for row in rows if "lead" in row["model"])
    assert (lead["paper"], lead["ours"][:11]) == ("0.245", "0.20 ± 0.01")
    digits = [row for row in rows if row["data"] == "MNIST"]
    assert all("no likelihood" in row["unit"] and "50 samples" in row["unit"] for row in digits)
    assert next(row["ours"] for row in digits if row["model"] == "diffusion").startswith("0.20 ")
