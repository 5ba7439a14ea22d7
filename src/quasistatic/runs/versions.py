"""Versions of the software that a number was computed with."""

from __future__ import annotations

import platform

import numpy as np
import torch

import quasistatic

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Return the versions of quasistatic, torch, numpy and Python."""
    return {
        "quasistatic": quasistatic.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
