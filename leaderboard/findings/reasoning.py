"""Finding 8: how often a reasoning trace leaves the new fact, and what thinking does to the score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from leaderboard.findings import numbers, plots
from leaderboard.findings.finding import (
    Finding,
    Question,
    bounds,
    names,
    points,
    read,
    scope_line,
    share,
    unanswered,
)
from leaderboard.findings.frames import Frames, averages, first_seed, is_scr, shares
from leaderboard.findings.numbers import Estimate
from leaderboard.state import FREE
from leaderboard.views import UNEDITED

QUESTION = Question(
    8,
    "Reasoning models",
    "How often does a model's own reasoning leave the new fact, by method, and does thinking help edited models?",
    ("python -m runner run reasoning",),
    "The small model reasons in one learned form, step by step through known relations; it cannot reconsider, doubt or "
    "run on as large reasoning models do. A trace that returns to the old fact can be seen here; how often a large "
    "model talks itself out of a new fact can't.",
)
THINKING, REFLECTION = "reasoning", "reflection"
KINDS = ("reflection/old_fact_returns", "reflection/new_fact_abandoned", "reflection/question_dropped")


def find(frames: Frames) -> Finding:
    """Answer it at the longest length under the protocol that thinks, beside the same cells without thinking."""
    everything = frames.cells()
    thinking = everything[(everything["protocol"] == THINKING) & (everything["method"] != UNEDITED)]
    if thinking.empty:
        return unanswered(QUESTION)
    seed = first_seed(thinking)
    length = int(thinking["n_edits"].max())
    own = thinking[(thinking["seed"] == seed) & (thinking["n_edits"] == length)].drop_duplicates("label")
    reflecting = frames.per_case(own["key"], FREE, (REFLECTION, *KINDS))
    rows = _rows(frames, own, _without(everything, own), reflecting)
    if rows.empty:
        return unanswered(QUESTION, "no trace is scored")
    shown = rows.rename(columns={"reflection": "value", "reflection_low": "low", "reflection_high": "high"})
    return Finding(
        QUESTION,
        _sentence(rows, length),
        rows,
        plots.dots(shown.assign(series="reflection").sort_values("value"), ["reflection"], "Traces that leave the new "
                   "fact", by_label=True),
        alt="Share of traces that leave the new fact, one row per method: "
        + "; ".join(f"{r['label']} {share(read(r, 'reflection'))}" for r in rows.to_dict("records"))
        + ".",
        scope=scope_line(frames, own),
        headline=f"Mean reflection over the methods at {length:,} in a row",
        seeds=_by_seed(frames, thinking[thinking["n_edits"] == length]),
    )  # fmt: skip


def _without(everything: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """The cells of the same model, data, length and seed that answer without thinking."""
    one = own.iloc[0]
    return everything[
        (everything["protocol"] != THINKING)
        & (everything["dataset_hash"] == one["dataset_hash"])
        & (everything["n_cases"] == one["n_cases"])
        & (everything["n_edits"] == one["n_edits"])
        & (everything["seed"] == one["seed"])
    ].drop_duplicates("label")


def _rows(frames: Frames, own: pd.DataFrame, plain: pd.DataFrame, reflecting: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """label, reflection and its kinds, the average with and without thinking, the paired difference."""
    cases = averages(frames, pd.concat([own, plain]))
    before = dict(zip(plain["label"], plain["key"], strict=True))
    rows: list[dict[str, Any]] = []
    for cell in own.sort_values("label").to_dict("records"):
        frame = reflecting.get(cell["key"])
        if frame is None or frame[REFLECTION].notna().sum() == 0:
            continue
        row: dict[str, Any] = {"label": cell["label"], "cases": int(frame[REFLECTION].notna().sum())}
        row |= bounds(REFLECTION, numbers.mean(frame[REFLECTION].to_numpy(dtype=float)))
        row |= {kind.partition("/")[2]: float(frame[kind].mean()) for kind in KINDS}
        thought = shares(cases[cell["key"]]) if cell["key"] in cases else None
        other = before.get(cell["label"])
        missing = Estimate(float("nan"))
        row["thinking"] = float(thought.mean()) if thought is not None else np.nan
        bare = shares(cases[other]) if other in cases else None
        row["without"] = float(bare.mean()) if bare is not None else np.nan
        both = thought is not None and bare is not None
        row |= bounds("gain", numbers.difference(thought, bare) if both else missing)  # type: ignore[arg-type]
        rows.append(row)
    return pd.DataFrame(rows)


def _sentence(rows: pd.DataFrame, length: int) -> str:
    ordered = rows.sort_values([REFLECTION, "label"]).to_dict("records")
    most, least = ordered[-1], ordered[0]
    where = f"at {length:,} in a row"
    if most[REFLECTION] == 0:
        said = [f"No trace of {len(rows)} methods leaves the new fact {where}"]
    else:
        said = [f"Traces leave the new fact most often under {most['label']}, {share(read(most, REFLECTION))} {where}"]
        if len(ordered) > 1:
            said.append(f"least under {least['label']}, {share(read(least, REFLECTION))}")
        scr = next((row for row in ordered if is_scr(row["label"])), None)
        if scr is not None and scr["label"] not in (most["label"], least["label"]):
            said.append(f"under SCR {share(read(scr, REFLECTION))}")
    known = rows.dropna(subset=["gain_low"]).to_dict("records")
    if known:
        helped = [r for r in known if r["gain_low"] > 0]
        harmed = [r for r in known if r["gain_high"] < 0]
        said.append(
            f"thinking raises the average of {_counted(helped, len(known))} and lowers that of "
            f"{_counted(harmed, len(known))}"
        )
    return "; ".join(said) + "."


def _counted(rows: list[dict[str, Any]], total: int) -> str:
    listed = names([f"{r['label']} {points(read(r, 'gain'))}" for r in rows])
    return f"{len(rows)} of {total} methods{f' ({listed})' if rows else ''}"


def _by_seed(frames: Frames, thinking: pd.DataFrame) -> dict[int, float]:
    found = {}
    for seed, own in thinking.groupby("seed"):
        means = [f[REFLECTION].mean() for f in frames.per_case(own["key"], FREE, (REFLECTION,)).values()]
        known = [float(m) for m in means if np.isfinite(m)]
        if known:
            found[int(seed)] = float(np.mean(known))  # type: ignore[call-overload]
    return found
