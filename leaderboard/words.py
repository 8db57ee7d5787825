"""Sentences that sum up what a page shows, made of its numbers. Plain text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from leaderboard import formatting
from leaderboard.extras import GROUPS
from leaderboard.facets import FACETS
from leaderboard.glossary import metric_label
from leaderboard.state import BOTH, DEFAULTS, FORCED, Filters
from leaderboard.tradeoffs import COSTS
from leaderboard.views import INCOMPLETE, RANKED, SORTS, UNEDITED, UNEDITED_LABEL

if TYPE_CHECKING:
    from leaderboard.data import Board

_MODES = {FORCED: "teacher-forced answers", BOTH: "free-running and teacher-forced answers"}


def leaderboard(table: pd.DataFrame, filters: Filters) -> str:
    """Who leads, who can't be told from the leader, and what is missing."""
    if table.empty:
        return "No results yet. `python -m runner run` fills the board while it works; reload to see more."
    in_a_row = " in a row" if filters.edits > 1 else ""
    # Cases, not edits: the case of an event makes one or two edits.
    edited = f"{formatting.count(filters.edits, 'case')} of {filters.data}{in_a_row}"
    where = f"After editing {edited} into {filters.model}"
    ranked = table[table["status"] == RANKED].sort_values(["rank", "average"], ascending=[True, False])
    waiting = table[table["status"] == INCOMPLETE]
    missing = "; ".join(f"{label} ({note})" for label, note in zip(waiting["label"], waiting["note"], strict=True))
    missing = f" Incomplete: {missing}." if missing else ""
    cases = f"{formatting.count(int(ranked['cases'].iloc[0]), 'case')} in all, " if len(ranked) else ""
    where += f" ({cases}{_MODES.get(filters.mode, 'free-running answers')}): "
    if ranked.empty:
        return f"{where}nothing is finished yet.{missing}"
    first = ranked[ranked["rank"] == ranked["rank"].min()]
    lead = _names(first["label"].tolist())
    best = formatting.percent(first["average"].max())
    if len(first) == 1:
        # Not "better than each of the others": significance isn't transitive, so that doesn't follow from the ranks.
        alone = f"{lead} alone ranks first, with an average of {best} %."
        verb = alone if len(ranked) > 1 else f"{lead} has an average of {best} % and nothing to be compared with."
    else:
        verb = (
            f"{lead} share rank {first['rank'].iloc[0]:.0f} and can't be told apart; the highest average is {best} %."
        )
    return f"{where}{verb}{missing}"


def matching(shown: int, total: int, find: str) -> str:
    """How many rows a search has left, in front of the sentence about all of them; "" without a search."""
    return f"{shown:,} of {formatting.count(total, 'row')} match “{find}”. " if find else ""


_SORTED = {key: name for key, (name, _, _) in SORTS.items()}
# filter -> what its chip says
CHIPS: dict[str, Callable[[Any], str]] = {
    "model": lambda v: f"Model: {v}",
    "data": lambda v: f"Data set: {v}",
    "setup": lambda v: f"Setup: {v}",
    "mode": lambda v: f"Answers: {_MODES.get(v, v).removesuffix(' answers')}",
    "edits": lambda v: f"In a row: {v:,}",
    "sort": lambda v: f"Sorted by: {_SORTED.get(v, v).lower()}",
    "find": lambda v: f"Search: {v}",
    "groups": lambda v: "Columns: " + (", ".join(GROUPS[name] for name in v if name in GROUPS) or "few"),
    "reported": lambda v: "Numbers of papers",
    "metric": lambda v: f"Metric: {metric_label(v)}",
    "show": lambda v: f"Methods: {', '.join(v)}",
    "facet": lambda v: f"Panels: {FACETS.get(v, v)}",
    "cost": lambda v: f"Against: {COSTS[v][0] if v in COSTS else v}",
    "method": lambda v: f"Method: {UNEDITED_LABEL if v == UNEDITED else v}",
    "kind": lambda v: f"Kind: {v}",
    "verdict": lambda v: f"Verdict: {v}",
    "search": lambda v: f"Search: {v}",
    "answer": lambda v: f"Answer {v}",
}


