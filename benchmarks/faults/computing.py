"""Memory that runs out, weights that collapse, methods that hang."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benchmarks.faults.patches import at_call, hang, hang_deaf, little_grace, out_of_memory, poison, small_memory
from benchmarks.faults.world import World

EDIT, ASK, PREPARE = (
    "runner.methods.ft_m:FTM.edit",
    "runner.methods.base:Method.answer",
    "runner.methods.base:Method.prepare",
)
CALLS = {EDIT: 7, ASK: 13, PREPARE: 12}


def batch_too_large(world: World, db: Path, rng: random.Random) -> str | None:
    """Batches of more than a few rows do not fit: they are halved, and the run ends well."""
    return world.run(db, small_memory(rng.randint(1, 6))).unless(0)


def no_memory(world: World, db: Path, rng: random.Random) -> str | None:
    """Memory runs out in an edit: the cell fails with that reason, the others are done."""
    # The first edits of all are warm-ups, whose failures mean nothing.
    return _fails(world, db, at_call(EDIT, rng.randint(2, 6), out_of_memory), "OutOfMemoryError: CUDA out of memory")


def collapse(world: World, db: Path, rng: random.Random) -> str | None:
    """An edit leaves NaN in the weights: a result with a note, also when the run is killed and continued."""
    run = world.start(db, poison)
    time.sleep(rng.uniform(0, 0.95 * world.seconds))
    run.send(9)
    run.end()
    noted = [row[6] or "" for row in world.reference(poison)["cells"] if row[2] == "FT-M"]
    return None if all(note.startswith("collapsed: NaN") for note in noted) else f"no note says so: {noted}"


def hanging(world: World, db: Path, rng: random.Random) -> str | None:
    """A method hangs in a random call: its cell fails at its time limit, the others are done."""
    place = rng.choice(list(CALLS))
    seconds = 2 + world.seconds
    stops = at_call(place, rng.randint(1, CALLS[place]), hang)
    return _fails(world, db, stops, "that a cell may take", "--cell-seconds", f"{seconds:.1f}")


def hanging_deaf(world: World, db: Path, rng: random.Random) -> str | None:
    """A method hangs and can't be interrupted: the run starts itself again without its cell."""
    place = rng.choice(list(CALLS))
    number = rng.randint(1, CALLS[place])

    def patch() -> None:
        little_grace()
        at_call(place, number, hang_deaf)()

    return _fails(world, db, patch, "could not be interrupted", "--cell-seconds", f"{2 + world.seconds:.1f}")


def _fails(world: World, db: Path, patch: object, why: str, *options: str) -> str | None:
    """Exactly one cell fails, with that reason, and everything else is done."""
    wrong = world.run(db, patch, *options).unless(1)  # type: ignore[arg-type]
    with closing(sqlite3.connect(db)) as connection:
        left = connection.execute("SELECT state, error FROM cells WHERE state != 'done'").fetchall()
    if wrong is None and (len(left) != 1 or left[0][0] != "failed" or why not in (left[0][1] or "")):
        return f"not one cell failed with '{why}': {left}"
    return wrong
