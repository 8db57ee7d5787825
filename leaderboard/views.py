"""What the pages show, as pure functions: frames in, frames out.

`cells`, `scores`, `costs` and `values` are the rows of `db.reader.Reader` as frames.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from leaderboard import ranking
from leaderboard.glossary import MAIN_METRICS
from leaderboard.state import FORCED, FREE

UNEDITED, UNEDITED_LABEL = "none", "unedited model"
RANKED, REFERENCE, INCOMPLETE = "ranked", "reference", "incomplete"
TABLE_METRICS = (*MAIN_METRICS, "average")

_SCORED = ("cell_key", "mode", "metric", "value", "low", "high", "scorer_version")
# Two scores whose cells differ in one of these, or in the type of their device, are never put into one table.
_IDENTITY = ("model", "model_hash", "dataset", "dataset_hash", "protocol_hash", "seed", "n_cases", "dtype")


def with_setups(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells with two more columns: `setup` (short id of all that must agree to compare) and `label` (the method's
    name; where a setup has the same method with several hyperparameters, with those that differ)."""
    cells = cells.copy()
    compared = [cells[name].astype(str) for name in _IDENTITY] + [_device_type(cells["device"])]
    identity = ["\x1f".join(row) for row in zip(*compared, strict=True)]
    short = {text: hashlib.sha256(text.encode()).hexdigest()[:8] for text in set(identity)}
    cells["setup"] = [short[text] for text in identity]
    cells["label"] = cells["method"]
    variants = cells["hparams"].map(lambda h: json.dumps(h, sort_keys=True))
    several = variants.groupby([cells["setup"], cells["method"]]).transform("nunique") > 1
    for (_, method), group in cells[several].groupby(["setup", "method"]):
        names = _variant_names(group["hparams"].tolist())
        cells.loc[group.index, "label"] = [f"{method} ({name})" for name in names]
    return cells


def _device_type(devices: pd.Series) -> pd.Series:
    """ "cuda:1" -> "cuda": which of several equal devices it was makes no other experiment."""
    return devices.astype(str).str.partition(":")[0] if len(devices) else devices


def _variant_names(hparams: Sequence[dict[str, object]]) -> list[str]:
    """A name for each set of hyperparameters, made of those that aren't the same in all."""
    keys = sorted({key for h in hparams for key in h})
    differing = [k for k in keys if len({json.dumps(h.get(k), sort_keys=True) for h in hparams}) > 1]
    return [", ".join(f"{k}={h.get(k)}" for k in differing) for h in hparams]


def setup_choices(cells: pd.DataFrame, model: str, dataset: str) -> list[tuple[str, str]]:
    """(name, id) of the setups of a model and data set, the fullest first. The name says only what differs."""
    chosen = cells[(cells["model"] == model) & (cells["dataset"] == dataset)]
    if chosen.empty:
        return []
    done = chosen.assign(done=chosen["state"] == "done").groupby("setup")
    order = done.agg(done=("done", "sum"), cases=("n_cases", "first"), run=("run_id", "max"))
    order = order.sort_values(["done", "cases", "run"], ascending=False)
    first = chosen.groupby("setup").first().loc[order.index]
    parts = [
        first["n_cases"].map(lambda n: f"{n} cases"),
        first["seed"].map(lambda s: f"seed {s}"),
        first["protocol"],
        first["dtype"],
        _device_type(first["device"]),
        first["protocol_hash"].map(lambda h: f"protocol {h[:6]}"),
        first["model_hash"].map(lambda h: f"weights {h[:6]}"),
        first["dataset_hash"].map(lambda h: f"data {h[:6]}"),
    ]
    shown: list[pd.Series] = []
    apart = 1
    for part in parts:  # only what tells setups apart that nothing before it does
        found = len(set(zip(*shown, part, strict=True)))
        if found > apart:
            shown, apart = [*shown, part], found
    return [(" · ".join(str(text[setup]) for text in shown or parts[:1]), str(setup)) for setup in first.index]


def edit_choices(cells: pd.DataFrame, setup: str) -> list[int]:
    """The lengths of sequences that a setup has, in cases, ascending; the unedited model's 0 is not one."""
    edited = cells[(cells["setup"] == setup) & (cells["method"] != UNEDITED)]
    return sorted(int(n) for n in edited["n_edits"].unique())


def default_edits(cells: pd.DataFrame, setup: str) -> int:
    """The longest sequence that at least one method has finished, else the shortest there is, else 0."""
    finished = edit_choices(cells[cells["state"] == "done"], setup)
    return finished[-1] if finished else (edit_choices(cells, setup) or [0])[0]


