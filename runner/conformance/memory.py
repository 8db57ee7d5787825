"""Peak memory of a stretch of work, and its seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from runner.models.memory import peak, reset_peak


@dataclass
class Cost:
    """seconds: wall time. peak_bytes: memory at its highest above what was in use at the start."""

    seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def measured(device: torch.device) -> Iterator[Cost]:
    """Fill in a Cost when the context ends: of the accelerator's allocator there, of the process on the CPU."""
    cost = Cost()
    used = reset_peak(device)
    start = time.perf_counter()
    try:
        yield cost
    finally:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        cost.seconds = time.perf_counter() - start
        cost.peak_bytes = max(0, peak(device) - used)
