"""Processor time by region of the code: who runs is charged, whoever called it is not."""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

REST = "the rest"


@dataclass
class Cost:
    """What one region took.

    seconds: processor time of this thread. calls: how often it was entered. floor: the least seconds its matrix
    products need on this machine. operations: tensor operations it asked for.
    """

    seconds: float = 0.0
    calls: int = 0
    floor: float = 0.0
    operations: int = 0


@dataclass
class Clock:
    """Regions inside one another; time belongs to the innermost. now: gives seconds."""

    now: Callable[[], float] = time.thread_time
    costs: dict[str, Cost] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0
    closed: bool = False  # now inside a region whose inner regions are its own

    def current(self) -> Cost:
        """The cost that is being charged."""
        return self.costs.setdefault(self._open[-1] if self._open else REST, Cost())

    @contextmanager
    def region(self, name: str, closed: bool = False) -> Iterator[None]:
        """Charge what runs inside to `name`; closed: whatever regions come inside as well."""
        if self.closed:
            yield
            return
        self._charge()
        self._open.append(name)
        self.closed = closed
        self.current().calls += 1
        try:
            yield
        finally:
            self._charge()
            self._open.pop()
            self.closed = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Everything inside is charged, to "the rest" where no region is open."""
        self._since = self.now()
        try:
            yield
        finally:
            self._charge()

    def _charge(self) -> None:
        now = self.now()
        self.current().seconds += now - self._since
        self._since = now


@dataclass(frozen=True)
class Place:
    """A function that makes a region.

    path: "module:function" or "module:Class.method". closed: see `Clock.region`. when: only calls for which it is true.
    """

    path: str
    region: str
    closed: bool = True
    when: Callable[[], bool] | None = None


@contextmanager
def watching(clock: Clock, places: Sequence[Place]) -> Iterator[None]:
    """While inside, every call of a place is charged to its region.

    A function is exchanged in all modules of the project that imported it. Raises LookupError for a place that is no
    longer there.
    """
    with ExitStack() as stack:
        for place in places:
            owner, name, original = _find(place.path)
            stand_in = _timed(clock, place, original)
            holders = [owner] if isinstance(owner, type) else _holders(owner, name, original)
            for holder in holders:
                stack.callback(setattr, holder, name, original)
                setattr(holder, name, stand_in)
        yield


def _find(path: str) -> tuple[Any, str, Any]:
    module_name, _, rest = path.partition(":")
    owner: Any = importlib.import_module(module_name)
    *outer, name = rest.split(".")
    for part in outer:
        owner = getattr(owner, part, None)
    if name not in vars(owner or object):
        raise LookupError(f"{path} is no longer there; mend the profile's list of places.")
    return owner, name, vars(owner)[name]


def _holders(owner: Any, name: str, original: Any) -> list[Any]:
    """The module of a function and those that imported it by its name."""
    inside = [m for key, m in list(sys.modules.items()) if key.partition(".")[0] in ("runner", "db") and m is not None]
    return [owner, *(m for m in inside if m is not owner and vars(m).get(name) is original)]


def _timed(clock: Clock, place: Place, original: Any) -> Any:
    bare = original.__func__ if isinstance(original, (classmethod, staticmethod)) else original

    @functools.wraps(bare)
    def timed(*args: Any, **kwargs: Any) -> Any:
        if clock.closed or (place.when is not None and not place.when()):
            return bare(*args, **kwargs)
        with clock.region(place.region, place.closed):
            return bare(*args, **kwargs)

    return type(original)(timed) if isinstance(original, (classmethod, staticmethod)) else timed
