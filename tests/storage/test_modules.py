"""Modules to disk and back, and what is on disk when writing or reading goes wrong."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from quasistatic.baselines import MCGSM, ConditionalGSM
from quasistatic.distributions import Distribution, Joint, Masked, Mixture
from quasistatic.errors import InputError
from quasistatic.forward import BernoulliDiffusion, CategoricalDiffusion, GaussianDiffusion, MixedDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import MultiscaleNetwork, NormalisedRBF, PerStepMLP, ResidualMLP, UNet
from quasistatic.reverse import (
    BernoulliDenoiser,
    CategoricalDenoiser,
    CosineBase,
    FixedFirstStep,
    GaussianDenoiser,
    ImageDenoiser,
    MixedDenoiser,
    PaperKernel,
    WienerBase,
)
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.storage.atomic import clear_half_written, new_folder, write_text
from quasistatic.storage.modules import (
    _CLASSES,
    build,
    describe,
    load_module,
    read_pair,
    save_module,
    save_tensors,
    saveable,
)
from quasistatic.tables.mixture import NormalMixture
from quasistatic.tables.preconditioner import TablePreconditioner
from quasistatic.transforms import (
    Affine,
    Chain,
    Complete,
    Dequantise,
    HistogramGaussianizer,
    Levels,
    OnColumns,
    Transform,
    Whiten,
    YeoJohnson,
)

RATE = torch.tensor([0.2, 0.5, 0.7])


def randomised(module: nn.Module) -> nn.Module:
    """Weights away from their start, which is the same for all networks of a kind in many places."""
    generator = Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return module.eval()


def gaussian(n_steps: int = 6) -> GaussianDiffusion:
    return GaussianDiffusion(geometric(n_steps))


def binomial() -> BernoulliDiffusion:
    return BernoulliDiffusion(constant_erasure(6), RATE)


def denoiser(covariance: str = "diagonal", m: int = 1) -> GaussianDenoiser:
    n_out = GaussianDenoiser.n_outputs(3, covariance, m)
    network = ResidualMLP(3, n_out, width=8, depth=2, n_fourier=2, dropout=0.1)
    return GaussianDenoiser(gaussian(), network, 3, covariance, n_components=m)


def bits(m: int = 1) -> BernoulliDenoiser:
    return BernoulliDenoiser(binomial(), ResidualMLP(3, BernoulliDenoiser.n_outputs(3, m), 8), RATE, m)


def categorical(kind: str = "absorbing") -> CategoricalDiffusion:
    return CategoricalDiffusion(constant_erasure(6), 2, kind, torch.tensor([0.3, 0.7]))


def mixed() -> MixedDiffusion:
    return MixedDiffusion([gaussian(), BernoulliDiffusion(geometric(6), RATE[:2])], [[1], [0, 2]])


def mixed_denoiser() -> MixedDenoiser:
    network = ResidualMLP(MixedDenoiser.n_inputs(mixed()), MixedDenoiser.n_outputs(mixed(), "diagonal", 2), 8)
    return MixedDenoiser(mixed(), network, "diagonal", 2)


def completing() -> Complete:
    return Complete(RATE[:2], torch.eye(2) + 0.5, [0, 1], [torch.tensor([0.3, 0.7])], [2])


def preconditioner() -> TablePreconditioner:
    return TablePreconditioner(
        OnColumns([Affine(RATE[:2], RATE[:2])], [[0, 1]]), completing(), Whiten.by(RATE[:2], torch.eye(2) + 0.5)
    )


def base(*event: int) -> WienerBase:
    d = math.prod(event)
    basis = torch.linalg.qr(torch.randn(d, d, generator=Generator().manual_seed(2)))[0]
    return WienerBase(torch.linspace(-1, 1, d).view(event), torch.linspace(0.5, 2, d), basis)


def whole_model() -> DiffusionModel:
    kernel = denoiser("full")
    transform = Chain(Affine(RATE, torch.tensor(2.0)), Whiten(RATE, torch.eye(3) + 0.1))
    return DiffusionModel(transform, kernel.process, kernel, (3,))  # type: ignore[arg-type]


MADE: dict[str, Any] = {
    "Transform": Transform,
    "Chain": lambda: Chain(Dequantise(4), Chain(), Affine(RATE, RATE)),
    "Affine": lambda: Affine(RATE, torch.tensor(2.0)),
    "Whiten": lambda: Whiten(RATE, torch.eye(3) + 0.1),
    "Dequantise": lambda: Dequantise(levels=4),
    "HistogramGaussianizer": lambda: HistogramGaussianizer(torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])),
    "YeoJohnson": lambda: YeoJohnson(torch.tensor([0.5, 1.0, 1.5])),
    "OnColumns": lambda: OnColumns([Affine(RATE[:2], RATE[:2])], [[2, 0]]),
    "Complete": completing,
    "TablePreconditioner": preconditioner,
    "NormalMixture": lambda: NormalMixture(
        preconditioner(),
        torch.tensor([0.4, 0.6]),
        torch.eye(2),
        torch.eye(2).repeat(2, 1, 1),
    ),
    "GaussianDiffusion": gaussian,
    "MixedDiffusion": mixed,
    "MixedDenoiser": mixed_denoiser,
    "BernoulliDiffusion": binomial,
    "CategoricalDiffusion": lambda: categorical("uniform"),
    "ResidualMLP": lambda: ResidualMLP(3, 4, 8, depth=2, n_fourier=3),
    "NormalisedRBF": lambda: NormalisedRBF(3, 4, n_steps=6, n_hidden=5),
    "PerStepMLP": lambda: PerStepMLP(3, 4, 6, width=7, depth=2, readout="bumps", n_bumps=3),
    "GaussianDenoiser": lambda: denoiser("full", 3),
    "BernoulliDenoiser": lambda: bits(3),
    "CategoricalDenoiser": lambda: CategoricalDenoiser(categorical(), ResidualMLP(6, 6, 8), torch.tensor([0.4, 0.6])),
    "PaperKernel": lambda: PaperKernel(gaussian(), PerStepMLP(3, 6, 6, 5), mean="equation"),
    "Levels": lambda: Levels(3),
    "UNet": lambda: UNet(1, 2, widths=(4, 8)),
    "MultiscaleNetwork": lambda: MultiscaleNetwork(1, (4, 6), 6, 2, 3, 2, dense_layers=1, dense_width=5, n_bumps=3),
    "WienerBase": lambda: base(3),
    "CosineBase": lambda: CosineBase(torch.zeros(1), torch.rand(1, 4, 6), torch.eye(1)),
    "ImageDenoiser": lambda: ImageDenoiser(gaussian(), UNet(ImageDenoiser.n_inputs(1, 4), 2, widths=(4,)), base(1, 4, 6), 4),
    "ConditionalGSM": lambda: ConditionalGSM(2, 3, 2),
    "MCGSM": lambda: MCGSM(1, 3, 2),
    "FixedFirstStep": lambda: FixedFirstStep(denoiser(), gaussian()),
    "DiffusionModel": whole_model,
}


def numbers(p: Distribution) -> list[Tensor]:
    if isinstance(p, Mixture):
        return [p.log_weights, *numbers(p.components)]
    if isinstance(p, Masked):
        return numbers(p.dense())
    if isinstance(p, Joint):
        return [v for part in p.parts for v in numbers(part)]
    return [v for v in vars(p).values() if isinstance(v, Tensor)]


def outputs(module: nn.Module) -> list[Tensor]:
    """Everything a module of any family answers, at fixed inputs."""
    x = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    t = torch.tensor([2, 5])
    if isinstance(module, DiffusionModel):
        bound = module.elbo(x, generator=Generator().manual_seed(0))
        return [bound.terminal, bound.transitions, bound.data]
    if isinstance(module, NormalMixture):
        return [module.log_prob(x)]
    if isinstance(module, Complete):
        return list(module(x.masked_fill(x == 0, torch.nan), Generator().manual_seed(0)))
    if isinstance(module, Transform):
        z, log_det = module(x, Generator().manual_seed(0))
        return [z, log_det, module.inverse(z)]
    if isinstance(module, GaussianDiffusion | BernoulliDiffusion | CategoricalDiffusion | MixedDiffusion):
        return [module.beta, *numbers(module.posterior(x, x, t)), *numbers(module.stationary(x.shape))]
    picture, log_snr = torch.linspace(-1, 1, 48).view(2, 1, 4, 6), torch.tensor([1.0, -2.0])
    with torch.no_grad():
        if isinstance(module, UNet):
            return [module(picture, log_snr)]
        if isinstance(module, CosineBase):
            return list(module(picture, log_snr))
        if isinstance(module, MultiscaleNetwork):
            return [module(picture, t)]
        if isinstance(module, WienerBase):
            return list(module(x, log_snr))
        if isinstance(module, MCGSM):
            return [module.log_prob(picture)]
        if isinstance(module, ConditionalGSM):
            return [module.log_prob(x[:, 0].float(), x[:, 1:].float())]
        if isinstance(module, ImageDenoiser):
            return numbers(module(picture, t))
        if isinstance(module, ResidualMLP | NormalisedRBF | PerStepMLP):
            return [module(x.float(), t.float() if module.clock == "log_snr" else t)]
        return numbers(module(x, t))


def test_every_saveable_class_of_the_library_is_tried_here():
    ours = {name for name, cls in _CLASSES.items() if cls.__module__.startswith("quasistatic.")}
    assert ours <= set(MADE)


@pytest.mark.parametrize("name", sorted(set(MADE) & set(_CLASSES)))
def test_saved_and_loaded_answers_bit_for_bit_the_same(name, tmp_path):
    module = randomised(MADE[name]())
    save_module(module, tmp_path, {"note": "kept"})
    random_state = torch.get_rng_state()
    again, told = load_module(tmp_path)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert type(again) is type(module)
    assert told["note"] == "kept"
    assert not again.training
    for a, b in zip(outputs(module), outputs(again), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    # and the copy can be described in the same words
    assert describe(again)[0] == describe(module)[0]


def test_loaded_weights_do_not_hang_on_the_file(tmp_path):
    module = randomised(denoiser())
    save_module(module, tmp_path)
    again, _ = load_module(tmp_path)
    shutil.rmtree(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(outputs(module), outputs(again), strict=True))


def test_arguments_left_out_are_written_down_so_that_other_defaults_change_nothing():
    description, _ = describe(ResidualMLP(2, 3))
    told = {"n_in": 2, "n_out": 3, "width": 128, "depth": 3, "n_fourier": 0, "dropout": 0.0}
    assert description["args"] == told


@saveable
class Pair(nn.Module):
    """Two modules, for the tests of sharing."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b


