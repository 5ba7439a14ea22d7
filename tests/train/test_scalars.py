"""Numbers for TensorBoard: those of the log, also over a break; and a sentence where it is not installed."""

from __future__ import annotations

import json
import sys
import warnings

import pytest

import tiny
from quasistatic.errors import InputError
from quasistatic.train import Scalars, TrainConfig

CONFIG = TrainConfig(n_updates=6, batch_size=16, evaluate_every=2, validation_pairs=100)


def test_what_tensorboard_shows_is_the_log_also_after_a_break(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        tiny.train(tmp_path / "run", CONFIG, time_budget=1e-9, on_evaluation=Scalars(tmp_path / "board"))
        tiny.train(tmp_path / "run", CONFIG, on_evaluation=Scalars(tmp_path / "board"))
        board = accumulator.EventAccumulator(str(tmp_path / "board"))
        board.Reload()
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for name in ("validation", "loss_nats"):
        shown = {event.step: event.value for event in board.Scalars(name)}
        assert shown == {line["update"]: pytest.approx(line[name], rel=1e-6) for line in log if line[name] is not None}


def test_without_it_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"TensorBoard is not installed: pip install 'quasistatic\[tensorboard\]'"):
        Scalars(tmp_path)
    assert not list(tmp_path.iterdir())
