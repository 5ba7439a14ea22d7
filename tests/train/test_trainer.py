"""The training loop: what it learns, and that a break, a kill or a full disk leaves no trace in it."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

import tiny
from quasistatic.errors import InputError
from quasistatic.estimate import paired_difference
from quasistatic.forward import BernoulliDiffusion, GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.model_files import load_model
from quasistatic.networks import ResidualMLP
from quasistatic.reverse import BernoulliDenoiser, FixedFirstStep, GaussianDenoiser
from quasistatic.schedules import constant_erasure, geometric
from quasistatic.storage.modules import save_tensors
from quasistatic.train import TrainConfig, fit, fitting, run_log, session, trainer
from quasistatic.transforms import Affine, Chain

SHORT = dataclasses.replace(tiny.CONFIG, n_updates=10, evaluate_every=5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a break."""
    folder = tmp_path_factory.mktemp("loop") / "whole"
    tiny.train(folder)
    return folder


def in_child(work: str, *args: object, timeout: float = 120.0, **environ: str) -> str:
    """Run a function of tests/tiny.py in a process of its own."""
    src = str(Path(trainer.__file__).parents[2])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": src, **environ}
    command = [sys.executable, tiny.__file__, work, *map(str, args)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What is learned


def test_a_correlated_gaussian_is_learned_to_within_a_hundredth_of_a_nat_of_its_entropy():
    factor = torch.tensor([[3.0, 0.0], [2.7, 0.9]], dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(torch.tensor([5.0, -2.0]).double(), scale_tril=factor)
    x = law.mean + torch.randn(12000, 2, generator=Generator().manual_seed(3), dtype=torch.float64) @ factor.T
    torch.manual_seed(0)
    process = GaussianDiffusion(geometric(8, 5.0, -6.0))
    network = ResidualMLP(2, GaussianDenoiser.n_outputs(2, "full"), width=24, depth=1)
    transform = Chain(Affine(law.mean, torch.full((2,), 3.0)))
    model = DiffusionModel(transform, process, GaussianDenoiser(process, network, 2, "full"), (2,))
    config = TrainConfig(n_updates=700, batch_size=256, learning_rate=0.01, warmup=20, ema=0.98, evaluate_every=350)
    fit(model, x[:8000], x[8000:9000], config, quiet=True)
    test = x[9000:]
    bound = model.elbo(test, generator=Generator().manual_seed(4), method="trajectory")
    gap = paired_difference(law.log_prob(test), bound.total)
    # The truth less the bound is a KL and so not negative; 4.5 standard errors either way, false alarm 7e-6.
    assert gap.standard_error < 0.005
    assert -4.5 * gap.standard_error < gap.value < 0.01 + 4.5 * gap.standard_error
    # and the mean log density of 3000 points is minus the entropy, as far as they can tell
    told = bound.mean()
    assert abs(told.value + law.entropy().item()) < 0.01 + 4.5 * told.standard_error


def test_tied_bits_are_learned_to_within_a_hundredth_of_a_nat():
    # Three bits, all one with odds 0.3, else all zero: a mixture kernel can be exact, independent bits cannot.
    entropy = -(0.3 * math.log(0.3) + 0.7 * math.log(0.7))
    x = (torch.rand(4000, 1, generator=Generator().manual_seed(1)) < 0.3).double().expand(-1, 3)
    torch.manual_seed(0)
    rate = torch.full((3,), 0.3)
    process = BernoulliDiffusion(constant_erasure(4), rate)
    network = ResidualMLP(3, BernoulliDenoiser.n_outputs(3, 3), width=16, depth=1)
    model = DiffusionModel(Chain(), process, BernoulliDenoiser(process, network, rate, 3), (3,))
    config = TrainConfig(n_updates=500, batch_size=128, learning_rate=0.02, warmup=10, ema=0.97, evaluate_every=250)
    fit(model, x[:3000], x[3000:], config, quiet=True)
    both = torch.tensor([[0.0] * 3, [1.0] * 3])
    values = model.elbo(both.repeat(2000, 1), generator=Generator().manual_seed(2)).total.view(2000, 2)
    mean, error = values.mean(0), values.std(0) / math.sqrt(2000)
    # both log probabilities are known; a bound of each by draws, two-sided at 4.5 standard errors (7e-6 each)
    assert (mean < torch.tensor([0.7, 0.3]).log() + 0.03 + 4.5 * error).all()  # 0.03: the rate is of 3000 draws
    average = 0.7 * mean[0] + 0.3 * mean[1]
    spread = (0.49 * error[0] ** 2 + 0.09 * error[1] ** 2).sqrt()
    assert -entropy - 0.01 - 4.5 * spread < average < -entropy + 4.5 * spread


def test_the_first_step_of_the_paper_is_not_trained_but_the_others_are():
    def with_fixed_first_step() -> DiffusionModel:
        model = tiny.model(dropout=0.0)
        kernel = FixedFirstStep(model.kernel, model.process)
        return DiffusionModel(model.transform, model.process, kernel, (2,))

    start = with_fixed_first_step().elbo(tiny.rows(200, 3), generator=Generator().manual_seed(0)).mean()
    config = dataclasses.replace(tiny.CONFIG, learning_rate=0.01)
    told = fit(with_fixed_first_step(), tiny.rows(300, 1), tiny.rows(50, 2), config, quiet=True)
    end = told.elbo(tiny.rows(200, 3), generator=Generator().manual_seed(0)).mean()
    assert end.value > start.value + 0.1


def test_one_step_is_enough_of_a_chain():
    # White noise is told to be N(1, 0.1^2) in one step; a tenth of the signal stays in it, which tells next to
    # nothing (0.0006 nats) of where x_0 was.
    torch.manual_seed(0)
    process = GaussianDiffusion(torch.tensor([0.9]))
    kernel = GaussianDenoiser(process, ResidualMLP(1, 2, 8, depth=1), 1)
    x = 1.0 + 0.1 * torch.randn(500, 1, generator=Generator().manual_seed(0), dtype=torch.float64)
    config = TrainConfig(n_updates=300, batch_size=64, learning_rate=0.02, warmup=1, ema=0.9, evaluate_every=300)
    model = fit(DiffusionModel(Chain(), process, kernel, (1,)), x, x, config, quiet=True)
    bound = model.elbo(x, generator=Generator().manual_seed(1))
    assert bound.transitions.shape == (500, 0)
    # minus the entropy of these 500 points, and what two parameters and some curvature can gain on them
    best = torch.distributions.Normal(x.mean(), x.std()).log_prob(x).mean()
    assert best - 0.02 < bound.data.mean() < best + 0.02


def test_without_a_folder_the_best_weights_come_back_too(whole, tmp_path):
    held, filed = tiny.train(None), load_model(whole)
    assert all(torch.equal(a, filed.state_dict()[k]) for k, a in held.state_dict().items())
    assert torch.equal(held.process.beta, filed.process.beta)


@pytest.mark.parametrize("filed", [True, False])
def test_the_model_that_comes_back_is_the_best_and_not_the_last(monkeypatch, tmp_path, filed):
    scores = iter([0.0, 3.0, 1.0])
    seen: list[list[Tensor]] = []

    def score(self: Any) -> Any:
        seen.append([p.detach().clone() for p in self.model.kernel.parameters()])
        return torch.full((50,), next(scores))

    monkeypatch.setattr(session.Validation, "bounds", score)
    model = tiny.train(tmp_path / "run" if filed else None, SHORT)
    assert all(torch.equal(a, b) for a, b in zip(seen[1], model.kernel.parameters(), strict=True))
    if filed:
        assert json.loads((tmp_path / "run" / "checkpoint" / "best.json").read_text())["update"] == 5
    assert not all(torch.equal(a, b) for a, b in zip(seen[1], seen[2], strict=True))
    assert not model.training


def test_the_global_random_state_is_left_as_it_was():
    torch.manual_seed(5)
    model, expected = tiny.model(), torch.get_rng_state()
    fit(model, tiny.rows(300, 1), tiny.rows(50, 2), SHORT, quiet=True)
    assert torch.equal(torch.get_rng_state(), expected)


def test_the_global_random_state_has_no_say():
    def train(global_seed: int) -> dict[str, Tensor]:
        model = tiny.model()
        torch.manual_seed(global_seed)
        return fit(model, tiny.rows(300, 1), tiny.rows(50, 2), SHORT, quiet=True).state_dict()

    a, b = train(5), train(6)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_other_seeds_give_other_weights():
    a, b, c = (tiny.train(None, SHORT, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_the_bound_of_the_log_is_the_bound_of_the_model_that_comes_back(whole):
    # the last is the best here; the 50 rows are dequantised and scored with the draws that training uses
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert max(lines, key=lambda line: line["validation"]) is lines[-1]
    model = load_model(whole)
    z, log_det = model.encode(tiny.rows(50, 2), Generator().manual_seed(1))
    with torch.no_grad():
        total = session.estimate_elbo(
            model.process, model.kernel, z, n_timesteps=6, generator=Generator().manual_seed(2)
        ).total
    assert lines[-1]["validation"] == session.Estimate.of(total + log_det, "bits").value


def test_the_log_has_a_line_for_each_evaluation(whole):
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [0, 15, 30, 45, 60]
    assert lines[0]["loss_nats"] is None
    assert all(math.isfinite(line["loss_nats"]) for line in lines[1:])
    assert all(line["unit"] == "bits" for line in lines)
    assert sorted(p.name for p in (whole / "checkpoint").glob("update-*")) == ["update-00000045", "update-00000060"]


def test_the_callback_sees_the_weights_that_were_measured():
    seen: list[tuple[dict[str, Any], Tensor]] = []
    model = tiny.model()

    def look(told: dict[str, Any]) -> None:
        seen.append((told, model.kernel.network.last.weight.detach().clone()))  # type: ignore[union-attr,operator]

    fit(model, tiny.rows(300, 1), tiny.rows(50, 2), SHORT, quiet=True, on_evaluation=look)
    assert [told["update"] for told, _ in seen] == [0, 5, 10]
    best = max(seen, key=lambda pair: pair[0]["validation"])[1]
    assert torch.equal(best, model.kernel.network.last.weight)  # type: ignore[union-attr,operator,arg-type]


# Patience


EAGER = dataclasses.replace(tiny.CONFIG, n_updates=3000, evaluate_every=15, patience=3, learning_rate=0.02)


def train_on_few(folder: Path | None, config: TrainConfig = EAGER, **kwargs: Any) -> DiffusionModel:
    """Twelve rows, of which a network soon knows each and none of the others."""
    return fit(tiny.model(0.1), tiny.rows(12, 1), tiny.rows(50, 2), config, folder=folder, quiet=True, **kwargs)


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_without_improvement_training_stops_and_the_best_weights_come_back(tmp_path):
    model = train_on_few(tmp_path / "run")
    log = log_of(tmp_path / "run")
    assert [line["waited"] for line in log[-4:]] == [0, 1, 2, 3]
    assert log[-1]["update"] == log[-4]["update"] + 45 < 1500
    best = max(log, key=lambda line: line["validation"])
    expected = {k: v.clone() for k, v in load_model(tmp_path / "run").state_dict().items()}
    assert json.loads((tmp_path / "run" / "checkpoint" / "best.json").read_text())["update"] == best["update"]
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in expected.items())


def test_patience_looks_on_and_changes_nothing_before_it_ends(tmp_path):
    train_on_few(tmp_path / "run")
    stopped = log_of(tmp_path / "run")
    seen: list[dict[str, Any]] = []

    def look(line: dict[str, Any]) -> None:
        seen.append(line)
        tiny.stop_at(stopped[-1]["update"])(line)

    with pytest.raises(tiny.Interrupted):
        train_on_few(None, dataclasses.replace(EAGER, patience=0), on_evaluation=look)
    assert [line["validation"] for line in seen] == [line["validation"] for line in stopped]
    assert "waited" not in seen[0]


def test_what_is_left_of_patience_outlives_a_break(tmp_path):
    train_on_few(tmp_path / "whole")
    for back in (3, 2, 1, 0):  # evaluations before the end
        with pytest.raises(tiny.Interrupted):
            train_on_few(tmp_path / "run", on_evaluation=tiny.stop_at(log_of(tmp_path / "whole")[-1 - back]["update"]))
    train_on_few(tmp_path / "run")
    assert tiny.same(tmp_path / "whole", tmp_path / "run")
    train_on_few(tmp_path / "run")  # and the same command after the end changes nothing
    assert tiny.same(tmp_path / "whole", tmp_path / "run")


def test_a_stop_between_two_evaluations_takes_no_patience(tmp_path):
    train_on_few(tmp_path / "whole")
    end, step, before = log_of(tmp_path / "whole")[-1]["update"], 0, -1
    while before < step < end:
        before, step = step, _steps_after_a_moment(tmp_path / "run")
    assert log_of(tmp_path / "run")[-1]["waited"] == 3
    assert log_of(tmp_path / "run")[-1]["update"] == log_of(tmp_path / "whole")[-1]["update"]


def _steps_after_a_moment(folder: Path) -> int:
    train_on_few(folder, time_budget=0.05)
    return log_of(folder)[-1]["update"]


# Interrupted and continued equals uninterrupted


@pytest.mark.parametrize("step", [0, 15, 30, 45, 60])
def test_interrupted_and_continued_equals_uninterrupted_bit_for_bit(whole, tmp_path, step):
    run = tmp_path / "run"
    with pytest.raises(tiny.Interrupted):
        tiny.train(run, on_evaluation=tiny.stop_at(step))
    torch.manual_seed(99)  # whatever else the process did in between
    tiny.train(run)
    assert tiny.same(whole, run)


def test_a_break_at_every_evaluation_and_one_between_them_leave_no_trace(whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    for step in (0, 15, 30, 45, 60):
        with pytest.raises(tiny.Interrupted):
            tiny.train(run, on_evaluation=tiny.stop_at(step))
    real, count = trainer.Trainer.update, iter(range(100))

    def break_off(self: Any) -> None:
        if next(count) == 7:
            raise KeyboardInterrupt
        real(self)

    monkeypatch.setattr(trainer.Trainer, "update", break_off)
    with pytest.raises(KeyboardInterrupt):
        tiny.train(run)
    tiny.train(run)
    assert tiny.same(whole, run)


def test_steps_placed_between_two_checkpoints_are_placed_again_after_a_break(tmp_path):
    config = dataclasses.replace(tiny.CONFIG, place_at=0.4)  # step 24
    tiny.train(tmp_path / "whole", config)
    for step in (30, 45):
        with pytest.raises(tiny.Interrupted):
            tiny.train(tmp_path / "run", config, on_evaluation=tiny.stop_at(step))
    model = tiny.train(tmp_path / "run", config)
    assert tiny.same(tmp_path / "whole", tmp_path / "run")
    assert not torch.equal(model.process.beta, tiny.model().process.beta)


def test_a_unet_continues_bit_for_bit(tmp_path):
    # its weights lie in memory with the channels last, and so must the moments that come back from disk
    def train(folder: Path, on_evaluation: Callable[[dict[str, Any]], None] | None = None) -> None:
        x = tiny.image_rows()
        fit(tiny.images_model(), x, x[:20], tiny.IMAGES, folder=folder, quiet=True, on_evaluation=on_evaluation)

    train(tmp_path / "whole")
    with pytest.raises(tiny.Interrupted):
        train(tmp_path / "run", tiny.stop_at(8))
    train(tmp_path / "run")
    assert tiny.same(tmp_path / "whole", tmp_path / "run")


def test_a_mixture_of_bits_continues_bit_for_bit(tmp_path):
    def train(folder: Path, on_evaluation: Callable[[dict[str, Any]], None] | None = None) -> None:
        torch.manual_seed(0)
        rate = torch.tensor([0.3, 0.6])
        process = BernoulliDiffusion(constant_erasure(5), rate)
        network = ResidualMLP(2, BernoulliDenoiser.n_outputs(2, 2), 8, depth=1, dropout=0.2)
        model = DiffusionModel(Chain(), process, BernoulliDenoiser(process, network, rate, 2), (2,))
        x = (torch.rand(100, 2, generator=Generator().manual_seed(0)) < rate).double()
        fit(model, x, x, tiny.CONFIG, folder=folder, quiet=True, on_evaluation=on_evaluation)

    train(tmp_path / "whole")
    with pytest.raises(tiny.Interrupted):
        train(tmp_path / "run", tiny.stop_at(45))
    train(tmp_path / "run")
    assert tiny.same(tmp_path / "whole", tmp_path / "run")


def test_the_same_command_after_the_end_changes_nothing(tmp_path):
    first = tiny.train(tmp_path / "run").state_dict()
    before = tiny.result(tmp_path / "run")
    again = tiny.train(tmp_path / "run").state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)
    after = tiny.result(tmp_path / "run")
    assert before[1] == after[1]
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])


@pytest.mark.parametrize("torn", ["", '{"update": 60, "va', "\n", "5\n", '{"update": 30}'])
def test_a_log_that_is_ahead_or_torn_is_set_right(whole, tmp_path, torn):
    run = tmp_path / "run"
    with pytest.raises(tiny.Interrupted):
        tiny.train(run, on_evaluation=tiny.stop_at(30))
    with open(run / "metrics.jsonl", "a") as log:
        log.write(torn)
    tiny.train(run)
    assert tiny.same(whole, run)


def test_a_log_without_checkpoints_begins_anew(whole, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"update": 0}\n')
    tiny.train(run)
    assert tiny.same(whole, run)


# Kills and damage


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_a_change_of_the_disk_and_continued_equals_uninterrupted(tmp_path, every):
    # a training of three checkpoints changes the disk some 87 times
    kills = int(in_child("kill_at_changes", tmp_path, every, timeout=300).split()[0])
    assert kills > 60 / every


def test_killed_at_random_instants_and_continued_equals_uninterrupted(tmp_path):
    assert int(in_child("kill_at_random", tmp_path).split()[0]) > 0


def damage(folder: Path) -> None:
    os.truncate(folder / "state.safetensors", 1000)


@pytest.mark.parametrize(
    "spoil",
    [
        damage,
        lambda folder: (folder / "state.safetensors").unlink(),
        lambda folder: (folder / "state.json").write_text('{"byt'),
    ],
)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(whole, tmp_path, capsys, spoil):
    run = tmp_path / "run"
    with pytest.raises(tiny.Interrupted):
        tiny.train(run, on_evaluation=tiny.stop_at(60))
    spoil(run / "checkpoint" / "update-00000045")
    tiny.train(run)
    said = capsys.readouterr().err.strip()
    assert "update-00000045" in said
    assert said.endswith("; trying the checkpoint before it")
    assert "\n" not in said
    assert tiny.same(whole, run)


def test_a_damaged_pointer_is_no_loss(whole, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(tiny.Interrupted):
        tiny.train(run, on_evaluation=tiny.stop_at(60))
    for name in ("latest.json", "best.json"):
        os.truncate(run / "checkpoint" / name, 3)
    tiny.train(run)
    assert tiny.same(whole, run)


def test_damage_to_all_checkpoints_is_one_sentence_and_nothing_is_deleted(tmp_path):
    run = tmp_path / "run"
    tiny.train(run, SHORT)
    for folder in (run / "checkpoint").glob("update-*"):
        damage(folder)
    was = sorted(run.rglob("*"))
    with pytest.raises(InputError, match=r"update-00000010/state\.safetensors is damaged: it has 1000 bytes"):
        tiny.train(run, SHORT)
    assert sorted(run.rglob("*")) == was


def fills_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """From this step on the disk takes half of a file of tensors, and no more."""
    real = Path.write_bytes

    def write(path: Path, data: bytes) -> int:
        if f"{step:08d}" in str(path):
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)


def test_a_full_disk_is_one_sentence_and_the_checkpoint_before_is_whole(whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        fills_at(patch, 45)
        with pytest.raises(InputError) as raised:
            tiny.train(run)
    assert str(raised.value) == (
        f"could not write update 45 to {run} (No space left on device); "
        "once that is fixed, the same command goes on from the checkpoint before it"
    )
    assert not list(run.rglob(".*"))
    load_model(run)
    tiny.train(run)
    assert tiny.same(whole, run)


def test_a_disk_that_fills_in_the_checkpoint_proper_is_no_loss_either(whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        fills_at(patch, 45)
        patch.setattr(run_log, "save_best", lambda *_: None)  # the best model had room yet
        with pytest.raises(InputError, match="could not write update 45"):
            tiny.train(run)
    assert not list(run.rglob(".*"))
    tiny.train(run)
    assert tiny.same(whole, run)


def test_a_disk_full_from_the_start_says_so(tmp_path, monkeypatch):
    fills_at(monkeypatch, 0)
    with pytest.raises(InputError, match="the same command starts again"):
        tiny.train(tmp_path / "run")


def test_real_system_calls_that_fail_are_the_same_sentence(whole, tmp_path):
    # A limit on the size of files: below a checkpoint's, above that of the model and the log.
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(p.stat().st_size for p in whole.rglob("state.safetensors"))

    def shrink(told: dict[str, Any]) -> None:
        if told["update"] == 30:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))

    try:
        with pytest.raises(InputError, match=r"could not write update 30 to .*File too large"):
            tiny.train(tmp_path / "run", on_evaluation=shrink)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    tiny.train(tmp_path / "run")
    assert tiny.same(whole, tmp_path / "run")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"the run folder .*file cannot be made: File exists"):
        tiny.train(tmp_path / "file", SHORT)
    assert (tmp_path / "file").read_text() == "mine"


