"""Where batches come from: the same rows however they are kept, and a training that stops in time."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

import tiny
from quasistatic.errors import InputError
from quasistatic.forward import GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import GaussianDenoiser
from quasistatic.schedules import geometric
from quasistatic.train import fit
from quasistatic.train.source import Source
from quasistatic.transforms import Chain, Levels

SHORT = dataclasses.replace(tiny.CONFIG, n_updates=10, evaluate_every=5)


class OnDisk:
    """Rows behind an index, which says what was asked of it."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape = rows, rows.shape
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        self.asked.append(len(index))
        return self.rows[index]


def even() -> DiffusionModel:
    """A model of 8 levels whose transform draws nothing."""
    torch.manual_seed(0)
    process = GaussianDiffusion(geometric(12, 5.0, -4.0))
    network = ResidualMLP(2, GaussianDenoiser.n_outputs(2), width=12, depth=1)
    return DiffusionModel(Chain(Levels(8)), process, GaussianDenoiser(process, network, 2), (2,))


def mirrored(x: Tensor, generator: Generator) -> Tensor:
    """Turn the levels round in half of the rows."""
    return torch.where(torch.rand(len(x), 1, generator=generator) < 0.5, 7.0 - x, x)


def test_rows_on_disk_train_to_the_same_bits_as_rows_in_memory_and_are_read_a_batch_at_a_time():
    x = tiny.rows(300, 1)
    disk = OnDisk(x.numpy())
    models = [fit(even(), rows, tiny.rows(50, 2), SHORT, quiet=True) for rows in (x, disk)]
    a, b = (list(model.kernel.parameters()) for model in models)
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert disk.asked == [SHORT.batch_size] * SHORT.n_updates


def test_bytes_are_encoded_as_floats_are():
    x = tiny.rows(40, 1)
    index = torch.tensor([3, 3, 39])
    drawn = [Source(even(), rows).draw(index, Generator()) for rows in (x, x.to(torch.uint8), OnDisk(x.numpy()))]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0], ((x[index] - 3.5) / 3.5).float())


def test_an_augmentation_is_drawn_anew_for_each_batch_and_before_the_transform():
    x = torch.zeros(4, 2)
    source, generator = Source(even(), x, mirrored), Generator().manual_seed(0)
    drawn = torch.stack([source.draw(torch.arange(4), generator)[:, 0] for _ in range(50)])
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    # 200 fair coins: fewer than 60 or more than 140 ones come once in 1e8 runs
    assert 60 < (drawn > 0).sum() < 140
    assert len(drawn.unique(dim=0)) > 5


def test_a_bad_row_on_disk_is_found_when_it_is_drawn():
    x = tiny.rows(40, 1).numpy()
    x[7] = np.nan
    with pytest.raises(InputError, match="every value must be finite"):
        Source(even(), OnDisk(x)).draw(torch.tensor([7]), Generator())


def test_a_time_budget_stops_at_a_checkpoint_and_the_same_call_goes_on_to_the_same_bits(tmp_path):
    tiny.train(tmp_path / "whole", SHORT)
    spent = {"seconds": 0.0, "cpu_seconds": 0.0}
    for stops in range(1, SHORT.n_updates + 1):
        tiny.train(tmp_path / "parts", SHORT, time_budget=1e-9)
        last = json.loads((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["update"] == stops
        state = tmp_path / "parts" / "checkpoint" / f"update-{stops:08d}" / "state.json"
        told = json.loads(state.read_text())
        assert all(told[clock] > before for clock, before in spent.items())  # the time before a break counts, too
        spent = {clock: told[clock] for clock in spent}
    live = [tiny.result(tmp_path / name)[0] for name in ("whole", "parts")]
    key = f"update-{SHORT.n_updates:08d}/weight."
    weights = [k for k in live[0] if k.startswith(key)]
    assert weights
    assert all(torch.equal(live[0][k], live[1][k]) for k in weights)


def test_a_time_budget_of_nothing_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="time_budget must be positive, got 0"):
        tiny.train(tmp_path / "run", SHORT, time_budget=0)
