"""`run --dry-run`: what is left of a grid, what it will need and how long it takes. Nothing is loaded or written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.commands.common import database_url, missing_file, print_json, print_table

if TYPE_CHECKING:
    from runner.costs.predict import Prediction
    from runner.estimate import Work
    from runner.plan import Plan


def show_plan(plan: Plan, db: str, as_json: bool, on: str | None) -> None:
    """Print the plan. on: a device of `runner.costs.devices` to plan for; None: the one that a run would use here."""
    from runner.costs.devices import device_here, device_named
    from runner.costs.predict import predict
    from runner.progress import duration

    work = _survey(plan, db)
    device = device_named(on) if on else device_here(plan.cells[0].settings.device if plan.cells else "cpu")
    dtype = plan.cells[0].settings.dtype if plan.cells else "float32"
    if on and plan.grid.dtype == "auto":
        dtype = "float32" if on.lower() == "cpu" else "bfloat16"
    needs = [None if device is None else predict(w.cell, plan.cases(w.cell), device, dtype) for w in work]
    # Timings are of the device that they were taken on.
    times = [
        (w.seconds, "timings") if w.seconds is not None and not (on and w.seconds) else _computed(w, need)
        for w, need in zip(work, needs, strict=True)
    ]
    known = [seconds for seconds, _ in times]
    total = None if None in known else sum(s for s in known if s is not None)
    name = None if device is None else f"{device.name}, {device.usable / 2**30:.0f} GiB, {dtype}"
    if as_json:
        cells = [_cell(*row) for row in zip(work, needs, times, strict=True)]
        print_json({"device": name, "cells": cells, "seconds": total})
        return
    rows = [
        [
            w.cell.label,
            w.state,
            f"{w.done}/{w.sequences}",
            w.edits,
            w.answers,
            *_memory(need),
            "?" if seconds is None else ("" if how == "timings" else "~") + duration(seconds),
        ]
        for w, need, (seconds, how) in zip(work, needs, times, strict=True)
    ]
    headers = ["cell", "state", "sequences", "edits to make", "answers to ask", "memory", "fits", "time"]
    print_table("", headers, rows)
    left = sum(w.sequences > w.done for w in work)
    time = "unknown: nothing is known about the device's speed" if total is None else f"about {duration(total)}"
    print(f"{left} of {len(work)} cells to do, {sum(w.answers for w in work)} answers to ask, time {time}.")
    done, spent = sum(w.done for w in work), sum(w.spent for w in work)
    if done:
        print(f"{done} sequences done before, in {duration(spent)} of preparing, editing and asking.")
    if any(how == "computed" for _, how in times):
        print(f"~ computed for {name}, for answers as long as the budget; nothing like it was timed yet.")
    problems = {w.cell.method.name: n.problem for w, n in zip(work, needs, strict=True) if n is not None and n.problem}
    for method, problem in problems.items():
        print(f"{method}: {problem}")


def _computed(work: Work, need: Prediction | None) -> tuple[float | None, str]:
    if need is None or need.problem is not None:
        return (0.0 if need is not None else None), "computed"
    return need.seconds(work.edits, work.answers), "computed"


def _memory(need: Prediction | None) -> tuple[str, str]:
    if need is None or need.problem:
        return "?", "?" if need is None else "no"
    at_least = "" if need.exact else "at least "
    return f"{at_least}{need.peak / 2**30:.2f} GiB", "yes" if need.fits else "no"


def _cell(work: Work, need: Prediction | None, time: tuple[float | None, str]) -> dict[str, Any]:
    cell = work.cell
    seconds, how = time
    found: dict[str, Any] = {
        "key": cell.key,
        "model": cell.model.name,
        "method": cell.method.name,
        "dataset": cell.dataset,
        "n_edits": cell.n_edits,
        "seed": cell.seed,
        "state": work.state,
        "sequences": work.sequences,
        "sequences_done": work.done,
        "edits": work.edits,
        "answers": work.answers,
        "seconds": seconds,
        "seconds_from": how,
        "seconds_spent": work.spent,
    }
    if need is not None:
        parts = ("weights", "kept", "editing", "preparing", "answering", "host")
        found["memory"] = {
            "peak_bytes": round(need.peak), **{f"{part}_bytes": round(getattr(need, part)) for part in parts},
            "rows": need.rows, "usable_bytes": round(need.usable), "fits": need.fits, "exact": need.exact,
            "problem": need.problem,
        }  # fmt: skip
    return found


def _survey(plan: Plan, db: str) -> list[Work]:
    """The survey against the database, which a dry run never creates."""
    from db.store import Store
    from runner.estimate import survey

    if missing_file(db) is not None:
        return survey(plan, None)
    with Store.open(database_url(db), readonly=True) as store:
        return survey(plan, store)
