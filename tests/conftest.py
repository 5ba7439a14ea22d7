"""One thread, fixed seeds, and an alarm for a test that leaves torch other than it found it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import settings

# derandomize: the same examples in every run; no database, so that nothing is written beside the tests
settings.register_profile("fixed", derandomize=True, deadline=None, database=None, max_examples=25, print_blob=True)
settings.load_profile("fixed")

torch.set_num_threads(1)


def global_state() -> dict[str, Any]:
    """What a library has no business to change behind its user's back."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic warnings only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


def restore(state: dict[str, Any]) -> None:
    """Put back what :func:`global_state` saw, so that one culprit does not fail all tests after it."""
    torch.set_default_dtype(state["default dtype"])
    torch.set_default_device(state["default device"])
    torch.set_grad_enabled(state["gradients"])
    torch.set_num_threads(state["threads"])
    torch.use_deterministic_algorithms(state["deterministic algorithms"], warn_only=state["deterministic warnings only"])
    torch.autograd.set_detect_anomaly(state["anomaly detection"])
    torch.set_float32_matmul_precision(state["float32 matmul precision"])
    torch.set_autocast_enabled("cpu", state["autocast"])


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    torch.manual_seed(0)
    before = global_state()
    yield
    after = global_state()
    changed = [f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]
    if changed:
        restore(before)
        pytest.fail(f"the test changed torch's globals: {'; '.join(changed)}")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
