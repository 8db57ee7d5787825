"""Peak memory of a stretch of work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch


def reset_peak(device: torch.device) -> int:
    """Let the peak be what is in use now, where the system can; returns the bytes in use."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass  # then only a new peak of the whole process shows
    return peak(device)


def peak(device: torch.device) -> int:
    """Bytes at their highest since the last reset: of the accelerator's allocator there, of the process on the CPU.

    Where the system can't reset a process's peak (other than Linux) it is the highest so far.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return _peak_of_process()


def _peak_of_process() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    usage: Any = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
