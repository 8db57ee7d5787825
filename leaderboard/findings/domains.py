"""Finding 4: do the scores depend on what the facts are about, and which step of SCR errs?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from leaderboard import formatting
from leaderboard.findings import numbers, plots
from leaderboard.findings.finding import (
    Finding,
    Question,
    bounds,
    listed_by_label,
    names,
    read,
    scope_line,
    share,
    unanswered,
)
from leaderboard.findings.frames import (
    Frames,
    averages,
    comparison,
    first_seed,
    is_scr,
    length_of_most_seeds,
    scr_of,
    shares,
)
from leaderboard.views import UNEDITED

QUESTION = Question(
    4,
    "Transfer over domains",
    "Does a method's score depend on the domain, and are SCR's errors those of the retriever, of the confirmation or "
    "of the answer?",
    ("python -m runner run atlas-methods", "python -m runner run hallueditbench --model MODEL --data FOLDER"),
    "The six domains of the invented world are worded by the same hand and equally well known to the model. Real "
    "domains differ in how much a model knows of them; HalluEditBench's can be run with a model and data of your own. "
    "A question is taken to need the statement of its own case.",
)
STEPS = {
    "retriever": "its statement was not retrieved",
    "confirmation": "retrieved, but the model confirmed none or another",
    "answer": "confirmed, but answered wrong",
}


def find(frames: Frames) -> Finding:
    """Answer it at the longest length that SCR has, for the fullest comparison whose cases have groups."""
    cells = comparison(frames.cells())
    seed = first_seed(cells) if len(cells) else 0
    scr = scr_of(cells)
    edited = cells[(cells["method"] != UNEDITED) & (cells["seed"] == seed)]
    length = int((scr if len(scr) else edited)["n_edits"].max()) if len(edited) else 0
    here = edited[edited["n_edits"] == length]
    groups = frames.groups(here["key"])
    if len(here) == 0 or groups[groups != ""].nunique() < 2:
        return unanswered(QUESTION, "the cases have no domains")
    added = _contributions(frames, here)
    at = length_of_most_seeds(scr)
    rows, spread = _table(added, groups)
    steps = _steps(frames, here, groups)
    domains = sorted(rows["series"].unique())
    order = rows.groupby("label")["value"].mean().sort_values(ascending=False).index.tolist()
    rows = rows.assign(place=rows["label"].map({label: i for i, label in enumerate(order)})).sort_values("place")
    table = rows.rename(columns={"series": "domain"}).drop(columns="place")
    own = table["label"].map(is_scr)
    for step in steps.columns:
        table[step] = table["domain"].map(steps[step]).where(own)
    return Finding(
        QUESTION,
        _sentence(rows, spread, steps, length),
        table.merge(spread, on="label", how="left"),
        plots.heat(rows, "Average (%)"),
        alt=_alt(rows, domains),
        scope=scope_line(frames, here),
        headline=f"From SCR's lowest to its highest domain at {at:,} in a row",
        seeds=_by_seed(frames, scr[scr["n_edits"] == at]),
        unit="points",
    )


def _contributions(frames: Frames, here: pd.DataFrame) -> dict[str, pd.Series]:
    """label -> what each case adds to the average."""
    cases = averages(frames, here)
    return {row["label"]: shares(cases[row["key"]]) for row in here.to_dict("records") if row["key"] in cases}


def _table(added: dict[str, pd.Series], groups: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """label, series (the domain), value, low, high, cases; and label, p: whether the domains differ beyond chance."""
    rows, spread = [], []
    for label, values in added.items():
        own = groups.reindex(values.index)
        for group, part in values.groupby(own):
            found = numbers.mean(part.to_numpy(dtype=float))
            rows.append({"label": label, "series": group} | bounds("value", found) | {"cases": found.n})
        spread.append({"label": label, "p": numbers.permutation_p(values, own)})
    frame = pd.DataFrame(rows).rename(columns={"value_low": "low", "value_high": "high"})
    return frame, pd.DataFrame(spread)


def _steps(frames: Frames, here: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """Domain -> SCR's questions that need an edit, and its wrong answers to them by the step that erred first (see
    STEPS); without columns where nothing was looked up."""
    found = frames.lookups(scr_of(here)["key"])
    found = found[~found["metric"].astype(str).str.startswith("locality")]
    if found.empty:
        return pd.DataFrame()
    missed = found["found"] == 0
    own = found["confirmed"] == "own"
    step = np.select([missed, ~own], ["retriever", "confirmation"], "answer")
    wrong = found.assign(domain=found["case_id"].map(groups), step=step, wrong=found["n"] - found["right"])
    counts = wrong.pivot_table(index="domain", columns="step", values="wrong", aggfunc="sum", fill_value=0)
    return counts.reindex(columns=list(STEPS), fill_value=0).assign(questions=wrong.groupby("domain")["n"].sum())


def _sentence(rows: pd.DataFrame, spread: pd.DataFrame, steps: pd.DataFrame, length: int) -> str:
    p = spread.set_index("label")["p"]
    depends = sorted(p[p < 0.05 / max(1, len(p))].index)  # Bonferroni over the methods
    where = f"at {length:,} in a row"
    scr = next((label for label in p.index if is_scr(label)), "")
    parts = []
    if scr:
        own = rows[rows["label"] == scr].sort_values("value")
        worst, best = own.iloc[0], own.iloc[-1]
        said = (
            f"from {share(read(worst))} ({worst['series']}) to {share(read(best))} ({best['series']}), "
            f"p {formatting.p_value(p[scr])}"
        )
        verb = "depends on the domain" if scr in depends else "does not depend on the domain beyond chance"
        parts.append(f"SCR's average {verb} {where} ({said})")
    others = [label for label in depends if label != scr]
    rest = len(p) - bool(scr)
    if rest:
        many = f"{len(others)} of {rest}" if others else f"none of {rest}"
        parts.append(f"that of {many} other methods does{': ' + names(others) if others else ''}")
    counts = {step: int(steps[step].sum()) for step in steps.columns}
    wrong = sum(counts.get(step, 0) for step in STEPS)
    if counts and wrong:
        most = max(STEPS, key=lambda step: counts[step])
        each = ", ".join(f"{step} {counts[step]:,}" for step in STEPS)
        parts.append(
            f"of SCR's {wrong:,} wrong answers to {counts['questions']:,} questions about edits most are the {most}'s "
            f"({each})"
        )
    elif counts:
        parts.append(f"SCR answers all {counts['questions']:,} questions about edits right")
    return "; ".join(parts) + "."


def _by_seed(frames: Frames, scr: pd.DataFrame) -> dict[int, float]:
    found = {}
    for seed, own in scr.groupby("seed"):
        added = _contributions(frames, own)
        if added:
            values = next(iter(added.values()))
            means = values.groupby(frames.groups(own["key"]).reindex(values.index)).mean()
            found[int(seed)] = float(means.max() - means.min())  # type: ignore[call-overload]
    return found


def _alt(rows: pd.DataFrame, domains: list[str]) -> str:
    return f"The average in percent by domain, one row per method: {listed_by_label(rows, domains)}."
