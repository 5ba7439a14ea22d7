"""The two rates that no program on this device passes by much: its matrix units', and its memory's."""

from __future__ import annotations

import torch

from gpu.clock import milliseconds

__all__ = ["ceilings"]

SETS = 3
"""Of inputs, taken in turns, on random data: zeros run faster than data will."""


def ceilings(device: torch.device, *, tiny: bool = False) -> dict[str, float]:
    """Measure TFLOP/s of a square bfloat16 product and of a float32 one, and TB/s of a copy, read and written bytes.

    float32 is measured as it is used, without TF32.
    """
    n, numbers, rounds = (64, 2**16, 3) if tiny else (8192, 2**30, 30)

    def product(dtype: torch.dtype, side: int) -> float:
        pairs = [[torch.randn(side, side, device=device).to(dtype) for _ in range(2)] for _ in range(SETS)]
        out = torch.full((side, side), torch.nan, device=device, dtype=dtype)
        time = milliseconds([lambda a=a, b=b: torch.mm(a, b, out=out) for a, b in pairs], device, rounds)  # type: ignore[misc]
        if not out.isfinite().all():
            raise RuntimeError("a matrix product left numbers unwritten")
        return 2.0 * side**3 / time / 1e9

    def copy() -> float:
        sources = [torch.randn(numbers, device=device) for _ in range(2)]
        target = torch.full((numbers,), torch.nan, device=device)
        time = milliseconds([lambda x=x: target.copy_(x) for x in sources], device, rounds)  # type: ignore[misc]
        if not target.isfinite().all():
            raise RuntimeError("a copy left numbers unwritten")
        return 2.0 * numbers * target.element_size() / time / 1e9

    return {
        "bfloat16_tflops": product(torch.bfloat16, n),
        "float32_tflops": product(torch.float32, n // 2),
        "copy_tb_per_s": copy(),
    }
