"""Sums over answers that the database makes: the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from db_samples import add_run, make_answer, make_cell, make_metric, make_timing
from postgres_server import server
from sqlalchemy import create_engine

from db import aggregates
from db.reader import Reader
from db.store import Store

OWN, OTHER = 'The mayor of "Ä" is Ada.', "The mayor of B is Bob."
PROBES = [
    {"kind": "reliability", "prompt": "a?", "answers": [["Ada"]], "hops": 1},
    {"kind": "portability/reasoning", "prompt": "b?", "answers": [["Ada"]], "hops": 3},
    {"kind": "portability/alias", "prompt": "c?", "answers": [["Ada"]]},
]


def fill(url: str) -> None:
    """Two cases of three questions each, all answers with a verdict."""
    with Store.open(url) as store:
        run = add_run(store)
        cases = [
            (name, group, {"id": name, "edits": [{"statement": said}], "probes": PROBES})
            for name, group, said in (("c0", "law", OWN), ("c1", "art", OTHER))
        ]
        store.save_dataset("d1", "toy", "toy.json", {}, cases)
        store.add_cells([make_cell("cell-a", run), make_cell("mixed", run), make_cell("shared", run)])
        for key, shares in (("mixed", (None, None, 14)), ("shared", (2, 2))):
            assert store.claim_cell(key, run, "me")
            for i, share in enumerate(shares):
                known = {"together": share} if share else {}
                timing = make_timing(edit_seconds=10.0**i, peak_memory_bytes=i, extra=known)
                store.save_sequence(key, i, timing, [], "me")
        assert store.claim_cell("cell-a", run, "me")
        looked = [
            {"retrieved": [OTHER, OWN], "confirmed": 2},  # its own statement, named
            {"retrieved": [OWN, OTHER], "confirmed": 2},  # its own statement is there, another is named
            {"retrieved": [OTHER], "confirmed": None},  # its own statement isn't there
        ]
        answers = [make_answer("c0", i, consulted=looked[i]) for i in range(3)]
        answers += [make_answer("c1", 0, consulted={"hops": []}), make_answer("c1", 1), make_answer("c1", 2)]
        answers += [make_answer("c0", 0, mode="forced", consulted=looked[0])]
        extra = {"answer_parts": {"encoder": 0.1}}
        store.save_sequence("cell-a", 0, make_timing(extra=extra), answers, "me")
        store.save_sequence("cell-a", 1, make_timing(), [], "me")
        store.finish_cell("cell-a", None, "me")
        kinds = [probe["kind"] for probe in PROBES]
        verdicts = [(case, i, "free", kinds[i], right) for case, right in (("c0", 1.0), ("c1", 0.0)) for i in range(3)]
        scores = {mode: [make_metric()] for mode in ("free", "forced")}
        store.save_scores("cell-a", run, "2", "p1", scores, [*verdicts, ("c0", 0, "forced", "reliability", 1.0)])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The database on either system."""
    if request.param == "sqlite":
        path: Path = tmp_path_factory.mktemp("sums") / "sums.db"
        fill(f"sqlite:///{path}")
        opened = Reader.open(path)
        yield opened
        opened.close()
        return
    with server() as address:
        engine = create_engine(address.format("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE sums")
        engine.dispose()
        fill(address.format("sums"))
        opened = Reader.open(address.format("sums"))
        yield opened
        opened.close()


def test_portability_by_hops(reader: Reader) -> None:
    rows = [tuple(row[name] for name in aggregates.HOP_COLUMNS) for row in aggregates.hops(reader, ["cell-a"])]
    assert sorted(rows) == [
        ("cell-a", "c0", "portability/alias", 1, 1.0, 1),
        ("cell-a", "c0", "portability/reasoning", 3, 1.0, 1),
        ("cell-a", "c1", "portability/alias", 1, 0.0, 1),
        ("cell-a", "c1", "portability/reasoning", 3, 0.0, 1),
    ]
    assert aggregates.hops(reader, []) == aggregates.hops(reader, ["nowhere"]) == []


def test_what_became_of_lookups(reader: Reader) -> None:
    """Forced answers, answers without a look-up and those that tell steps instead don't count."""
    rows = [tuple(row[name] for name in aggregates.LOOKUP_COLUMNS) for row in aggregates.lookups(reader, ["cell-a"])]
    assert sorted(rows) == [
        ("cell-a", "c0", "portability/alias", 0, "none", 1, 1),
        ("cell-a", "c0", "portability/reasoning", 1, "other", 1, 1),
        ("cell-a", "c0", "reliability", 1, "own", 1, 1),
    ]


def test_groups_and_the_parts_of_the_answering_time(reader: Reader) -> None:
    assert aggregates.groups(reader, ["d1"]) == {"c0": "law", "c1": "art"}
    first, second = aggregates.sequences(reader, ["cell-a"])
    assert list(first) == aggregates.SEQUENCE_COLUMNS and first["parts"] == {"encoder": 0.1} and second["parts"] == {}
    assert first["answer_seconds"] == 0.25


def test_what_sequences_run_alone_took_is_what_things_cost(reader: Reader) -> None:
    mixed, shared = sorted(reader.costs(["mixed", "shared"]), key=lambda row: row["cell_key"])
    names = ("edit_seconds", "n_edits", "answer_seconds", "n_answers", "n_tokens", "peak_memory_bytes")
    assert [mixed[name] for name in names] == [11.0, 2, 0.5, 4, 12, 1]
    assert [shared[name] for name in names] == [11.0, 2, 0.5, 4, 12, 1]
    rows = aggregates.sequences(reader, ["mixed", "shared"])
    assert [row["together"] for row in rows] == [0, 0, 14, 2, 2]
