"""What a person meets first in Python: wrong networks, plain functions, differences, and what objects print."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.base import clone
from torch import Generator, Tensor, nn

import quasistatic as qs
from quasistatic import streams
from quasistatic.errors import InputError
from quasistatic.estimate import paired_difference
from quasistatic.forward import CategoricalDiffusion, MixedDiffusion
from quasistatic.networks import ResidualMLP
from quasistatic.posterior.result import PosteriorWarning
from quasistatic.reverse import CategoricalDenoiser, ImageDenoiser, MixedDenoiser, PaperKernel
from quasistatic.schedules import geometric
from quasistatic.transforms import Transform

BETA = geometric(6)
Q = qs.GaussianDiffusion(BETA)
BITS = qs.BernoulliDiffusion(BETA, 0.3)
CLASSES = CategoricalDiffusion(BETA, 3)
BOTH = MixedDiffusion([Q, BITS], [[0, 1], [2]])


class Convolution(nn.Module):
    """Images in, images out; random in training."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layer, self.drop = nn.Conv2d(n_in, n_out, 1), nn.Dropout(0.5)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.drop(self.layer(x))


def image_kernel(n_in: int, n_out: int) -> Any:
    from quasistatic.reverse.cosine import CosineBase

    base = CosineBase.fit(torch.randn(40, 1, 4, 4, generator=Generator().manual_seed(0)))
    kernel = ImageDenoiser(Q, Convolution(n_in, n_out), base)
    return qs.DiffusionModel(IDENTITY, Q, kernel, (1, 4, 4))


