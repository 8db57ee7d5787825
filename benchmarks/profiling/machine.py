"""What one core does at best, and the least time that matrix products need on it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.profiling.regions import Clock


@dataclass(frozen=True)
class Machine:
    """flops: float32 operations a second in a large matrix product. bandwidth: bytes a second read by a dot product of
    two vectors that together are as large as the model. operation: seconds that the smallest tensor operation takes."""

    flops: float
    bandwidth: float
    operation: float

    def least(self, flops: float, moved: float) -> float:
        """Seconds below which an operation of so many flops on so many bytes can't come."""
        return max(flops / self.flops, moved / self.bandwidth)


def measure(model_bytes: int, size: int = 1536, repeats: int = 5) -> Machine:
    """The best of several tries, in processor time of this thread."""
    a, b, out = torch.rand(size, size), torch.rand(size, size), torch.empty(size, size)
    product = _best(lambda: torch.mm(a, b, out=out), repeats)
    x, y = torch.rand(model_bytes // 8), torch.rand(model_bytes // 8)
    reading = _best(lambda: torch.dot(x, y), 4 * repeats)
    one = torch.zeros(1)
    small = _best(lambda: [one.add_(1) for _ in range(1000)], repeats) / 1000
    return Machine(2 * size**3 / product, 4 * (x.numel() + y.numel()) / reading, small)


def _best(work: Any, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return max(min(times), 1e-9)


class Counting(TorchDispatchMode):
    """Charges each tensor operation, and the least time of each matrix product, to the clock's present region."""

    def __init__(self, clock: Clock, machine: Machine) -> None:
        super().__init__()
        self.clock, self.machine = clock, machine

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        cost = self.clock.current()
        cost.operations += 1
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            moved = sum(t.numel() * t.element_size() for t in _tensors([*args, out]))
            cost.floor += self.machine.least(float(count(*args, **(kwargs or {}), out_val=out)), moved)
        return out


def _tensors(values: Any) -> list[torch.Tensor]:
    flat: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            flat.append(value)
        elif isinstance(value, (list, tuple)):
            flat += _tensors(value)
    return flat
