"""The processes of one training; with more than one of them also in test_loop."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import distributed, nn

from quasistatic.train.workers import Workers, workers


def test_alone_nothing_is_joined_or_wrapped(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    layer, rows = nn.Linear(2, 2), torch.arange(5.0)
    with workers() as team:
        assert team == Workers(0, 1)
        assert team.first
        assert team.wrap(layer) is layer
        assert team.gather(rows) is rows
        team.wait()
        assert not distributed.is_initialized()


def test_only_the_first_process_writes():
    assert [Workers(rank, 3).first for rank in range(3)] == [True, False, False]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_gathering_puts_every_worldth_row_back_in_its_place(monkeypatch, world):
    whole = torch.arange(12.0)

    def all_gather(parts: list[torch.Tensor], mine: torch.Tensor) -> None:
        for rank, part in enumerate(parts):
            part.copy_(whole[rank::world])

    monkeypatch.setattr(distributed, "all_gather", all_gather)
    for rank in range(world):
        mine = whole if world == 1 else whole[rank::world]
        assert torch.equal(Workers(rank, world).gather(mine), whole)


def test_a_group_that_is_there_is_used_and_left(monkeypatch, tmp_path):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        with workers() as team:
            assert team == Workers(0, 1)
        assert distributed.is_initialized()
    finally:
        distributed.destroy_process_group()


def test_a_group_that_was_joined_is_left_after_an_error(monkeypatch):
    joined: list[str] = []

    def entering(device: torch.device) -> nullcontext[None]:
        joined.append(str(device))
        return nullcontext()

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device", entering)
    monkeypatch.setattr(distributed, "init_process_group", joined.append)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: joined.append("left"))
    with pytest.raises(KeyboardInterrupt), workers(torch.device("cpu")):
        raise KeyboardInterrupt
    with workers("cuda:1") as team:
        assert team == Workers(1, 2)
    assert joined == ["gloo", "left", "cuda:1", "nccl", "left"]


def test_rows_that_processes_have_filled_in_are_put_together_to_the_last_bit(monkeypatch):
    whole = torch.randn(7, 3, dtype=torch.float64)
    rank_1 = torch.where(torch.arange(7)[:, None] % 2 == 1, whole, 0.0)
    monkeypatch.setattr(distributed, "all_reduce", lambda rows: rows.add_(rank_1))
    monkeypatch.setattr(distributed, "get_backend", lambda: "gloo")
    rank_0 = torch.where(torch.arange(7)[:, None] % 2 == 0, whole, 0.0)
    assert torch.equal(Workers(0, 2).merged(rank_0.clone()), whole)
    assert Workers().merged(rank_0) is rank_0
