"""Frames for the pages, each computed once until the database changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from db.reader import AnswerQuery, Reader
from db.reported import read_reported
from leaderboard import answer_views, badges, cards, compare, extras, facets, papers, runs, tradeoffs, views
from leaderboard.glossary import MAIN_METRICS
from leaderboard.state import BOTH, FORCED, FREE, Filters

if TYPE_CHECKING:
    from leaderboard.findings.finding import Finding

T = TypeVar("T")
_SCORE_COLUMNS = ["cell_key", "mode", "metric", "value", "low", "high", "n", "scorer_version"]
_COST_COLUMNS = [
    "cell_key",
    "edit_seconds",
    "n_edits",
    "answer_seconds",
    "n_answers",
    "peak_memory_bytes",
    "storage_bytes",
]
_VALUE_COLUMNS = ["cell_key", "metric", "case_ids", "case_values"]
_MAX_CACHED = 500
_SECONDS_WITHOUT_STAMP = 10


class Board:
    """The database as the pages see it. Safe for many threads."""

    def __init__(self, reader: Reader, name: str) -> None:
        self.reader = reader
        self.name = name  # what to call the database
        self._lock = threading.Lock()
        self._stamp: Hashable = None
        self._cache: dict[Hashable, Any] = {}

    def cached(self, key: Hashable, compute: Callable[[], T]) -> T:
        """`compute()`, kept under `key` until the database changes."""
        # A database without a file to look at is asked again after some seconds.
        stamp: Hashable = self.reader.stamp() or int(time.monotonic() / _SECONDS_WITHOUT_STAMP)
        with self._lock:
            if stamp != self._stamp or len(self._cache) > _MAX_CACHED:
                self._cache, self._stamp = {}, stamp
            cache = self._cache
        if key not in cache:
            identity = self.reader.identity()
            value = compute()
            if self.reader.identity() != identity:  # put in place while it was read: not half of one, half of the other
                return self.cached(key, compute)
            cache[key] = value
        return cache[key]  # type: ignore[no-any-return]

    def cells(self) -> pd.DataFrame:
        """All cells, with setup and label."""

        def compute() -> pd.DataFrame:
            from db.schema import Cell

            rows = self.reader.cells()
            names = list(rows[0]) if rows else Cell.__table__.columns.keys()
            return views.with_setups(pd.DataFrame(rows, columns=names))

        return self.cached("cells", compute)

    def keys(self, setup: str) -> list[str]:
        """The keys of a setup's cells."""
        cells = self.cells()
        return cells.loc[cells["setup"] == setup, "key"].tolist()

    def scores(self, setup: str) -> pd.DataFrame:
        """All scores of a setup."""
        return self.cached(
            ("scores", setup), lambda: pd.DataFrame(self.reader.scores(self.keys(setup)), columns=_SCORE_COLUMNS)
        )

    def leaderboard(self, filters: Filters) -> pd.DataFrame:
        """The leaderboard, in the order asked for."""
        setup, edits, mode = filters.setup, filters.edits, filters.mode

        def compute() -> pd.DataFrame:
            cells = self.cells()
            here = cells[(cells["setup"] == setup) & (cells["n_edits"].isin([0, edits]))]
            keys = here["key"].tolist()
            values = pd.DataFrame(self.reader.case_values(keys, mode, MAIN_METRICS), columns=_VALUE_COLUMNS)
            costs = pd.DataFrame(self.reader.costs(keys), columns=_COST_COLUMNS)
            scores = self.scores(setup)
            table = views.leaderboard(cells, scores, costs, values, setup, edits, mode)
            submitted = badges.of_cells(self.reader.submissions())
            # A cell that failed has no number anybody could vouch for.
            scored = table["key"].where(table[list(MAIN_METRICS)].notna().any(axis=1), "")
            table = table.assign(badge=[badges.badge(key, submitted) for key in scored])
            points = views.curves(cells, scores, setup, "average", (mode,))
            return extras.with_curves(extras.with_extras(table, scores, mode), points)

        return views.sort_leaderboard(self.cached(("board", setup, edits, mode), compute), filters.sort)

    def reported(self, filters: Filters) -> tuple[pd.DataFrame, bool]:
        """Numbers of papers beside the leaderboard (see `papers.beside`), those that are searched for: the database's,
        else those that come with the project."""

        def compute() -> pd.DataFrame:
            return papers.numbers(self.reader.reported() or read_reported(papers.SHIPPED))

        table, fits = papers.beside(self.cached("reported", compute), filters.model, filters.data)
        return extras.search(table, filters.find), fits

    def curves(self, filters: Filters) -> pd.DataFrame:
        """The points of the curves, with the column `panel` where the page has several: all methods when none is
        chosen, the unedited model always."""
        if filters.facet:
            return facets.panels(self, filters)
        return self.curve_points(filters, filters.setup, filters.metric)

    def curve_points(
        self, filters: Filters, setup: str, metric: str, modes: tuple[str, ...] | None = None
    ) -> pd.DataFrame:
        """The points of one panel. modes: the ways of answering, those of the filters unless given."""
        wanted = modes or ((FREE, FORCED) if filters.mode == BOTH else (filters.mode,))
        points = views.curves(self.cells(), self.scores(setup), setup, metric, wanted)
        if filters.show:
            points = points[points["label"].isin(filters.show) | (points["method"] == views.UNEDITED)]
        return points

    def tradeoffs(self, filters: Filters) -> pd.DataFrame:
        """The points of a score against a cost."""
        return tradeoffs.tradeoffs(self.leaderboard(filters), filters.metric, filters.cost)

    def comparison(self, filters: Filters) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Paired differences of the chosen methods, and the cases they disagree about with what each edits."""
        setup, edits, mode, show = filters.setup, filters.edits, filters.mode, filters.show

        def compute() -> tuple[pd.DataFrame, pd.DataFrame]:
            table = self.leaderboard(filters).set_index("label")
            keys = {label: str(table.loc[label, "key"]) for label in show if label in table.index}
            rows = self.reader.case_values(list(keys.values()), mode, MAIN_METRICS)
            frames = compare.per_case(pd.DataFrame(rows, columns=_VALUE_COLUMNS))
            cases = {label: frames[key] for label, key in keys.items() if key in frames}
            apart = compare.disagreements(cases)
            cells = self.cells()
            hashes = cells.loc[cells["setup"] == setup, "dataset_hash"].unique()
            bodies = self.reader.cases(str(hashes[0]), apart["case"]) if len(hashes) else {}
            return compare.differences(cases), apart.assign(
                statement=[compare.statement(bodies.get(case, {})) for case in apart["case"]]
            )

        return self.cached(("compare", setup, edits, mode, show), compute)

    def labels(self, setup: str, with_unedited: bool = False) -> list[str]:
        """The methods of a setup by name, the unedited model last."""
        cells = self.cells()
        here = cells[cells["setup"] == setup]
        edited = sorted(here.loc[here["method"] != views.UNEDITED, "label"].unique())
        unedited = sorted(here.loc[here["method"] == views.UNEDITED, "label"].unique())
        return edited + (unedited if with_unedited else [])

    def cell_key(self, filters: Filters) -> str:
        """The cell of a method at a number of edits (the unedited model has one only); "" when there is none."""
        cells = self.cells()
        here = cells[(cells["setup"] == filters.setup) & (cells["label"] == filters.method)]
        here = here[(here["n_edits"] == filters.edits) | (here["method"] == views.UNEDITED)]
        return str(here["key"].iloc[0]) if len(here) else ""

    def kinds(self, key: str, mode: str) -> list[dict[str, Any]]:
        """Probe kinds of a cell with counts."""
        return self.cached(("kinds", key, mode), lambda: self.reader.kinds(key, mode))

    def answers(self, filters: Filters) -> tuple[pd.DataFrame, answer_views.Paging]:
        """One page of answers and where it is."""
        query = AnswerQuery(self.cell_key(filters), filters.mode, filters.kind, filters.verdict, filters.search)
        total = self.cached(("count", query), lambda: self.reader.count_answers(query))
        paging = answer_views.Paging(total, filters.page)
        rows = self.reader.answers(query, paging.size, paging.offset) if total else []
        return answer_views.table(rows), paging

    def answer(self, answer_id: int) -> dict[str, Any] | None:
        """One answer in full (`db.reader.Reader.answer`), None when there is none."""
        return self.cached(("answer", answer_id), lambda: self.reader.answer(answer_id)) if answer_id else None

    def of_answer(self, filters: Filters) -> Filters:
        """The filters of the answer they name; one that isn't there is left out."""
        row = self.answer(filters.answer)
        cells = self.cells()
        own = cells[cells["key"] == row["cell_key"]] if row else cells.iloc[:0]
        if row is None or own.empty:
            return replace(filters, answer=0)
        cell = own.iloc[0]
        return replace(
            filters, model=cell["model"], data=cell["dataset"], setup=cell["setup"], method=cell["label"],
            edits=int(cell["n_edits"]) or filters.edits, mode=row["mode"],
        )  # fmt: skip

    def card(self, filters: Filters) -> cards.Card:
        """The card of a method, model or data set."""
        cells = self.cells()

        def compute() -> cards.Card:
            if filters.card == cards.MODEL:
                return cards.model(filters.name, cells)
            if filters.card == cards.DATA:
                stored = self.reader.datasets()
                hashes = [row["hash"] for row in stored if row["name"] == filters.name]
                first = self.reader.first_case(hashes[0]) if hashes else None
                return cards.dataset(filters.name, cells, stored, first or {})
            bodies = [row["body"] for row in self.reader.submissions()]
            sent = {body["method"]: body["card"] for body in bodies if "card" in body and "method" in body}
            return cards.method(filters.name, cells, sent)

        return self.cached(("card", filters.card, filters.name), compute)

    def run_page(self, key: str) -> runs.RunPage:
        """Provenance of a cell and how to repeat it."""
        cell = self.reader.cell(key) if key else None
        costs = self.reader.costs([key]) if cell else []
        return runs.page(cell, costs[0] if costs else None)

    def findings(self, model: str) -> list[Finding]:
        """The paper's questions answered about a model, and over all models where a question is about models."""

        def compute() -> list[Finding]:
            from leaderboard.findings import find_all
            from leaderboard.findings.frames import Stored

            return find_all(Stored(self.reader, self.cells(), model))

        return self.cached(("findings", model), compute)

    def latest_run(self) -> dict[str, Any] | None:
        """Provenance of the newest run."""
        return self.cached("run", self.reader.latest_run)
