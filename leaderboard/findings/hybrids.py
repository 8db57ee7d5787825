"""Finding 6: an editor and SCR together, against each alone."""

from __future__ import annotations

from typing import Any

import pandas as pd

from leaderboard.findings import numbers, plots
from leaderboard.findings.finding import (
    Finding,
    Question,
    bounds,
    names,
    plain,
    points,
    read,
    scope_line,
    unanswered,
)
from leaderboard.findings.frames import HYBRID, Frames, averages, comparison, first_seed, is_scr, keeps, shares, timed
from leaderboard.views import UNEDITED

QUESTION = Question(
    6,
    "Hybrids",
    "Is an editor with SCR on top better than SCR alone, or than the editor alone, and what does it cost?",
    ("python -m runner run hybrids",),
    "The model confirms and answers with edited weights, so an editor that damages it damages SCR with it; how much a "
    "model can bear before that is its own. The two parts of a hybrid keep the hyperparameters they have alone: none "
    "was tuned for the pair.",
)
AGAINST_SCR, AGAINST_EDITOR = "against SCR alone", "against its editor alone"


def find(frames: Frames) -> Finding:
    """Answer it at the longest length that a hybrid, its editor and SCR have in common."""
    everything = frames.cells()
    worlds = {w for w, label in zip(everything["world"], everything["label"], strict=True) if keeps(label) == HYBRID}
    cells = comparison(everything[everything["world"].isin(worlds)])
    seed = first_seed(cells) if len(cells) else 0
    own = cells[(cells["seed"] == seed) & (cells["method"] != UNEDITED)]
    for length in sorted(own["n_edits"].unique(), reverse=True):
        here = own[own["n_edits"] == length]
        rows = _rows(frames, here)
        if len(rows):
            break
    else:
        return unanswered(QUESTION)
    wide = _wide(rows)
    return Finding(
        QUESTION,
        _sentence(wide, int(length)),
        wide,
        plots.dots(rows, [AGAINST_SCR, AGAINST_EDITOR], "difference of the average in points", zero=True),
        alt="Differences of the average in points, one row per hybrid: "
        + "; ".join(f"{r['label']} {r['series']} {points(read(r))}" for r in rows.to_dict("records"))
        + ".",
        scope=scope_line(frames, here),
        headline=f"Mean difference between hybrids and SCR alone at {length:,} in a row",
        seeds=_by_seed(frames, cells[cells["n_edits"] == length]),
        unit="points",
    )


def _rows(frames: Frames, here: pd.DataFrame) -> pd.DataFrame:
    """label, series, value, low, high (a share), cases, times (seconds per answer over the other's, with bounds)."""
    keys = here.drop_duplicates("label").set_index("label")["key"]
    scr = next((label for label in keys.index if is_scr(label)), "")
    cases = averages(frames, here)
    spent = timed(frames.sequences(here["key"]))
    rows: list[dict[str, Any]] = []
    for label in sorted(keys.index):
        editor, plus, _ = label.partition("+")
        if keeps(label) != HYBRID or not plus or keys[label] not in cases:
            continue
        for series, other in ((AGAINST_SCR, scr), (AGAINST_EDITOR, editor)):
            if other in keys.index and keys[other] in cases:
                found = numbers.difference(shares(cases[keys[label]]), shares(cases[keys[other]]))
                times = numbers.relative(_rate(spent, keys[label]), _rate(spent, keys[other]))
                rows.append({"label": label, "series": series, "value": found.value, "low": found.low,
                             "high": found.high, "cases": found.n} | bounds("times", times))  # fmt: skip
    return pd.DataFrame(rows)


def _rate(spent: pd.DataFrame, key: str) -> numbers.Rates:
    own = spent[spent["cell_key"] == key]
    return own["answer_seconds"].tolist(), own["n_answers"].tolist()


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per hybrid: differences and times against SCR and against the editor."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows.to_dict("records"):
        against = "scr" if row["series"] == AGAINST_SCR else "editor"
        own = found.setdefault(row["label"], {"label": row["label"], "cases": row["cases"]})
        own |= bounds(f"minus_{against}", read(row))
        own |= {f"times_{against}{end}": row[f"times{end}"] for end in ("", "_low", "_high")}
    return pd.DataFrame(found.values())


def _sentence(wide: pd.DataFrame, length: int) -> str:
    said = []
    for against, what in (("scr", "SCR alone"), ("editor", "their editor alone")):
        if f"minus_{against}" not in wide:
            continue
        known = wide.dropna(subset=[f"minus_{against}"]).to_dict("records")
        better = [row for row in known if row[f"minus_{against}_low"] > 0]
        worse = [row for row in known if row[f"minus_{against}_high"] < 0]
        verb = "beats" if len(better) == 1 else "beat"
        what = what.replace("their", "its") if len(better) == 1 else what
        told = f"{len(better)} of {len(known)} hybrids {verb} {what}{_listed(better, against)}"
        if worse:
            told += f", {len(worse)} {'is' if len(worse) == 1 else 'are'} worse{_listed(worse, against)}"
        said.append(told)
    answer = "; ".join(said)
    if "times_scr" in wide:
        slow = wide.dropna(subset=["times_scr"]).sort_values("times_scr").to_dict("records")
        if slow:
            low, high = (plain(read(slow[i], "times_scr")) for i in (0, -1))
            range_ = low if len(slow) == 1 else f"{low} to {high}"
            answer += f"; an answer takes {range_} times as long as SCR's"
    return f"At {length:,} in a row {answer}."


def _listed(rows: list[dict[str, Any]], against: str) -> str:
    if not rows:
        return ""
    return f" ({names([f'''{row['label']} {points(read(row, f'minus_{against}'))}''' for row in rows])})"


def _by_seed(frames: Frames, cells: pd.DataFrame) -> dict[int, float]:
    found = {}
    for seed, own in cells[cells["method"] != UNEDITED].groupby("seed"):
        rows = _rows(frames, own)
        if len(rows) and (rows["series"] == AGAINST_SCR).any():
            mean = rows.loc[rows["series"] == AGAINST_SCR, "value"].mean()
            found[int(seed)] = float(mean)  # type: ignore[call-overload]
    return found
