"""Finding 1: what is left after many edits in a row, and whether a sign of collapse tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from leaderboard import figures, formatting
from leaderboard.findings import numbers
from leaderboard.findings.finding import Finding, Question, bounds, names, plain, scope_line, share, unanswered
from leaderboard.findings.frames import Frames, comparison, first_seed, length_of_most_seeds, scr_of
from leaderboard.findings.numbers import Estimate
from leaderboard.glossary import MAIN_METRICS
from leaderboard.state import FREE
from leaderboard.views import UNEDITED

QUESTION = Question(
    1,
    "Sequential collapse",
    "When does each method break as edits pile up, and does a sign of collapse predict it?",
    (
        "python -m runner run collapse",
        "python -m runner run collapse-300",
        "python -m runner run atlas-methods",
        "python -m runner run seeds",
    ),
    "A small model has little room: a hundred edits are a larger share of what it knows than of what a 7B model knows, "
    "so breaking points here come early and say nothing of their place elsewhere; which methods break first, and that "
    "a sign moves with the loss, can carry over. Lengths between those tested are unknown: a break is the first tested "
    "length below half. Sign and loss are measured on the same edited models, so a sign tells, it doesn't foretell.",
)
HALF = 0.5
SIGNS = {
    "perplexity": ("collapse/perplexity", "the perplexity's ratio to the unedited model's"),
    "rank": ("collapse/effective_rank", "the change of the effective rank of hidden states"),
    "weights": ("collapse/weight_change", "the norm of the weight change"),
}


def find(frames: Frames) -> Finding:
    """Answer it from the fullest comparison with several lengths; longer sequences of more cases join its curves."""
    cells = comparison(frames.cells())
    cells = cells if cells.empty else pd.concat([cells, _longer(frames.cells(), cells)])
    seed = first_seed(cells) if len(cells) else 0
    own = cells[cells["seed"] == seed]
    rows, draws = _curves(frames, own)
    if rows.empty:
        return unanswered(QUESTION, "no method has two lengths")
    unedited = _unedited(frames, own)
    breaks = _breaks(rows, draws)
    idle = _without_effect(rows, unedited)
    signs = _signs(frames, own, rows)
    headline, by_seed = _by_seed(frames, cells)
    table = rows.merge(breaks, on="label", how="left").drop(columns=["mode", "method"])
    table = table.merge(signs.drop(columns=["loss"]), on=["label", "n_edits"], how="left")
    figure = figures.curves(pd.concat([rows, unedited]), "average")
    tracks = {name: _tracking(signs, name) for name in SIGNS}
    return Finding(
        QUESTION,
        f"{_broken(breaks[~breaks['label'].isin(idle)], _reach(rows), idle)}; {_scr(rows, draws)}; {_telling(tracks)}.",
        table,
        figure,
        alt=_alt(rows),
        scope=scope_line(frames, own),
        headline=headline,
        seeds=by_seed,
    )


def _longer(everything: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Cells of the same model, data set and protocol with longer sequences, of more cases."""
    one = cells.iloc[0]
    same = everything[
        (everything["model"] == one["model"])
        & (everything["dataset"] == one["dataset"])
        & (everything["protocol_hash"] == one["protocol_hash"])
        & (everything["n_edits"] > cells["n_edits"].max())
    ]
    return same.sort_values("n_cases").drop_duplicates(["label", "n_edits", "seed"])


def _curves(frames: Frames, own: pd.DataFrame) -> tuple[pd.DataFrame, dict[tuple[str, int], numbers.Floats]]:
    """The points of every method that has the shortest length and another; their resampled averages."""
    edited = own[own["method"] != UNEDITED]
    shortest = edited["n_edits"].min() if len(edited) else 0
    cases = frames.per_case(edited["key"], FREE, MAIN_METRICS)
    places = {(str(row["label"]), int(row["n_edits"])): row for row in edited.to_dict("records") if row["key"] in cases}
    several = {label for label, n in places if (label, shortest) in places and n != shortest}
    kept = {place: cases[row["key"]] for place, row in places.items() if place[0] in several}
    kept = {place: frame for place, frame in kept.items() if np.isfinite(numbers.average(frame, MAIN_METRICS))}
    named = {f"{label}\x1f{n}": frame for (label, n), frame in kept.items()}
    drawn = numbers.averages(named, MAIN_METRICS) if named else {}
    draws = {(name.partition("\x1f")[0], int(name.partition("\x1f")[2])): values for name, values in drawn.items()}
    rows: list[dict[str, Any]] = []
    for (label, n), frame in sorted(kept.items()):
        found = numbers.estimate(numbers.average(frame, MAIN_METRICS), draws[label, n], len(frame))
        rows.append({
            "label": label, "method": places[label, n]["method"], "mode": FREE, "n_edits": n, "value": found.value,
            "low": found.low, "high": found.high, "n": len(frame),
        })  # fmt: skip
    return pd.DataFrame(rows), draws