def leaderboard(
    cells: pd.DataFrame,
    scores: pd.DataFrame,
    costs: pd.DataFrame,
    values: pd.DataFrame,
    setup: str,
    n_edits: int,
    mode: str = FREE,
) -> pd.DataFrame:
    """One row per method of a setup at one length of sequence (n_edits: cases edited before anything is asked).

    Columns: label, method, status (ranked | reference | incomplete), rank (NaN when not ranked), tied, for each of
    TABLE_METRICS m the columns m, m_low, m_high (shares), other_average (the average in the other mode), edit_seconds
    and answer_seconds (per edit and per answer), peak_gigabytes, bytes_per_edit (kept to serve the edits), cases, note
    (why it is incomplete, else the cell's note).
    Methods that the setup has at another length only are there as incomplete.
    """
    here = cells[cells["setup"] == setup]
    other = FORCED if mode == FREE else FREE
    shown = scores[scores["cell_key"].isin(here.loc[here["n_edits"].isin([0, n_edits]), "key"])]
    found = {at[:3]: at[3:] for at in shown[list(_SCORED)].itertuples(index=False, name=None)}
    spent = {cost["cell_key"]: cost for cost in costs.to_dict("records")}
    rows = []
    for label, group in here.groupby("label", sort=True):
        unedited = group["method"].iloc[0] == UNEDITED
        at = group if unedited else group[group["n_edits"] == n_edits]
        cell = at.iloc[0] if len(at) else None
        rows.append(_row(str(label), group["method"].iloc[0], cell, found, spent, mode, other))
    table = pd.DataFrame(rows, columns=_columns())
    table = _mark_old_scorers(table)
    return _ranked(table, values)


def _columns() -> list[str]:
    metrics = [name for m in TABLE_METRICS for name in (m, f"{m}_low", f"{m}_high")]
    return ["key", "label", "method", "status", "rank", "tied", *metrics, "other_average", "edit_seconds",
            "answer_seconds", "peak_gigabytes", "bytes_per_edit", "cases", "note", "scorer"]  # fmt: skip


def _row(
    label: str,
    method: str,
    cell: pd.Series | None,
    scores: Mapping[tuple[str, str, str], tuple[float, float, float, str]],
    costs: Mapping[str, Mapping[str, float | None]],
    mode: str,
    other: str,
) -> dict[str, object]:
    """One method's row, before ranking. scores: by cell, mode and metric, as _SCORED. costs: by cell."""
    row: dict[str, object] = dict.fromkeys(_columns(), np.nan)
    row |= {"key": "", "label": label, "method": method, "tied": False, "note": "", "scorer": ""}
    if cell is None:
        return row | {"status": INCOMPLETE, "note": "not run at this length of sequence"}
    row |= {"key": cell["key"], "cases": cell["n_cases"]}
    for metric in TABLE_METRICS:
        if own := scores.get((cell["key"], mode, metric)):
            row[metric], row[f"{metric}_low"], row[f"{metric}_high"], row["scorer"] = own
    elsewhere = scores.get((cell["key"], other, "average"))
    row["other_average"] = elsewhere[0] if elsewhere else np.nan
    if cost := costs.get(cell["key"]):
        row["edit_seconds"] = _ratio(cost["edit_seconds"], cost["n_edits"])
        row["answer_seconds"] = _ratio(cost["answer_seconds"], cost["n_answers"])
        row["peak_gigabytes"] = _ratio(cost["peak_memory_bytes"] or 0, 1e9) or np.nan
        if pd.notna(cost.get("storage_bytes")):
            row["bytes_per_edit"] = _ratio(cost["storage_bytes"], cost["n_edits"])
    missing = [metric for metric in TABLE_METRICS if pd.isna(row[metric])]
    if cell["state"] != "done":
        reason = f": {cell['error']}" if cell["state"] == "failed" and cell["error"] else ""
        return row | {"status": INCOMPLETE, "note": f"{cell['state']}{reason}"}
    if missing:
        return row | {"status": INCOMPLETE, "note": "no score for " + ", ".join(missing)}
    return row | {"status": REFERENCE if method == UNEDITED else RANKED, "note": cell["note"] or ""}


def _ratio(amount: float | None, number: float | None) -> float:
    return float(amount or 0) / float(number) if number else float("nan")


