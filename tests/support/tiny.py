"""Small trainings for the tests, in their own process or, by ``python tests/tiny.py``, in one that may be killed.

The model has all that could make a continued training differ from one without a break: dropout, a random
transform, importance sampling whose tables are refreshed at other steps than those of checkpoints, a full
covariance, and steps that are placed anew on the way.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, distributed

from quasistatic.forward import ForwardProcess, GaussianDiffusion
from quasistatic.model import DiffusionModel
from quasistatic.networks import ResidualMLP
from quasistatic.networks.unet import UNet
from quasistatic.reverse import GaussianDenoiser
from quasistatic.reverse.image import ImageDenoiser
from quasistatic.reverse.wiener import WienerBase
from quasistatic.schedules import geometric
from quasistatic.train import Engine, TrainConfig, fit
from quasistatic.transforms import Affine, Chain, Dequantise, Levels

LEVELS = 8
CONFIG = TrainConfig(n_updates=60, batch_size=32, warmup=5, evaluate_every=15, validation_pairs=300, ema=0.9)


def rows(n: int, seed: int) -> Tensor:
    """Correlated integers 0..7, (n, 2)."""
    z = torch.randn(n, 2, generator=Generator().manual_seed(seed), dtype=torch.float64)
    return (torch.stack([z[:, 0], z[:, 0] + 0.5 * z[:, 1]], 1) * 1.5 + 4.0).floor().clamp(0, LEVELS - 1)


def model(dropout: float = 0.2, n_steps: int = 12) -> DiffusionModel:
    torch.manual_seed(0)
    process = GaussianDiffusion(geometric(n_steps, 5.0, -4.0))
    network = ResidualMLP(2, GaussianDenoiser.n_outputs(2, "full"), width=12, depth=1, dropout=dropout)
    scale = torch.full((2,), 1.6, dtype=torch.float64)
    transform = Chain(Dequantise(LEVELS), Affine(4.5 * torch.ones(2), scale))
    return DiffusionModel(transform, process, GaussianDenoiser(process, network, 2, "full"), (2,))


def place_steps(model: DiffusionModel, generator: Generator) -> ForwardProcess:
    """Some other schedule, which depends on the weights and on the draws."""
    shift = next(model.kernel.parameters()).abs().mean() + torch.rand((), generator=generator)
    return GaussianDiffusion(geometric(model.process.n_steps, 5.0 + shift.item(), -4.0))


def train(folder: Path | None, config: TrainConfig = CONFIG, *, dropout: float = 0.2, **kwargs: Any) -> DiffusionModel:
    kwargs = {"quiet": True, "place_steps": place_steps, **kwargs}
    return fit(model(dropout), rows(300, 1), rows(50, 2), config, folder=folder, **kwargs)


def result(folder: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """All that a run folder holds, but for the time it took: tensors by file and name, and the JSON."""
    tensors: dict[str, Tensor] = {}
    told: list[dict[str, Any]] = [{"folders": sorted(p.name for p in (folder / "checkpoint").iterdir())}]
    for path in sorted(folder.rglob("*.safetensors")):
        tensors |= {f"{path.parent.name}/{k}": v for k, v in load_file(path).items()}
    for path in sorted(folder.rglob("*.json")):
        told.append(json.loads(path.read_text()))
    told += [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for record in told:
        record.pop("seconds", None)
        record.pop("cpu_seconds", None)
    return tensors, told


def same(a: Path, b: Path) -> bool:
    """Whether two runs have come to the same bits."""
    (tensors_a, told_a), (tensors_b, told_b) = result(a), result(b)
    assert tensors_a
    assert told_a == told_b, f"{told_a}\n{told_b}"
    assert tensors_a.keys() == tensors_b.keys()
    different = [k for k in tensors_a if not torch.equal(tensors_a[k], tensors_b[k])]
    assert not different, different
    return True


class Interrupted(Exception):
    """Raised by :func:`stop_at`."""


def stop_at(step: int) -> Callable[[dict[str, Any]], None]:
    """Break off at an evaluation, before its checkpoint is written."""

    def callback(told: dict[str, Any]) -> None:
        if told["update"] == step:
            raise Interrupted

    return callback


def forked(work: Callable[[], None], kill_after: float | None = None) -> bool:
    """Do ``work`` in a process of its own, perhaps killed after some seconds; did it come to its end?"""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFEXITED(status)


def kill_at_changes(folder: Path, every: int) -> None:
    """Train with a kill -9 at the first change of the disk, then at a later one and so on; continue each time.

    A change is half a file written, or a file or folder about to be made, synced, renamed or deleted.
    """
    os.fsync = lambda fd: None  # a kill, unlike a power cut, spares what the system has taken
    config = TrainConfig(n_updates=4, batch_size=8, evaluate_every=2, validation_pairs=60, warmup=1, learning_rate=0.01)
    whole, n, kills = folder / "whole", 0, 0
    train(whole, config)
    while True:
        run = folder / f"killed-{n}"
        if forked(lambda n=n, run=run: die_at(n, lambda: train(run, config))):  # type: ignore[misc]
            break
        if (run / "checkpoint" / "best.json").exists():
            DiffusionModel.elbo(load_quietly(run), rows(3, 0))
        train(run, config)
        same(whole, run)
        assert not list(run.rglob(".*")), list(run.rglob(".*"))
        shutil.rmtree(run)
        n, kills = n + every, kills + 1
    print(f"{kills} kills")


def load_quietly(run: Path) -> DiffusionModel:
    from quasistatic.model_files import load_model

    return load_model(run)


def die_at(n: int, work: Callable[[], Any]) -> None:
    """Work with a disk at whose n-th change the process dies."""
    count = iter(range(10**9))

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            if next(count) == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return change

    real_write = Path.write_bytes

    def write_in_halves(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            if next(count) == n:
                os.kill(os.getpid(), signal.SIGKILL)
        return real_write(path, data)

    Path.write_bytes = write_in_halves  # type: ignore[assignment,method-assign]
    for name in ("replace", "fsync", "unlink", "rmdir", "mkdir"):
        setattr(os, name, dying(getattr(os, name)))
    work()


def kill_at_random(folder: Path) -> None:
    """Train on a slow disk, with kill -9 at random instants and the same command again until it comes to its end."""
    whole, run = folder / "whole", folder / "killed"
    train(whole)
    draw = random.Random(0)
    kills = 0
    while not forked(lambda: train_on_slow_disk(run), draw.uniform(0.02, 0.3) if kills < 12 else None):
        kills += 1
    same(whole, run)
    print(f"{kills} kills")


def train_on_slow_disk(folder: Path) -> None:
    """Train where writing a file takes ten times as long as the steps between two checkpoints."""

    def write_slowly(path: Path, data: bytes) -> int:
        with open(path, "wb", buffering=0) as file:
            for start in range(0, len(data), 1000):
                file.write(data[start : start + 1000])
                time.sleep(0.002)
        return len(data)

    Path.write_bytes = write_slowly  # type: ignore[assignment,method-assign]
    train(folder)


def two_processes(folder: Path) -> None:
    """Under torchrun's environment: train, and train once more with a break; keep each process's weights."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    weights = train(folder / "whole", dropout=0.0).state_dict()
    save_file(dict(weights), folder / f"rank-{rank}.safetensors")
    try:
        train(folder / "broken-off", dropout=0.0, on_evaluation=stop_at(45))
    except Interrupted:
        distributed.barrier()
        train(folder / "broken-off", dropout=0.0)
    distributed.destroy_process_group()


