"""Laws in closed form beside the diffusions: heavy tails, and weights of an average."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from chance import check_covariance
from little_tables import normal_rows
from quasistatic.data.normal import Normal
from quasistatic.estimator.build import preconditioned
from quasistatic.estimator.columns import Column
from quasistatic.estimator.mixture import NormalMixture, mixing_weights

COLUMNS = [Column(f"column {i}", "numeric") for i in range(3)]


def stretched(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Normal rows, a fifth of them four times as far from the mean in all directions, and their log densities."""
    x = torch.as_tensor(normal_rows(100_000))
    law = Normal(x.mean(0), (x - x.mean(0)).T @ (x - x.mean(0)) / len(x))
    draw = Generator().manual_seed(seed)
    far = torch.rand(n, 1, generator=draw) < 0.2
    rows = law.draw(torch.full((n, 3), math.nan), draw)[0]
    rows = law.mean + torch.where(far, 4.0, 1.0) * (rows - law.mean)
    each = torch.stack([law.log_prob(rows) + math.log(0.8), Normal(law.mean, 16 * law.cov).log_prob(rows) + math.log(0.2)])
    return rows, each.logsumexp(0)


def test_heavy_tails_are_found_and_none_where_there_are_none() -> None:
    train, _ = stretched(1500)
    test, truth = stretched(4000, seed=1)
    transform = preconditioned(train, COLUMNS, "none")
    tailed, normal = NormalMixture.tailed(transform, train), NormalMixture.single(transform)
    short = (truth - tailed.log_prob(test)).mean().item()
    assert -0.01 < short < 0.03
    assert (tailed.log_prob(test) - normal.log_prob(test)).mean().item() > 0.4
    tame = torch.as_tensor(normal_rows(1500))
    transform = preconditioned(tame, COLUMNS, "none")
    loss = NormalMixture.single(transform).log_prob(tame) - NormalMixture.tailed(transform, tame).log_prob(tame)
    assert loss.mean().item() < 0.01


def test_a_row_far_out_leaves_more_room_for_what_is_missing() -> None:
    train, _ = stretched(1500)
    transform = preconditioned(train, COLUMNS, "none")
    layer, tailed = transform.parts[0], NormalMixture.tailed(transform, train)
    cov = tailed.laws[0].cov
    within = cov[1:, 1:] - cov[1:, :1] @ cov[:1, 1:] / cov[0, 0]
    scales = torch.stack([law.cov[0, 0] / cov[0, 0] for law in tailed.laws])
    spread = []
    for far in (0.0, 4.0):
        row = torch.full((8000, 3), math.nan, dtype=torch.float64)
        row[:, 0] = train[:, 0].mean() + far * train[:, 0].std()
        share = torch.softmax(tailed.components(layer(row[:1])[0]), 1)[0]  # type: ignore[operator]
        drawn = layer(tailed.draw(row, Generator().manual_seed(0)))[0][:, 1:]  # type: ignore[operator]
        check_covariance(drawn, (share * scales).sum() * within)
        spread.append(drawn.var(0).sum().item())
    assert spread[1] > 4 * spread[0]


def test_columns_that_are_never_seen_together_have_no_tails() -> None:
    rows = torch.full((2, 3), math.nan, dtype=torch.float64)
    rows[0, 0], rows[1, 1:] = 1.0, 2.0
    transform = preconditioned(rows, COLUMNS, "none")
    assert NormalMixture.tailed(transform, rows).n_components == 1


def test_weights_are_the_likeliest_but_for_one_row_s_doubt() -> None:
    scores = torch.tensor([[0.0, -40.0]] * 30 + [[-40.0, 0.0]] * 9, dtype=torch.float64)
    assert mixing_weights(scores).tolist() == pytest.approx([30.5 / 40, 9.5 / 40])
