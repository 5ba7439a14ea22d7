"""Every command on a run of every kind: the files that it should leave, or one sentence on why it does not apply."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pictures
import small
from commands import Told, blank, command  # noqa: F401  # fixtures
from quasistatic import cli
from quasistatic.recipes.catalogue import CATALOGUE
from quasistatic.runs.run import open_run

OWN = pictures.TRAINING | pictures.CHAIN | pictures.UNET | {"samples_every": 0}

# kinds of runs that have data of the user's, by name: recipe, settings, and shape and type of the data
OWNED: dict[str, tuple[str, dict[str, Any]]] = {
    "array-binomial": ("array", small.SMALL["array"] | {"family": "binomial"}),
    "images-grey": ("images", OWN),
    "images-colour": ("images", OWN),
    "images-levels": ("images", OWN | {"levels": 4}),
    "images-crop": ("images", OWN | {"crop": 4, "flips": "yes"}),
}
FIGURES = {"bark": {"picture": 20, "filled": 8}, "dead-leaves": {"picture": 20}}
KINDS = [*small.SMALL, *pictures.SMALL, *OWNED]
PICTURES = {"digits", *pictures.SMALL, *(kind for kind in OWNED if kind.startswith("images"))}


def recipe_of(kind: str) -> str:
    return OWNED[kind][0] if kind in OWNED else kind


def own_data(kind: str, home: Path) -> Path:
    if kind == "array-binomial":
        return small.table(home / "bits.csv", family="binomial")
    if kind == "images-levels":
        np.save(home / "levels.npy", pictures.smooth(40, 1, 8, 0) // 64)
        return home / "levels.npy"
    folder = home / kind
    folder.mkdir()
    for i, x in enumerate(pictures.smooth(40, 3 if kind == "images-colour" else 1, 8, 0)):
        Image.fromarray(x.transpose(1, 2, 0).squeeze()).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for runs, while small pictures stand in the place of all files."""
    folder = tmp_path_factory.mktemp("every")
    with pytest.MonkeyPatch.context() as patch:
        pictures.install(patch, folder)
        yield folder


@pytest.fixture
def run(home: Path, command: Callable[..., Told]) -> Callable[[str], Path]:
    """Runs by their kinds, each trained by the command when it is first asked for."""

    def trained(kind: str) -> Path:
        folder = home / f"run-{kind}"
        if not folder.exists():
            settings = small.SMALL.get(kind) or pictures.SMALL.get(kind) or OWNED[kind][1]
            if kind in pictures.SMALL:
                settings = settings | {"samples_every": 0} | FIGURES.get(kind, {})
            words = [f"{name}={json.dumps(value).replace(' ', '')}".replace('"', "") for name, value in settings.items()]
            data: list[object] = []
            if kind in OWNED:
                data = ["--data", own_data(kind, home)]
            elif CATALOGUE[kind].takes:
                (home / kind).mkdir()
                data = ["--data", small.own_rows(kind, home / kind)["data"]]
            told = command("train", recipe_of(kind), *data, "--out", folder, "--set", *words, "--json")
            assert told.json()["recipe"] == recipe_of(kind)
        return folder

    return trained


