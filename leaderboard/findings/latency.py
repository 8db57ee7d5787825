"""Finding 2: what an answer of SCR costs, part by part, against edited and plain models, and what an edit costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from leaderboard import formatting
from leaderboard.findings import numbers, plots
from leaderboard.findings.finding import Finding, Question, names, plain, scope_line, unanswered
from leaderboard.findings.frames import WEIGHTS, Frames, first_seed, keeps, once, scr_of, timed
from leaderboard.views import UNEDITED, UNEDITED_LABEL

QUESTION = Question(
    2,
    "What SCR costs",
    "How long does an answer of SCR take against that of an edited and of the plain model, what of it are encoder, "
    "confirmation and generation, and after how many answers has an edit paid for itself?",
    ("python -m runner run latency",),
    "Measured on a model so small that generating is cheap: encoder and search weigh more here than beside a model of "
    "billions of parameters, whose confirmation and answer take nearly all of the time. Shares and ratios are those of "
    "the machine that ran it.",
)
PARTS = {
    "encoder": "encoder", "search": "search", "confirmation": "confirmation", "steps": "own reasoning",
    "generation": "generation",
}  # fmt: skip
OTHER = "book-keeping"
RIVALS = ("ROME", "MEMIT", "FT-M")


def find(frames: Frames) -> Finding:
    """Answer it from cells whose answering time was recorded in parts: where SCR stands beside an editor."""
    everything = frames.cells()
    spent = timed(frames.sequences(everything["key"]))
    apart = set(spent.loc[spent["parts"].map(bool), "cell_key"])
    cells = _beside_editors(everything[everything["key"].isin(apart)])
    seed = first_seed(cells) if len(cells) else 0
    own = cells[cells["seed"] == seed]
    scr = scr_of(own)
    if scr.empty:
        return unanswered(QUESTION)
    rows = pd.DataFrame([_row(cell, spent) for cell in own.to_dict("records")])
    most, longest = _length_of_most(scr, spent), int(scr["n_edits"].max())
    shown = rows[rows["n_edits"].isin([0, longest])].sort_values("answer_ms")
    used = [PARTS[p] for p in PARTS if shown[PARTS[p]].max() > 0] + [OTHER]
    rival = _rival(own, most)
    return Finding(
        QUESTION,
        _sentence(own, spent, most, longest, rival),
        rows.sort_values(["n_edits", "answer_ms"]),
        plots.stacked(shown, used, f"milliseconds per answer, {longest:,} cases in a row"),
        alt=_alt(shown, used),
        scope=scope_line(frames, own),
        headline=f"SCR's time per answer over {rival}'s" if rival else "SCR's time per answer over the plain model's",
        seeds=_by_seed(frames, cells, rival, most),
        unit="times",
    )


def _beside_editors(timed: pd.DataFrame) -> pd.DataFrame:
    """The cells of the world in which plain SCR and an editor were timed at one length: that with most variants of SCR,
    then with most cells. Cells of other experiments are timed as well, but beside fewer others."""
    best: tuple[tuple[int, bool, int], str] | None = None
    for world, own in timed.groupby("world"):
        lengths = set(scr_of(own)["n_edits"])
        editors = own[(own["method"] != UNEDITED) & own["n_edits"].isin(lengths)]
        if any(keeps(label) == WEIGHTS for label in editors["label"]):
            variants = sum(label.startswith("SCR") for label in own["label"].unique())
            thinks = bool((own["protocol"] == "reasoning").any())  # a trace is no part of what SCR costs
            best = max(best or ((0, False, 0), ""), ((variants, not thinks, len(own)), str(world)))
    return once(timed[timed["world"] == best[1]]) if best else timed.iloc[:0]


def _of(cell: dict[str, Any] | pd.Series, spent: pd.DataFrame) -> pd.DataFrame:
    return spent[spent["cell_key"] == cell["key"]]


def _row(cell: dict[str, Any], spent: pd.DataFrame) -> dict[str, Any]:
    """Milliseconds per answer, in parts, and per edit."""
    own = _of(cell, spent)
    answers, edits = float(own["n_answers"].sum()), float(own["n_edits"].sum())
    total = 1000 * float(own["answer_seconds"].sum()) / answers
    parts = {shown: 1000 * sum(p.get(name, 0.0) for p in own["parts"]) / answers for name, shown in PARTS.items()}
    label = UNEDITED_LABEL if cell["method"] == UNEDITED else cell["label"]
    return (
        {"label": label, "n_edits": cell["n_edits"], "answer_ms": total}
        | parts
        | {OTHER: max(0.0, total - sum(parts.values()))}
        | {"edit_ms": 1000 * float(own["edit_seconds"].sum()) / edits if edits else np.nan, "sequences": len(own)}
    )


def _length_of_most(scr: pd.DataFrame, spent: pd.DataFrame) -> int:
    """The length with most sequences: where time has an interval."""
    counts = {int(cell["n_edits"]): len(_of(cell, spent)) for cell in scr.to_dict("records")}
    return max(counts, key=lambda n: counts[n])


def _rival(own: pd.DataFrame, length: int) -> str:
    """The editor that SCR is set against: the first of RIVALS that is there, else any that changes weights."""
    labels = sorted(own.loc[(own["n_edits"] == length) & (own["method"] != UNEDITED), "label"])
    editors = [label for label in labels if keeps(label) == WEIGHTS]
    return next((r for r in RIVALS if r in editors), editors[0] if editors else "")


def _times(own: pd.DataFrame, spent: pd.DataFrame, label: str, other: str, length: int) -> numbers.Estimate | None:
    """How many times as long an answer of `label` takes as one of `other` (the plain model has no length)."""
    pair = []
    for name in (label, other):
        of = own[own["label"] == name]
        cell = of if name == UNEDITED else of[of["n_edits"] == length]
        if cell.empty:
            return None
        sequences = _of(cell.iloc[0], spent)
        pair.append((sequences["answer_seconds"].tolist(), sequences["n_answers"].tolist()))
    return numbers.relative(pair[0], pair[1])


def _sentence(own: pd.DataFrame, spent: pd.DataFrame, most: int, longest: int, rival: str) -> str:
    scr = str(scr_of(own)["label"].iloc[0])
    said = []
    if rival:
        found = _times(own, spent, scr, rival, most)
        if found is not None:
            said.append(_compared(found, f"that of a model edited by {rival}", most))
    bare = _times(own, spent, scr, UNEDITED, longest)
    if bare is not None:
        said.append(_compared(bare, "the plain model's", longest))
    cell = own[(own["label"] == scr) & (own["n_edits"] == longest)].iloc[0].to_dict()
    row = _row(cell, spent)
    parts = sorted(((row[p], p) for p in [*PARTS.values(), OTHER] if row[p] > 0.005 * row["answer_ms"]), reverse=True)
    of_it = names([f"{part} {100 * value / row['answer_ms']:.0f} %" for value, part in parts])
    return f"An answer of SCR takes {' and '.join(said)}; of it {of_it}{_paid(own, spent, scr, rival, most)}."


def _compared(found: numbers.Estimate, what: str, length: int) -> str:
    """How many times as long, and whether that is more, less or no difference for sure."""
    alone = "" if np.isfinite(found.low) else ", one sequence, so no interval"
    where = f"({length:,} in a row{alone})"
    if np.isfinite(found.low) and found.low <= 1 <= found.high:
        return f"about as long as {what}, {plain(found)} times {where}"
    return f"{plain(found)} times as long as {what} {where}"


def _paid(own: pd.DataFrame, spent: pd.DataFrame, scr: str, rival: str, length: int) -> str:
    """After how many answers per edit the editor has been the cheaper of the two."""
    if not rival:
        return ""
    of = {name: own[(own["label"] == name) & (own["n_edits"] == length)].iloc[0].to_dict() for name in (scr, rival)}
    one, two = _row(of[scr], spent), _row(of[rival], spent)
    extra, saved = one["answer_ms"] - two["answer_ms"], two["edit_ms"] - one["edit_ms"]
    own_edit, other_edit = (formatting.seconds(row["edit_ms"] / 1000) for row in (one, two))
    edits = f"; an edit takes {own_edit} against {other_edit}"
    if saved <= 0:
        return f"{edits}, so {rival} is the cheaper from the first answer on" if extra > 0 else edits
    if extra <= 0:
        return f"{edits}, so SCR is the cheaper however often is asked"
    return f"{edits}, so {rival} is the cheaper only from {saved / extra:,.0f} answers per edit on"


def _by_seed(frames: Frames, cells: pd.DataFrame, rival: str, length: int) -> dict[int, float]:
    found = {}
    for seed, own in cells.groupby("seed"):
        scr = scr_of(own)["label"].head(1)
        if len(scr):
            spent = timed(frames.sequences(own["key"]))
            times = _times(own, spent, str(scr.iloc[0]), rival or UNEDITED, length)
            if times is not None:
                found[int(seed)] = times.value  # type: ignore[call-overload]
    return found


def _alt(shown: pd.DataFrame, used: list[str]) -> str:
    said = [
        f"{row['label']} {row['answer_ms']:.1f} ({', '.join(f'{p} {row[p]:.1f}' for p in used if row[p] >= 0.05)})"
        for row in shown.to_dict("records")
    ]
    return f"Bars of milliseconds per answer, cut into parts: {'; '.join(said)}."
