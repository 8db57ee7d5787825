"""What the seconds of answering go to: code names the part it is in, whoever measures reads the sums.

A method that looks up, asks the model beforehand or reasons in steps wraps that in `with part("…"):`. Outside of
`measured` it costs nothing and does nothing. Parts exclude each other: inside another part the inner one's seconds are
its own. Parts that the project's methods name: "encoder" (embedding the questions), "search" (the nearest statements),
"confirmation" (asking the model which fact is needed), "steps" (reasoning before the answer) and "generation".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class _Watch:
    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.seconds: dict[str, float] = {}
        self.open: list[str] = []
        self.since = 0.0

    def turn(self) -> None:
        """Give the time since the last turn to the innermost open part."""
        now = self.now()
        if self.open:
            name = self.open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self.since
        self.since = now


_watch: ContextVar[_Watch | None] = ContextVar("watch", default=None)


@contextmanager
def part(name: str) -> Iterator[None]:
    """The seconds inside are those of this part of an answer."""
    watch = _watch.get()
    if watch is None:
        yield
        return
    watch.turn()
    watch.open.append(name)
    try:
        yield
    finally:
        watch.turn()
        watch.open.pop()


@contextmanager
def measured(now: Callable[[], float] = time.perf_counter) -> Iterator[dict[str, float]]:
    """Seconds by part of what is done inside, filled as parts end. `now`: a clock that waits for the accelerator."""
    watch = _Watch(now)
    token = _watch.set(watch)
    try:
        yield watch.seconds
    finally:
        _watch.reset(token)
