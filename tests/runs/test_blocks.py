"""Blocks: every row once, draws that depend on the block and on nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from quasistatic.runs import blocks as module
from quasistatic.runs.blocks import blocks, by_blocks
from quasistatic.train.workers import Workers


@given(n=st.integers(0, 3000), dims=st.integers(1, 2**20), seed=st.integers(0, 2**62))
def test_blocks_cover_all_rows_in_order_and_none_is_larger_than_allowed(n, dims, seed):
    rows = [i for part, _ in blocks(n, (dims,), seed) for i in range(part.start, part.stop)]
    assert rows == list(range(n))
    assert all((part.stop - part.start) * dims <= max(dims, module.NUMBERS) for part, _ in blocks(n, (dims,), seed))


def test_every_block_has_draws_of_its_own_and_the_first_one_those_of_the_seed():
    draws = {
        (seed, number): torch.rand(4, generator=generator)
        for seed in (0, 1, 1000)
        for number, (_, generator) in enumerate(blocks(10, (module.NUMBERS // 2,), seed))
    }
    assert len(draws) == 15
    assert len({tuple(each.tolist()) for each in draws.values()}) == 15
    for seed in (0, 1, 1000):
        assert torch.equal(draws[seed, 0], torch.rand(4, generator=Generator().manual_seed(seed)))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_the_pieces_of_all_processes_are_the_whole(world, monkeypatch):
    monkeypatch.setattr(module, "NUMBERS", 6)
    x = torch.randn(11, 2, dtype=torch.float64)

    def noisy(rows: Tensor, generator: Generator) -> Tensor:
        return rows + torch.rand(rows.shape, generator=generator, dtype=torch.float64)

    # what each process would give to the others
    monkeypatch.setattr(Workers, "merged", lambda team, rows: rows)
    alone = by_blocks(x, noisy, 2, seed=5, team=Workers())
    parts = [by_blocks(x, noisy, 2, seed=5, team=Workers(rank, world)) for rank in range(world)]
    assert torch.equal(torch.stack(parts).sum(0), alone)
    assert all(((part != 0).any(1)).sum() < 11 for part in parts) or world == 1
    noise = alone - x
    assert ((noise >= 0) & (noise < 1)).all()