def _breaks(rows: pd.DataFrame, draws: dict[tuple[str, int], numbers.Floats]) -> pd.DataFrame:
    """label, breaks_at (first length below half of the one-edit average; NaN: none), its interval over resampled cases
    (inf: beyond the longest), and kept: the share of the one-edit average that the longest sequence keeps."""
    found = []
    for label, line in rows.groupby("label"):
        line = line.sort_values("n_edits")
        lengths = line["n_edits"].to_numpy(dtype=float)
        values = line["value"].to_numpy()
        sampled = np.column_stack([draws[str(label), int(n)] for n in lengths])
        limits = _first_below(sampled, lengths)
        low, high = np.percentile(limits, [2.5, 97.5], method="nearest")
        at = _first_below(values[None, :], lengths)[0]
        ends = sampled[:, -1] / np.maximum(sampled[:, 0], 1e-12)
        kept = numbers.estimate(values[-1] / values[0] if values[0] else float("nan"), ends, len(ends))
        found.append({"label": label, "breaks_at": at, "breaks_from": min(low, at), "breaks_to": max(high, at)}
                     | bounds("kept", kept))  # fmt: skip
    return pd.DataFrame(found)


def _first_below(values: numbers.Floats, lengths: numbers.Floats) -> numbers.Floats:
    """[samples, lengths] -> the first length whose value is below half of the first one's; inf where none is."""
    below = values < HALF * values[:, :1]
    return np.where(below.any(axis=1), lengths[below.argmax(axis=1)], np.inf)


def _without_effect(rows: pd.DataFrame, unedited: pd.DataFrame) -> list[str]:
    """Methods that one edit leaves where the unedited model is: they have nothing to lose."""
    if unedited.empty:
        return []
    first = rows.sort_values("n_edits").drop_duplicates("label")
    return sorted(first.loc[~(first["low"] > unedited["value"].iloc[0]), "label"])


def _reach(rows: pd.DataFrame) -> str:
    """How far the sequences go: the usual longest, and who goes farther: "100 edits in a row (300: FT-M)"."""
    longest = rows.groupby("label")["n_edits"].max()
    usual = int(longest.mode().max())
    farther = longest[longest > usual]
    said = [f"{n:,}: {names(sorted(own.index))}" for n, own in farther.groupby(farther)]
    return f"{formatting.count(usual, 'edit')} in a row{f' ({names(said)})' if said else ''}"


def _broken(breaks: pd.DataFrame, reach: str, idle: Sequence[str]) -> str:
    gone = breaks[np.isfinite(breaks["breaks_at"])].sort_values(["breaks_at", "label"])
    aside = f" (not counted: {names(idle)}, without effect even after one edit)" if idle else ""
    if breaks.empty:
        return f"No method takes effect after one edit{aside}"
    if gone.empty:
        worst = breaks.sort_values("kept").iloc[0]
        kept = share(Estimate(worst["kept"], worst["kept_low"], worst["kept_high"]))
        most = f"{worst['label']} loses most and keeps {kept} of its one-edit average"
        return f"No method of {len(breaks)} collapses up to {reach}{aside}: {most}"
    at: dict[str, list[str]] = {}
    for row in gone.to_dict("records"):
        at.setdefault(_length(row), []).append(row["label"])
    said = [f"{names(labels)} at {length}" for length, labels in at.items()]
    total = formatting.count(len(breaks), "method")
    fall = "falls below half of its" if len(gone) == 1 else "fall below half of their"
    return f"Up to {reach} {len(gone)} of {total} {fall} one-edit average{aside}: {', '.join(said)}"


def _length(row: dict[str, Any]) -> str:
    at, low, high = row["breaks_at"], row["breaks_from"], row["breaks_to"]
    if low == high:
        return f"{at:,.0f}"
    return f"{at:,.0f} [{low:,.0f}, {'later' if np.isinf(high) else f'{high:,.0f}'}]"


def _scr(rows: pd.DataFrame, draws: dict[tuple[str, int], numbers.Floats]) -> str:
    line = scr_of(rows).sort_values("n_edits")
    if line.empty:
        return "SCR isn't among them"
    label, last = str(line["label"].iloc[0]), int(line["n_edits"].iloc[-1])
    values = draws[label, last] / np.maximum(draws[label, int(line["n_edits"].iloc[0])], 1e-12)
    kept = numbers.estimate(float(line["value"].iloc[-1] / line["value"].iloc[0]), values, int(line["n"].iloc[-1]))
    verb = "collapses, too: it keeps" if kept.value < HALF else "does not collapse: it keeps"
    return f"SCR {verb} {share(kept)} of it at {last:,}"