IDENTITY = Transform()
KERNELS: dict[str, tuple[Any, int, int]] = {
    "diagonal": (lambda i, o: qs.GaussianDenoiser(Q, ResidualMLP(i, o, 8), 2, "diagonal"), 2, 4),
    "full": (lambda i, o: qs.GaussianDenoiser(Q, ResidualMLP(i, o, 8), 2, "full"), 2, 5),
    "mixture": (lambda i, o: qs.GaussianDenoiser(Q, ResidualMLP(i, o, 8), 2, "full", 3), 2, 18),
    "bits": (lambda i, o: qs.BernoulliDenoiser(BITS, ResidualMLP(i, o, 8), torch.full((4,), 0.3)), 4, 4),
    "classes": (lambda i, o: CategoricalDenoiser(CLASSES, ResidualMLP(i, o, 8), torch.full((2, 3), 1 / 3)), 6, 6),
    "mixed": (lambda i, o: MixedDenoiser(BOTH, ResidualMLP(i, o, 8)), 3, MixedDenoiser.n_outputs(BOTH)),
    "paper": (lambda i, o: qs.DiffusionModel(IDENTITY, Q, PaperKernel(Q, ResidualMLP(i, o, 8)), (3,)), 3, 6),
    "image": (image_kernel, ImageDenoiser.n_inputs(1), ImageDenoiser.n_outputs(1)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_network_of_the_wrong_shape_is_refused_at_once(name: str) -> None:
    make, n_in, n_out = KERNELS[name]
    make(n_in, n_out)
    with pytest.raises(InputError, match=r"the network must return \(batch, \d+\), got \(batch, "):
        make(n_in, n_out + 1)
    with pytest.raises(InputError, match="the network does not go with this kernel: it must take states"):
        make(n_in + 1, n_out)


def test_the_message_names_both_numbers() -> None:
    with pytest.raises(InputError, match=r"must return \(batch, 5\), got \(batch, 3\)"):
        qs.GaussianDenoiser(Q, ResidualMLP(2, 3), 2, "full")
    with pytest.raises(InputError, match="the network does not go with this kernel"):
        qs.GaussianDenoiser(Q, Silent(), 2, "full")


class Silent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, time: Tensor) -> None:
        return None


def test_looking_at_a_network_leaves_random_states_and_modes_alone() -> None:
    network = Convolution(ImageDenoiser.n_inputs(1), 2)
    network.train()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    base = image_kernel(ImageDenoiser.n_inputs(1), 2).kernel.base
    torch.manual_seed(3)
    ImageDenoiser(Q, network, base).check_event((1, 4, 4))
    assert torch.equal(torch.rand(2), expected)
    assert network.training


# ------------------------------------------------------------------------------------------------------ functions


@pytest.fixture(scope="module")
def model() -> qs.DiffusionModel:
    kernel = qs.GaussianDenoiser(Q, ResidualMLP(2, 5, 8), 2, "full")
    return qs.DiffusionModel(qs.Whiten.fit(torch.randn(200, 2, generator=Generator().manual_seed(0))), Q, kernel, (2,))


def test_a_plain_function_is_evidence(model: qs.DiffusionModel) -> None:
    def log_r(x: Tensor) -> Tensor:
        return -0.5 * ((x[:, 0] - 1.0) / 0.5) ** 2

    seen = qs.GaussianMeasurement(torch.tensor([0.0, 0.5]), std=0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        for plain, wrapped in (
            (log_r, qs.LogFactor(log_r)),
            (log_r & seen, qs.LogFactor(log_r) & seen),
            (seen & log_r, seen & qs.LogFactor(log_r)),
        ):
            each = [model.posterior(e, 100, generator=Generator().manual_seed(0)).mean for e in (plain, wrapped)]
            assert torch.equal(*each)
    for wrong in (None, "text", 3.0, Tensor):
        with pytest.raises(InputError, match="or a function log r"):
            model.posterior(wrong)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="the right side of & must be"):
            seen & wrong  # type: ignore[operator]


# ---------------------------------------------------------------------------------------------------- differences


def test_paired_differences_of_values_bounds_and_models(model: qs.DiffusionModel) -> None:
    x = torch.randn(60, 2, dtype=torch.float64, generator=Generator().manual_seed(1))
    other = qs.DiffusionModel(qs.Whiten.fit(2.0 * x), Q, model.kernel, (2,))
    bounds = [m.elbo(x, generator=Generator().manual_seed(0)) for m in (model, other)]
    of_models = paired_difference(model, other, "bits_per_dim", x=x)
    of_bounds = paired_difference(bounds[0], bounds[1], "bits_per_dim")
    of_values = paired_difference(bounds[0].total, bounds[1].total, "bits_per_dim", (2,))
    assert of_models == of_bounds == of_values
    assert of_bounds.standard_error < bounds[0].mean("bits_per_dim").standard_error
    with pytest.raises(InputError, match="a is a model, so paired_difference needs data: give x="):
        paired_difference(model, other)
    with pytest.raises(InputError, match=r"paired values need one shape, got \(60, 2\) and \(5,\)"):
        paired_difference(bounds[0], torch.zeros(5))
    with pytest.raises(InputError, match="b must be values"):
        paired_difference(bounds[0], "text")


# -------------------------------------------------------------------------------------------------------- loading


def test_whatever_was_saved_is_opened(model: qs.DiffusionModel, tmp_path: Path) -> None:
    import small
    from little_tables import mixed_table, quick

    table = quick(dropout=0.2, patience=7).fit(mixed_table(60))
    seen = qs.GaussianMeasurement(torch.tensor([0.0, 0.5]), std=0.4)
    posterior = model.posterior(seen, 50, generator=Generator().manual_seed(0))
    for name, saved in (("model", model), ("table", table), ("ensemble", table.ensemble_), ("posterior", posterior)):
        saved.save(tmp_path / name)  # type: ignore[attr-defined]
        again = qs.load(tmp_path / name)
        assert type(again) is type(saved)
    assert torch.equal(qs.load(tmp_path / "posterior").x, posterior.x)
    assert isinstance(qs.load(small.trained("array")), qs.DiffusionModel)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds nothing that can be loaded: there must be a saved model"):
        qs.load(tmp_path / "empty")
    with pytest.raises(InputError, match="there is no run or model at"):
        qs.load(tmp_path / "gone")


def test_an_estimator_keeps_its_settings_and_can_be_fitted_again(tmp_path: Path) -> None:
    import small
    from little_tables import mixed_table, quick
    from quasistatic.runs.tables import ensemble_of

    rows = mixed_table(60)
    kept = quick(types={"column 2": "integer"}, dropout=0.2, patience=7, n_trajectories=3, random_state=5).fit(rows)
    kept.save(tmp_path / "m")
    ensemble_of(small.opened("table"))
    of_run = qs.load(small.trained("table") / "estimator")
    for saved, folder in ((kept, tmp_path / "m"), (of_run, small.trained("table") / "estimator")):
        again = qs.load(folder)
        assert again.get_params() == saved.get_params()
        assert clone(again).get_params() == saved.get_params()
    assert of_run.get_params()["max_updates"] == small.SMALL["table"]["train.n_updates"]
    refitted = clone(qs.load(tmp_path / "m")).fit(rows)
    assert (refitted.score_samples(rows[:5]) == kept.score_samples(rows[:5])).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows_are_one_sentence(n: int) -> None:
    from little_tables import normal_rows, quick

    if n < 3:
        with pytest.raises(InputError, match=f"needs at least 3 rows, got n_samples={n}"):
            quick().fit(normal_rows(n))
    else:
        quick().fit(normal_rows(n)).score_samples(normal_rows(n))
    if n == 2:
        quick().fit(normal_rows(n), validation=normal_rows(3))


# ------------------------------------------------------------------------------------------------------- printing


def test_objects_print_a_summary(model: qs.DiffusionModel) -> None:
    from little_tables import mixed_table, quick

    x = torch.randn(50, 2, generator=Generator().manual_seed(0))
    normal = qs.Gaussian(torch.zeros(1000, 3), torch.ones(1000, 3))
    seen = qs.GaussianMeasurement(torch.zeros(200), std=0.5)
    table = quick().fit(mixed_table(60))
    things: list[Any] = [
        normal, qs.Mixture(torch.zeros(2, 2).log_softmax(1), normal[:4]),
        qs.Categorical(torch.zeros(9, 4, 5).log_softmax(2)),
        qs.Bernoulli(torch.full((9, 30), 0.5)), Q, BOTH, model, model.kernel, model.transform, model.elbo(x), seen,
        model.posterior(qs.GaussianMeasurement(torch.zeros(2), 0.5), 300, generator=Generator().manual_seed(0)),
        qs.KnownEntries.where_finite(torch.zeros(200)), seen & seen, seen & (lambda z: z.sum(1)), qs.LogFactor(torch.sum),
        qs.Affine(torch.zeros(99), torch.ones(99)), table, table.ensemble_, table.ensemble_.mixture, table.members_[0],
    ]  # fmt: skip
    for thing in things:
        text = repr(thing)
        assert text.startswith(type(thing).__name__)
        assert len(text) < 400
        assert "tensor(" not in text
        assert " object at 0x" not in text
    assert repr(normal) == "Gaussian(mean=float32(1000, 3), var=float32(1000, 3))"
    assert repr(qs.Gaussian(torch.zeros(2), torch.ones(2))) == "Gaussian(mean=[0, 0], var=[1, 1])"


# ------------------------------------------------------------------------------------------------------- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_on_a_terminal_only_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "DELAY", 0.0)
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        assert [list(streams.bar(range(k), "inner")) for k in streams.bar(range(3), "outer")] == [[], [0], [0, 1]]
        assert ("outer" in stream.getvalue()) is shown
        assert "inner" not in stream.getvalue()
    monkeypatch.setattr("sys.stderr", stream := Terminal())
    with streams.without_bars():
        list(streams.bar(range(3), "outer"))
    assert stream.getvalue() == ""


def test_training_says_which_member_it_is_at(capsys: pytest.CaptureFixture[str]) -> None:
    from little_tables import normal_rows, quick

    quick(n_members=2, verbose=True).fit(normal_rows(40))
    told = capsys.readouterr().err
    assert told.count("training member 1 of 2") == told.count("training member 2 of 2") == 1
    quick(n_members=2).fit(normal_rows(40))
    assert "member" not in capsys.readouterr().err