def _mark_old_scorers(table: pd.DataFrame) -> pd.DataFrame:
    """Rows scored by another version than most are no longer comparable, so they aren't ranked."""
    versions = table.loc[table["status"] == RANKED, "scorer"]
    if versions.nunique() > 1:
        newest = max(versions, key=lambda v: (len(v), v))
        old = (table["status"] == RANKED) & (table["scorer"] != newest)
        table.loc[old, "note"] = "scored by version " + table.loc[old, "scorer"] + ", others by " + newest
        table.loc[old, "status"] = INCOMPLETE
    return table


def _ranked(table: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Fill in rank and tied, and order: ranked by rank and average, then incomplete, then the unedited model."""
    by_cell = {key: own.set_index("metric") for key, own in values.groupby("cell_key")} if len(values) else {}
    comparable = {key: own for key, own in by_cell.items() if set(MAIN_METRICS) <= set(own.index)}
    ranked = table.index[table["status"] == RANKED]
    candidates = [key for key in table.loc[ranked, "key"] if key in comparable]
    ids = {key: tuple(sorted(comparable[key]["case_ids"].iloc[0])) for key in candidates}
    usual = Counter(ids.values()).most_common(1)[0][0] if ids else ()
    cases: dict[str, np.ndarray] = {}
    for index in ranked:
        key = table.loc[index, "key"]
        if key not in ids:
            table.loc[index, ["status", "note"]] = [INCOMPLETE, "no values per case, so it can't be compared"]
        elif ids[key] != usual:
            table.loc[index, ["status", "note"]] = [INCOMPLETE, "scored on other cases than the rest"]
        else:
            own = comparable[key]
            positions = np.argsort(np.array(own["case_ids"].iloc[0], dtype=str))
            cases[key] = np.array([own.loc[m, "case_values"] for m in MAIN_METRICS], dtype=float)[:, positions]
    found = ranking.ranks(cases)
    table["rank"] = table["key"].map(found).astype(float)
    table["tied"] = table["rank"].duplicated(keep=False) & table["rank"].notna()
    group = table["status"].map({RANKED: 0, INCOMPLETE: 1, REFERENCE: 2})
    table = table.assign(group=group).sort_values(
        ["group", "rank", "average", "label"], ascending=[True, True, False, True]
    )
    return table.drop(columns=["group", "scorer"]).reset_index(drop=True)


# Sort control: id -> (name, column, ascending)
SORTS: dict[str, tuple[str, str, bool]] = {
    "rank": ("Rank", "rank", True),
    **{metric: (metric.capitalize(), metric, False) for metric in ("average", *MAIN_METRICS)},
    "edit": ("Fastest edit", "edit_seconds", True),
    "answer": ("Fastest answer", "answer_seconds", True),
    "memory": ("Least memory", "peak_gigabytes", True),
    "bytes": ("Fewest bytes per edit", "bytes_per_edit", True),
    "method": ("Method", "label", True),
}


def sort_leaderboard(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """The leaderboard in another order; ranked rows stay above incomplete ones, the unedited model last."""
    _, column, ascending = SORTS.get(by, SORTS["rank"])
    group = table["status"].map({RANKED: 0, INCOMPLETE: 1, REFERENCE: 2})
    ordered = table.assign(group=group).sort_values(
        ["group", column], ascending=[True, ascending], na_position="last", kind="stable"
    )
    return ordered.drop(columns="group").reset_index(drop=True)


def metric_choices(scores: pd.DataFrame) -> list[str]:
    """Metrics that have at least one value: the average first, then the four, then the rest by name."""
    shares = scores["mode"].isin([FREE, FORCED])  # signs of collapse are no shares
    present = set(scores.loc[scores["value"].notna() & shares, "metric"])
    first = [m for m in ("average", *MAIN_METRICS) if m in present]
    return first + sorted(present - set(first))


CURVE_COLUMNS = ["label", "method", "mode", "n_edits", "value", "low", "high", "n"]


def curves(cells: pd.DataFrame, scores: pd.DataFrame, setup: str, metric: str, modes: Sequence[str]) -> pd.DataFrame:
    """Points of the degradation curves of one metric: label, method, mode, n_edits, value, low, high, n.

    Finished cells with a value only; the unedited model has n_edits 0.
    """
    here = cells[(cells["setup"] == setup) & (cells["state"] == "done")]
    wanted = scores[(scores["metric"] == metric) & scores["mode"].isin(list(modes)) & scores["value"].notna()]
    points = here[["key", "label", "method", "n_edits"]].merge(wanted, left_on="key", right_on="cell_key")
    points = points.sort_values(["label", "mode", "n_edits"]).reset_index(drop=True)
    return points[CURVE_COLUMNS]
