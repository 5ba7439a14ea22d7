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
from quasistatic.baselines import parzen_log_prob
from quasistatic.errors import InputError
from quasistatic.recipes.mnist import BinaryMnist
from quasistatic.recipes.mnist8 import parzen
from quasistatic.runs.run import Run, evaluate_run, open_run
from quasistatic.runs.settings import make_recipe
from quasistatic.runs.training import train_run


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
    told = evaluate_run(run).to_json()
    assert (told["n"], told["unit"], told["n_timesteps"]) == (16, run.recipe.unit, 2)
    assert math.isfinite(told["bound"])
    assert sum(told["terms"].values()) == pytest.approx(told["bound"], rel=1e-9)
    assert ("fixed_first_step" in told) == run.recipe.has_fixed_first_step
    channels = run.splits.test.shape[1]
    for unit, pair in told.get("converted", {}).items():  # an error is scaled as its value is, and not shifted
        scale = channels if unit == "bits_per_pixel_at_unit_variance" else 1 / channels
        assert pair["standard_error"] == pytest.approx(scale * told["standard_error"], rel=1e-6)


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
    beta = fresh.process.beta[3].item()
    assert torch.allclose(back.var, torch.full_like(x, beta), rtol=1e-5)
    assert torch.allclose(back.mean, math.sqrt(1.0 - beta) * x, rtol=1e-5)  # the forward kernel itself
    told = evaluate_run(run).to_json()
    edge = told["fixed_first_step"]
    assert edge["n"] == told["n"]
    # the paper's first step has a ceiling for each number: its density cannot be above that of its own noise
    ceiling = -0.5 * math.log2(2.0 * math.pi * math.e * run.model.process.beta[1].item())
    terms = run.model.estimate_elbo(run.splits.test, 2, first_step="fixed").terms("bits_per_dim")
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


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_bits_of_levels_turn_into_the_papers_k(trained, name):
    run = trained(name)
    x = run.splits.train.double()
    sd = (x.var(correction=0) + 1 / 12).sqrt().item()  # of the levels and the noise that dequantises
    (k,) = run.recipe.converted(run.splits, -3.0).values()
    assert k == pytest.approx(x.shape[1] * (math.log2(sd) - 3.0), abs=1e-6)


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_the_null_model_of_levels_is_a_mass_as_the_bound_is(trained, name):
    run = trained(name)
    shape = run.splits.test.shape[1:]
    flat = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(256, *shape)
    each = run.recipe.null_log_prob(run.model, flat, torch.Generator()) / math.prod(shape)  # all numbers are of one law
    assert each.exp().sum().item() == pytest.approx(1.0, abs=1e-9)
    told = evaluate_run(run).to_json()
    assert told["gain"] == pytest.approx(told["bound"] - told["null"], abs=1e-9)


def test_dynamic_binarisation_draws_training_rows_anew_and_holds_the_others_still(trained):
    trained("mnist-binary")  # the small sets are in place
    made = make_recipe("mnist-binary", pictures.SMALL["mnist-binary"], {"binarisation": "dynamic"})
    splits, again = made.splits(0), made.splits(1)
    assert torch.equal(splits.validation, again.validation)
    assert torch.equal(splits.test, again.test)
    grey = torch.as_tensor(np.array(splits.source))
    assert grey.max() > 1
    vary = made.augment(splits)
    assert vary is not None
    rows = grey[:1].repeat(4000, 1, 1, 1)
    drawn = vary(rows, torch.Generator().manual_seed(0)).double()
    rate = grey[0].double() / 255.0
    z = (drawn.mean(0) - rate) / ((rate * (1 - rate)).clamp_min(1e-9) / 4000).sqrt()
    assert z.abs().max() < 5.0  # two-sided, 64 pixels: false alarm 4e-5
    static = make_recipe("mnist-binary", pictures.SMALL["mnist-binary"])
    assert static.splits(0).source is None
    assert static.augment(static.splits(0)) is None


def test_a_model_is_trained_on_rows_drawn_anew(trained, tmp_path):
    trained("mnist-binary")
    settings = pictures.SMALL["mnist-binary"] | {"binarisation": "dynamic"}
    train_run("mnist-binary", tmp_path / "run", settings=settings, quiet=True)
    assert math.isfinite(evaluate_run(open_run(tmp_path / "run")).to_json()["bound"])