def _signs(frames: Frames, own: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """label, n_edits, loss (of the one-edit average, a share), and each sign; NaN where it wasn't recorded."""
    scores = frames.scores(own["key"])
    wanted = {metric: name for name, (metric, _) in SIGNS.items()}
    found = scores[scores["metric"].isin(wanted)].pivot_table(index="cell_key", columns="metric", values="value")
    found = found.rename(columns=wanted).reindex(columns=list(SIGNS))
    places = own.set_index("key")[["label", "n_edits", "method"]]
    frame = places.join(found)
    unedited = frame[frame["method"] == UNEDITED].head(1)
    if len(unedited):
        frame["perplexity"] = frame["perplexity"] / unedited["perplexity"].iloc[0]
        frame["rank"] = np.log(frame["rank"] / unedited["rank"].iloc[0]).abs()
    first = rows.sort_values("n_edits").drop_duplicates("label").set_index("label")["value"]
    loss = rows.assign(loss=1 - rows["value"] / rows["label"].map(first))[["label", "n_edits", "loss"]]
    return loss.merge(frame.drop(columns="method"), on=["label", "n_edits"], how="left")


def _tracking(signs: pd.DataFrame, name: str) -> Estimate:
    known = signs[["label", "loss", name]].replace([np.inf, -np.inf], np.nan).dropna()
    if known["label"].nunique() < 3:
        return Estimate(float("nan"))
    return numbers.spearman_interval(known[name].tolist(), known["loss"].tolist(), known["label"].tolist())


def _telling(tracks: dict[str, Estimate]) -> str:
    known = {name: found for name, found in tracks.items() if np.isfinite(found.value)}
    if not known:
        return "no sign of collapse was recorded for enough methods"
    best = max(known, key=lambda name: known[name].value)
    found, what = known[best], SIGNS[best][1]
    said = f"rank correlation {plain(found)} over {found.n} points of method and length"
    if not found.low > 0:
        return f"no sign of collapse tracks the loss for sure (the best is {what}, {said})"
    return f"the sign that tracks the loss best is {what} ({said})"


def _by_seed(frames: Frames, cells: pd.DataFrame) -> tuple[str, dict[int, float]]:
    """What SCR keeps at the longest length that all seeds have; where they share one length only, its average there."""
    scr = scr_of(cells)
    lengths = scr.groupby("seed")["n_edits"].agg(set)
    shared = sorted(set.intersection(*lengths)) if len(lengths) else []
    if len(shared) < 2:
        at = length_of_most_seeds(scr)
        return f"SCR's average at {at:,} in a row", _averages(frames, scr[scr["n_edits"] == at])
    found = {}
    for seed, line in scr.groupby("seed"):
        ends = line[line["n_edits"].isin([shared[0], shared[-1]])].sort_values("n_edits").drop_duplicates("n_edits")
        cases = frames.per_case(ends["key"], FREE, MAIN_METRICS)
        values = [numbers.average(cases[key], MAIN_METRICS) for key in ends["key"] if key in cases]
        if len(values) == 2 and values[0]:
            found[int(seed)] = values[1] / values[0]  # type: ignore[call-overload]
    return f"What SCR keeps of its one-edit average at {shared[-1]:,}", found


def _averages(frames: Frames, scr: pd.DataFrame) -> dict[int, float]:
    cases = frames.per_case(scr["key"], FREE, MAIN_METRICS)
    found = {int(c["seed"]): numbers.average(cases[c["key"]], MAIN_METRICS) for c in scr.to_dict("records")
             if c["key"] in cases}  # fmt: skip
    return {seed: value for seed, value in found.items() if np.isfinite(value)}


def _unedited(frames: Frames, own: pd.DataFrame) -> pd.DataFrame:
    key = own.loc[own["method"] == UNEDITED, "key"].head(1)
    scores = frames.scores(key)
    scores = scores[(scores["metric"] == "average") & (scores["mode"] == FREE)]
    return scores.assign(label="none", method=UNEDITED, n_edits=0)[
        ["label", "method", "mode", "n_edits", "value", "low", "high", "n"]
    ]


def _alt(rows: pd.DataFrame) -> str:
    last = rows.sort_values("n_edits").drop_duplicates("label", keep="last").sort_values("value", ascending=False)
    first = rows.sort_values("n_edits").drop_duplicates("label").set_index("label")["value"]
    said = [
        f"{row['label']} from {formatting.percent(first[row['label']])} to {formatting.percent(row['value'])} % "
        f"at {row['n_edits']:,}"
        for row in last.to_dict("records")
    ]
    return "Lines of the average against the number of edits in a row: " + "; ".join(said) + "."
