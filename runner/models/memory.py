"""Peak memory of a stretch of work, and memory that is kept for the next one."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
MAPPED, KEPT = 32 << 20, 128 << 20  # bytes: blocks from this size on go back at once; of the others so much is kept


def keep_freed() -> None:
    """Let the C library keep up to 128 MB of what a pass on the CPU frees instead of giving it back to the system.

    Otherwise each pass asks for the same pages anew, up to a fifth of its time where pages are dear (virtual machines).
    Where the C library is not glibc nothing happens.
    """
    set_option = _of_c_library("mallopt")
    for option, size in ((M_MMAP_THRESHOLD, MAPPED), (M_TRIM_THRESHOLD, KEPT)):
        set_option(option, size)


def _give_back() -> None:
    """Give freed memory back to the system."""
    _of_c_library("malloc_trim")(0)


def _of_c_library(name: str) -> Callable[..., Any]:
    """A function of glibc; one that does nothing elsewhere."""
    try:
        function: Callable[..., Any] = getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return lambda *args: None
    return function


def reset_peak(device: torch.device) -> int:
    """Let the peak be what is in use now, where the system can; returns the bytes in use.

    On the CPU freed memory that was kept (`keep_freed`) goes back first: it would hide what is asked for from now on.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    _give_back()
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
