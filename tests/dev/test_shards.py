"""A training that is packed, taken elsewhere and unpacked goes on as if it had stayed, within the stated precision."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import pictures
import tiny
from gpu.shards import pack, unpack
from quasistatic.errors import InputError
from quasistatic.model import DiffusionModel
from quasistatic.recipes.base import seeded
from quasistatic.runs.run import open_run
from quasistatic.runs.settings import make_recipe
from quasistatic.runs.training import train_run
from quasistatic.train.session import Session

NAME = "mnist"  # 8 x 8 pixels on a Gaussian base
LEARNING = {"train.learning_rate": 0.005, "train.warmup": 1, "train.clip": 1000.0}
SETTINGS = pictures.SMALL[NAME] | LEARNING | {"train.n_updates": 8, "widths": [8, 16], "dropout": 0.2}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """``whole``: eight updates in one go. ``half``: the same training, broken off at update 4."""
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        pictures.install(patch, folder)
        train(folder / "whole")
        with patch.context() as stopped:
            stopped.setattr(Session, "budget_spent", lambda session: session.trainer.state.update == 4)
            assert train(folder / "half")["stopped_at"] == 4
        shutil.rmtree(folder / "half" / "checkpoint" / "update-00000002")  # the one before goes nowhere
        yield folder


def train(folder: Path) -> dict[str, Any]:
    return train_run(NAME, folder, settings=SETTINGS)


def untrained() -> DiffusionModel:
    recipe = make_recipe(NAME, SETTINGS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return recipe.build(recipe.splits(0))


def taken_away(home: Path, to: Path, **how: Any) -> Path:
    """The broken-off run, packed and unpacked into another folder."""
    pack(home / "half", to / "shards", **how)
    unpack(to / "shards", to / "run", untrained())
    return to / "run"


def test_in_float32_a_training_goes_on_to_the_same_bits(home, tmp_path):
    run = taken_away(home, tmp_path, precision="float32")
    tiny.same(home / "half", run)
    train(run)
    whole = shutil.copytree(home / "whole", tmp_path / "whole")
    for folder in (whole, run):
        (folder / "checkpoint" / "finished.json").unlink()  # tells how long it took
    tiny.same(whole, run)


def test_in_bfloat16_each_number_keeps_eight_bits_and_the_rest_is_exact(home, tmp_path):
    run = taken_away(home, tmp_path)
    (before, told), (after, told_again) = tiny.result(home / "half"), tiny.result(run)
    assert [{k: v for k, v in words.items() if k != "bytes"} for words in told_again] == [
        {k: v for k, v in words.items() if k != "bytes"} for words in told
    ]
    assert after.keys() == before.keys()
    matrices = [k for k in before if before[k].dim() > 1 and before[k].dtype == torch.float32]
    moved = {k for k in before if not torch.equal(after[k], before[k])}
    assert moved
    assert moved <= set(matrices)
    for key in moved:
        assert ((after[key] - before[key]).abs() <= 2.0**-8 * before[key].abs()).all(), key
    index = json.loads((tmp_path / "shards" / "index.json").read_text())
    assert any(key.startswith("model.kernel.network") for key in index["same"])  # the best is the latest: held once
    assert not any("argument" in key or "random" in key or "sampler" in key for key in moved)


def test_in_bfloat16_a_training_ends_where_it_would_have(home, tmp_path):
    run = taken_away(home, tmp_path)
    train(run)
    x = torch.as_tensor(pictures.sets().test)
    bounds = []
    for model in (open_run(home / "whole").model, open_run(run).model, untrained()):
        bounds.append(model.elbo(x, generator=seeded(0)).total)
    whole, taken, start = bounds
    assert not torch.equal(whole, taken)
    moved = (whole - start).square().mean().sqrt()  # what the updates changed in the bound of a row
    assert moved > 0.5
    assert (taken - whole).square().mean().sqrt() < 0.05 * moved  # the same noise for all: what is left is the rounding's


def size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files[1:])


def test_shards_have_the_size_asked_for_and_bfloat16_halves_them(home, tmp_path):
    files = pack(home / "half", tmp_path / "small", largest=20_000)
    assert files[0].name == "index.json"
    assert len(files) > 3
    assert all(file.stat().st_size <= 20_000 for file in files[1:])
    unpack(tmp_path / "small", tmp_path / "run", untrained())
    full, half = pack(home / "half", tmp_path / "full", "float32"), pack(home / "half", tmp_path / "half")
    assert 0.5 < size(half) / size(full) < 0.65  # but for vectors and random states
    with pytest.raises(InputError, match="bytes, but a shard may have 100"):
        pack(home / "half", tmp_path / "tiny", largest=100)


def test_a_finished_run_is_its_best_model_alone(home, tmp_path):
    files = pack(home / "whole", tmp_path / "shards")
    assert all(key.startswith("model.") for file in files[1:] for key in load_file(file))
    unpack(tmp_path / "shards", tmp_path / "run", untrained())
    x = torch.as_tensor(pictures.sets().test)
    before, after = (open_run(folder).model.elbo(x, generator=seeded(0)) for folder in (home / "whole", tmp_path / "run"))
    assert after.total.mean().item() == pytest.approx(before.total.mean().item(), rel=2e-3)
    assert train(tmp_path / "run") == train(home / "whole")  # it knows that it is finished


def test_what_cannot_be_is_one_sentence(home, tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint to pack"):
        pack(tmp_path, tmp_path / "shards")
    with pytest.raises(InputError, match="precision must be bfloat16 or float32, got 'half'"):
        pack(home / "half", tmp_path / "shards", precision="half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds no index"):
        unpack(tmp_path, tmp_path / "run", untrained())
    files = pack(home / "half", tmp_path / "shards", largest=20_000)
    with pytest.raises(InputError, match="holds a checkpoint already"):
        unpack(tmp_path / "shards", home / "half", untrained())
    other = make_recipe(NAME, SETTINGS | {"widths": [8]})
    with pytest.raises(InputError, match="is of another recipe or settings"):
        unpack(tmp_path / "shards", tmp_path / "run", other.build(other.splits(0)))
    files[-1].unlink()
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    with pytest.raises(InputError, match=r"lacks shard-\d+.safetensors: bring all"):
        unpack(tmp_path / "shards", tmp_path / "run", untrained())
