"""``quasistatic denoise`` and ``inpaint``: whole answers for files of every kind, and one sentence for bad ones."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import small
from commands import Told, blank, command  # noqa: F401  # fixtures


@pytest.fixture
def y(tmp_path: Path) -> Path:
    np.save(tmp_path / "y.npy", np.array([[0.3, 0.2], [-0.5, 0.9]]))
    return tmp_path / "y.npy"


def arrays(folder: Path) -> dict[str, Any]:
    with np.load(folder / "posterior.npz") as file:
        return dict(file)


def test_denoising_writes_samples_moments_evidence_and_a_picture(command, y, tmp_path):
    out = tmp_path / "out"
    told = command("denoise", small.trained("swiss-roll"), "--input", y, "--noise-std", 0.5, "--out", out, "--json")
    answer = told.json()
    assert told.err.splitlines()[0] == "sampling 2 posteriors of swiss-roll"
    assert {p.name for p in out.iterdir()} == {"answer.json", "picture.png", "posterior.npz"}
    assert (answer["n"], answer["particles"], answer["unit"]) == (2, 200, "nats")
    found = arrays(out)
    assert found["samples"].shape == (2, 16, 2)
    assert found["mean"].shape == found["std"].shape == (2, 2)
    np.testing.assert_allclose(found["log_evidence"], answer["log_evidence"])
    np.testing.assert_array_equal(found["observed"], np.load(y))
    assert all(1.0 <= ess <= 200.0 for ess in answer["ess"])
    assert json.loads((out / "answer.json").read_text()) == answer
    with Image.open(out / "picture.png") as image:
        assert min(image.size) > 100


def test_the_same_seed_writes_the_same_and_people_get_a_table(command, y, tmp_path):
    words = ("denoise", small.trained("swiss-roll"), "--input", y, "--noise-std", 0.5, "--particles", 40)
    said = command(*words, "--out", tmp_path / "a")
    assert said.status == 0
    assert "log evidence" in said.out
    assert f"in {tmp_path / 'a'}" in said.out
    command(*words, "--out", tmp_path / "b", "--json").json()
    a, b = arrays(tmp_path / "a"), arrays(tmp_path / "b")
    assert all((a[name] == b[name]).all() for name in a)
    command(*words, "--out", tmp_path / "a", "--seed", 1, "--json").json()  # an answer that is there is replaced
    assert (arrays(tmp_path / "a")["samples"] != a["samples"]).any()


def test_inpainting_keeps_what_is_known_and_takes_a_mask_or_nan(command, tmp_path):
    run = small.trained("swiss-roll")
    np.save(tmp_path / "nan.npy", np.array([[0.3, np.nan], [np.nan, 0.9]]))
    np.savez(tmp_path / "y.npz", x=np.array([[0.3, 7.0], [8.0, 0.9]]), other=np.zeros(3))
    np.save(tmp_path / "mask.npy", np.array([[1, 0], [0, 1]]))
    for name, words in {
        "nan": ("--input", tmp_path / "nan.npy"),
        "mask": ("--input", tmp_path / "y.npz", "--mask", tmp_path / "mask.npy"),
    }.items():
        command("inpaint", run, *words, "--out", tmp_path / name, "--json").json()
        found = arrays(tmp_path / name)
        assert (found["samples"][0, :, 0] == 0.3).all()
        assert (found["samples"][1, :, 1] == 0.9).all()
        assert found["samples"][0, :, 1].std() > 0.01
        np.testing.assert_array_equal(np.isnan(found["observed"]), [[False, True], [True, False]])
    a, b = arrays(tmp_path / "nan"), arrays(tmp_path / "mask")
    assert (a["samples"] == b["samples"]).all()


def test_bits_are_inpainted_from_a_table_and_contradictions_warn(command, tmp_path, blank):
    run = small.trained("heartbeat-mixture")
    (tmp_path / "y.csv").write_text("\n".join(["1" + ",0" * 19, "1,1" + ",1" * 18]) + "\n")
    np.save(tmp_path / "mask.npy", np.arange(20) < 20)
    told = command(
        "inpaint", run, "--input", tmp_path / "y.csv", "--mask", tmp_path / "mask.npy", "--particles", 20,
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    answer = told.json()
    assert answer["n"] == 2
    assert (arrays(tmp_path / "out")["samples"][1] == 1).all()
    assert answer["log_evidence"][1] < answer["log_evidence"][0]
    assert [line.removeprefix("warning: ") for line in told.err.splitlines()[1:]] == answer["warnings"]


def test_images_of_digits_come_from_a_folder_a_file_and_an_array(command, tmp_path):
    run, digits = small.trained("digits"), small.opened("digits").splits.test[:2].view(2, 8, 8).numpy()
    (tmp_path / "images").mkdir()
    for i, image in enumerate(digits):
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(tmp_path / "images" / f"{i}.png")
    np.save(tmp_path / "digits.npy", digits)
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    sources = {"folder": tmp_path / "images", "file": tmp_path / "images" / "0.png", "array": tmp_path / "digits.npy"}
    for name, source in sources.items():
        words = ("--input", source, "--mask", tmp_path / "mask.png", "--particles", 12, "--draws", 5)
        answer = command("inpaint", run, *words, "--out", tmp_path / name, "--json").json()
        assert answer["n"] == (1 if name == "file" else 2)
        found = arrays(tmp_path / name)
        assert found["samples"].shape == (answer["n"], 5, 64)
        np.testing.assert_array_equal(
            found["samples"].reshape(-1, 5, 8, 8)[:, :, :4],
            np.broadcast_to(digits[: answer["n"], None, :4], (answer["n"], 5, 4, 8)),
        )
        assert (found["samples"] == found["samples"].round()).all()


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_failed_command_leaves_nothing_behind(command, y, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "savez", full)
    out = tmp_path / "out"
    told = command("denoise", small.trained("swiss-roll"), "--input", y, "--noise-std", 0.5, "--out", out)
    assert told.sentence("sampling 2 posteriors of swiss-roll") == f"cannot write {out}: No space left on device"
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("again", [False, True])
def test_samples_are_kept_though_their_picture_fails(command, y, tmp_path, monkeypatch, again):
    words = ("denoise", small.trained("swiss-roll"), "--input", y, "--noise-std", 0.5, "--particles", 20)
    out = tmp_path / "out"
    if again:  # over an answer that has a picture
        command(*words, "--out", out, "--json").json()
    monkeypatch.setattr("quasistatic.plots.save_figure", full)
    told = command(*words, "--out", out)
    kept = "No space left on device; the samples are in posterior.npz there"
    assert told.sentence("sampling 2 posteriors of swiss-roll") == f"cannot draw into {out}: {kept}"
    assert {p.name for p in out.iterdir()} == {"answer.json", "posterior.npz"}
    assert arrays(out)["samples"].shape == (2, 16, 2)
    assert json.loads((out / "answer.json").read_text())["files"] == ["answer.json", "posterior.npz"]
    assert {p.name for p in tmp_path.iterdir()} == {"out", "y.npy"}

    def broken(*_: object, **__: object) -> None:
        raise TypeError("a fault of the program")

    monkeypatch.setattr("quasistatic.runs.conditioning._picture", broken)
    with pytest.raises(TypeError):
        command(*words, "--out", tmp_path / "other")
    assert arrays(tmp_path / "other")["samples"].shape == (2, 16, 2)


def test_a_strangers_folder_is_not_replaced(command, y, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("dear diary")
    words = ("--input", y, "--noise-std", 0.5, "--out", tmp_path / "out")
    said = command("denoise", small.trained("swiss-roll"), *words).sentence("sampling 2 posteriors of swiss-roll")
    assert "would delete diary.txt there" in said
    assert (tmp_path / "out" / "diary.txt").read_text() == "dear diary"


BAD: dict[str, tuple[Callable[[Path], list[object]], str]] = {
    "no file": (lambda f: ["denoise", "--input", f / "no.npy", "--noise-std", 1], "there is no file or folder"),
    "ending": (
        lambda f: ["denoise", "--input", f / "y.json", "--noise-std", 1],
        r"must be a folder of images or end in \.npy",
    ),
    "noise": (
        lambda f: ["denoise", "--input", f / "y.npy", "--noise-std", 0],
        "--noise-std must be positive and finite, got 0.0",
    ),
    "shape": (
        lambda f: ["denoise", "--input", f / "three.npy", "--noise-std", 1],
        r"has shape \(2, 3\), but this model takes \(n, 2\)",
    ),
    "nan": (
        lambda f: ["denoise", "--input", f / "nan.npy", "--noise-std", 1],
        "holds nan: for entries that were not observed use",
    ),
    "infinity": (lambda f: ["denoise", "--input", f / "inf.npy", "--noise-std", 1], r"an infinite number at index \[0, 1\]"),
    "pickle": (lambda f: ["denoise", "--input", f / "object.npy", "--noise-std", 1], "which are never loaded"),
    "particles": (
        lambda f: ["denoise", "--input", f / "y.npy", "--noise-std", 1, "--particles", 0],
        "--particles must be at least 1, got 0",
    ),
    "all known": (lambda f: ["inpaint", "--input", f / "y.npy"], "every entry of .* is known: give a --mask"),
    "none known": (
        lambda f: ["inpaint", "--input", f / "y.npy", "--mask", f / "zero.npy"],
        "the mask leaves no entry known",
    ),
    "masks": (lambda f: ["inpaint", "--input", f / "y.npy", "--mask", f / "masks.npy"], "holds 3 masks, but there are 2"),
    "known nan": (
        lambda f: ["inpaint", "--input", f / "nan.npy", "--mask", f / "one.npy"],
        "nan at an entry that the mask marks",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(command, tmp_path, name):
    np.save(tmp_path / "y.npy", np.zeros((2, 2)))
    np.save(tmp_path / "three.npy", np.zeros((2, 3)))
    np.save(tmp_path / "nan.npy", np.array([[0.0, np.nan]]))
    np.save(tmp_path / "inf.npy", np.array([[0.0, np.inf]]))
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "zero.npy", np.zeros(2))
    np.save(tmp_path / "one.npy", np.ones(2))
    np.save(tmp_path / "masks.npy", np.ones((3, 2)))
    (tmp_path / "y.json").write_text("{}")
    words, sentence = BAD[name]
    first, *rest = words(tmp_path)
    told: Told = command(first, small.trained("swiss-roll"), *rest, "--out", tmp_path / "out")
    progress = [line for line in told.err.splitlines() if line.startswith("sampling")]
    import re

    assert re.search(sentence, told.sentence(*progress))
    assert not (tmp_path / "out").exists()


def test_levels_must_be_whole_numbers(command, tmp_path):
    np.save(tmp_path / "y.npy", np.full(20, 0.5))
    np.save(tmp_path / "mask.npy", np.arange(20) < 3)
    words = ("--input", tmp_path / "y.npy", "--mask", tmp_path / "mask.npy", "--out", tmp_path / "out")
    said = command("inpaint", small.trained("heartbeat"), *words).sentence()
    assert "must hold whole numbers from 0 to 1, as in the training data of this model" in said


def test_the_default_folder_lies_in_the_run(command, y, tmp_path):
    run = Path(shutil.copytree(small.trained("swiss-roll"), tmp_path / "copy"))
    words = ("--input", y, "--noise-std", 0.5, "--particles", 10, "--n-steps", 2)
    answer = command("denoise", run, *words, "--json").json()
    assert (answer["folder"], answer["n_steps"]) == (str(run / "denoise"), 2)
    assert (run / "denoise" / "posterior.npz").exists()


def test_an_error_that_is_not_known_is_a_question_mark() -> None:
    from quasistatic.cli.posteriors import _known

    assert [_known(error) for error in (0.1234, math.nan, None)] == ["0.12", "?", "?"]