def test_shared_modules_stay_shared_and_others_apart(tmp_path):
    net = randomised(ResidualMLP(2, 2, 8))
    shared, _ = build_again(Pair(net, net), tmp_path / "shared")
    assert shared.a is shared.b
    apart, _ = build_again(Pair(net, randomised(ResidualMLP(2, 2, 8))), tmp_path / "apart")
    assert apart.a is not apart.b
    model, _ = build_again(whole_model(), tmp_path / "model")
    assert model.kernel.process is model.process


def test_tensors_that_share_memory_are_saved(tmp_path):
    pair = Pair(ResidualMLP(2, 8, 8, depth=1), ResidualMLP(2, 8, 8, depth=1))
    pair.b.last.weight = pair.a.last.weight  # type: ignore[union-attr]
    again, _ = build_again(randomised(pair), tmp_path / "tied")
    assert torch.equal(again.b.last.weight, pair.a.last.weight)  # type: ignore[union-attr,arg-type]


def build_again(module: nn.Module, folder: Path) -> tuple[Any, dict[str, Any]]:
    with new_folder(folder) as new:
        save_module(module, new)
    return load_module(folder)


def test_a_kernel_moved_to_another_grid_is_saved_with_that_grid(tmp_path):
    kernel = randomised(denoiser())
    fine = gaussian(11)
    moved = DiffusionModel(Chain(), gaussian(), kernel, (3,)).on(fine)  # type: ignore[arg-type]
    again, _ = build_again(moved, tmp_path / "moved")
    assert again.process.n_steps == again.kernel.process.n_steps == 11
    assert all(torch.equal(a, b) for a, b in zip(outputs(moved), outputs(again), strict=True))
    assert kernel.process.n_steps == 6  # type: ignore[union-attr]


