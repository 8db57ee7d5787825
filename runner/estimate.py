"""What a run would still do, and how long it may take, from the timings of the past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.cells import BASE_METHOD, Cell
from runner.plan import Plan

if TYPE_CHECKING:
    from db.store import Store


@dataclass(frozen=True)
class Work:
    """One cell's work.

    sequences, done: all and those stored. edits, answers: still to make and ask (free-running, before identical
    questions of a sequence are asked only once). seconds: estimate of the rest, None where nothing like it was timed.
    spent: seconds that the stored sequences took, of preparing, editing and asking.
    """

    cell: Cell
    state: str
    sequences: int
    done: int
    edits: int
    answers: int
    seconds: float | None
    spent: float = 0.0


def survey(plan: Plan, store: Store | None) -> list[Work]:
    """Every cell's work, in the plan's order. `store` None: there is no database yet."""
    states: dict[str, str] = {}
    costs: dict[tuple[str, str], tuple[float, float]] = {}
    spent: dict[str, float] = {}
    if store is not None:
        states = {row["key"]: row["state"] for row in store.cells(key=[cell.key for cell in plan.cells])}
        costs, spent = _costs(store)
    return [_work(cell, plan, store, states, costs, spent.get(cell.key, 0.0)) for cell in plan.cells]


def _work(
    cell: Cell,
    plan: Plan,
    store: Store | None,
    states: Mapping[str, str],
    costs: Mapping[Any, tuple[float, float]],
    spent: float,
) -> Work:
    state = states.get(cell.key, "new")
    done = store.sequences_done(cell.key) if store is not None and cell.key in states else set()
    cases = plan.cases(cell)
    left = [cases[case_id] for i, ids in enumerate(cell.sequences) if i not in done for case_id in ids]
    edits = 0 if cell.method.name == BASE_METHOD else sum(len(case.edits) for case in left)
    answers = sum(len(case.probes) for case in left)
    cost = costs.get((cell.model.hash, cell.method.name))
    seconds = 0.0 if not left else None if cost is None else cost[0] * edits + cost[1] * answers
    return Work(cell, state, len(cell.sequences), len(done), edits, answers, seconds, spent)


def _spent(sequence: Mapping[str, Any]) -> float:
    extra = sequence["extra"] or {}
    apart = sum(extra.get(name, 0.0) for name in ("prepare_seconds", "forced_seconds"))
    return float(sequence["edit_seconds"] + sequence["answer_seconds"] + apart)


def _costs(store: Store) -> tuple[dict[tuple[str, str], tuple[float, float]], dict[str, float]]:
    """(model hash, method) -> seconds per edit and seconds per answer asked, teacher forcing included; cell key ->
    seconds that its sequences took."""
    spent: dict[str, float] = {}
    totals: dict[tuple[str, str], list[float]] = {}
    for row in store.cells(state=["done", "running", "pending", "failed"]):
        total = totals.setdefault((row["model_hash"], row["method"]), [0.0, 0.0, 0.0, 0.0])
        sequences = store.sequences(row["key"])
        spent[row["key"]] = sum(map(_spent, sequences))
        for sequence in sequences:
            total[0] += sequence["edit_seconds"]
            total[1] += sequence["n_edits"]
            total[2] += sequence["answer_seconds"] + (sequence["extra"] or {}).get("forced_seconds", 0.0)
            total[3] += sequence["n_answers"]
    return {key: (t[0] / max(t[1], 1), t[2] / t[3]) for key, t in totals.items() if t[3]}, spent


def total_seconds(work: Sequence[Work]) -> float | None:
    """The sum, None when some cell's time is unknown."""
    seconds = [item.seconds for item in work]
    return None if any(s is None for s in seconds) else sum(s for s in seconds if s is not None)
