"""Two to four methods on the same cases, as pure functions: frames in, frames out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from leaderboard.glossary import MAIN_METRICS
from leaderboard.ranking import contributions
from runner.metrics.statistics import LEVEL, holm, paired_bootstrap

MOST = 4
DIFFERENCES = ["first", "second", "metric", "difference", "low", "high", "p", "cases", "significant"]


def per_case(values: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """cell key -> frame with the case id as index and MAIN_METRICS as columns (shares, NaN where a case has none).

    values: rows of `db.reader.Reader.case_values`. Cells that lack one of the four metrics are left out.
    """
    frames = {}
    for key, own in values.groupby("cell_key") if len(values) else ():
        rows = own.set_index("metric")
        if set(MAIN_METRICS) <= set(rows.index):
            ids = [str(i) for i in rows["case_ids"].iloc[0]]
            columns = {m: np.asarray(rows.loc[m, "case_values"], dtype=float) for m in MAIN_METRICS}
            frames[str(key)] = pd.DataFrame(columns, index=ids)
    return frames


def differences(cases: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Paired differences of every two methods on the cases both have, for the average and each score: DIFFERENCES.

    cases: label -> frame of `per_case`. difference is first minus second, a share; low and high its 95 % interval; p is
    adjusted by Holm over all rows of the table; significant at 5 %.
    """
    rows: list[dict[str, Any]] = []
    for (first, a), (second, b) in combinations(cases.items(), 2):
        shared = a.index.intersection(b.index)
        one, two = a.loc[shared], b.loc[shared]
        for metric in ("average", *MAIN_METRICS):
            x, y = (_values(frame, metric) for frame in (one, two))
            found = paired_bootstrap(x.tolist(), y.tolist())
            if found.n and found.p is not None:
                rows.append({
                    "first": first, "second": second, "metric": metric, "difference": found.difference,
                    "low": found.low, "high": found.high, "p": found.p, "cases": found.n,
                })  # fmt: skip
    table = pd.DataFrame(rows, columns=DIFFERENCES[:-1])
    table["p"] = holm(table["p"].tolist())
    return table.assign(significant=table["p"] < 1 - LEVEL)


def _values(frame: pd.DataFrame, metric: str) -> np.ndarray:
    if metric == "average":
        return contributions(frame[list(MAIN_METRICS)].to_numpy().T)
    return frame[metric].to_numpy(dtype=float)


def disagreements(cases: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The cases that all methods have, those they disagree about most first: case, one column per label with the mean
    of the case's scores, spread (largest minus smallest)."""
    means = pd.DataFrame({label: frame.mean(axis=1) for label, frame in cases.items()}).dropna()
    means = means.assign(spread=means.max(axis=1) - means.min(axis=1)) if len(cases) else means.assign(spread=[])
    ordered = means.rename_axis("case").reset_index()
    return ordered.sort_values(["spread", "case"], ascending=[False, True]).reset_index(drop=True)


def default_methods(table: pd.DataFrame) -> tuple[str, ...]:
    """The two best of the ranked methods of a leaderboard: who follows the leader, and by how much."""
    return tuple(table[table["status"] == "ranked"]["label"].head(2))


def statement(body: Mapping[str, Any]) -> str:
    """What a case edits, in its own words."""
    edits: Sequence[Mapping[str, Any]] = body.get("edits", [])
    return " ".join(dict.fromkeys(str(e.get("statement") or e.get("prompt", "")) for e in edits))
