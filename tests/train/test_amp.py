"""bfloat16 is for convolutions: what a bound is made of stays in full precision, and no bits are lost."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

import tiny
from quasistatic.estimate import Estimate, paired_difference
from quasistatic.model import DiffusionModel


@pytest.fixture(scope="module")
def trained() -> DiffusionModel:
    config = dataclasses.replace(tiny.IMAGES, n_updates=80, evaluate_every=80, learning_rate=5e-3)
    x = tiny.image_rows()
    return tiny.fit(tiny.images_model(), x, x[:20], config, quiet=True)


def difference(model: DiffusionModel) -> Estimate:
    """Bound under autocast less the bound without, on the same noise."""
    x = tiny.image_rows()
    full = model.elbo(x, generator=Generator().manual_seed(3))
    with torch.autocast("cpu", torch.bfloat16):
        half = model.elbo(x, generator=Generator().manual_seed(3))
    assert not torch.equal(full.total, half.total)
    return paired_difference(half.total, full.total, "bits_per_dim", model.event_shape)


def test_a_bound_in_bfloat16_is_the_bound_in_float32_to_less_than_a_thousandth_of_a_bit(trained):
    x = tiny.image_rows()
    generator = Generator().manual_seed(3)
    gain = paired_difference(
        trained.elbo(x, generator=generator).total,
        tiny.images_model().elbo(x, generator=generator.manual_seed(3)).total,
        "bits_per_dim",
        trained.event_shape,
    )
    assert gain.value > 0.1  # the network has a say
    lost = difference(trained)
    assert abs(lost.value) < 2e-4
    assert lost.standard_error < 1e-4


def test_what_is_base_before_the_network_is_asked_knows_no_bfloat16(trained):
    x_t, t = torch.randn(20, 1, 4, 4), torch.arange(1, 11).repeat(2)
    with torch.no_grad():
        full = trained.kernel._base(x_t, t)  # type: ignore[operator]
        with torch.autocast("cpu", torch.bfloat16):
            half = trained.kernel._base(x_t, t)  # type: ignore[operator]
    assert all(torch.equal(a, b) for a, b in zip(full, half, strict=True))
