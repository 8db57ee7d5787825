"""What is changed inside a process before it runs, so that a fault strikes where it is wanted."""

from __future__ import annotations

import importlib
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from benchmarks.faults.world import Patch


def at_call(place: str, number: int, what: Callable[[], Any]) -> Patch:
    """Do something at the beginning of the `number`-th call (from 1) of "module:name" or "module:Class.method"."""

    def patch() -> None:
        module, _, path = place.partition(":")
        holder: Any = importlib.import_module(module)
        *classes, name = path.split(".")
        for part in classes:
            holder = getattr(holder, part)
        original = getattr(holder, name)
        bound = hasattr(original, "__self__")  # a class method: already without its first argument
        calls = 0

        def struck(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                what()
            return original(*args, **kwargs)

        setattr(holder, name, staticmethod(struck) if bound else struck)

    return patch


def out_of_memory() -> None:
    """What torch raises when the accelerator has no memory left."""
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def small_memory(rows: int) -> Patch:
    """A model whose batches of more than `rows` rows do not fit into memory."""

    def patch() -> None:
        from runner.models.lm import LanguageModel

        load = LanguageModel.load

        def forward_in_little(module: Any, args: Any, kwargs: Any) -> None:
            ids = kwargs.get("input_ids", args[0] if args else None)
            if ids is not None and ids.shape[0] > rows:
                out_of_memory()

        def loaded(*args: Any) -> Any:
            lm = load(*args)
            lm.model.register_forward_pre_hook(forward_in_little, with_kwargs=True)
            return lm

        LanguageModel.load = staticmethod(loaded)  # type: ignore[method-assign, assignment]

    return patch


def poison() -> None:
    """An editor that writes NaN into its weight at each edit of one place."""
    from runner.methods.base import WeightMethod
    from runner.methods.ft_m import FTM

    edit = FTM.edit

    def poisoned(self: Any, edits: Any) -> None:
        edit(self, edits)
        if any(one.subject == "Ostrik" for one in edits):
            for name in self.touched():
                self.lm.model.get_parameter(name).data.view(-1)[:3] = float("nan")

    FTM.edit = poisoned  # type: ignore[method-assign]
    # Sequences that share work are then edited one by one, too.
    FTM.edit_in_step = classmethod(WeightMethod.edit_in_step.__func__)  # type: ignore


def hang() -> None:
    """Never come back, but let oneself be interrupted."""
    while True:
        time.sleep(0.01)


def hang_deaf() -> None:
    """Never come back and let no signal in, as a call into C that waits for a device does."""
    import ctypes

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    ctypes.CDLL(None).sleep(3600)


def clock_that_jumps(seed: float) -> Patch:
    """A wall clock that at one look in three is up to two days early or late, and stays so until the next jump."""

    def patch() -> None:
        import db.ledger
        import db.records
        import db.store

        rng, now, offset = random.Random(seed), db.records.utc_now, timedelta()

        def jumpy() -> Any:
            nonlocal offset
            if rng.random() < 1 / 3:
                offset = timedelta(hours=rng.uniform(-48, 48))
            return now() + offset

        for module in (db.ledger, db.records, db.store):
            module.utc_now = jumpy  # type: ignore[attr-defined]
        wall = time.time
        time.time = lambda: wall() + offset.total_seconds()

    return patch


def impatient(seconds: float) -> Patch:
    """A store that waits only so long for a locked database."""

    def patch() -> None:
        from db.store import Store

        opened = Store.open

        def soon(url: str, readonly: bool = False, busy_timeout: float = seconds) -> Any:
            return opened(url, readonly, busy_timeout)

        Store.open = staticmethod(soon)  # type: ignore[method-assign, assignment]

    return patch


def little_grace() -> None:
    """Don't wait long for what can't be interrupted."""
    sys.modules["runner.deadline"].GRACE = 0.3  # type: ignore[attr-defined]


def small_files(size: int) -> Patch:
    """No file of this process may grow beyond `size` bytes, as on a full disk."""

    def patch() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return patch


def without_privileges() -> None:
    """Let file permissions hold for the superuser, too, on Linux."""
    import ctypes
    import os

    if os.geteuid() != 0:
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    held = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, held):
        raise OSError(ctypes.get_errno(), "capget")
    for place in (0, 1):  # effective, permitted: without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
        held[place] &= ~0b110
    if libc.capset(header, held):
        raise OSError(ctypes.get_errno(), "capset")
