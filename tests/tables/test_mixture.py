"""Laws in closed form beside the diffusions: heavy tails, and weights of an average."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from chance import check_covariance, check_frequencies
from little_tables import normal_rows
from quasistatic.tables.columns import Column
from quasistatic.tables.mixture import NormalMixture, mixing_weights
from quasistatic.tables.preconditioner import fit_preconditioner
from quasistatic.transforms.normal import Normal

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
    transform = fit_preconditioner(train, COLUMNS, "none")
    tailed, normal = NormalMixture.heavy_tailed(transform, train), NormalMixture.single(transform)
    short = (truth - tailed.log_prob(test)).mean().item()
    assert -0.01 < short < 0.03
    assert (tailed.log_prob(test) - normal.log_prob(test)).mean().item() > 0.4
    tame = torch.as_tensor(normal_rows(1500))
    transform = fit_preconditioner(tame, COLUMNS, "none")
    loss = NormalMixture.single(transform).log_prob(tame) - NormalMixture.heavy_tailed(transform, tame).log_prob(tame)
    assert loss.mean().item() < 0.01


def test_a_row_far_out_leaves_more_room_for_what_is_missing() -> None:
    train, _ = stretched(1500)
    transform = fit_preconditioner(train, COLUMNS, "none")
    tailed = NormalMixture.heavy_tailed(transform, train)
    cov = tailed.normals[0].cov
    within = cov[1:, 1:] - cov[1:, :1] @ cov[:1, 1:] / cov[0, 0]
    scales = torch.stack([law.cov[0, 0] / cov[0, 0] for law in tailed.normals])
    spread = []
    for far in (0.0, 4.0):
        row = torch.full((8000, 3), math.nan, dtype=torch.float64)
        row[:, 0] = train[:, 0].mean() + far * train[:, 0].std()
        share = torch.softmax(tailed.component_log_probs(transform.observed(row[:1])[0]), 1)[0]
        drawn = transform.observed(tailed.draw(row, Generator().manual_seed(0)))[0][:, 1:]
        check_covariance(drawn, (share * scales).sum() * within)
        spread.append(drawn.var(0).sum().item())
    assert spread[1] > 4 * spread[0]


def test_columns_that_are_never_seen_together_have_no_tails() -> None:
    rows = torch.full((2, 3), math.nan, dtype=torch.float64)
    rows[0, 0], rows[1, 1:] = 1.0, 2.0
    transform = fit_preconditioner(rows, COLUMNS, "none")
    assert NormalMixture.heavy_tailed(transform, rows).n_components == 1


def test_weights_are_the_likeliest_but_for_one_row_s_doubt() -> None:
    scores = torch.tensor([[0.0, -40.0]] * 30 + [[-40.0, 0.0]] * 9, dtype=torch.float64)
    assert mixing_weights(scores).tolist() == pytest.approx([30.5 / 40, 9.5 / 40])


# ------------------------------------------------------------------------------------- mixtures of numbers and classes


def clusters(n: int, missing: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Coded rows of three numbers and a class, from two components, and the log density of each whole row."""
    draw = Generator().manual_seed(seed)
    first = torch.rand(n, generator=draw) < 0.3
    means = torch.tensor([[0.0, 0.0, 0.0], [4.0, -2.0, 1.0]], dtype=torch.float64)
    rates = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]], dtype=torch.float64)
    cov = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.2], [0.0, 0.2, 0.5]], dtype=torch.float64)
    y = means[first.long()] + Normal(torch.zeros(3), cov).draw(torch.full((n, 3), math.nan), draw)[0]
    code = torch.multinomial(rates[first.long()], 1, generator=draw)
    each = torch.stack([Normal(mean, cov).log_prob(y) for mean in means], 1) + rates.log().T[code.flatten()]
    x = torch.cat([y, code.double()], 1)
    gone = torch.rand(x.shape, generator=draw) < missing
    return x.masked_fill(gone, math.nan), torch.logsumexp(each + torch.tensor([0.7, 0.3]).log(), 1)


MIXED = [*COLUMNS, Column("class", "categorical", ("a", "b", "c"))]


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_two_components_are_found_again(missing: float) -> None:
    x, _ = clusters(1000, missing)
    test, truth = clusters(2000, seed=1)
    law = NormalMixture.fit(fit_preconditioner(x, MIXED, "none"), x[:800], x[800:], sizes=(2,))
    assert law.n_components == 2
    assert law.log_weights.exp().sort().values.tolist() == pytest.approx([0.3, 0.7], abs=0.06)
    assert -0.01 < (truth - law.log_prob(test)).mean().item() < 0.06
    assert (truth - NormalMixture.single(law.preconditioner).log_prob(test)).mean().item() > 0.3


