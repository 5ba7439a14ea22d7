"""A user's own pictures from folder or array to a measured model, and what is said of those that will not do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import pictures
from quasistatic import cli
from quasistatic.errors import InputError
from quasistatic.reverse.cosine import CosineBase
from quasistatic.reverse.wiener import WienerBase
from quasistatic.runs.run import evaluate_run, open_run
from quasistatic.runs.settings import make_recipe
from quasistatic.runs.training import train_run

SETTINGS = pictures.TRAINING | pictures.CHAIN | pictures.UNET


def folder_of(folder, n=40, channels=3, size=8):
    folder.mkdir()
    for k, x in enumerate(pictures.smooth(n, channels, size, 0)):
        Image.fromarray(x.transpose(1, 2, 0).squeeze()).save(folder / f"{k:03d}.png")
    return folder


def recipe(data, **settings):
    return make_recipe("images", SETTINGS, {"data": str(data)}, settings)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_and_its_array_give_the_same_rows_and_a_model_that_is_measured(tmp_path, channels):
    folder = folder_of(tmp_path / "pictures", channels=channels)
    np.save(tmp_path / "pictures.npy", pictures.smooth(40, channels, 8, 0))
    a, b = (recipe(path).splits(0) for path in (folder, tmp_path / "pictures.npy"))
    for split in ("train", "validation", "test"):
        assert torch.equal(a.rows(split), b.rows(split))
    assert (len(a.train), len(a.validation), len(a.test)) == (32, 4, 4)
    assert a.source is None
    train_run("images", tmp_path / "run", settings=SETTINGS | {"data": str(folder)}, quiet=True)
    told = evaluate_run(open_run(tmp_path / "run")).to_json()
    assert (told["n"], told["unit"]) == (4, "bits_per_dim")
    assert np.isfinite(told["bound"])


def test_no_image_is_in_two_splits_whatever_the_crop(tmp_path):
    x = np.zeros((50, 12, 12), np.uint8) + np.arange(50, dtype=np.uint8)[:, None, None]
    np.save(tmp_path / "x.npy", x)
    splits = recipe(tmp_path / "x.npy", crop=8).splits(0)
    seen = [set(rows.unique().tolist()) for rows in (splits.train, splits.validation, splits.test)]
    assert [len(values) for values in seen] == [40, 5, 5]
    assert len(set.union(*seen)) == 50
    assert splits.train.shape[1:] == splits.test.shape[1:] == (1, 8, 8)


def test_crops_are_taken_anywhere_in_training_and_in_the_middle_else(tmp_path):
    place = np.broadcast_to(np.arange(144, dtype=np.uint8).reshape(12, 12), (30, 12, 12))
    np.save(tmp_path / "x.npy", place)
    made = recipe(tmp_path / "x.npy", crop=8)
    splits = made.splits(0)
    corner = splits.test[:, 0, 0, 0]
    assert (corner == 2 * 12 + 2).all()
    rows = torch.as_tensor(splits.source[np.arange(24)].repeat(20, 0))
    drawn = made.augment(splits)(rows, torch.Generator().manual_seed(0))
    corners = drawn[:, 0, 0, 0].unique()
    assert corners.tolist() == [12 * i + j for i in range(5) for j in range(5)]  # 480 draws of 25: none is missed
    train_run("images", tmp_path / "run", settings=SETTINGS | {"data": str(tmp_path / "x.npy"), "crop": 8}, quiet=True)
    assert evaluate_run(open_run(tmp_path / "run")).to_json()["n"] == 3


def test_pictures_of_many_sizes_are_cropped_from_the_square_that_all_have(tmp_path):
    folder = folder_of(tmp_path / "pictures", n=20, size=12)
    Image.fromarray(np.zeros((30, 10, 3), np.uint8)).save(folder / "tall.png")
    splits = recipe(folder, crop=8).splits(0)
    assert splits.source.event_shape == (3, 10, 10)
    assert splits.test.shape[1:] == (3, 8, 8)


def test_an_array_is_not_read_as_a_whole(tmp_path):
    big = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (25_100, 1, 8, 8))
    big.flush()
    splits = recipe(tmp_path / "x.npy", validation=0.001, test=0.001).splits(0)
    assert len(splits.train) == 20_000
    assert len(splits.source) == 25_050
    assert splits.source[np.array([3, 1])].shape == (2, 1, 8, 8)


def spoil(folder, fault):
    if fault == "corrupt":
        (folder / "000.png").write_bytes(b"no picture")
    if fault == "torn":
        whole = (folder / "000.png").read_bytes()
        (folder / "000.png").write_bytes(whole[: len(whole) // 2])
    if fault == "empty":
        for file in folder.iterdir():
            file.unlink()
    if fault == "few":
        for file in sorted(folder.iterdir())[3:]:
            file.unlink()
    if fault == "size":
        Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(folder / "odd.png")
    if fault == "channels":
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "odd.png")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("corrupt", r"000\.png is not an image that can be read"),
        ("torn", r"000\.png is not an image that can be read"),
        ("empty", "holds no images"),
        ("few", "3 "),
        ("size", r"odd\.png has 8 x 9 pixels .*, but 000\.png has 8 x 8 .*: all images must be alike, or give crop"),
        ("channels", r"odd\.png has 8 x 8 pixels and 1 channel, .*: all images must be alike, or give channels"),
    ],
)
def test_pictures_that_will_not_do_are_one_sentence(tmp_path, fault, said):
    folder = folder_of(tmp_path / "pictures", n=20)
    spoil(folder, fault)
    with pytest.raises(InputError, match=said) as told:
        train_run("images", tmp_path / "run", settings=SETTINGS | {"data": str(folder)}, quiet=True)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run" / "checkpoint" / "latest.json").exists()


def test_numbers_that_are_no_levels_are_one_sentence_and_large_pictures_are_laid_on_cosines(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((30, 8, 8)))
    with pytest.raises(InputError, match=r"x\.npy holds numbers of type float64, but images are levels"):
        recipe(tmp_path / "x.npy").splits(0)
    np.save(tmp_path / "y.npy", pictures.smooth(30, 3, 40, 0))
    made = recipe(tmp_path / "y.npy")
    base = made.build(made.splits(0)).kernel.base
    assert isinstance(base, CosineBase)  # 4800 numbers
    assert isinstance(
        recipe(tmp_path / "y.npy", crop=8).build(recipe(tmp_path / "y.npy", crop=8).splits(0)).kernel.base, WienerBase
    )
    with pytest.raises(InputError, match=r"a crop of 50 pixels|crop 50 must fit"):
        recipe(tmp_path / "y.npy", crop=50).splits(0)
    with pytest.raises(InputError, match="needs pictures: give --data FOLDER"):
        make_recipe("images").splits(0)


def test_a_folder_that_has_changed_is_refused(tmp_path):
    folder = folder_of(tmp_path / "pictures")
    train_run("images", tmp_path / "run", settings=SETTINGS | {"data": str(folder)}, quiet=True)
    (folder / "000.png").unlink()
    with pytest.raises(InputError, match=r"the data of .*run has changed since the training"):
        evaluate_run(open_run(tmp_path / "run")).to_json()


def test_a_pixel_inked_for_the_first_time_costs_thousands_of_bits_and_no_millions(tmp_path):
    x = pictures.smooth(60, 1, 8, 0)
    margin = np.ones((8, 8), bool)
    margin[2:6, 2:6] = False
    x[:, :, margin] = 0
    np.save(tmp_path / "x.npy", x)
    made = recipe(tmp_path / "x.npy", n_steps=200)
    splits = made.splits(0)
    model = made.build(splits)
    odd = splits.test[:1].clone()
    odd[0, 0, 0, 0] = 255
    usual, costly = (
        model.elbo(rows, generator=torch.Generator().manual_seed(0)).total / np.log(2) for rows in (splits.test, odd)
    )
    assert costly.item() > usual.mean() - 20_000.0  # under the plain covariance it costs more than a million


@pytest.mark.parametrize("crop", [0, 4])
def test_transparent_pixels_lie_on_the_background_that_is_set_and_the_command_says_so(tmp_path, capsys, crop):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k, colour in enumerate(pictures.smooth(20, 3, 8, 0)):
        image = Image.fromarray(colour.transpose(1, 2, 0))
        image.putalpha(0 if k < 19 else 255)
        image.save(folder / f"{k:02d}.png")
    settings = {"channels": 3, "background": "grey", "crop": crop}
    splits = recipe(folder, **settings).splits(0)
    hidden = [rows for rows in torch.cat([splits.train, splits.validation, splits.test]) if (rows == 128).all()]
    assert len(hidden) >= 19
    words = [f"{key}={value}".replace(" ", "") for key, value in (SETTINGS | settings | {"samples_every": 0}).items()]
    cli.main(["train", "images", "--data", str(folder), "--out", str(tmp_path / "run"), "--set", *words])
    said = "20 of 20 pictures may have transparent pixels, which are blended with grey (background=grey)"
    assert capsys.readouterr().err.splitlines()[0] == said


def test_few_large_pictures_give_as_many_squares_as_they_have_room_for(tmp_path):
    np.save(tmp_path / "x.npy", pictures.smooth(5, 1, 64, 0))
    splits = recipe(tmp_path / "x.npy", crop=8, validation=0.4, test=0.2).splits(0)
    assert len(splits.train) == 2 * 64
    assert len(splits.train.unique(dim=0)) > 100