def test_a_class_without_the_mark_cannot_be_described():
    with pytest.raises(TypeError, match="Linear is not saveable: mark its class"):
        describe(Pair(nn.Linear(1, 1), nn.Linear(1, 1)))

    class Narrower(ResidualMLP):
        pass

    with pytest.raises(TypeError, match="Narrower is not saveable"):
        describe(Narrower(1, 1))


def test_an_argument_that_json_cannot_hold_is_an_error():
    pair = Pair(gaussian(), gaussian())
    pair._built_with = {"a": {1, 2}}  # type: ignore[assignment]
    with pytest.raises(TypeError, match="cannot save an argument of type set"):
        describe(pair)


@saveable
class Loose(nn.Module):
    """Any arguments, for the tests of how they are kept."""

    def __init__(self, first: int, *more: int, last: float = 0.5, **others: int) -> None:
        super().__init__()
        self.held = (first, more, last, others)


@saveable
class Bare(nn.Module):
    """No arguments and no constructor of its own."""


def test_every_way_to_pass_an_argument_is_kept():
    for module in (Loose(1), Loose(1, last=2.0, a=3), Loose(first=4, b=5)):
        again = build(*describe(module))
        assert again.held == module.held
    assert isinstance(build(*describe(Bare())), Bare)


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "model"
    build_again(randomised(denoiser()), folder)
    return folder


