"""Finding 9: does the order of methods hold from model to model?"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from leaderboard import formatting
from leaderboard.findings import numbers, plots
from leaderboard.findings.finding import Finding, Question, bounds, names, plain, scope_line, unanswered
from leaderboard.findings.frames import WEIGHTS, Frames, averages, is_scr, keeps
from leaderboard.views import UNEDITED

QUESTION = Question(
    9,
    "Bigger and other architectures",
    "Does the order of methods, and SCR's lead, hold over sizes and architectures?",
    (
        "python -m runner atlas train --size tiny",
        "python -m runner atlas train --size small",
        "python -m runner atlas train --size mamba",
        "python -m runner run sizes",
    ),
    "Sizes of a model that was trained for this invented world say how the effects move with size in one recipe. They "
    "say nothing of models trained on the world's text; for those there are ready grids and the cost of running them "
    "(`python -m runner run GRID --dry-run`). All of them are small, and methods keep the settings that were found for "
    "the published one, with layers at the same share of the depth. The state space (Mamba 2) learns from the same "
    "batches, but nothing makes it look a fact up at the name, as attention masks make the others.",
)
_SAME = ["dataset_hash", "protocol_hash", "n_cases", "n_edits", "seed"]


def find(frames: Frames) -> Finding:
    """Answer it where most models share most methods on the same cases at the longest length."""
    everything = frames.all_cells()
    edited = everything[everything["method"] != UNEDITED]
    here = _shared(edited)
    if here.empty:
        models = sorted(edited["model"].unique())
        return unanswered(QUESTION, f"one model only: {models[0]}" if models else "")
    rows, drawn = _rows(frames, here)
    models = list(dict.fromkeys(rows["series"]))
    labels = [label for label, own in rows.groupby("label") if len(own) == len(models)]
    if len(labels) < 3 or len(models) < 2:
        return unanswered(QUESTION, "fewer than three methods are on several models")
    order = rows.groupby("label")["value"].mean().sort_values(ascending=False).index.tolist()
    rows = rows.assign(place=rows["label"].map({label: i for i, label in enumerate(order)})).sort_values("place")
    length = int(here["n_edits"].iloc[0])
    return Finding(
        QUESTION,
        _sentence(rows, drawn, models, sorted(labels), length),
        rows.rename(columns={"series": "model"}).drop(columns="place"),
        plots.dots(rows, models, "Average"),
        alt="The average in percent by model, one row per method: "
        + "; ".join(f"{r['label']} on {r['series']} {formatting.percent(r['value'])}" for r in rows.to_dict("records"))
        + ".",
        scope=scope_line(frames, here),
        headline=f"SCR's smallest lead over the best method that changes weights at {length:,} in a row",
        seeds=_by_seed(frames, edited, here),
        unit="points",
    )


def _shared(edited: pd.DataFrame) -> pd.DataFrame:
    """The cells of the setting with most models, then the longest sequences, then most methods, at its first seed; of
    methods that are on several of the models."""
    if edited["model"].nunique() < 2:
        return edited.iloc[:0]
    counted = edited.groupby(_SAME).agg(models=("model", "nunique"), methods=("label", "nunique")).reset_index()
    counted = counted[counted["models"] > 1]
    if counted.empty:
        return edited.iloc[:0]
    counted = counted.sort_values(["models", "n_edits", "methods", "seed"], ascending=[False, False, False, True])
    best = counted.iloc[0]
    chosen = np.logical_and.reduce([edited[name] == best[name] for name in _SAME])
    cells = edited[chosen].drop_duplicates(["model", "label"])
    return cells[cells.groupby("label")["model"].transform("nunique") > 1]  # a method on one model compares nothing


def _rows(frames: Frames, here: pd.DataFrame) -> tuple[pd.DataFrame, dict[tuple[str, str], numbers.Floats]]:
    """label, series (the model), value, low, high, cases; and (model, label) -> resampled averages."""
    cases = averages(frames, here)
    kept = [cell for cell in here.sort_values(["model", "label"]).to_dict("records") if cell["key"] in cases]
    metrics = list(cases[kept[0]["key"]].columns) if kept else []
    drawn = numbers.averages({cell["key"]: cases[cell["key"]] for cell in kept}, metrics) if kept else {}
    rows: list[dict[str, Any]] = []
    for cell in kept:
        value = numbers.average(cases[cell["key"]], metrics)
        found = numbers.estimate(value, drawn[cell["key"]], len(cases[cell["key"]]))
        named = bounds("value", found)
        rows.append({"label": cell["label"], "series": cell["model"], "value": found.value, "low": named["value_low"],
                     "high": named["value_high"], "cases": found.n})  # fmt: skip
    return pd.DataFrame(rows), {(cell["model"], cell["label"]): drawn[cell["key"]] for cell in kept}


def _sentence(
    rows: pd.DataFrame, drawn: dict[tuple[str, str], numbers.Floats], models: list[str], labels: list[str], length: int
) -> str:
    values = rows.set_index(["series", "label"])["value"]
    pairs = list(combinations(models, 2))
    ends = [(np.array([values[m, label] for label in labels]), np.array([values[n, label] for label in labels]))
            for m, n in pairs]  # fmt: skip
    tau = float(np.mean([numbers.kendall(a, b) for a, b in ends]))
    sampled = [
        numbers.kendall(*(np.column_stack([drawn[m, label] for label in labels]) for m in pair)) for pair in pairs
    ]
    found = numbers.estimate(tau, np.mean(sampled, axis=0), int(rows["cases"].iloc[0]))
    same = "the same" if tau == 1 else "much the same" if found.low > 0.5 else "not the same"
    first = [m for m in models if is_scr(str(values[m].idxmax()))]
    leads = _leads(rows, models)
    said = [
        f"Over {len(models)} models ({names(models)}) the order of {len(labels)} methods at {length:,} in a row is "
        f"{same} (mean Kendall's tau {plain(found)})"
    ]
    said.append(f"SCR ranks first on {len(first)} of them")
    if leads:
        low, high = min(leads.values()), max(leads.values())
        range_ = f"{formatting.signed(low)} to {formatting.signed(high)} points"
        rival = "the best method that changes weights"
        said.append(
            f"it leads {rival} everywhere, by {range_}"
            if low > 0
            else f"it does not lead {rival} everywhere ({range_})"
        )
    return "; ".join(said) + "."


def _leads(rows: pd.DataFrame, models: list[str]) -> dict[str, float]:
    """Model -> SCR minus the best method that changes weights."""
    found = {}
    for model in models:
        own = rows[rows["series"] == model].set_index("label")["value"]
        scr = [label for label in own.index if is_scr(label)]
        editors = [label for label in own.index if keeps(label) == WEIGHTS]
        if scr and editors:
            found[model] = float(own[scr[0]] - own[editors].max())
    return found


def _by_seed(frames: Frames, edited: pd.DataFrame, here: pd.DataFrame) -> dict[int, float]:
    one = here.iloc[0]
    same = np.logical_and.reduce([edited[name] == one[name] for name in _SAME if name != "seed"])
    compared, models = edited[same & edited["label"].isin(here["label"])], set(here["model"])
    found = {}
    for seed, own in compared.drop_duplicates(["model", "label", "seed"]).groupby("seed"):
        rows, _ = _rows(frames, own)
        leads = _leads(rows, sorted(own["model"].unique())) if len(rows) else {}
        if set(leads) == models:  # the smallest lead over fewer models would be another number
            found[int(seed)] = min(leads.values())  # type: ignore[call-overload]
    return found