def of_every_class(row: Tensor) -> tuple[Tensor, Tensor]:
    """A row whose class is missing, and the three rows that it may be."""
    gone, whole = row.clone(), row.repeat(3, 1)
    gone[0, 3], whole[:, 3] = math.nan, torch.arange(3)
    return gone, whole


def test_entries_that_are_missing_are_summed_over() -> None:
    """Of numbers by the joint density over the conditional of fine steps, of classes by their sum."""
    x, _ = clusters(400)
    law = NormalMixture.fit(fit_preconditioner(x, MIXED, "none"), x[:300], x[300:], sizes=(2,))
    row, whole = of_every_class(x[:1])
    assert law.log_prob(row).item() == pytest.approx(law.log_prob(whole).logsumexp(0).item(), abs=1e-10)
    row = x[:1].clone()
    row[0, 1] = math.nan
    steps = torch.arange(-30.0, 30.0, 0.01, dtype=torch.float64)
    whole = row.repeat(len(steps), 1)
    whole[:, 1] = steps
    summed = law.log_prob(whole).logsumexp(0) + math.log(0.01)
    assert law.log_prob(row).item() == pytest.approx(summed.item(), abs=1e-6)


def test_draws_of_a_class_follow_the_numbers_of_the_row() -> None:
    x, _ = clusters(400)
    law = NormalMixture.fit(fit_preconditioner(x, MIXED, "none"), x[:300], x[300:], sizes=(2,))
    row, whole = of_every_class(x[:1])
    truth = torch.softmax(law.log_prob(whole), 0)
    drawn = law.draw(row.repeat(5000, 1), Generator().manual_seed(0))[:, 3]
    check_frequencies(torch.bincount(drawn.long(), minlength=3), truth)


def test_a_mixture_is_free_of_units() -> None:
    """Columns times 1e-6 to 1e6 shift the log density by the logarithm alone."""
    x, _ = clusters(300)
    unit = torch.tensor([1e-6, 1e3, 1e6, 1.0], dtype=torch.float64)

    def scores(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
        transform = fit_preconditioner(x, MIXED)
        return NormalMixture.fit(transform, x[:250], x[250:], sizes=sizes).log_prob(x)

    for sizes in ((), (2,)):
        plain, scaled = scores(x, sizes), scores(x * unit, sizes)
        torch.testing.assert_close(scaled, plain - unit.log().sum(), rtol=0, atol=7e-7)


@pytest.mark.parametrize(("far", "sd", "dtype"), [(100.0, 0.1, "f8"), (9999.0, 1.0, "f4"), (1e6, 1e-2, "f8")])
def test_clusters_far_apart_beside_their_width(far: float, sd: float, dtype: str) -> None:
    draw = np.random.default_rng(0)
    x = ((np.array([[far], [0.0]] * 200) + sd * draw.normal(size=(400, 1))).astype(dtype)).astype(float)
    test = torch.as_tensor(np.array([[far], [0.0]] * 1000) + sd * draw.normal(size=(2000, 1)))
    rows = torch.as_tensor(x)[torch.randperm(400, generator=Generator().manual_seed(0))]
    law = NormalMixture.fit(fit_preconditioner(rows, COLUMNS[:1]), rows[:340], rows[340:])
    truth = -math.log(2.0) - 0.5 * math.log(2.0 * math.pi * math.e) - math.log(sd)
    assert abs(law.log_prob(test).mean().item() - truth) < 0.1


def test_a_wide_cluster_does_not_widen_a_narrow_one() -> None:
    draw = np.random.default_rng(0)
    x = np.concatenate([0.01 * draw.normal(size=(300, 2)), 30.0 + 10.0 * draw.normal(size=(300, 2))])
    rows = torch.as_tensor(x[draw.permutation(600)])
    law = NormalMixture.fit(fit_preconditioner(rows, COLUMNS[:2], "none"), rows[:500], rows[500:])
    test = torch.as_tensor(0.01 * draw.normal(size=(500, 2)))
    truth = math.log(0.5) - math.log(2 * math.pi * math.e) - 2 * math.log(0.01)
    assert abs(law.log_prob(test).mean().item() - truth) < 0.15
