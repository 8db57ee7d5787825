"""Runs that are killed, die, are stopped by hand, or share a database."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.faults.patches import at_call, clock_that_jumps
from benchmarks.faults.world import World


def kill(world: World, db: Path, rng: random.Random) -> str | None:
    """SIGKILL at a random moment of what is left."""
    run = world.start(db)
    time.sleep(rng.uniform(0, 0.95 * world.seconds))
    run.send(signal.SIGKILL)
    return run.end().unless(-signal.SIGKILL, 0)


def kill_three_times(world: World, db: Path, rng: random.Random) -> str | None:
    """SIGKILL, and twice more when it has been continued."""
    return kill(world, db, rng) or kill(world, db, rng) or kill(world, db, rng)


def worker_dies(world: World, db: Path, rng: random.Random) -> str | None:
    """A segmentation fault within an edit."""
    crash = at_call("runner.methods.ft_m:FTM.edit", rng.randint(1, 7), lambda: os.kill(os.getpid(), signal.SIGSEGV))
    return world.run(db, crash).unless(-signal.SIGSEGV)


def two_runners(world: World, db: Path, rng: random.Random) -> str | None:
    """Two runs at once: both end well, and each cell was begun once."""
    runs = [world.start(db), world.start(db)]
    wrong = [run.end().unless(0) for run in runs]
    return wrong[0] or wrong[1] or _begun_more_than_once(db)


def one_of_two_dies(world: World, db: Path, rng: random.Random) -> str | None:
    """Two runs at once, one of which is killed: the other is not disturbed."""
    runs = [world.start(db), world.start(db)]
    time.sleep(rng.uniform(0, 1.5 * world.seconds))
    runs[0].send(signal.SIGKILL)
    return runs[0].end().unless(-signal.SIGKILL, 0) or runs[1].end().unless(0)


def clock_jumps(world: World, db: Path, rng: random.Random) -> str | None:
    """The wall clock jumps by up to two days, forth and back, ever again."""
    return world.run(db, clock_that_jumps(rng.random())).unless(0)


def clock_jumps_between_two(world: World, db: Path, rng: random.Random) -> str | None:
    """Two runs at once whose clocks jump, so that each takes the other for dead; then one is killed."""
    runs = [world.start(db, clock_that_jumps(rng.random())) for _ in range(2)]
    time.sleep(rng.uniform(0, 1.5 * world.seconds))
    runs[0].send(signal.SIGKILL)
    return runs[0].end().unless(-signal.SIGKILL, 0) or runs[1].end().unless(0)


def ctrl_c(world: World, db: Path, rng: random.Random) -> str | None:
    """Ctrl-C at a random moment."""
    run = world.start(db)
    time.sleep(rng.uniform(0, 0.95 * world.seconds))
    run.send(signal.SIGINT)
    return run.end().unless(130, 0, -signal.SIGINT)


STAGES = {
    "loading": ("runner.models.lm:LanguageModel.load", 1),
    "preparing": ("runner.methods.base:Method.prepare", 12),
    "editing": ("runner.methods.ft_m:FTM.edit", 7),
    "sharing": ("runner.execute:run_together", 1),
    "answering": ("runner.methods.base:Method.answer", 13),
    "undoing": ("runner.methods.base:WeightMethod.undo", 7),
    "storing": ("db.store:Store.save_sequence", 13),
    "scoring": ("runner.scoring:score", 5),
}


def ctrl_c_while(stage: str) -> Any:
    """A fault: Ctrl-C in a random call of what does the stage's work."""
    place, calls = STAGES[stage]

    def strike(world: World, db: Path, rng: random.Random) -> str | None:
        stop = at_call(place, rng.randint(1, calls), lambda: os.kill(os.getpid(), signal.SIGINT))
        return world.run(db, stop).unless(130, says="Continue with: python -m runner run")

    return strike


def _begun_more_than_once(db: Path) -> str | None:
    with closing(sqlite3.connect(db)) as connection:
        (most,) = connection.execute("SELECT max(attempts) FROM cells").fetchone()
    return None if most == 1 else f"a cell was begun {most} times"
