"""Reading ahead changes when rows are read, and nothing else."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

import tiny
from quasistatic.errors import InputError
from quasistatic.train import Engine
from quasistatic.train.ahead import Ahead
from quasistatic.train.source import Source, draw_rows

SHORT = dataclasses.replace(tiny.CONFIG, n_updates=10, evaluate_every=5)


class OnDisk:
    """Rows behind an index, which keeps what was asked and by whom."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.shape = rows.numpy(), rows.shape
        self.asked: list[np.ndarray] = []
        self.threads: list[str] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        self.asked.append(index)
        self.threads.append(threading.current_thread().name)
        return self.rows[index]


def trained(prefetch: bool) -> tuple[dict[str, Tensor], OnDisk]:
    disk = OnDisk(tiny.rows(300, 1))
    fitted = tiny.fit(tiny.model(), disk, tiny.rows(50, 2), SHORT, quiet=True, engine=Engine(prefetch=prefetch))
    return fitted.state_dict(), disk


def test_read_ahead_a_training_has_the_same_bits_and_reads_the_same_rows_once():
    (a, ahead), (b, not_ahead) = trained(True), trained(False)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert len(ahead.asked) == SHORT.n_updates
    assert all(np.array_equal(i, j) for i, j in zip(ahead.asked, not_ahead.asked, strict=True))
    # all but the first batch by the other thread, which is gone now
    assert [name.startswith("quasistatic-ahead") for name in ahead.threads] == [False] + [True] * (SHORT.n_updates - 1)
    assert {name for name in not_ahead.threads} == {threading.main_thread().name}
    assert not [t for t in threading.enumerate() if t.name.startswith("quasistatic-ahead")]


def test_interrupted_while_a_batch_is_read_ahead_and_continued_equals_uninterrupted(tmp_path):
    disk = OnDisk(tiny.rows(300, 1))

    def run(name: str, **kwargs: object) -> None:
        tiny.fit(
            tiny.model(), disk, tiny.rows(50, 2), SHORT, folder=tmp_path / name, quiet=True,
            place_steps=tiny.place_steps, **kwargs,  # type: ignore[arg-type]
        )  # fmt: skip

    run("whole")
    with pytest.raises(tiny.Interrupted):
        run("broken-off", on_evaluation=tiny.stop_at(5))
    run("broken-off")
    assert tiny.same(tmp_path / "whole", tmp_path / "broken-off")


def test_to_expect_leaves_the_generator_as_it_is():
    source, generator = Source(tiny.model(), OnDisk(tiny.rows(40, 1))), Generator().manual_seed(5)
    source.prefetch(generator, 8)
    assert source.ahead is not None
    assert source.ahead.expected is not None
    assert torch.equal(source.ahead.expected[0], draw_rows(40, 8, Generator().manual_seed(5)))
    assert torch.equal(generator.get_state(), Generator().manual_seed(5).get_state())
    source.close()


def test_a_wrong_guess_is_read_again():
    ahead = Ahead(lambda index: index + 100)
    ahead.start(torch.tensor([1, 2]))
    assert ahead.take(torch.tensor([2, 1])).tolist() == [102, 101]
    assert ahead.take(torch.tensor([1, 2])).tolist() == [101, 102]  # a guess serves once
    ahead.close()
    ahead.close()


def test_an_error_in_reading_ahead_is_raised_where_the_rows_are_needed():
    def broken(index: Tensor) -> Tensor:
        raise InputError("row 3 is damaged")

    ahead = Ahead(broken)
    ahead.start(torch.tensor([3]))
    with pytest.raises(InputError, match="row 3 is damaged"):
        ahead.take(torch.tensor([3]))
    ahead.close()
