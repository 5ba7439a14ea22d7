"""Image recipes on small synthetic pictures: they train, measure and draw, and their numbers keep their conventions."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import pictures
from quasistatic.recipes.run import Run, evaluate_run, open_run, train_run
from quasistatic.recipes.settings import make_recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Runs of the small recipes, each trained when it is first asked for."""
    home = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        pictures.install(patch, home)
        runs: dict[str, Run] = {}

        def run(name: str) -> Run:
            if name not in runs:
                train_run(name, home / name, settings=pictures.SMALL[name], quiet=True)
                runs[name] = open_run(home / name)
            return runs[name]

        yield run


@pytest.mark.parametrize("name", list(pictures.SMALL))
def test_a_recipe_trains_and_is_measured_in_its_unit(trained, name):
    run = trained(name)
    told = evaluate_run(run)
    assert (told["n"], told["unit"], told["visits"]) == (16, run.recipe.unit, 2)
    assert math.isfinite(told["bound"])
    assert sum(told["terms"].values()) == pytest.approx(told["bound"], rel=1e-9)
    assert ("stationary" in told) == run.recipe.has_edge


@pytest.mark.parametrize("name", ["bark", "mnist-paper", "cifar10-paper"])
def test_numbers_at_unit_variance_turn_into_bits_of_the_levels(trained, name):
    run = trained(name)
    raw = run.splits.train.double() * run.splits.sd + run.splits.mean
    assert run.splits.train.double().var(correction=0).item() == pytest.approx(1.0, abs=0.1)
    channels = len(run.splits.test[0])
    (told,) = run.recipe.converted(run.splits, 1.5 * channels).values()
    # the density of raw numbers is that of the scaled ones over sd, for each entry
    assert told == pytest.approx(1.5 - math.log2(run.splits.sd), abs=1e-9)
    assert 0.0 <= raw.min().item() <= raw.max().item() <= 256.0 + 1e-3


@pytest.mark.parametrize("name", ["mnist-paper", "cifar10-paper"])
def test_the_papers_network_starts_as_the_forward_kernel_and_both_first_steps_are_scored(trained, name):
    run = trained(name)
    fresh = run.recipe.build(run.splits)
    x = torch.randn(5, *fresh.event_shape)
    back = fresh.kernel(x, 3)
    beta = fresh.diffusion.beta[3].item()
    assert torch.allclose(back.var, torch.full_like(x, beta), rtol=1e-5)
    assert torch.allclose(back.mean, (1.0 - beta) * x, rtol=1e-5)  # eq. (65) with z = 0
    told = evaluate_run(run)
    edge = told["stationary"]
    assert edge["n"] == told["n"]
    # the paper's first step has a ceiling for each number: its density cannot be above that of its own noise
    ceiling = -0.5 * math.log2(2.0 * math.pi * math.e * run.model.diffusion.beta[1].item())
    terms = run.model.quick_bound(run.splits.test, 2, first_step="stationary").terms("bits_per_dim")
    error = terms["data"].standard_error
    assert terms["data"].value <= ceiling + 4.5 * error  # two-sided at 4.5 errors: false alarm 7e-6
    assert told["first_step"] == "learned"


def test_noise_that_dequantises_is_drawn_anew_and_keeps_the_level(trained):
    run = trained("mnist-paper")
    splits, x = run.splits, run.splits.train[:50]
    again = run.recipe.augment(splits)(x, torch.Generator().manual_seed(0))
    levels = [(rows * splits.sd + splits.mean).floor() for rows in (x, again)]
    assert (levels[0] == levels[1]).float().mean() > 0.999
    noise = again * splits.sd + splits.mean - levels[0]
    assert abs(noise.mean().item() - 0.5) < 4.5 * (1 / 12 / noise.numel()) ** 0.5 + 1e-3
    assert not torch.allclose(x, again, atol=0.1 / splits.sd)


def test_mirror_images_of_bark_are_a_setting(trained):
    run = trained("bark")
    x = run.splits.train
    mirrored = run.recipe.augment(run.splits)(x, torch.Generator().manual_seed(0))
    same, turned = ((mirrored == other).flatten(1).all(1) for other in (x, x.flip(-1)))
    assert (same | turned).all()
    assert 0 < int(turned.sum()) < len(x)
    assert make_recipe("bark", pictures.SMALL["bark"], {"flips": False}).augment(run.splits) is None


@pytest.mark.parametrize("name", list(pictures.SMALL))
def test_pictures_are_within_black_and_white(trained, name):
    run = trained(name)
    shown = run.recipe.shown(run.splits.test[:3], run.splits)
    assert shown.shape[:3] == (3, *run.splits.test.shape[2:])
    assert np.nanmin(shown) >= 0.0
    assert np.nanmax(shown) <= 1.0


def test_a_run_of_before_a_setting_was_known_is_taken_up(trained, tmp_path):
    folder = Path(shutil.copytree(trained("bark").folder, tmp_path / "run"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config.pop("flips")  # as an older version would have left it
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert open_run(folder).recipe == trained("bark").recipe
    assert train_run("bark", folder, settings=pictures.SMALL["bark"], quiet=True)["recipe"] == "bark"