def change_json(folder: Path, change: Any) -> None:
    path = folder / "model.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def test_an_unknown_class_is_one_sentence(saved):
    change_json(saved, lambda told: told["module"].update({"class": "Oracle"}))
    with pytest.raises(InputError, match="unknown class 'Oracle': was this saved by a newer quasistatic"):
        load_module(saved)


DAMAGES: dict[str, tuple[Any, str]] = {
    "truncated tensors": (
        lambda f: os.truncate(f / "model.safetensors", 100),
        r"model\.safetensors is damaged: it has 100 bytes and should have \d+",
    ),
    "empty tensors": (lambda f: (f / "model.safetensors").write_bytes(b""), "is damaged: it has 0 bytes"),
    "other bytes": (
        lambda f: (f / "model.safetensors").write_bytes(b"\xff" * (f / "model.safetensors").stat().st_size),
        r"model\.safetensors is damaged",
    ),
    "no tensors": (lambda f: (f / "model.safetensors").unlink(), r"holds no model\.safetensors"),
    "no json": (lambda f: (f / "model.json").unlink(), r"holds no model\.json"),
    "no folder": (shutil.rmtree, r"holds no model\.json"),
    "truncated json": (lambda f: os.truncate(f / "model.json", 100), r"model\.json is damaged"),
    "empty json": (lambda f: (f / "model.json").write_text(""), r"model\.json is damaged"),
    "json list": (lambda f: (f / "model.json").write_text("[1, 2]"), r"model\.json is damaged"),
    "not text": (lambda f: (f / "model.json").write_bytes(b"\xff\xfe\x00"), r"model\.json is damaged"),
    "json folder": (
        lambda f: ((f / "model.json").unlink(), (f / "model.json").mkdir()),
        r"model.json is a folder, but a text file is needed",
    ),
    "no bytes": (
        lambda f: change_json(f, lambda told: told.pop("bytes")),
        r"model\.json is damaged: the key 'bytes' is missing",
    ),
    "no module": (
        lambda f: change_json(f, lambda told: told.pop("module")),
        "is damaged: the key 'module' is missing",
    ),
    "no argument": (
        lambda f: change_json(f, lambda told: told["module"]["args"].pop("network")),
        "can build: .*missing 1 required positional argument: 'network'",
    ),
    "unknown argument": (
        lambda f: change_json(f, lambda told: told["module"]["args"].update(colour=1)),
        "can build: .*unexpected keyword argument 'colour'",
    ),
    "bad argument": (
        lambda f: change_json(f, lambda told: told["module"]["args"].update(covariance="round")),
        'can build: covariance must be "diagonal" or "full"',
    ),
    "other width": (
        lambda f: change_json(f, lambda told: told["module"]["args"]["network"]["args"].update(width=9)),
        "can build: .*size mismatch",
    ),
    "no module at all": (lambda f: change_json(f, lambda told: told.update(module=3)), "'module' must be an object"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_model_is_one_sentence(saved, damage):
    do, sentence = DAMAGES[damage]
    do(saved)
    with pytest.raises(InputError, match=sentence) as raised:
        load_module(saved)
    assert "\n" not in str(raised.value)


def test_every_truncation_is_noticed(saved):
    for name in ("model.json", "model.safetensors"):
        whole = (saved / name).read_bytes()
        for length in range(0, len(whole) - 1, max(1, len(whole) // 40)):
            (saved / name).write_bytes(whole[:length])
            with pytest.raises(InputError, match="damaged"):
                read_pair(saved, "model")
        (saved / name).write_bytes(whole)
    read_pair(saved, "model")


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def tree(folder: Path) -> dict[str, bytes | None]:
    """All names below a folder, hidden ones too, with the bytes of files."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_text_on_a_full_disk_leaves_the_old_text_and_no_litter(tmp_path, monkeypatch, stage):
    path = tmp_path / "a.json"
    write_text(path, "old")
    monkeypatch.setattr(os, stage, full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert tree(tmp_path) == {"a.json": b"old"}


def test_text_is_utf8_whatever_the_locale(tmp_path):
    write_text(tmp_path / "a.txt", "β̃ ± π")
    assert (tmp_path / "a.txt").read_bytes() == "β̃ ± π".encode()


def test_a_folder_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "model"
    with new_folder(path) as new:
        (new / "a").write_text("new")
        assert not path.exists()
    assert tree(tmp_path / "deep") == {"model": None, "model/a": b"new"}


class Stop(BaseException):
    """Not an Exception, as a KeyboardInterrupt is not."""


@pytest.mark.parametrize("before", [None, {"a": b"old"}])
def test_a_folder_given_up_half_way_leaves_the_old_one_and_no_litter(tmp_path, before):
    path = tmp_path / "model"
    if before is not None:
        with new_folder(path) as new:
            (new / "a").write_bytes(before["a"])
    was = tree(tmp_path)

    def write_half() -> None:
        with new_folder(path) as new:
            (new / "a").write_text("half")
            raise Stop

    with pytest.raises(Stop):
        write_half()
    assert tree(tmp_path) == was


@pytest.mark.parametrize(("stage", "nth"), [("fsync", 0), ("fsync", 1), ("replace", 0), ("replace", 1)])
def test_a_folder_on_a_full_disk_leaves_the_old_one_and_no_litter(tmp_path, monkeypatch, stage, nth):
    path = tmp_path / "model"
    with new_folder(path) as new:
        (new / "a").write_text("old")
    real, count = getattr(os, stage), iter(range(100))

    def fail_once(*args: Any) -> Any:
        return full_disk() if next(count) == nth else real(*args)

    monkeypatch.setattr(os, stage, fail_once)
    with pytest.raises(OSError, match="No space left"), new_folder(path) as new:
        (new / "a").write_text("new")
    assert tree(tmp_path) == {"model": None, "model/a": b"old"}


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    path = tmp_path / "model"
    for text in ("old", "new"):
        with new_folder(path) as new:
            (new / "a").write_text(text)
    assert tree(tmp_path) == {"model": None, "model/a": b"new"}


def test_a_folder_with_something_else_in_it_is_never_deleted(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1.tex").write_text("ten years")
    was = tree(tmp_path)
    with (
        pytest.raises(InputError, match=r"saving to .*thesis would delete chapter-1\.tex there"),
        new_folder(tmp_path / "thesis") as new,
    ):
        (new / "a").write_text("new")
    assert tree(tmp_path) == was


def test_a_file_is_never_replaced_by_a_folder(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(InputError, match="is a file, but a folder"), new_folder(tmp_path / "model"):
        pass
    assert tree(tmp_path) == {"model": b"mine"}


def test_a_file_that_may_not_grow_is_an_os_error_for_tensors_too(tmp_path):
    # what a full disk looks like to real system calls; safetensors' own writer would raise its own exception
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"), new_folder(tmp_path / "model") as new:
            save_tensors({"a": torch.zeros(1000)}, new / "a.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert tree(tmp_path) == {}


def test_files_have_the_rights_that_the_umask_gives(tmp_path):
    old = os.umask(0o022)
    try:
        build_again(gaussian(), tmp_path / "model")
    finally:
        os.umask(old)
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "model", *(tmp_path / "model").iterdir())]
    assert modes == [0o755, 0o644, 0o644]


def test_what_a_killed_process_left_is_cleared_and_nothing_else(tmp_path):
    (tmp_path / ".step-3.ab.tmp" / "inner").mkdir(parents=True)
    (tmp_path / ".latest.json.cd.tmp").write_text("half")
    for name in (".hidden", "a.tmp", "step-3"):
        (tmp_path / name).write_text("mine")
    clear_half_written(tmp_path)
    assert sorted(tree(tmp_path)) == [".hidden", "a.tmp", "step-3"]
    clear_half_written(tmp_path / "missing")


def test_descriptions_hold_no_reference_to_the_module():
    module = denoiser()
    description, tensors = describe(module)
    built = build(json.loads(json.dumps(description)), tensors)
    with torch.no_grad():
        module.process.beta.zero_()  # type: ignore[union-attr]
        next(module.parameters()).fill_(7.0)
    assert (built.process.beta[1:] > 0).all()
    assert not (next(built.parameters()) == 7.0).all()