def chips(filters: Filters, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """(words, name) of each named filter that isn't at its default."""
    return [
        (CHIPS[name](getattr(filters, name)), name)
        for name in names
        if name in CHIPS and getattr(filters, name) != getattr(DEFAULTS, name)
    ]


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def curves(points: pd.DataFrame, filters: Filters) -> str:
    """Which method loses most and which least between the shortest and the longest sequence."""
    what = f"{metric_label(filters.metric)} of {filters.model} on {filters.data}"
    mode = FORCED if filters.mode == FORCED else "free"
    edited = points[(points["n_edits"] > 0) & (points["mode"] == mode)]
    first, last = edited["n_edits"].min(), edited["n_edits"].max()
    wide = edited.pivot_table(index="label", columns="n_edits", values="value")
    if wide.empty or first == last or wide[[first, last]].dropna().empty:
        return f"{what}, {_MODES.get(filters.mode, 'free-running answers')}."
    change = (wide[last] - wide[first]).dropna().sort_values()
    span = f"from sequences of {formatting.count(int(first), 'case')} to {int(last):,}"
    said = [f"{label} {formatting.signed(value)} points" for label, value in change.items()]
    ends = said if len(said) < 3 else [said[0], said[-1]]
    note = " (the largest and the smallest loss)" if len(said) > 2 else ""
    return f"{what}, {span}: {', '.join(ends)}{note}."


def tradeoffs(points: pd.DataFrame, filters: Filters, cost: str) -> str:
    """Which methods are on the front, from the cheapest to the best."""
    front = points[points["front"]].sort_values("cost")
    if front.empty:
        return f"Nothing finished has both the {metric_label(filters.metric).lower()} and {cost} yet."
    named = [
        f"{label} ({formatting.percent(value)} %)" for label, value in zip(front["label"], front["value"], strict=True)
    ]
    if len(named) == 1:
        return f"{named[0]} is the cheapest and the best: no other method costs less or scores more."
    front_line = f"On the Pareto front, from the cheapest to the best: {', '.join(named)}."
    return f"{front_line} Every other method is beaten by one of them."


def comparison(differences: pd.DataFrame) -> str:
    """The difference in the average of every pair, and whether it could be chance."""
    said = []
    for row in differences[differences["metric"] == "average"].to_dict("records"):
        ahead, behind, by = row["first"], row["second"], row["difference"]
        if by < 0:
            ahead, behind, by = behind, ahead, -by
        sure = f"p {formatting.p_value(row['p'])}" if row["significant"] else "which could be chance"
        said.append(f"{ahead} is {100 * by:.1f} points above {behind} on the average ({sure}, {row['cases']:,} cases)")
    return "; ".join(said) + "." if said else "Choose at least two methods that are finished here."


def points(frame: pd.DataFrame) -> dict[str, Any]:
    """The points of the curves as a table of text."""
    several = "panel" in frame
    rows = [
        [
            *([str(row["panel"])] if several else []),
            "unedited model" if row["n_edits"] == 0 else str(row["label"]),
            "teacher-forced" if row["mode"] == FORCED else "free-running",
            f"{row['n_edits']:,}",
            formatting.percent_interval(row["value"], row["low"], row["high"]),
            f"{row['n']:,}",
        ]
        for row in frame.to_dict("records")
    ]
    headers = ["panel"] if several else []
    return {
        "headers": [*headers, "method", "answers", "cases in a row", "value in % [95 % interval]", "cases"],
        "data": rows,
    }


def provenance(board: Board) -> str:
    """Where the numbers come from."""
    run = board.latest_run()
    if run is None:
        return f"Database: {board.name}"
    commit = (
        f", commit {run['git_commit'][:10]}{' with changes' if run['git_dirty'] else ''}" if run["git_commit"] else ""
    )
    return f"Database: {board.name}. Last run {run['started']:%Y-%m-%d %H:%M}{commit}: {run['command']}"
