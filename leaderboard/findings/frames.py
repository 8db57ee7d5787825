"""What findings are computed from: finished cells, their scores, values per case and costs, as frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from db import aggregates
from db.reader import Reader
from leaderboard.glossary import MAIN_METRICS
from leaderboard.ranking import contributions
from leaderboard.views import UNEDITED

# All that must agree between cells of one comparison, but for the seed: a headline is repeated over seeds.
_WORLD = ("model", "model_hash", "dataset", "dataset_hash", "protocol_hash", "n_cases", "dtype")
_DISTRACTORS = "distractors"


class Frames(Protocol):
    """The database as the findings see it."""

    def cells(self) -> pd.DataFrame:
        """The finished cells of one model, as `prepared` makes them."""

    def all_cells(self) -> pd.DataFrame:
        """Those of all models."""

    def scores(self, keys: Iterable[str]) -> pd.DataFrame:
        """cell_key, mode, metric, value, low, high, n."""

    def per_case(self, keys: Iterable[str], mode: str, metrics: Sequence[str]) -> dict[str, pd.DataFrame]:
        """cell key -> values per case: index case id, columns the metrics (NaN where there is none)."""

    def sequences(self, keys: Iterable[str]) -> pd.DataFrame:
        """cell_key, edit_seconds, n_edits, answer_seconds, n_answers, storage_bytes, parts: what named pieces of the
        answering took, name -> seconds, and together: how many sequences the seconds are a share of, 0 for none."""

    def groups(self, keys: Iterable[str]) -> pd.Series:
        """case id -> its group (the atlas's domain)."""

    def hops(self, keys: Iterable[str]) -> pd.DataFrame:
        """cell_key, case_id, metric, hops, correct, n of the portability questions (`db.aggregates.hops`)."""

    def lookups(self, keys: Iterable[str]) -> pd.DataFrame:
        """What became of look-ups in memory (`db.aggregates.lookups`)."""


def timed(sequences: pd.DataFrame) -> pd.DataFrame:
    """Of each cell's sequences those whose seconds are their own; all where they are shares of what several took."""
    own = sequences["together"].fillna(0) == 0
    return sequences[own | ~sequences["cell_key"].isin(sequences.loc[own, "cell_key"])]


class Stored:
    """Frames of a database. model: the one that all findings but that on models are about."""

    def __init__(self, reader: Reader, cells: pd.DataFrame, model: str) -> None:
        self.reader = reader
        self._all = prepared(cells)
        self._cells = self._all[self._all["model"] == model].reset_index(drop=True)

    def cells(self) -> pd.DataFrame:
        """As `Frames.cells`."""
        return self._cells

    def all_cells(self) -> pd.DataFrame:
        """As `Frames.all_cells`."""
        return self._all

    def scores(self, keys: Iterable[str]) -> pd.DataFrame:
        """As `Frames.scores`."""
        columns = ["cell_key", "mode", "metric", "value", "low", "high", "n", "scorer_version"]
        return pd.DataFrame(self.reader.scores(keys), columns=columns)

    def per_case(self, keys: Iterable[str], mode: str, metrics: Sequence[str]) -> dict[str, pd.DataFrame]:
        """As `Frames.per_case`."""
        columns, ids = {name: i for i, name in enumerate(metrics)}, {}
        found: dict[str, np.ndarray] = {}
        for row in self.reader.case_values(keys, mode, metrics):
            key = row["cell_key"]
            if key not in found:
                ids[key] = [str(i) for i in row["case_ids"]]
                found[key] = np.full((len(ids[key]), len(columns)), np.nan)
            found[key][:, columns[row["metric"]]] = np.asarray(row["case_values"], dtype=float)
        return {key: pd.DataFrame(values, index=ids[key], columns=list(metrics)) for key, values in found.items()}

    def sequences(self, keys: Iterable[str]) -> pd.DataFrame:
        """As `Frames.sequences`."""
        return pd.DataFrame(aggregates.sequences(self.reader, keys), columns=aggregates.SEQUENCE_COLUMNS)

    def groups(self, keys: Iterable[str]) -> pd.Series:
        """As `Frames.groups`."""
        cells = self._all
        return pd.Series(aggregates.groups(self.reader, cells.loc[cells["key"].isin(list(keys)), "dataset_hash"]))

    def hops(self, keys: Iterable[str]) -> pd.DataFrame:
        """As `Frames.hops`."""
        return pd.DataFrame(aggregates.hops(self.reader, keys), columns=aggregates.HOP_COLUMNS)

    def lookups(self, keys: Iterable[str]) -> pd.DataFrame:
        """As `Frames.lookups`."""
        return pd.DataFrame(aggregates.lookups(self.reader, keys), columns=aggregates.LOOKUP_COLUMNS)


def prepared(cells: pd.DataFrame) -> pd.DataFrame:
    """The finished cells with `world` (a short id of all that must agree, but for the seed) and `label`: the method,
    with what differs where its hyperparameters aren't the usual ones there."""
    done = cells[cells["state"] == "done"].copy()
    if done.empty:
        return done.assign(world="", label="")
    device = done["device"].astype(str).str.partition(":")[0]
    identity = ["\x1f".join(row) for row in zip(*(done[name].astype(str) for name in _WORLD), device, strict=True)]
    done["world"] = [hashlib.sha256(text.encode()).hexdigest()[:8] for text in identity]
    done["variant"] = done["hparams"].map(lambda h: json.dumps(h, sort_keys=True))
    done["label"] = done["method"].astype(str)
    for _, group in done.groupby(["model", "dataset", "protocol_hash", "method"]):
        if group["variant"].nunique() > 1:
            usual = _usual(group)
            rows = zip(group["method"], group["hparams"], strict=True)
            done.loc[group.index, "label"] = [_label(m, h, usual) for m, h in rows]
    return done.drop(columns="variant").reset_index(drop=True)


def _usual(group: pd.DataFrame) -> dict[str, Any]:
    """The hyperparameters most of a method's cells have: without distractors in memory first, then of even ones SCR as
    the grids run it, which confirms statements one by one."""
    counted = group.groupby("variant").agg(n=("key", "count"), hparams=("hparams", "first")).reset_index()
    filled = [bool(memory(hparams)) for hparams in counted["hparams"]]
    odd = [hparams.get("confirm") is False or hparams.get("one_by_one") is False for hparams in counted["hparams"]]
    counted = counted.assign(filled=filled, odd=odd)
    counted = counted.sort_values(["filled", "n", "odd", "variant"], ascending=[True, False, True, True])
    usual: dict[str, Any] = counted["hparams"].iloc[0]
    return usual


def memory(hparams: dict[str, Any]) -> int:
    """Statements in memory that are no edits."""
    own = hparams.get(_DISTRACTORS)
    return int(own or 0) if not isinstance(hparams.get("SCR"), dict) else int(hparams["SCR"].get(_DISTRACTORS) or 0)


def _label(method: str, hparams: dict[str, Any], usual: dict[str, Any]) -> str:
    other = [f"{k}={hparams.get(k)}" for k in sorted({*hparams, *usual}) if hparams.get(k) != usual.get(k)]
    return f"{method} ({', '.join(other)})" if other else method


def comparison(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the fullest world: that with most different methods and lengths; one cell per method, length and
    seed. Columns as in `cells`; empty when there are none."""
    edited = cells[cells["method"] != UNEDITED]
    if edited.empty:
        return edited
    size = edited.drop_duplicates(["world", "label", "n_edits"]).groupby("world").size()
    size = size.sort_index().sort_values(ascending=False, kind="stable")
    return once(cells[cells["world"] == size.index[0]])


def once(cells: pd.DataFrame) -> pd.DataFrame:
    """One cell per world, method, length and seed."""
    return cells.drop_duplicates(["world", "label", "n_edits", "seed"])


def first_seed(cells: pd.DataFrame) -> int:
    """The seed that is shown: the one with most cells, the lowest where they are even."""
    counts = cells["seed"].value_counts().sort_index()
    return int(counts.idxmax())


def length_of_most_seeds(cells: pd.DataFrame) -> int:
    """The length of sequences that most seeds have, the longest of even ones; 0 without cells."""
    seeds = cells.groupby("n_edits")["seed"].nunique()
    return max((int(n) for n in seeds.index[seeds == seeds.max()]), default=0)


def is_scr(label: str) -> bool:
    """Plain SCR, in its usual variant."""
    return label.lower() == "scr"


def scr_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of plain SCR."""
    return frame[np.array([is_scr(str(label)) for label in frame["label"]], dtype=bool)]


def present_metrics(frames: Iterable[pd.DataFrame]) -> list[str]:
    """Which of the four scores every frame has at least one value of: a data set may ask for fewer."""
    found = list(frames)
    return [m for m in MAIN_METRICS if found and all(m in f and f[m].notna().any() for f in found)]


CONTEXT, MEMORY, HYBRID, WEIGHTS = "context", "memory", "hybrid", "weights"
_IN_CONTEXT = {"scr", "multihop-scr", "ice", "ike", "mello", "pokemqa"}
_IN_MEMORY = {"grace", "wise", "serac", "melo"}


def keeps(label: str) -> str:
    """Where a method keeps new facts: CONTEXT, MEMORY (beside the weights), WEIGHTS, or HYBRID (weights and SCR)."""
    method = label.partition(" (")[0].lower()
    if "+" in method:
        return HYBRID
    return CONTEXT if method in _IN_CONTEXT else MEMORY if method in _IN_MEMORY else WEIGHTS


def averages(frames: Frames, cells: pd.DataFrame, mode: str = "free") -> dict[str, pd.DataFrame]:
    """cell key -> values per case of those of the four scores that every one of the cells has."""
    cases = frames.per_case(cells["key"], mode, MAIN_METRICS)
    metrics = present_metrics(cases.values())
    return {key: frame[metrics] for key, frame in cases.items()} if metrics else {}


def shares(frame: pd.DataFrame) -> pd.Series:
    """What each case that was asked anything adds to the average of a frame's scores, whose mean is that average."""
    frame = frame.dropna(how="all")  # of a long sequence only some cases are asked
    return pd.Series(contributions(frame.to_numpy(dtype=float).T), index=frame.index)
