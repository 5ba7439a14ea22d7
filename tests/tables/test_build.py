"""Preconditioning of tables: which marginals are chosen, and that units do not matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from quasistatic.errors import InputError
from quasistatic.tables.build import Shape, build_member
from quasistatic.tables.columns import Column
from quasistatic.tables.preconditioner import TablePreconditioner, fit_preconditioner
from quasistatic.transforms import YeoJohnson

NUMBERS = [Column(name, "numeric") for name in "abc"]


def normal(n: int = 400, seed: int = 0) -> Tensor:
    z = torch.randn(n, 3, generator=Generator().manual_seed(seed), dtype=torch.float64)
    z[:, 2] = z[:, 0] + z[:, 1] + 0.1 * z[:, 2]
    return z


def kind_of(preconditioner: TablePreconditioner) -> str:
    inner = list(preconditioner.marginals.parts[0].parts)  # type: ignore[union-attr,arg-type]
    if not isinstance(inner[-1], YeoJohnson):
        return "none"
    return "ratio" if (inner[0].shift == 0).all() else "power"


def test_marginals_are_chosen_by_what_the_columns_are_together() -> None:
    # a length, a width and their product: normal in logarithms, about a zero that only ratios see
    assert kind_of(fit_preconditioner((0.5 * normal()).exp(), NUMBERS)) == "ratio"
    assert kind_of(fit_preconditioner(normal(), NUMBERS, "power")) == "power"
    skewed = normal().exp() - 5.0  # no natural zero
    assert kind_of(fit_preconditioner(skewed, NUMBERS)) == "power"
    with pytest.raises(InputError, match='must be "auto", "none", "power" or "ratio"'):
        fit_preconditioner(normal(), NUMBERS, "log")


@pytest.mark.parametrize("marginals", ["none", "power", "ratio"])
def test_units_of_columns_do_not_matter(marginals: str) -> None:
    x, unit = (0.5 * normal()).exp(), torch.tensor([1e9, 1.0, 1e-6], dtype=torch.float64)
    a, b = (fit_preconditioner(rows, NUMBERS, marginals)(rows) for rows in (x, x * unit))
    torch.testing.assert_close(a[0], b[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(a[1], b[1] + unit.log().sum(), rtol=0, atol=1e-4)


def test_behind_its_preconditioning_a_table_is_white() -> None:
    x = (0.5 * normal(2000)).exp()
    z, _ = fit_preconditioner(x, NUMBERS, "ratio")(x)
    torch.testing.assert_close(z.T @ z / 2000, torch.eye(3, dtype=torch.float64), rtol=0, atol=0.02)


def test_there_and_back() -> None:
    x = (0.5 * normal()).exp()
    chain = fit_preconditioner(x, NUMBERS)
    torch.testing.assert_close(chain.inverse(chain(x)[0]), x, rtol=1e-7, atol=1e-9)


def test_blocks_of_columns_of_a_kind() -> None:
    columns = [Column("s", "categorical", ("F", "I", "M")), NUMBERS[0], Column("b", "binary", (0.0, 1.0)),
               Column("t", "categorical", ("x", "y", "z")), Column("q", "ordinal", (1.0, 2.0, 3.0))]  # fmt: skip
    generator = Generator().manual_seed(0)
    x = torch.randint(0, 2, (50, 5), generator=generator).double()
    x[:, 1] = torch.randn(50, generator=generator, dtype=torch.float64)
    x[3, 2] = math.nan
    model = build_member(fit_preconditioner(x, columns), columns, Shape(n_steps=3, width=8, depth=1))
    assert [block.tolist() for block in model.process.columns] == [[1, 4], [2], [0, 3]]  # type: ignore[union-attr,operator]
    assert torch.isfinite(model.elbo(x).total).all()


def test_a_column_that_is_still_in_the_training_rows_is_no_accident() -> None:
    x = normal(50)
    x[:, 1] = 4.0
    chain = fit_preconditioner(x, NUMBERS)
    z, log_det = chain(x)
    assert torch.isfinite(z).all()
    assert torch.isfinite(log_det).all()
    torch.testing.assert_close(z.T @ z / 50, torch.diag(torch.tensor([1.0, 0.0, 1.0]).double()), rtol=0, atol=0.2)
