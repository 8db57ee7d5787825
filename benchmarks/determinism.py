"""Does the same grid give the same answers twice, whatever the size of the batches, and with fewer digits?

    python -m benchmarks.determinism [GRID] [--methods ROME,ICE] [--limit 10] [--edits 10] [--batch 1 --batch 7]
        [--dtype bfloat16]

Runs the grid (default: atlas-quick, cut down) in float32 at the usual batch size twice, and once at each --batch and in
each --dtype, into databases of their own, and compares every raw answer, free-running and forced. Printed per cell: how
many answers there are, how many differ in each run, with the first of them, and seconds of editing and answering. Exit
code 1 when the second run differs from the first; differences between batch sizes and dtypes are listed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from db.store import Store
from runner import engine, gridfile
from runner.grid import override
from runner.models import lm as language_model
from runner.plan import Plan, make_plan

Said = dict[tuple[Any, ...], tuple[Any, ...]]


class Run(NamedTuple):
    """What a cell said, (case, probe, mode) -> (text, trace, what was consulted, share forced), and its seconds."""

    answers: Said
    editing: float
    answering: float


def said(plan: Plan, batch_size: int | None = None) -> dict[str, Said]:
    """Cell's label -> what it said, from a new run."""
    return {label: run.answers for label, run in ran(plan, batch_size).items()}


def ran(plan: Plan, batch_size: int | None = None) -> dict[str, Run]:
    """Cell's label -> what a new run of it said, and took."""
    with tempfile.TemporaryDirectory() as folder, batches_of(batch_size):
        with Store.open(f"sqlite:///{Path(folder) / 'run.db'}") as store:
            run_id = store.start_run("python -m benchmarks.determinism", None, None, {}, {}, {})
            summary = engine.run(plan, store, run_id, tty=False)
            if summary.failed:
                raise SystemExit(f"{summary.failed[0][0]} failed: {summary.failed[0][1]}")
            return {cell.label: _run(store, cell.key) for cell in plan.cells}


def _run(store: Store, key: str) -> Run:
    sequences = store.sequences(key)
    seconds = [sum(s[name] for s in sequences) for name in ("edit_seconds", "answer_seconds")]
    return Run(_answers(store.answers(key)), *seconds)


def _answers(rows: list[dict[str, Any]]) -> Said:
    return {
        (row["case_id"], row["probe_index"], row["mode"]): (row["text"], row["trace"], row["consulted"], row["forced"])
        for row in rows
    }


@contextmanager
def batches_of(size: int | None) -> Iterator[None]:
    """Models loaded inside ask at most `size` rows at once; None: as many as usual."""
    usual = language_model.BATCH_SIZE
    if size is not None:
        language_model.BATCH_SIZE = size
    try:
        yield
    finally:
        language_model.BATCH_SIZE = usual


def differing(first: Said, second: Said) -> list[tuple[tuple[Any, ...], Any, Any]]:
    """The questions that were answered differently, with both answers."""
    return [(place, answer, second.get(place)) for place, answer in first.items() if second.get(place) != answer]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="atlas-quick")
    parser.add_argument("--methods", default="FT-M,ROME,ICE,SCR")
    parser.add_argument("--edits", type=int, default=10)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--batch", type=int, action="append", help="default: 1 and 7")
    parser.add_argument("--dtype", action="append", choices=["bfloat16", "float16"], default=[])
    args = parser.parse_args()
    source = gridfile.load(args.grid)

    def plan(dtype: str) -> Plan:
        cut = override(source.grid, methods=args.methods.split(","), edits=[args.edits], limit=args.limit, dtype=dtype)
        return make_plan(source, cut)

    exact = plan("float32")
    usual = ran(exact)
    others = {"again": ran(exact)} | {f"in batches of {size}": ran(exact, size) for size in args.batch or (1, 7)}
    others |= {f"in {dtype}": ran(plan(dtype)) for dtype in args.dtype}
    print(f"| cell | answers | {' | '.join(f'differ {name}' for name in others)} |")
    print("|---|---:|" + "---:|" * len(others))
    first = []
    for label, run in usual.items():
        found = {name: differing(run.answers, other[label].answers) for name, other in others.items()}
        print(f"| {label} | {len(run.answers)} | {' | '.join(str(len(f)) for f in found.values())} |")
        first += [(label, name, *differences[0]) for name, differences in found.items() if differences]
    print(f"\n| seconds of editing, of answering | usual | {' | '.join(others)} |")
    print("|---|---:|" + "---:|" * len(others))
    for label, run in usual.items():
        runs = [run, *(other[label] for other in others.values())]
        print(f"| {label} | {' | '.join(f'{r.editing:.2f}, {r.answering:.2f}' for r in runs)} |")
    for label, name, place, here, there in first:
        print(f"{label}, {name}, {place}: {here} against {there}", file=sys.stderr)
    return int(any(name == "again" for _, name, *_ in first))


if __name__ == "__main__":
    sys.exit(main())