IMAGES = TrainConfig(n_updates=12, batch_size=24, warmup=2, evaluate_every=4, validation_pairs=100, ema=0.9, clip=100.0)


def image_rows() -> Tensor:
    x = torch.randint(16, (200, 1, 4, 4), generator=Generator().manual_seed(1))
    x[:, :, :, 1:] = x[:, :, :, :-1]  # neighbours have something to say about each other
    return x


def images_model() -> DiffusionModel:
    """A U-Net on an exact Gaussian base, with levels at its first step."""
    torch.manual_seed(0)
    process = GaussianDiffusion(geometric(10, 7.0, -4.0))
    network = UNet(ImageDenoiser.n_inputs(1, 16), ImageDenoiser.n_outputs(1), widths=(8, 16), attention=True)
    base = WienerBase.fit(image_rows() / 7.5 - 1.0)
    return DiffusionModel(Chain(Levels(16)), process, ImageDenoiser(process, network, base, 16), (1, 4, 4))


def images(folder: Path | None) -> DiffusionModel:
    """Train on images, each batch in parts."""
    x = image_rows()
    return fit(images_model(), x[:150], x[150:], IMAGES, folder=folder, quiet=True, engine=Engine(micro_batch=5))


def measure(folder: Path) -> None:
    """Measure a run on any number of processes, in blocks of 40 digits."""
    from quasistatic.runs import blocks
    from quasistatic.runs.run import evaluate_run, open_run

    blocks.NUMBERS = 40 * 64
    evaluate_run(open_run(folder), device="cpu").to_json()


def images_and_measures(folder: Path) -> None:
    """Train on images, and measure the runs that are there."""
    for run in sorted(folder.glob("n_timesteps-*")):
        measure(run)
    images(folder / "whole")


if __name__ == "__main__":
    torch.set_num_threads(1)
    work, folder, *numbers = sys.argv[1:]
    globals()[work](Path(folder), *map(int, numbers))
