"""Read-only queries for the board: plain rows out, nothing is ever written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.orm import aliased

from db.engine import Database, connect, file_identity
from db.errors import StoreError
from db.migrate import migrate
from db.schema import AnswerRow, CaseRow, Cell, Dataset, Reported, Run, Score, Submission, Verdict
from db.schema import Sequence as SequenceRow

Row = dict[str, Any]
TOGETHER = "together"  # of a sequence's extra: among how many its seconds were shared out

_CELL_COLUMNS = (
    Cell.key, Cell.run_id, Cell.base_key, Cell.model, Cell.model_hash, Cell.method, Cell.hparams, Cell.dataset,
    Cell.dataset_hash, Cell.n_edits, Cell.n_cases, Cell.seed, Cell.protocol, Cell.protocol_hash, Cell.dtype,
    Cell.device, Cell.state, Cell.error, Cell.note,
)  # fmt: skip


@dataclass(frozen=True)
class AnswerQuery:
    """Which stored answers to list.

    cell_key: the cell. mode: "free" or "forced".
    kind: a metric such as "portability" (all its sub-kinds) or "portability/alias"; "" for all.
    verdict: "all", "missed" (scored below 1), "right" (scored 1).
    search: words that must occur in the question or in the answer, upper and lower case alike; "" for none.
    """

    cell_key: str
    mode: str = "free"
    kind: str = ""
    verdict: str = "all"
    search: str = ""


class Reader:
    """An open database that can only be read."""

    def __init__(self, database: Database, path: Path | None) -> None:
        self.database = database
        self.path = path

    @classmethod
    def open(cls, location: str | Path) -> Reader:
        """Open a SQLite file by path, or any SQLAlchemy URL. Raises StoreError when that can't be read as it is."""
        text = str(location)
        url = make_url(text if "://" in text else f"sqlite:///{text}")
        database = connect(url.render_as_string(hide_password=False), readonly=True)
        try:
            migrate(database)
        except StoreError:
            database.close()
            raise
        return cls(database, Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None)

    def close(self) -> None:
        """Release the connections."""
        self.database.close()

    def stamp(self) -> tuple[int, ...]:
        """Changes whenever the SQLite file does, so that caches know when to forget; () for other databases."""
        if self.path is None:
            return ()
        stamp: list[int] = [*self.identity()]
        for name in (self.path, self.path.with_name(self.path.name + "-wal")):
            try:
                status = name.stat()
            except FileNotFoundError:
                stamp += [0, 0]
            else:
                stamp += [status.st_mtime_ns, status.st_size]
        return tuple(stamp)

    def identity(self) -> tuple[int, ...]:
        """Which file is read: changes when another one is put in its place, not when rows are added; () for other
        databases."""
        return file_identity(self.path)

    def _rows(self, statement: sa.Select[*tuple[Any, ...]]) -> list[Row]:
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def cells(self) -> list[Row]:
        """Every cell, without the long list of its cases."""
        return self._rows(sa.select(*_CELL_COLUMNS).order_by(Cell.model, Cell.dataset, Cell.method, Cell.n_edits))

    def scores(self, keys: Iterable[str]) -> list[Row]:
        """Every score of the given cells: cell_key, mode, metric, value, low, high, n, scorer_version."""
        columns = (Score.cell_key, Score.mode, Score.metric, Score.value, Score.low, Score.high, Score.n)
        return self._rows(sa.select(*columns, Score.scorer_version).where(Score.cell_key.in_(list(keys))))

    def case_values(self, keys: Iterable[str], mode: str, metrics: Sequence[str]) -> list[Row]:
        """Scores case by case: cell_key, metric, case_ids, case_values (same order and length)."""
        columns = (Score.cell_key, Score.metric, Cell.case_ids, Score.case_values)
        chosen = (Score.cell_key.in_(list(keys)), Score.mode == mode, Score.metric.in_(list(metrics)))
        return self._rows(sa.select(*columns).join(Cell, Cell.key == Score.cell_key).where(*chosen))

    def cases(self, dataset_hash: str, ids: Iterable[str]) -> dict[str, Row]:
        """The bodies of the named cases of a data set: id -> edits and probes."""
        chosen = (CaseRow.dataset_hash == dataset_hash, CaseRow.case_id.in_(list(ids)))
        rows = self._rows(sa.select(CaseRow.case_id, CaseRow.body).where(*chosen))
        return {row["case_id"]: row["body"] for row in rows}

    def costs(self, keys: Iterable[str]) -> list[Row]:
        """Summed over a cell's sequences: edit_seconds, n_edits, answer_seconds, n_answers, n_tokens, storage_bytes (or
        None where it wasn't measured); and the largest peak_memory_bytes. Where sequences shared work, only those count
        that were run alone, if there are any."""
        alone = SequenceRow.extra[TOGETHER].as_string().is_(None)

        def of(function: Callable[[Any], Any], column: Any) -> Any:
            return sa.func.coalesce(function(sa.case((alone, column))), function(column)).label(column.key)

        statement = sa.select(
            SequenceRow.cell_key,
            of(sa.func.sum, SequenceRow.edit_seconds),
            of(sa.func.sum, SequenceRow.n_edits),
            of(sa.func.sum, SequenceRow.answer_seconds),
            of(sa.func.sum, SequenceRow.n_answers),
            of(sa.func.sum, SequenceRow.n_tokens),
            of(sa.func.sum, SequenceRow.storage_bytes),
            of(sa.func.max, SequenceRow.peak_memory_bytes),
        )
        return self._rows(statement.where(SequenceRow.cell_key.in_(list(keys))).group_by(SequenceRow.cell_key))

    def latest_run(self) -> Row | None:
        """Provenance of the newest run, None in an empty database."""
        columns = (Run.id, Run.started, Run.finished, Run.command, Run.git_commit, Run.git_dirty, Run.hardware)
        rows = self._rows(sa.select(*columns).order_by(Run.id.desc()).limit(1))
        return rows[0] if rows else None

    def datasets(self) -> list[Row]:
        """The data sets: hash, name, source and the loader's report."""
        return self._rows(sa.select(Dataset.hash, Dataset.name, Dataset.source, Dataset.report))

    def cell(self, key: str) -> Row | None:
        """One cell with every column but the list of its cases, and under "run" all of the run that last worked on it;
        None when there is none."""
        columns = [column for column in Cell.__table__.columns if column.name != "case_ids"]
        rows = self._rows(sa.select(*columns).where(Cell.key == key))
        if not rows:
            return None
        runs = self._rows(sa.select(*Run.__table__.columns).where(Run.id == rows[0]["run_id"]))
        return rows[0] | {"run": runs[0]}

    def first_case(self, dataset_hash: str) -> Row | None:
        """The body of a data set's first case, None when it has none stored."""
        chosen = sa.select(CaseRow.body).where(CaseRow.dataset_hash == dataset_hash)
        rows = self._rows(chosen.order_by(CaseRow.position).limit(1))
        return rows[0]["body"] if rows else None

    def reported(self) -> list[Row]:
        """All numbers published elsewhere: the columns of `db.schema.Reported` without the id."""
        columns = [column for column in Reported.__table__.columns if column.name != "id"]
        return self._rows(sa.select(*columns).order_by(Reported.id))

    def submissions(self) -> list[Row]:
        """What was sent in by others: id, content_hash, received, sender, state, body."""
        return self._rows(sa.select(*Submission.__table__.columns).order_by(Submission.id))

    def kinds(self, cell_key: str, mode: str) -> list[Row]:
        """What the answers of a cell count for: metric, n, missed (scored below 1)."""
        missed = sa.func.sum(sa.case((Verdict.correct < 1, 1), else_=0))
        statement = (
            sa.select(Verdict.metric, sa.func.count().label("n"), missed.label("missed"))
            .join(AnswerRow, AnswerRow.id == Verdict.answer_id)
            .where(AnswerRow.cell_key == cell_key, AnswerRow.mode == mode)
        )
        return self._rows(statement.group_by(Verdict.metric).order_by(Verdict.metric))

    def count_answers(self, query: AnswerQuery) -> int:
        """How many answers a query has."""
        with self.database.read() as connection:
            return int(connection.execute(self._answers(query, [sa.func.count()])).scalar_one())

    def answers(self, query: AnswerQuery, limit: int, offset: int = 0) -> list[Row]:
        """One page of answers, failures first: the answer's columns, those of its verdict (`reflection` and the span of
        the trace that shows it, too), and `probe`, `edits` and `before` (see `_with_questions`)."""
        of_answer = ("id", "case_id", "probe_index", "text", "trace", "consulted", "forced", "sequence")
        of_verdict = (Verdict.metric, Verdict.correct, Verdict.reflection, Verdict.span_start, Verdict.span_end)
        columns = [*(getattr(AnswerRow, name) for name in of_answer), *of_verdict]
        order = (Verdict.correct.is_(None), Verdict.correct, AnswerRow.case_id, AnswerRow.probe_index)
        rows = self._rows(self._answers(query, columns).order_by(*order).limit(limit).offset(offset))
        return self._with_questions(query.cell_key, query.mode, rows)

    def answer(self, answer_id: int) -> Row | None:
        """One answer with its question, the columns of `answers` plus cell_key and mode; None when it is gone."""
        with self.database.read() as connection:
            of_verdict = (Verdict.metric, Verdict.correct, Verdict.reflection, Verdict.span_start, Verdict.span_end)
            statement = sa.select(*AnswerRow.__table__.columns, *of_verdict)
            statement = statement.outerjoin(Verdict, Verdict.answer_id == AnswerRow.id)
            found = connection.execute(statement.where(AnswerRow.id == answer_id)).mappings().first()
        return self._with_questions(found["cell_key"], found["mode"], [dict(found)])[0] if found else None

    def _answers(self, query: AnswerQuery, columns: list[Any]) -> sa.Select[*tuple[Any, ...]]:
        statement = (
            sa.select(*columns)
            .select_from(AnswerRow)
            .outerjoin(Verdict, Verdict.answer_id == AnswerRow.id)
            .where(AnswerRow.cell_key == query.cell_key, AnswerRow.mode == query.mode)
        )
        if query.kind:
            below = Verdict.metric.startswith(query.kind + "/", autoescape=True)
            statement = statement.where(sa.or_(Verdict.metric == query.kind, below))
        if query.verdict == "missed":
            statement = statement.where(Verdict.correct < 1)
        elif query.verdict == "right":
            statement = statement.where(Verdict.correct >= 1)
        if query.search:
            statement = statement.join(Cell, Cell.key == AnswerRow.cell_key).join(
                CaseRow, sa.and_(CaseRow.dataset_hash == Cell.dataset_hash, CaseRow.case_id == AnswerRow.case_id)
            )
            for word in query.search.split():
                statement = statement.where(
                    sa.or_(
                        AnswerRow.text.icontains(word, autoescape=True),
                        self._question().icontains(word, autoescape=True),
                    )
                )
        return statement

    def _question(self) -> sa.ColumnElement[str]:
        """The prompt of an answer's probe, taken out of the case's JSON by the database itself."""
        if self.database.engine.dialect.name == "sqlite":
            place = sa.literal("$.probes[").concat(sa.cast(AnswerRow.probe_index, sa.String)).concat("].prompt")
            return sa.func.json_extract(CaseRow.body, place, type_=sa.String)
        probes = CaseRow.body["probes"]
        return probes.op("->")(AnswerRow.probe_index).op("->>")("prompt").cast(sa.String)

    def _with_questions(self, cell_key: str, mode: str, rows: list[Row]) -> list[Row]:
        """Add `probe` and `edits` from the case, and `before`: what the unedited model answered, else None."""
        ids = {row["case_id"] for row in rows}
        bodies = sa.select(CaseRow.case_id, CaseRow.body).join(Cell, Cell.dataset_hash == CaseRow.dataset_hash)
        bodies = bodies.where(Cell.key == cell_key, CaseRow.case_id.in_(ids))
        cases = {row["case_id"]: row["body"] for row in self._rows(bodies)}
        edited, base = aliased(Cell), aliased(AnswerRow)
        unedited = (
            sa.select(base.case_id, base.probe_index, base.text)
            .join(edited, edited.base_key == base.cell_key)
            .where(edited.key == cell_key, base.mode == mode, base.case_id.in_(ids))
        )
        before = {(r["case_id"], r["probe_index"]): r["text"] for r in self._rows(unedited)}
        for row in rows:
            case = cases.get(row["case_id"], {})
            probes = case.get("probes", [])
            row["probe"] = probes[row["probe_index"]] if row["probe_index"] < len(probes) else {}
            row["edits"] = case.get("edits", [])
            row["before"] = before.get((row["case_id"], row["probe_index"]))
        return rows
