"""Where does a cell's processor time go, and how far is that from what its matrix products need?

    python -m benchmarks.profiling ROME [MEMIT ...] [--edits 1 --edits 10] [--cases 10] [--json]

Runs the cell as a grid does (model and data set of the atlas, everything stored in a database of its own) on one
thread. Every second of the thread's processor time belongs to the innermost of the regions in places.py; what is left
over is "the rest". The floor: for every matrix product that was made, its floating-point operations at the speed of a
large product or its bytes at the speed of reading the model, whichever takes longer, both measured first; counted in a
second run. Operations: tensor operations asked for, each of which costs some microseconds whatever its size.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.profiling.machine import Counting, Machine, measure
from benchmarks.profiling.places import ASKING, EDITING, ONCE, ORDER, PLACES
from benchmarks.profiling.regions import Clock, Cost, watching
from db.store import Store
from runner import engine, gridfile
from runner.errors import UserError
from runner.grid import override
from runner.methods import registry
from runner.models.lm import LanguageModel
from runner.plan import Plan, make_plan


def profile(method: str, n_edits: int, n_cases: int, grid: str, machine: Machine) -> dict[str, Any]:
    """One cell: its costs by region, and how many edits and answers it had."""
    source = gridfile.load(grid)
    changed = override(source.grid, methods=[method], edits=[n_edits]).model_copy(
        update={"cases": n_cases, "device": "cpu", "dtype": "float32"}
    )
    plan = make_plan(source, changed)
    base = override(changed, methods=["none"])
    for name in registry.names():  # what is imported while functions are exchanged would keep the exchanged ones
        registry.get(name)
    with tempfile.TemporaryDirectory() as folder:
        timed, counted = Clock(), Clock()
        _run(make_plan(source, base), Path(folder) / "timed.db", None)
        (Path(folder) / "counted.db").write_bytes((Path(folder) / "timed.db").read_bytes())
        rows = _run(plan, Path(folder) / "timed.db", timed)
        _run(plan, Path(folder) / "counted.db", counted, machine)
    for name, cost in counted.costs.items():
        place = timed.costs.setdefault(name, Cost())
        place.floor, place.operations = cost.floor, cost.operations
    return {
        "method": method,
        "edits_in_sequence": n_edits,
        "edits": sum(row["n_edits"] for row in rows),
        "answers": sum(row["n_answers"] for row in rows),
        "sequences": len(rows),
        "regions": {name: asdict(timed.costs[name]) for name in ORDER if name in timed.costs},
    }


def _run(plan: Plan, database: Path, clock: Clock | None, machine: Machine | None = None) -> list[dict[str, Any]]:
    """Run a plan; returns the sequences of its last cell."""
    with Store.open(f"sqlite:///{database}") as store, contextlib.ExitStack() as stack:
        run_id = store.start_run("python -m benchmarks.profiling", None, None, {}, {}, {})
        if clock is not None:
            stack.enter_context(watching(clock, PLACES))
            if machine is not None:
                stack.enter_context(Counting(clock, machine))
            stack.enter_context(clock.running())
        with contextlib.redirect_stderr(io.StringIO()):
            summary = engine.run(plan, store, run_id, tty=False)
        if summary.failed:
            raise UserError(f"{summary.failed[0][0]} failed: {summary.failed[0][1]}.")
        stack.close()
        return store.sequences(plan.cells[-1].key)


def table(found: dict[str, Any], machine: Machine) -> str:
    """One profile as a Markdown table."""
    regions = found["regions"]
    whole = sum(r["seconds"] for name, r in regions.items() if name not in ONCE)
    lines = [
        f"### {found['method']}, {found['edits']} edits in {found['sequences']} sequences, {found['answers']} answers",
        "",
        "| region | seconds | share | calls | ms a call | floor, s | times the floor | operations | µs an operation |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, r in regions.items():
        seconds, n, floor = r["seconds"], r["operations"], r["floor"]
        share = "once" if name in ONCE else f"{100 * seconds / whole:.1f} %"
        calls = f"{r['calls']} | {1000 * seconds / r['calls']:.2f}" if r["calls"] else " | "
        distance = f"{floor:.4f} | {seconds / floor:.1f}" if floor > 1e-4 else " | "
        each = f"{n} | {1e6 * seconds / n:.0f}" if n else " | "
        lines.append(f"| {name} | {seconds:.3f} | {share} | {calls} | {distance} | {each} |")
    editing = sum(r["seconds"] for name, r in regions.items() if name in EDITING)
    asking = sum(r["seconds"] for name, r in regions.items() if name in ASKING)
    lines += [
        "",
        f"Editing {editing:.2f} s ({editing / max(1, found['edits']):.3f} s per edit), asking {asking:.2f} s "
        f"({1000 * asking / max(1, found['answers']):.1f} ms per answer, free and forced), everything else "
        f"{whole - editing - asking:.2f} s of {whole:.2f} s.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", metavar="METHOD")
    parser.add_argument("--edits", type=int, action="append", help="edits in a sequence; default: 1 and 10")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--grid", default="atlas-methods")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        model = gridfile.load(args.grid).grid.models[0]
        weights = sum(p.numel() * 4 for p in LanguageModel.load(model, "cpu", "float32").model.parameters())
        machine = measure(weights)
        found = [profile(m, k, args.cases, args.grid, machine) for m in args.methods for k in args.edits or (1, 10)]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"machine": asdict(machine), "profiles": found}, indent=1))
        return 0
    print(
        f"One core: {machine.flops / 1e9:.0f} GFLOP/s in a large float32 product, {machine.bandwidth / 1e9:.1f} GB/s "
        f"over {weights / 1e6:.0f} MB, {1e6 * machine.operation:.1f} µs for the smallest operation."
    )
    for one in found:
        print(f"\n{table(one, machine)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
