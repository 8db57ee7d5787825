"""Several processes on one database, and processes that die in the middle."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from db_samples import make_cell

from db.owner import process_name
from db.store import Store

CLAIM_ALL = """
import sys
from db.owner import process_name
from db.store import Store
with Store.open(sys.argv[1]) as store:
    keys = [cell["key"] for cell in store.cells()]
    print("ready", flush=True)
    sys.stdin.readline()
    print(*[key for key in keys if store.claim_cell(key, 1, process_name())], flush=True)
    sys.stdin.readline()
"""

# It rests between sequences, as a run does: SQLite's lock is not fair, and one who never lets go keeps all others out.
WRITE_FOREVER = """
import sys, time
from db.owner import process_name
from db.store import Store
timing = {"edit_seconds": 0.1, "answer_seconds": 0.1, "n_edits": 1, "n_answers": 50, "n_tokens": 9,
          "peak_memory_bytes": 1, "extra": {}}
store = Store.open(sys.argv[1])
assert store.claim_cell("cell-a", 1, process_name())
for position in range(1_000_000):
    store.save_sequence("cell-a", position, timing, [
        {"case_id": f"s{position}", "probe_index": probe, "mode": "free", "text": "word " * 40, "trace": None,
         "consulted": None, "tokens": 9, "forced": None} for probe in range(50)])
    print(position, flush=True)
    time.sleep(0.005)
"""

DIE_IN_A_TRANSACTION = """
import os, sys, signal
from db.store import Store
store = Store.open(sys.argv[1])
with store.database.write() as conn:
    conn.exec_driver_sql("DELETE FROM cells")
    print("deleted", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_share_the_cells_without_doing_one_twice(
    store: Store, run_id: int, url: str, spawn: Callable[..., Any]
) -> None:
    store.add_cells([make_cell(f"k{i}", run_id, seed=i) for i in range(40)])
    processes = [spawn(CLAIM_ALL, url) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    # All stay alive until the last has claimed: a cell of a process that ended would rightly be taken over.
    claimed = [key for process in processes for key in process.stdout.readline().split()]
    for process in processes:
        process.communicate("done\n", timeout=60)
    assert sorted(claimed) == sorted(cell["key"] for cell in store.cells())
    assert {cell["attempts"] for cell in store.cells()} == {1}


def test_a_killed_writer_leaves_whole_sequences_and_frees_its_cell(
    store: Store, run_id: int, url: str, path: Path, spawn: Callable[..., Any]
) -> None:
    process = spawn(WRITE_FOREVER, url)
    for _ in range(20):
        reported = int(process.stdout.readline())
    assert not store.claim_cell("cell-a", run_id, process_name())  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = store.sequences_done("cell-a")
    assert done == set(range(len(done))) and len(done) > reported
    assert len(store.answers("cell-a")) == 50 * len(done)
    assert store.cell("cell-a")["state"] == "running"
    assert store.claim_cell("cell-a", run_id, process_name())
    store.close()
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    raw.close()


def test_a_writer_killed_inside_a_transaction_stored_nothing(
    store: Store, run_id: int, url: str, spawn: Callable[..., Any]
) -> None:
    process = spawn(DIE_IN_A_TRANSACTION, url)
    assert process.stdout.readline() == "deleted\n"
    process.wait()
    assert len(store.cells()) == 2
    started = time.monotonic()
    assert store.add_cells([make_cell("cell-c", run_id)]) == 1  # its lock died with it
    assert time.monotonic() - started < 2


def test_a_reader_opens_what_a_killed_writer_left(
    store: Store, run_id: int, url: str, spawn: Callable[..., Any]
) -> None:
    store.close()
    process = spawn(WRITE_FOREVER, url)
    for _ in range(5):
        process.stdout.readline()
    process.kill()
    process.wait()
    with Store.open(url, readonly=True) as reader:
        done = reader.sequences_done("cell-a")
        assert len(done) >= 5 and len(reader.answers("cell-a")) == 50 * len(done)
