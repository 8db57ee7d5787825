"""Finding 10: do teacher forcing and free running put methods into the same order?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from leaderboard import formatting
from leaderboard.findings import numbers, plots
from leaderboard.findings.finding import Finding, Question, bounds, plain, scope_line, unanswered
from leaderboard.findings.frames import Frames, comparison, first_seed, length_of_most_seeds
from leaderboard.findings.numbers import Estimate
from leaderboard.glossary import MAIN_METRICS
from leaderboard.state import FORCED, FREE
from leaderboard.views import UNEDITED

QUESTION = Question(
    10,
    "Teacher forcing against free running",
    "Which methods change places when the right answer is fed word by word instead of the model writing by itself?",
    ("python -m runner run atlas-methods", "python -m runner run seeds"),
    "Answers of this model are one to six tokens, so it can hardly run on after a right beginning; on longer answers "
    "the two readings lie further apart. A pair counts as told apart where the free-running intervals of the two "
    "methods don't overlap, which is stricter than a paired test.",
)


def find(frames: Frames) -> Finding:
    """Answer it at the longest length at which at least three methods have both readings."""
    cells = comparison(frames.cells())
    seed = first_seed(cells) if len(cells) else 0
    own = cells[cells["seed"] == seed]
    table, length, draws = _both(frames, own)
    if len(table) < 3:
        return unanswered(QUESTION, "fewer than three methods have both readings")
    free, forced = (table[mode].to_numpy() for mode in (FREE, FORCED))
    pairs = len(table) * (len(table) - 1) // 2
    tau = numbers.estimate(float(numbers.kendall(free, forced)), numbers.kendall(*draws), len(table))
    swaps = numbers.estimate(float(numbers.swapped(free, forced)), numbers.swapped(*draws), len(table))
    sure = _sure(table)
    at = length_of_most_seeds(cells[cells["method"] != UNEDITED])
    by_seed, shared = _by_seed(frames, cells, at)
    return Finding(
        QUESTION,
        _sentence(tau, swaps, sure, pairs, length, table),
        table.drop(columns="method").sort_values(FREE, ascending=False),
        plots.slopes(table, FORCED, FREE, ("teacher-forced", "free-running")),
        alt="Lines from each method's teacher-forced average to its free-running one: "
        + "; ".join(
            f"{row['label']} {formatting.percent(row[FORCED])} to {formatting.percent(row[FREE])} %"
            for row in table.to_dict("records")
        )
        + ".",
        scope=scope_line(frames, own[own["n_edits"].isin([0, length])]),
        headline=f"Kendall's tau of the two orders of {shared} methods at {at:,} in a row",
        seeds=by_seed,
        unit="",
    )


def _both(
    frames: Frames, own: pd.DataFrame, length: int | None = None, with_draws: bool = True
) -> tuple[pd.DataFrame, int, tuple[numbers.Floats, numbers.Floats]]:
    """label, method and the average in both modes with intervals; the length; the draws, [RESAMPLES, methods].

    with_draws: without them there are no intervals.
    """
    edited = own[own["method"] != UNEDITED]
    for n in sorted(edited["n_edits"].unique(), reverse=True) if length is None else [length]:
        here = edited[edited["n_edits"] == n].sort_values("label")
        cases = {mode: frames.per_case(here["key"], mode, MAIN_METRICS) for mode in (FREE, FORCED)}
        found: dict[str, dict[str, pd.DataFrame]] = {FREE: {}, FORCED: {}}
        for row in here.to_dict("records"):
            pair = [cases[mode].get(row["key"]) for mode in (FREE, FORCED)]
            if all(f is not None and np.isfinite(numbers.average(f, MAIN_METRICS)) for f in pair):
                for mode, frame in zip((FREE, FORCED), pair, strict=True):
                    found[mode][row["label"]] = frame  # type: ignore[assignment]
        if len(found[FREE]) < 3:
            continue
        drawn = {mode: numbers.averages(found[mode], MAIN_METRICS) for mode in found} if with_draws else {}
        rows: list[dict[str, Any]] = []
        for label in found[FREE]:
            columns: dict[str, Any] = {}
            for mode in (FREE, FORCED):
                value = numbers.average(found[mode][label], MAIN_METRICS)
                draws = drawn[mode][label] if with_draws else np.empty(0)
                columns |= bounds(mode, numbers.estimate(value, draws))
            rows.append({"label": label, "method": label.partition(" ")[0], **columns})
        if not with_draws:
            return pd.DataFrame(rows), int(n), (np.empty((0, 0)), np.empty((0, 0)))
        stacked = [np.column_stack([drawn[mode][row["label"]] for row in rows]) for mode in (FREE, FORCED)]
        return pd.DataFrame(rows), int(n), (stacked[0], stacked[1])
    return pd.DataFrame(), 0, (np.empty((0, 0)), np.empty((0, 0)))


def _sure(table: pd.DataFrame) -> int:
    """Swapped pairs whose free-running intervals don't overlap."""
    rows = table.to_dict("records")
    return sum(
        (a[FREE] - b[FREE]) * (a[FORCED] - b[FORCED]) < 0
        and (a["free_low"] > b["free_high"] or b["free_low"] > a["free_high"])
        for i, a in enumerate(rows)
        for b in rows[i + 1 :]
    )


def _sentence(tau: Estimate, swaps: Estimate, sure: int, pairs: int, length: int, table: pd.DataFrame) -> str:
    where = f"at {length:,} in a row (Kendall's tau {plain(tau)})"
    gain = table[FORCED] - table[FREE]
    most = table.loc[gain.idxmax()]
    lift = f"it adds up to {100 * gain.max():.0f} points ({most['label']})" if gain.max() > 0 else "it adds nothing"
    if not swaps.value:
        return f"Teacher forcing keeps the order of all {pairs} pairs of methods {where}; {lift}."
    said = f"{swaps.value:.0f} [{swaps.low:.0f}, {swaps.high:.0f}] of {pairs} pairs of methods"
    clear = (
        f"{sure} of them although free running tells the two apart"
        if sure
        else "none of them a pair that free running tells apart"
    )
    return f"Teacher forcing swaps {said} {where}, {clear}; {lift}."


def _by_seed(frames: Frames, cells: pd.DataFrame, length: int) -> tuple[dict[int, float], int]:
    """Tau under each seed, over the methods that all seeds have at that length, and how many those are."""
    here = cells[(cells["n_edits"] == length) & (cells["method"] != UNEDITED)]
    shared = set.intersection(*(set(own["label"]) for _, own in here.groupby("seed")))
    found = {}
    for seed, own in here[here["label"].isin(shared)].groupby("seed"):
        table, _, _ = _both(frames, own, length, with_draws=False)
        if len(table) > 2:
            tau = float(numbers.kendall(table[FREE].to_numpy(), table[FORCED].to_numpy()))
            found[int(seed)] = tau  # type: ignore[call-overload]
    return found, len(shared)
