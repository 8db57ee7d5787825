"""Jobs in processes of their own: how a Space with ZeroGPU lends a GPU, for one call at a time.

There a function marked with `spaces.GPU` runs in a forked worker, which may be new at every call or an old one. So one
call does everything, from loading the model to the last answer, and nothing is expected to be there at the next.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leaderboard.playground.lab import Event, Lab

SECONDS = 60  # asked of ZeroGPU for a call; a visitor without an account has two minutes a day
_MARGIN = 10.0  # of these for loading the model
_own: dict[tuple[Any, ...], Lab] = {}


def zero_gpu() -> bool:
    """Whether this is a Space with ZeroGPU."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, to be run where the GPU is: `spaces.GPU` on a Space with ZeroGPU, the function itself elsewhere."""
    if not zero_gpu():
        return function
    import spaces  # there from the start, and before CUDA is touched

    import runner.methods.none
    import runner.models.lm  # noqa: F401  a worker has at once what is imported here

    marked: Callable[..., Any] = spaces.GPU(duration=SECONDS)(function)
    return marked


def serve(models: tuple[str, ...], methods: tuple[str, ...], device: str, request: Any) -> Iterator[list[Event]]:
    """Do a whole job, in whatever process this is; a bunch of events at a time."""
    from leaderboard.playground.lab import Lab

    key = (os.getpid(), models, methods, device)  # a fork's copy of its parent's lab has no thread
    if key not in _own:
        _own[key] = Lab(models, methods, device, seconds=SECONDS - _MARGIN)
    yield from _own[key].submit(request).bunches()


class Apart:
    """Jobs that run elsewhere. The process of the web server never loads a model."""

    def __init__(self, models: tuple[str, ...], methods: tuple[str, ...], device: str) -> None:
        self._options = (models, methods, device)
        self._serve = on_gpu(serve)  # before the server starts: ZeroGPU looks for such functions then
        self._stops: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def stream(self, request: Any, visitor: str = "") -> Iterator[list[Event]]:
        """A job's events, in bunches. A named visitor's earlier job is stopped."""
        from leaderboard.playground.lab import Event

        stop = threading.Event()
        with self._lock:
            earlier = self._stops.get(visitor) if visitor else None
            if visitor:
                self._stops[visitor] = stop
        if earlier:
            earlier.set()
        bunches = self._serve(*self._options, request)
        try:
            for bunch in bunches:
                if stop.is_set():
                    yield [Event("cancelled")]
                    return
                yield bunch
        finally:
            bunches.close()  # tells the worker that nobody listens any more
            with self._lock:
                if self._stops.get(visitor) is stop:
                    del self._stops[visitor]

    def stop(self, visitor: str) -> bool:
        """Stop a visitor's job at its next event, if there is one. Says whether there was."""
        with self._lock:
            stop = self._stops.get(visitor)
        if stop is not None:
            stop.set()
        return stop is not None
