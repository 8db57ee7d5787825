"""Sums over raw answers, made by the database itself: small tables out, however many answers there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from db.reader import TOGETHER, Reader, Row
from db.schema import CaseRow
from db.schema import Sequence as SequenceRow

SEQUENCE_COLUMNS = [
    "cell_key", "edit_seconds", "n_edits", "answer_seconds", "n_answers", "storage_bytes", "parts", "together",
]  # fmt: skip
HOP_COLUMNS = ["cell_key", "case_id", "metric", "hops", "correct", "n"]
LOOKUP_COLUMNS = ["cell_key", "case_id", "metric", "found", "confirmed", "n", "right"]
PARTS = "answer_parts"  # of a sequence's extra: what named pieces of the answering took, name -> seconds


def sequences(reader: Reader, keys: Iterable[str]) -> list[Row]:
    """Every sequence of the given cells: SEQUENCE_COLUMNS. parts is {} where the method names none; together: how many
    sequences its seconds are a share of, 0 where they are its own."""
    columns_of = SEQUENCE_COLUMNS[:-2]
    columns = [getattr(SequenceRow, name) for name in columns_of]
    statement = sa.select(*columns, SequenceRow.extra).where(SequenceRow.cell_key.in_(list(keys)))
    rows = _rows(reader, statement.order_by(SequenceRow.cell_key, SequenceRow.position))
    return [{name: row[name] for name in columns_of} | _further(row["extra"] or {}) for row in rows]


def _further(extra: Row) -> Row:
    return {"parts": extra.get(PARTS) or {}, "together": extra.get(TOGETHER) or 0}


def groups(reader: Reader, dataset_hashes: Iterable[str]) -> dict[str, str]:
    """Case id -> group, of the cases of the given data sets."""
    statement = sa.select(CaseRow.case_id, CaseRow.group).where(CaseRow.dataset_hash.in_(list(set(dataset_hashes))))
    return {row["case_id"]: row["group"] for row in _rows(reader, statement)}


def hops(reader: Reader, keys: Iterable[str]) -> list[Row]:
    """HOP_COLUMNS of the free answers to portability questions: per cell, case, kind (`metric`) and number of hops from
    the edit, the mean verdict and how many questions."""
    return _query(reader, _HOPS, keys)


def lookups(reader: Reader, keys: Iterable[str]) -> list[Row]:
    """LOOKUP_COLUMNS of the free answers that looked something up (`consulted` names what was retrieved).

    Per cell, case and score: found (1: a statement of the case's own edits was among the retrieved), confirmed ("own":
    the model named one of them, "other": it named another statement, "none": it named nothing), the number of
    questions and how many were answered right.
    """
    return _query(reader, _LOOKUPS, keys)


# What the two dialects say differently: members of a JSON list as rows, and a field of a JSON object.
_PIECES = {
    "sqlite": {
        "probes": "json_each(c.body, '$.probes') p",
        "index": "CAST(p.key AS INTEGER)",
        "hops": "coalesce(json_extract(p.value, '$.hops'), 1)",
        "edits": "json_each(c.body, '$.edits') e",
        "statement": "json_extract(e.value, '$.statement')",
        "has": "json_extract(a.consulted, '$.retrieved') IS NOT NULL",
        "retrieved": "(SELECT value AS said FROM json_each(a.consulted, '$.retrieved'))",
        "number": "json_extract(a.consulted, '$.confirmed')",
        "named": "json_extract(a.consulted, '$.retrieved[' || (json_extract(a.consulted, '$.confirmed') - 1) || ']')",
    },
    "postgresql": {
        "probes": "json_array_elements(c.body->'probes') WITH ORDINALITY AS p(value, key)",
        "index": "CAST(p.key AS INTEGER) - 1",
        "hops": "coalesce(CAST(p.value->>'hops' AS INTEGER), 1)",
        "edits": "json_array_elements(c.body->'edits') AS e(value)",
        "statement": "e.value->>'statement'",
        "has": "a.consulted->'retrieved' IS NOT NULL",
        "retrieved": "json_array_elements_text(a.consulted->'retrieved') AS r(said)",
        "number": "CAST(a.consulted->>'confirmed' AS INTEGER)",
        "named": "a.consulted->'retrieved'->>(CAST(a.consulted->>'confirmed' AS INTEGER) - 1)",
    },
}

_HOPS = """
WITH asked AS (
  SELECT c.dataset_hash, c.case_id, {index} AS probe_index, {hops} AS hops
  FROM cases c, {probes}
  WHERE c.dataset_hash IN (SELECT dataset_hash FROM cells WHERE key IN :keys)
)
SELECT a.cell_key, a.case_id, v.metric, q.hops, avg(v.correct) AS correct, count(*) AS n
FROM answers a
JOIN cells k ON k.key = a.cell_key
JOIN verdicts v ON v.answer_id = a.id
JOIN asked q ON q.dataset_hash = k.dataset_hash AND q.case_id = a.case_id AND q.probe_index = a.probe_index
WHERE a.cell_key IN :keys AND a.mode = 'free' AND v.correct IS NOT NULL AND v.metric LIKE 'portability%'
GROUP BY a.cell_key, a.case_id, v.metric, q.hops
ORDER BY a.cell_key, a.case_id, v.metric, q.hops
"""

_LOOKUPS = """
WITH own AS (
  SELECT c.dataset_hash, c.case_id, {statement} AS statement
  FROM cases c, {edits}
  WHERE c.dataset_hash IN (SELECT dataset_hash FROM cells WHERE key IN :keys)
), asked AS (
  SELECT a.cell_key, a.case_id, v.metric, v.correct,
    CASE WHEN EXISTS (
      SELECT 1 FROM {retrieved} JOIN own ON own.statement = said
      WHERE own.dataset_hash = k.dataset_hash AND own.case_id = a.case_id
    ) THEN 1 ELSE 0 END AS found,
    CASE WHEN {number} IS NULL THEN 'none' WHEN EXISTS (
      SELECT 1 FROM own
      WHERE own.dataset_hash = k.dataset_hash AND own.case_id = a.case_id AND own.statement = {named}
    ) THEN 'own' ELSE 'other' END AS confirmed
  FROM answers a
  JOIN cells k ON k.key = a.cell_key
  JOIN verdicts v ON v.answer_id = a.id
  WHERE a.cell_key IN :keys AND a.mode = 'free' AND a.consulted IS NOT NULL AND {has} AND v.correct IS NOT NULL
)
SELECT cell_key, case_id, metric, found, confirmed, count(*) AS n,
  sum(CASE WHEN correct >= 1 THEN 1 ELSE 0 END) AS "right"
FROM asked
GROUP BY cell_key, case_id, metric, found, confirmed
ORDER BY cell_key, case_id, metric, found, confirmed
"""


def _query(reader: Reader, template: str, keys: Iterable[str]) -> list[Row]:
    pieces = _PIECES["sqlite" if reader.database.engine.dialect.name == "sqlite" else "postgresql"]
    statement = sa.text(template.format(**pieces)).bindparams(sa.bindparam("keys", expanding=True, type_=sa.String))
    with reader.database.read() as connection:
        return [dict(row) for row in connection.execute(statement, {"keys": list(keys)}).mappings()]


def _rows(reader: Reader, statement: sa.Select[*tuple[Any, ...]]) -> list[Row]:
    with reader.database.read() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]