def observation(kind: str, folder: Path, home: Path) -> tuple[Path, Path]:
    """A file to be seen through noise, or through a mask beside it: PNG for pictures."""
    shape = open_run(folder).model.event_shape
    if kind in PICTURES and kind != "digits":
        channels, height, width = shape
        x = pictures.smooth(1, channels, height, 9)[0].transpose(1, 2, 0).squeeze()
        top = 1 if "binary" in kind else 3 if kind == "images-levels" else 255
        x = (x // (256 // (top + 1)) * (255 // top)).astype(np.uint8)
        file, mask = home / f"{kind}.png", home / f"{kind}-mask.png"
        Image.fromarray(x).save(file)
        known = np.arange(height * width).reshape(height, width) % 3 > 0
        Image.fromarray(255 * known.astype(np.uint8)).save(mask)
        return file, mask
    bits = np.arange(np.prod(shape)).reshape(shape) % 2
    file, mask = home / f"{kind}.npy", home / f"{kind}-mask.npy"
    np.save(file, bits[None].astype(float))
    np.save(mask, bits)
    return file, mask


def inside(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_all_recipes_are_of_a_kind_that_is_tried() -> None:
    assert {recipe_of(kind) for kind in KINDS} == set(CATALOGUE)
    tried = {word for name in globals() if name.startswith("test_") for word in name.split("_")}
    assert set(cli.COMMANDS) <= tried  # those of the list of recipes are in its name above


@pytest.mark.parametrize("kind", KINDS)
def test_train_leaves_a_model(run, kind):
    assert {"config.yaml", "metrics.jsonl", "checkpoint/finished.json", "checkpoint/best.json"} <= inside(run(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_measures(run, command, kind):
    answer = command("evaluate", run(kind), "--trajectories", 0, "--json").json()
    assert np.isfinite(answer["bound"])
    assert json.loads((run(kind) / "result.json").read_text()) == answer


@pytest.mark.parametrize("kind", KINDS)
def test_sample_writes_arrays_tables_and_pictures(run, command, tmp_path, kind):
    shape = open_run(run(kind)).model.event_shape
    words = ("sample", run(kind), "-n", 3)
    command(*words, "--out", tmp_path / "x.npy", "--json").json()
    x = np.load(tmp_path / "x.npy")
    assert x.shape == (3, *shape)
    if kind in PICTURES and kind not in ("bark", "dead-leaves", "mnist-paper", "cifar10-paper"):
        assert x.dtype == np.uint8  # whole numbers, as the guide says
    table = command(*words, "--out", tmp_path / "x.csv")
    if len(shape) == 1:
        assert table.status == 0
        assert (tmp_path / "x.csv").read_text().count("\n") == 4
    else:
        assert "not that of a table's row: write a .npy file" in table.sentence()
    drawn, one = command(*words, "--out", tmp_path / "x"), command("sample", run(kind), "-n", 1, "--out", tmp_path / "x.png")
    if kind in PICTURES:
        assert (drawn.status, one.status) == (0, 0)
        assert inside(tmp_path / "x") == {"0.png", "1.png", "2.png"}
        with Image.open(tmp_path / "x" / "2.png") as image, Image.open(tmp_path / "x.png") as other:
            assert image.size == other.size == ((8, 8) if kind == "digits" else shape[:0:-1])
            if kind not in ("bark", "dead-leaves", "mnist-paper", "cifar10-paper"):
                top = {"digits": 16, "images-levels": 3, "mnist-binary": 1, "mnist-binary-flip": 1}.get(kind, 255)
                pixels = np.asarray(image).reshape(*image.size[::-1], -1).transpose(2, 0, 1)
                assert np.array_equal(np.round(pixels * (top / 255)), x[2].reshape(pixels.shape))
        assert "is one picture, but -n is 3" in command(*words, "--out", tmp_path / "y.png").sentence()
    else:
        assert "are not pictures: write a .npy" in drawn.sentence()
        assert "are not pictures: write a .npy" in one.sentence()


@pytest.mark.parametrize("verb", ["denoise", "inpaint"])
@pytest.mark.parametrize("kind", KINDS)
def test_denoise_and_inpaint_leave_samples_and_pictures(run, command, blank, tmp_path, home, kind, verb):
    seen, mask = observation(kind, run(kind), home)
    words = ("--noise-std", 0.7) if verb == "denoise" else ("--mask", mask)
    told = command(
        verb, run(kind), "--input", seen, *words, "--particles", 4, "--draws", 2, "--out", tmp_path / "out", "--json"
    )
    if kind == "table":
        assert (
            told.sentence()
            == f"{verb} is for arrays and pictures: fill the missing entries of a table with quasistatic impute"
        )
        return
    assert told.status == 0, told.err
    found = inside(tmp_path / "out")
    of_pictures = {f"pictures/{kind}-{name}.png" for name in ("mean", "sample-1", "sample-2")}
    assert found == {"posterior.npz", "answer.json", "picture.png"} | (of_pictures if seen.suffix == ".png" else set())
    with np.load(tmp_path / "out" / "posterior.npz") as file:
        samples, y = file["samples"], file["observed"]
    assert samples.shape == (1, 2, *y.shape[1:])
    if verb == "inpaint":
        known = ~np.isnan(y[0])
        assert 0 < known.sum() < known.size
        assert (samples[0][:, known] == y[0][known]).all()
        if seen.suffix == ".png":  # known pixels leave as they came
            with Image.open(seen) as image, Image.open(tmp_path / "out" / "pictures" / f"{kind}-sample-1.png") as other:
                before, after = np.asarray(image), np.asarray(other)
            bright = np.asarray(Image.open(mask)) > 127
            assert np.array_equal(before[bright], after[bright])


@pytest.mark.parametrize("verb", ["score", "impute"])
@pytest.mark.parametrize("kind", KINDS)
def test_score_and_impute_are_for_tables(run, command, tmp_path, kind, verb):
    data = small.mixed_table(tmp_path / "rows.csv", n=6, seed=3)
    draws = ("--draws", 2) if verb == "impute" else ()
    told = command(verb, run(kind), "--data", data, "--out", tmp_path / "out.csv", *draws)
    if kind == "table":
        assert told.status == 0
        assert (tmp_path / "out.csv").read_text().count("\n") == 7
    else:
        assert "table" in told.sentence()
        assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_report_and_reproduce_draw(run, command, blank, tmp_path, kind):
    name = recipe_of(kind)
    told = command("report", run(kind), "--json").json()
    assert Path(told["report"]).exists()
    assert {"result.json", "report.html", "figures/learning-curve.png"} <= inside(run(kind))
    assert all(Path(figure).exists() for figure in told["figures"])
    if CATALOGUE[name].takes:
        assert f"cannot reproduce {name}" in command("reproduce", name, "--out", tmp_path).sentence()
        return
    shutil.copytree(run(kind), tmp_path / name)  # what is there is taken up
    answer = command("reproduce", name, "--out", tmp_path, "--json").json()
    assert [result["recipe"] for result in answer["results"]] == [name]