# Bad numbers


@pytest.mark.parametrize(("importance", "noticed"), [(True, 40), (False, 45)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_one_sentence_and_nothing_is_lost(tmp_path, monkeypatch, value, importance, noticed):
    # noticed when the sampler is about to learn from it, else at the next evaluation
    config = dataclasses.replace(tiny.CONFIG, importance=importance)
    run, count = tmp_path / "run", iter(range(100))
    real = trainer.Objective.forward

    def forward(self: Any, batch: Any) -> tuple[Tensor, Tensor]:
        loss, each = real(self, batch)
        return (loss, each + value) if next(count) == 37 else (loss, each)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Objective, "forward", forward)
        with pytest.raises(InputError, match=rf"the loss became {value} by update {noticed}: lower learning_rate"):
            tiny.train(run, config)
    assert json.loads((run / "checkpoint" / "latest.json").read_text())["folder"] == "update-00000030"
    tiny.train(run, config)
    tiny.train(tmp_path / "whole", config)
    assert tiny.same(tmp_path / "whole", run)


def test_weights_that_are_no_numbers_never_reach_a_checkpoint(whole, tmp_path, monkeypatch):
    # the gradient of step 45 is bad while its loss is not: only the bound can tell
    run, real, count = tmp_path / "run", trainer.Trainer.update, iter(range(1, 100))

    def spoil(self: Any) -> None:
        real(self)
        if next(count) == 45:
            self.ema.mean[0].fill_(math.nan)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "update", spoil)
        with pytest.raises(InputError, match="the validation bound became nan by update 45"):
            tiny.train(run)
    tiny.train(run)
    assert tiny.same(whole, run)


