"""Finding 5: what a growing memory costs SCR."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from leaderboard import formatting
from leaderboard.findings import numbers, plots
from leaderboard.findings.finding import (
    Finding,
    Question,
    bounds,
    points,
    read,
    scope_line,
    share,
    unanswered,
)
from leaderboard.findings.frames import Frames, averages, comparison, first_seed, memory, shares, timed
from leaderboard.findings.numbers import Estimate

QUESTION = Question(
    5,
    "Memory size",
    "What do recall, confirmation, score and seconds do as SCR's memory grows, and where do they turn?",
    ("python -m runner run memory-size", "python benchmarks/memory.py"),
    "The statements that fill the memory are facts of the same invented world, short and alike, which is hard on a "
    "retriever; real memories are longer and more varied. Beyond the sizes here only retrieval is measured "
    "(`benchmarks/memory.py`), not the answers.",
)
SCR = "SCR"


def find(frames: Frames) -> Finding:
    """Answer it from SCR's cells whose memory was filled."""
    everything = frames.cells()
    own = everything[everything["method"].str.lower() == SCR.lower()]
    own = own.assign(size=[memory(h) + n for h, n in zip(own["hparams"], own["n_edits"], strict=True)])
    filled = own[own["size"] > own["n_edits"]]
    if filled.empty:
        return unanswered(QUESTION)
    world = comparison(filled)["world"].iloc[0]
    cells = own[own["world"] == world]
    cells = cells[cells["n_edits"] == cells["n_edits"].max()]
    cells = cells.assign(label=[_series(h) for h in cells["hparams"]])
    cells = cells.drop_duplicates(["label", "size", "seed"])
    seed = first_seed(cells)
    here = cells[cells["seed"] == seed].sort_values(["label", "size"])
    cases = averages(frames, here)
    rows = pd.DataFrame([_row(frames, cell, cases) for cell in here.to_dict("records") if cell["key"] in cases])
    if rows.empty:
        return unanswered(QUESTION, "none of them is scored")
    main = _main(rows)
    line = rows[rows["label"] == main].sort_values("size")
    if len(line) < 2:
        return unanswered(QUESTION, "only one size is there")
    return Finding(
        QUESTION,
        _sentence(main, line, cases),
        rows.drop(columns="key"),
        plots.lines(rows, "size", "statements in memory", "Average"),
        alt="Lines of the average against the number of statements in memory: "
        + "; ".join(
            f"{r['label']} {formatting.percent(r['value'])} % at {r['size']:,}" for r in rows.to_dict("records")
        )
        + ".",
        scope=scope_line(frames, here),
        headline=f"{main} from the smallest to the largest memory",
        seeds=_by_seed(frames, cells[cells["label"] == main]),
        unit="points",
    )


def _series(hparams: dict[str, Any]) -> str:
    source = str(hparams.get("distractors_from") or "atlas")
    extra = "" if source == "atlas" or not memory(hparams) else f", {source.removeprefix('atlas+')}"
    return f"{SCR} ({hparams.get('retriever', 'auto')}{extra})"


def _row(frames: Frames, cell: dict[str, Any], cases: dict[str, pd.DataFrame]) -> dict[str, Any]:
    frame = cases[cell["key"]]
    found = numbers.mean(shares(frame).to_numpy())
    looked = frames.lookups([cell["key"]])
    spent = timed(frames.sequences([cell["key"]]))
    about = looked[~looked["metric"].str.startswith("locality")]
    apart = looked[looked["metric"].str.startswith("locality")]
    got = about[about["found"] == 1]
    answers = float(spent["n_answers"].sum())
    stored = spent["storage_bytes"].dropna()
    return (
        {"key": cell["key"], "label": cell["label"], "size": int(cell["size"])}
        | {"value": found.value, "low": found.low, "high": found.high, "cases": found.n}
        | bounds("recall", _per_case(about, about["found"] == 1))
        | bounds("confirmation_errors", _per_case(got, got["confirmed"] != "own"))
        | bounds("false_confirmations", _per_case(apart, apart["confirmed"] != "none"))
        | {
            "answer_seconds": float(spent["answer_seconds"].sum()) / answers if answers else np.nan,
            "storage_bytes": float(stored.max()) if len(stored) else np.nan,
        }
    )


def _per_case(looked: pd.DataFrame, counted: pd.Series) -> Estimate:
    """The share of questions that count, per case, over cases."""
    if looked.empty:
        return Estimate(float("nan"))
    own = looked.assign(hit=looked["n"].where(counted, 0)).groupby("case_id")[["hit", "n"]].sum()
    return numbers.mean((own["hit"] / own["n"]).to_numpy(dtype=float))


def _main(rows: pd.DataFrame) -> str:
    """The series with most sizes; of even ones that which has the best average at the smallest."""
    counts = rows.groupby("label").agg(n=("size", "nunique"), value=("value", "first")).reset_index()
    return str(counts.sort_values(["n", "value", "label"], ascending=[False, False, True])["label"].iloc[0])


def _sentence(main: str, line: pd.DataFrame, cases: dict[str, pd.DataFrame]) -> str:
    first, last = line.iloc[0], line.iloc[-1]
    base = shares(cases[first["key"]])
    changes = {
        int(row["size"]): numbers.difference(shares(cases[row["key"]]), base) for _, row in line.iloc[1:].iterrows()
    }
    change = changes[int(last["size"])]
    worse = [size for size, found in changes.items() if found.high < 0]
    span = f"From {first['size']:,} to {last['size']:,} statements in memory the average of {main}"
    if worse:
        verb = f"falls ({points(change)})" if change.high < 0 else f"dips, but ends at {points(change)}"
        told = f"{verb}; the first size that is worse for sure is {worse[0]:,}"
    elif change.low > 0:
        told = f"rises by {points(change)}"
    else:
        told = f"does not fall for sure ({points(change)})"
    recall = f"recall of the right statement goes from {share(read(first, 'recall'))} to {share(read(last, 'recall'))}"
    wrong = (
        f"confirmation errors from {share(read(first, 'confirmation_errors'))} to "
        f"{share(read(last, 'confirmation_errors'))}"
    )
    seconds = (
        f"an answer from {formatting.seconds(first['answer_seconds'])} to {formatting.seconds(last['answer_seconds'])}"
    )
    return f"{span} {told}; {recall}, {wrong}, {seconds}."


def _by_seed(frames: Frames, cells: pd.DataFrame) -> dict[int, float]:
    found = {}
    for seed, own in cells.groupby("seed"):
        ends = own.sort_values("size").iloc[[0, -1]]
        cases = averages(frames, ends)
        if ends["size"].nunique() == 2 and len(cases) == 2:
            small, large = (float(shares(cases[key]).mean()) for key in ends["key"])
            found[int(seed)] = large - small  # type: ignore[call-overload]
    return found
