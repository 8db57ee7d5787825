"""What the devices can do that a grid may be planned for: memory, arithmetic, and how much of it is reached."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from runner.errors import UserError, did_you_mean

GIB = 2**30
RESERVED = 1 * GIB  # of an accelerator's memory for its driver, kernels and the allocator's slack; assumed
# Shares of the peaks that the small passes of editing reach; assumed for accelerators, not measured.
ARITHMETIC, TRAFFIC = 0.35, 0.6


@dataclass(frozen=True)
class Device:
    """One device.

    memory: bytes. single, half, double: floating-point operations per second, dense, in float32, in bfloat16 and
    float16, and in float64. bandwidth: bytes per second. overhead: seconds that one block costs in one pass however
    little it computes.
    """

    name: str
    memory: int
    single: float
    half: float
    double: float
    bandwidth: float
    overhead: float
    arithmetic: float = ARITHMETIC
    traffic: float = TRAFFIC
    reserved: int = RESERVED

    @property
    def usable(self) -> int:
        """Bytes for weights and all else."""
        return self.memory - self.reserved

    def seconds(self, flops: float, n_bytes: float, passes: float, itemsize: int, double: float = 0.0) -> float:
        """The time of work: its operations or its traffic, whichever takes longer, and what its passes over blocks
        cost at least. double: operations in float64."""
        peak = self.half if itemsize < 4 else self.single
        work = max(flops / (peak * self.arithmetic), n_bytes / (self.bandwidth * self.traffic))
        return work + double / (self.double * self.arithmetic) + passes * self.overhead


# Peaks as NVIDIA's data sheets and architecture papers name them, dense (without sparsity), of the SXM parts; float64
# with tensor cores where there are any. The overhead is that of transformers in eager mode; assumed.
KNOWN = {
    "rtx-4090": Device("rtx-4090", 24 * GIB, 82.6e12, 165.2e12, 1.29e12, 1.008e12, 5e-4),
    "a100": Device("a100", 80 * GIB, 19.5e12, 312e12, 19.5e12, 2.039e12, 5e-4),
    "h100": Device("h100", 80 * GIB, 67e12, 989e12, 67e12, 3.35e12, 5e-4),
    "h200": Device("h200", 140 * GIB, 67e12, 989e12, 67e12, 4.8e12, 5e-4),
}


def device_named(name: str) -> Device:
    """A device of the table, or "cpu": this machine's processor. Raises UserError."""
    key = name.lower().replace(" ", "-")
    if key == "cpu":
        return processor()
    if key not in KNOWN:
        names = ["cpu", *KNOWN]
        raise UserError(f"no device '{name}' is known; give {', '.join(names)}.{did_you_mean(key, names)}")
    return KNOWN[key]


def device_here(device: str) -> Device | None:
    """The device of this machine that a run would use; None for an accelerator of no known speed."""
    if device == "cpu":
        return processor()
    import torch

    if not device.startswith("cuda"):
        return None
    full = torch.cuda.get_device_name(device).lower()
    found = next((d for key, d in KNOWN.items() if key.removeprefix("rtx-") in full), None)
    return found and replace(found, memory=int(torch.cuda.get_device_properties(device).total_memory))


def processor() -> Device:
    """This machine's processor, its speed measured by a small matrix product in as many threads as torch uses."""
    import psutil
    import torch

    a = torch.ones(384, 384)
    best = 1e9
    with torch.no_grad():
        for _ in range(5):
            start = time.perf_counter()
            a @ a
            best = min(best, time.perf_counter() - start)
    single = 2 * 384**3 / best
    # In bfloat16 most processors are no faster; float64 has half as many lanes.
    return Device(
        f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)",
        int(psutil.virtual_memory().total), single, single, single / 2, 1e10, OVERHEAD_CPU, 0.5, TRAFFIC, 0,
    )  # fmt: skip


# Seconds of one block in one pass on a processor, beside its arithmetic: measured, see docs/scale.md.
OVERHEAD_CPU = 3e-4