@pytest.mark.parametrize("random_transform", [True, False])
def test_nan_in_the_data_is_one_sentence_and_nothing_is_written(tmp_path, random_transform):
    model = tiny.model()
    if not random_transform:
        model.transform = Chain()
    good, bad = tiny.rows(50, 1), tiny.rows(50, 2)
    bad[3, 1] = math.nan
    for data, validation in ((bad, good), (good, bad)):
        with pytest.raises(InputError, match=r"data holds nan at index \[3, 1\]"):
            fit(model, data, validation, SHORT, folder=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_no_rows_is_one_sentence():
    some, none = tiny.rows(10, 0), tiny.rows(10, 0)[:0]
    with pytest.raises(InputError, match="training needs rows, got 0, and 10 for validation"):
        fit(tiny.model(), none, some, SHORT)
    with pytest.raises(InputError, match="training needs rows, got 10, and 0 for validation"):
        fit(tiny.model(), some, none, SHORT)


def test_a_batch_of_one_cannot_hold_the_first_step_and_the_others():
    with pytest.raises(InputError, match="batch_size must be at least 2"):
        tiny.train(None, dataclasses.replace(SHORT, batch_size=1))


@pytest.mark.parametrize("batch_size", [2, 3, 1000])
@pytest.mark.parametrize("first_share", [0.0, 0.02, 0.5, 1.0])
def test_every_batch_holds_the_first_step_and_others(batch_size, first_share):
    config = TrainConfig(batch_size=batch_size, first_share=first_share)
    for n_steps in (2, 10, 2000):
        n_first = trainer._rows_at_one(config, n_steps, "learned")
        assert 1 <= n_first < batch_size
        assert n_first >= min(batch_size - 1, round(batch_size * max(first_share, 1 / n_steps)))
    assert trainer._rows_at_one(config, 1, "learned") == batch_size
    assert trainer._rows_at_one(config, 10, "fixed") == 0


def test_a_checkpoint_of_another_model_is_one_sentence(tmp_path):
    tiny.train(tmp_path / "run", SHORT)
    other = tiny.model()
    wide = ResidualMLP(2, GaussianDenoiser.n_outputs(2, "full"), width=20, depth=1)
    other.kernel = GaussianDenoiser(other.process, wide, 2, "full")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"update-00000010 is of another model or configuration: .*size mismatch"):
        fit(other, tiny.rows(300, 1), tiny.rows(50, 2), SHORT, folder=tmp_path / "run", quiet=True)