def test_samples_of_digits_are_given_the_parzen_number(trained):
    run = trained("mnist")
    told = evaluate_run(run, n_samples=20).to_json()["samples"]
    assert (told["n"], told["parzen"]["n"]) == (20, 16)
    assert "no likelihood" in told["parzen_unit"]
    splits = run.splits
    noise = torch.randint(256, splits.train[:20].shape, generator=torch.Generator().manual_seed(0))
    assert parzen(noise, splits)["parzen"]["value"] < parzen(splits.train[:20], splits)["parzen"]["value"]
    told = parzen(splits.train[:20], splits)
    each = parzen_log_prob(splits.train[:20] / 255.0, splits.test / 255.0, told["parzen_sd"])
    assert told["parzen"]["value"] == pytest.approx(each.mean().item() / math.log(2.0), rel=1e-5)


@pytest.mark.parametrize("name", ["cifar10", "mnist-paper"])
def test_sheets_of_samples_are_left_while_it_trains_unless_it_is_quiet(trained, tmp_path, monkeypatch, name):
    trained(name)
    settings = pictures.SMALL[name] | {"samples_every": 1}
    drawn = []
    monkeypatch.setattr("quasistatic.runs.training.save_figure", lambda figure, path: drawn.append(path.name))
    train_run(name, tmp_path / "quiet", settings=settings, quiet=True)
    assert drawn == []
    train_run(name, tmp_path / "told", settings=settings)
    assert drawn == [f"samples-{step:08d}.png" for step in (0, 2, 4)]
    weights = Path("checkpoint", "best-finished", "model.safetensors")
    assert (tmp_path / "quiet" / weights).read_bytes() == (tmp_path / "told" / weights).read_bytes()
    assert make_recipe(name, settings, {"samples_every": 0}).progress_figure(None, None, 0) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(pictures.SMALL))
def test_a_report_shows_the_figures_of_its_recipe(trained, monkeypatch, name):
    run = trained(name)
    small = {"picture": 20, "filled": 8} if name == "bark" else {"picture": 20} if name == "dead-leaves" else {}
    recipe = make_recipe(name, pictures.SMALL[name], small)
    with torch.no_grad():
        figures = recipe.figures(run.model, run.splits, torch.Generator().manual_seed(0))
    own = {"cifar10": "figure-3", "dead-leaves": "figure-4", "bark": "figure-5"}
    assert {"samples", "test-images", "forward", "reverse"} <= figures.keys()
    assert own.get(name, "samples") in figures
    assert ("denoised" in figures) == (name not in ("mnist-binary", "mnist-binary-flip", "cifar10"))
    assert all(figure.get_label() for figure in figures.values())
    sheets = [figures[sheet] for sheet in ("samples", "test-images")]
    assert [sheet.texts[0].get_text() for sheet in sheets] == ["Samples of the model", "Test pictures, for comparison"]
    assert sheets[0].get_label() != sheets[1].get_label()


def test_the_middle_of_bark_is_filled_and_its_surroundings_are_the_pictures(trained):
    run = trained("bark")
    recipe = make_recipe("bark", pictures.SMALL["bark"], {"picture": 20, "filled": 8})
    figure = recipe.figures(run.model, run.splits, torch.Generator().manual_seed(0))["figure-5"]
    held_out, lost, filled = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    hole = np.zeros((20, 20), bool)
    hole[6:14, 6:14] = True
    for other in (lost, filled):
        np.testing.assert_allclose(held_out[~hole], other[~hole], rtol=1e-6)
    assert not np.array_equal(held_out[hole], filled[hole])
    with pytest.raises(InputError, match="filled must be below picture, got filled = 20 and picture = 20"):
        make_recipe("bark", pictures.SMALL["bark"], {"picture": 20, "filled": 20}).figures(
            run.model, run.splits, torch.Generator()
        )


def test_of_binary_pixels_masks_alone_are_neither_black_nor_white():
    run = BinaryMnist()
    splits: Any = None  # bits have no scale
    x = torch.tensor([0.0, 1.0, 1.0 + 1e-7, -0.4, 1.7, 2.0, torch.nan]).view(1, 1, 1, 7)
    assert run.shown(x, splits).flatten()[:5].tolist() == [1.0, 0.0, 0.0, 1.0, 0.0]  # noise, and means
    assert np.isnan(run.shown(x, splits).flatten()[5:]).all()
