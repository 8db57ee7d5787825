"""Finding 3: one edit, then every question that follows from it, by kind and by distance."""

from __future__ import annotations

import numpy as np
import pandas as pd

from leaderboard.findings import numbers, plots
from leaderboard.findings.finding import (
    Finding,
    Question,
    bounds,
    listed_by_label,
    points,
    read,
    scope_line,
    share,
    unanswered,
)
from leaderboard.findings.frames import WEIGHTS, Frames, comparison, first_seed, keeps, scr_of
from leaderboard.views import UNEDITED

QUESTION = Question(
    3,
    "Portability audit",
    "After one edit, which of the questions that follow from it are answered right, by kind and by distance?",
    ("python -m runner run portability-audit",),
    "The model was trained on every fact of the invented world and on following its links, so what is lost is mostly "
    "lost by the edit, not by gaps in the model's knowledge. How far a large model's own gaps add to that can't be "
    "seen here.",
)
AUDIT = "atlas-audit"
# kind and hops -> what the figure calls it, in the order of distance
KINDS = {"alias": "alias", "inverse": "inverse", "reasoning": "reasoning", "": "all"}


def find(frames: Frames) -> Finding:
    """Answer it at the shortest length, on the audit where there is one, else on the fullest comparison."""
    everything = frames.cells()
    audit = everything[everything["dataset"] == AUDIT]
    cells = comparison(audit if len(audit[audit["method"] != UNEDITED]) else everything)
    edited = cells[cells["method"] != UNEDITED]
    if edited.empty:
        return unanswered(QUESTION)
    seed = first_seed(cells)
    here = edited[(edited["seed"] == seed) & (edited["n_edits"] == edited["n_edits"].min())]
    per_case = _per_case(frames, here)
    if per_case.empty:
        return unanswered(QUESTION, "no portability question is scored")
    rows = _table(per_case)
    far = _farthest(rows)
    series = list(dict.fromkeys(rows.sort_values(["hops", "kind"])["series"]))
    order = rows[rows["series"] == far].sort_values("value", ascending=False)["label"].tolist()
    rows = rows.assign(place=rows["label"].map({label: i for i, label in enumerate(order)})).sort_values("place")
    return Finding(
        QUESTION,
        _sentence(rows, per_case, far),
        rows.drop(columns="place"),
        plots.dots(rows, series, "Questions answered right"),
        alt=_alt(rows, series),
        scope=scope_line(frames, here),
        headline=f"SCR, {far}",
        seeds=_by_seed(frames, edited, far),
    )


def _per_case(frames: Frames, here: pd.DataFrame) -> pd.DataFrame:
    """label, case_id, series ("reasoning, 2 hops"), kind, hops, correct, n."""
    found = frames.hops(here["key"])
    if found.empty:
        return pd.DataFrame(columns=["label", "case_id", "series", "kind", "hops", "correct", "n"])
    found = found.merge(here[["key", "label"]], left_on="cell_key", right_on="key")
    kind = found["metric"].str.partition("/")[2]
    chain = (kind == "reasoning") | (found["hops"] > 1)
    hops = found["hops"].astype(int)
    name = kind.map(lambda k: KINDS.get(k, k)).where(~chain, kind + hops.map(lambda n: f", {n} hops" if n > 1 else ""))
    return found.assign(series=name, kind=kind)[["label", "case_id", "series", "kind", "hops", "correct", "n"]]


def _table(per_case: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (label, series), own in per_case.groupby(["label", "series"]):
        found = numbers.mean(own["correct"].to_numpy(dtype=float))
        rows.append({"label": label, "series": series, "kind": own["kind"].iloc[0], "hops": int(own["hops"].max())}
                    | bounds("value", found)
                    | {"cases": found.n, "questions": int(own["n"].sum())})  # fmt: skip
    return pd.DataFrame(rows).rename(columns={"value_low": "low", "value_high": "high"})


def _farthest(rows: pd.DataFrame) -> str:
    """The series farthest from the edit: most hops, then fewest right."""
    order = rows.groupby("series").agg(hops=("hops", "max"), value=("value", "mean")).reset_index()
    return str(order.sort_values(["hops", "value", "series"], ascending=[False, True, True])["series"].iloc[0])


def _sentence(rows: pd.DataFrame, per_case: pd.DataFrame, far: str) -> str:
    at = rows[rows["series"] == far].sort_values(["value", "label"], ascending=[False, True])
    best = at.iloc[0]
    told = f"{best['label']} answers most of the farthest questions ({far}) right, {share(read(best))}"
    inside = at[at["label"].map(keeps) == WEIGHTS]
    parts = [told]
    if len(inside) and inside["label"].iloc[0] != best["label"]:
        parts.append(
            f"the best method that changes weights, {inside['label'].iloc[0]}, answers {share(read(inside.iloc[0]))}"
        )
    scr = scr_of(at)
    if len(scr):
        parts.append(_with_distance(per_case, str(scr["label"].iloc[0]), far))
    return "After one edit " + "; ".join(parts) + "."


def _with_distance(per_case: pd.DataFrame, label: str, far: str) -> str:
    """Whether a method answers fewer of the far questions than of those about an alias, on the same cases."""
    wide = per_case[per_case["label"] == label].pivot_table(index="case_id", columns="series", values="correct")
    near = "alias" if "alias" in wide.columns and far != "alias" else ""
    if not near or far not in wide.columns:
        return f"{label} answers {share(numbers.mean(wide[far].to_numpy(dtype=float)))}"
    gap = numbers.difference(wide[far], wide[near])
    if np.isfinite(gap.high) and gap.high < 0:
        return f"{label} falls with distance: {points(gap)} from an alias to {far}"
    return f"{label} does not fall with distance for sure ({points(gap)} from an alias to {far})"


def _by_seed(frames: Frames, edited: pd.DataFrame, far: str) -> dict[int, float]:
    scr = scr_of(edited[edited["n_edits"] == edited["n_edits"].min()])
    found = {}
    for seed, own in scr.groupby("seed"):
        rows = _per_case(frames, own)
        rows = rows[rows["series"] == far]
        if len(rows):
            found[int(seed)] = float(rows["correct"].mean())  # type: ignore[call-overload]
    return found


def _alt(rows: pd.DataFrame, series: list[str]) -> str:
    return f"Share of questions answered right in percent, one row per method: {listed_by_label(rows, series)}."
