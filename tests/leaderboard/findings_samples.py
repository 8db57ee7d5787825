"""Small invented frames for the findings: every number is given, so every answer is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from leaderboard.findings.frames import prepared
from leaderboard.glossary import MAIN_METRICS

N = 20


def shares(value: float, n: int = N) -> list[float]:
    """Cases right and wrong, so that their mean is the value (a multiple of 1 / n)."""
    right = round(value * n)
    return [1.0] * right + [0.0] * (n - right)


class Invented:
    """As `leaderboard.findings.frames.Frames`, filled by `cell`."""

    def __init__(self) -> None:
        self._cells: list[dict[str, Any]] = []
        self._scores: list[dict[str, Any]] = []
        self._values: dict[tuple[str, str, str], list[float]] = {}
        self._sequences: list[dict[str, Any]] = []
        self.group_of: dict[str, str] = {}
        self._hops: list[dict[str, Any]] = []
        self._lookups: list[dict[str, Any]] = []
        self.shown = "tiny"

    def cell(
        self, method: str, n_edits: int, average: float | Sequence[float] | None = None, *, forced: float | None = None,
        seed: int = 0, n_cases: int = N, model: str = "tiny", dataset: str = "atlas", protocol: str = "wild",
        hparams: Mapping[str, Any] | None = None, metrics: Sequence[str] = MAIN_METRICS,
    ) -> str:  # fmt: skip
        """One finished cell; `average`: the share of every score, or values per case. Returns its key."""
        key = f"{model}-{dataset}-{protocol}-{method}-{n_edits}-{seed}-{n_cases}-{len(self._cells)}"
        self._cells.append({
            "key": key, "model": model, "model_hash": model, "method": method, "hparams": dict(hparams or {}),
            "dataset": dataset, "dataset_hash": f"{dataset}-{n_cases}", "n_edits": n_edits, "n_cases": n_cases,
            "seed": seed, "protocol": protocol, "protocol_hash": protocol, "dtype": "float32", "device": "cpu",
            "state": "done",
        })  # fmt: skip
        for mode, given in (("free", average), ("forced", forced)):
            if given is not None:
                values = list(given) if isinstance(given, Sequence) else shares(float(given), n_cases)
                for metric in metrics:
                    self.values(key, metric, values, mode)
        return key

    def values(self, key: str, metric: str, values: Sequence[float], mode: str = "free") -> None:
        """Values per case of one metric."""
        self._values[key, mode, metric] = list(values)

    def sign(self, key: str, metric: str, value: float, mode: str = "model") -> None:
        """A stored score; of the edited model itself unless a mode is named."""
        self._scores.append({"cell_key": key, "mode": mode, "metric": metric, "value": value, "low": None,
                             "high": None, "n": 1})  # fmt: skip

    def sequence(self, key: str, answer: float, edit: float = 0.0, n: int = 10, edits: int = 1, **parts: float) -> None:
        """The cost of a sequence: seconds of `n` answers and of `edits` edits."""
        self._sequences.append({
            "cell_key": key, "edit_seconds": edit, "n_edits": edits, "answer_seconds": answer, "n_answers": n,
            "storage_bytes": 100, "parts": parts,
        })  # fmt: skip

    def hop(self, key: str, kind: str, hops: int, values: Sequence[float]) -> None:
        """Portability questions of a kind, one per case."""
        self._hops += [
            {"cell_key": key, "case_id": f"c{i}", "metric": f"portability/{kind}", "hops": hops, "correct": v, "n": 1}
            for i, v in enumerate(values)
        ]

    def lookup(self, key: str, found: bool, confirmed: str, n: int, right: int, case: int = 0) -> None:
        """What became of n questions about an edit."""
        self._lookups.append({"cell_key": key, "case_id": f"c{case}", "metric": "reliability", "found": int(found),
                              "confirmed": confirmed, "n": n, "right": right})  # fmt: skip

    # The protocol.

    def all_cells(self) -> pd.DataFrame:
        return prepared(pd.DataFrame(self._cells))

    def cells(self) -> pd.DataFrame:
        every = self.all_cells()
        return every[every["model"] == self.shown]

    def scores(self, keys: Iterable[str]) -> pd.DataFrame:
        columns = ["cell_key", "mode", "metric", "value", "low", "high", "n"]
        return _of(self._scores, keys, columns)

    def per_case(self, keys: Iterable[str], mode: str, metrics: Sequence[str]) -> dict[str, pd.DataFrame]:
        found = {}
        for key in keys:
            own = {m: self._values[key, mode, m] for m in metrics if (key, mode, m) in self._values}
            if own:
                count = len(next(iter(own.values())))
                frame = pd.DataFrame(own, index=[f"c{i}" for i in range(count)], dtype=float)
                found[key] = frame.reindex(columns=list(metrics), fill_value=np.nan)
        return found

    def sequences(self, keys: Iterable[str]) -> pd.DataFrame:
        columns = ["cell_key", "edit_seconds", "n_edits", "answer_seconds", "n_answers", "storage_bytes", "parts",
                   "together"]  # fmt: skip
        return _of(self._sequences, keys, columns)

    def groups(self, keys: Iterable[str]) -> pd.Series:
        return pd.Series(self.group_of, dtype=object)

    def hops(self, keys: Iterable[str]) -> pd.DataFrame:
        return _of(self._hops, keys, ["cell_key", "case_id", "metric", "hops", "correct", "n"])

    def lookups(self, keys: Iterable[str]) -> pd.DataFrame:
        return _of(self._lookups, keys, ["cell_key", "case_id", "metric", "found", "confirmed", "n", "right"])


def _of(rows: list[dict[str, Any]], keys: Iterable[str], columns: list[str]) -> pd.DataFrame:
    wanted = set(keys)
    return pd.DataFrame([row for row in rows if row["cell_key"] in wanted], columns=columns)