def test_two_trainings_in_one_folder_is_one_sentence(whole, tmp_path):
    # the inner call draws and seeds, too, which must not change the outer training: looking is free
    def train_inside(told: dict[str, Any]) -> None:
        if told["update"] == 15:
            with pytest.raises(InputError, match=r"another process is training in .*run: wait for it"):
                tiny.train(tmp_path / "run")

    tiny.train(tmp_path / "run", on_evaluation=train_inside)
    assert tiny.same(whole, tmp_path / "run")


# Processes


def test_two_processes_equal_one_and_each_other_and_continue_bit_for_bit(tmp_path, free_port):
    src = str(Path(trainer.__file__).parents[2])
    env = {"OMP_NUM_THREADS": "1", "PYTHONPATH": src, "WORLD_SIZE": "2"}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port}
    command = [sys.executable, tiny.__file__, "two_processes", str(tmp_path)]
    both = [
        subprocess.Popen(command, env={**os.environ, **env, "RANK": rank}, stderr=subprocess.PIPE) for rank in ("0", "1")
    ]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()
    from safetensors.torch import load_file

    first, second = (load_file(tmp_path / f"rank-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert tiny.same(tmp_path / "whole", tmp_path / "broken-off")
    one = tiny.train(tmp_path / "one", dropout=0.0).state_dict()
    for name, value in one.items():
        # sums of 32 float32 terms in another order differ by 1e-7 of them, over 60 steps of 2e-3 each
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-5)
    logs = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("one", "whole")]
    for a, b in zip(*(map(json.loads, log) for log in logs), strict=True):
        assert a["update"] == b["update"]
        assert a["validation"] == pytest.approx(b["validation"], rel=1e-5)
        assert a["update"] == 0 or a["loss_nats"] == pytest.approx(b["loss_nats"], rel=1e-5)


@pytest.fixture
def free_port() -> str:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def test_a_batch_that_does_not_divide_is_one_sentence(monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr(fitting, "workers", lambda device: nullcontext(trainer.Workers(0, 3)))
    with pytest.raises(InputError, match="batch_size 32 does not divide among 3 processes"):
        tiny.train(None)


def test_a_checkpoint_has_no_more_than_tensors_and_json(whole):
    kinds = {p.suffix for p in whole.rglob("*") if p.is_file()}
    assert kinds == {".json", ".jsonl", ".safetensors"}
    save_tensors({}, whole.parent / "empty.safetensors")
