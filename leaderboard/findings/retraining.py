"""Finding 7: from how many new facts on is training the model again better than telling it?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from leaderboard import formatting
from leaderboard.findings import numbers, plots
from leaderboard.findings.finding import Finding, Question, points, read, scope_line, share, unanswered
from leaderboard.findings.frames import Frames, averages, comparison, first_seed, once, scr_of, shares, timed
from leaderboard.findings.numbers import Estimate
from leaderboard.views import UNEDITED

QUESTION = Question(
    7,
    "When is re-training better?",
    "Over how many new facts does training the model again overtake stating them in the context, in score and in "
    "seconds per fact?",
    ("python -m runner run retraining", "python -m runner run ten-thousand"),
    "Training a small model is cheap and its room is small; a large model pays far more per step and holds far more "
    "facts, so the crossing point of a large model is its own. Facts of `atlas-new` are new: nothing old has to be "
    "unlearned; facts of `atlas` are changed.",
)
NEW, TRAINED = "atlas-new", "retrain"


def find(frames: Frames) -> Finding:
    """Answer it on new facts where such cells are, else on the fullest comparison that has both."""
    everything = frames.cells()
    new = everything[everything["dataset"] == NEW]
    if len(new):
        cells = once(new.sort_values("n_cases", ascending=False)).drop_duplicates(["label", "n_edits", "seed"])
    else:
        cells = comparison(everything)
    edited = cells[cells["method"] != UNEDITED]
    trained = edited[edited["label"].str.lower() == TRAINED]
    scr = scr_of(edited)
    both = sorted(set(trained["n_edits"]) & set(scr["n_edits"]))
    if len(both) < 2:
        return unanswered(QUESTION)
    seed = first_seed(edited[edited["n_edits"].isin(both)])
    here = edited[(edited["seed"] == seed) & edited["label"].str.lower().isin(["scr", TRAINED, "locft-bf", "ft-m"])]
    cases = averages(frames, here)
    rows = _rows(frames, here, cases)
    pairs = _pairs(here, cases, both)
    if rows.empty or not pairs:
        return unanswered(QUESTION, "re-training and SCR are not scored together")
    facts = "new facts" if len(new) else "changed facts"
    return Finding(
        QUESTION,
        _sentence(rows, pairs, facts),
        rows,
        plots.above(
            plots.lines(rows, "n_edits", facts, "Average"),
            plots.lines(_costs(rows), "n_edits", facts, "seconds per fact", percent=False),
        ),
        alt=_alt(rows),
        scope=scope_line(frames, here),
        headline=f"Re-training minus SCR at {max(pairs):,} facts",
        seeds=_by_seed(frames, edited, max(pairs)),
        unit="points",
    )


def _rows(frames: Frames, here: pd.DataFrame, cases: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """label, n_edits, value, low, high, cases, edit_seconds (per fact), answer_seconds (per answer)."""
    spent = timed(frames.sequences(here["key"])).groupby("cell_key")[
        ["edit_seconds", "n_edits", "answer_seconds", "n_answers"]
    ].sum()  # fmt: skip
    rows: list[dict[str, Any]] = []
    for cell in here.sort_values(["label", "n_edits"]).to_dict("records"):
        if cell["key"] in cases:
            found = numbers.mean(shares(cases[cell["key"]]).to_numpy())
            own = spent.loc[cell["key"]] if cell["key"] in spent.index else None
            rows.append(
                {"label": cell["label"], "n_edits": int(cell["n_edits"])}
                | {"value": found.value, "low": found.low, "high": found.high, "cases": found.n}
                | {
                    "edit_seconds": _ratio(own, "edit_seconds", "n_edits"),
                    "answer_seconds": _ratio(own, "answer_seconds", "n_answers"),
                }
            )
    return pd.DataFrame(rows)


def _ratio(own: pd.Series | None, top: str, bottom: str) -> float:
    return float(own[top] / own[bottom]) if own is not None and own[bottom] else float("nan")


def _costs(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(value=rows["edit_seconds"], low=np.nan, high=np.nan).dropna(subset=["value"])


def _pairs(here: pd.DataFrame, cases: dict[str, pd.DataFrame], lengths: list[int]) -> dict[int, Estimate]:
    """Number of facts -> re-training minus SCR, paired over the cases."""
    found = {}
    for n in lengths:
        at = here[here["n_edits"] == n]
        trained = at.loc[at["label"].str.lower() == TRAINED, "key"].tolist()
        scr = scr_of(at)["key"].tolist()
        if trained and scr and trained[0] in cases and scr[0] in cases:
            found[n] = numbers.difference(shares(cases[trained[0]]), shares(cases[scr[0]]))
    return found


def _sentence(rows: pd.DataFrame, pairs: dict[int, Estimate], facts: str) -> str:
    most = max(pairs)
    better = [n for n, found in sorted(pairs.items()) if found.low > 0]
    level = [n for n, found in sorted(pairs.items()) if found.low <= 0 <= found.high]
    trained = rows[rows["label"].str.lower() == TRAINED].set_index("n_edits")
    scr = scr_of(rows).set_index("n_edits")
    if better:
        told = f"Re-training overtakes SCR at {better[0]:,} {facts} ({points(pairs[better[0]])})"
        if pairs[most].high < 0:
            told += f", but is behind again at {most:,} ({points(pairs[most])})"
    elif level:
        even = f"the two are level at {level[-1]:,} ({points(pairs[level[-1]])})"
        told = f"Up to {most:,} {facts} re-training does not overtake SCR for sure; {even}"
    else:
        told = f"Up to {most:,} {facts} re-training never overtakes SCR ({points(pairs[most])} at {most:,})"
    scores = f"at {most:,} it scores {share(read(trained.loc[most]))}, SCR {share(read(scr.loc[most]))}"
    least = min(pairs)
    cost = (
        f"a fact takes it {formatting.seconds(trained.loc[least, 'edit_seconds'])} at {least:,} and "
        f"{formatting.seconds(trained.loc[most, 'edit_seconds'])} at {most:,}, SCR "
        f"{formatting.seconds(scr.loc[most, 'edit_seconds'])}"
    )
    return f"{told}; {scores}; {cost}{_breadth(rows, most)}."


def _breadth(rows: pd.DataFrame, most: int) -> str:
    """LocFT-BF, which trains one layer on all facts, beside the two."""
    own = rows[(rows["label"].str.lower() == "locft-bf") & (rows["n_edits"] == most)]
    if own.empty:
        return ""
    row = own.iloc[0]
    return f"; LocFT-BF scores {share(read(row))} for {formatting.seconds(row['edit_seconds'])} per fact"


def _by_seed(frames: Frames, edited: pd.DataFrame, most: int) -> dict[int, float]:
    found = {}
    for seed, own in edited[edited["n_edits"] == most].groupby("seed"):
        pairs = _pairs(own, averages(frames, own), [most])
        if pairs:
            found[int(seed)] = pairs[most].value  # type: ignore[call-overload]
    return found


def _alt(rows: pd.DataFrame) -> str:
    said = [
        f"{r['label']} {formatting.percent(r['value'])} % and {formatting.seconds(r['edit_seconds'])} per fact at "
        f"{r['n_edits']:,}"
        for r in rows.to_dict("records")
    ]
    return (
        f"Lines of the average and, below, of the seconds per fact against the number of new facts: {'; '.join(said)}."
    )
