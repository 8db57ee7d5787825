"""Names that are no names: SQL, paths, control characters, five thousand letters; each ends in one sentence."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from tests.runner import tiny_world

ODD = {
    "sql": "x'; DROP TABLE cells; --",
    "long": "a" * 5000,
    "long path": "b/" * 2500,
    "nul": "a\x00b",
    "home of nobody": "~nobody-here/x",
    "up": "../../../../etc/passwd",
    "device": "/dev/null",
    "line": "a\nb",
    "markup": "<script>alert(1)</script>",
    "percent": "%s%n%(x)s{0.__class__}",
    "surrogate": "\udcff",
}
WHERE = {
    "grid": lambda name: ["run", name],
    "model": lambda name: ["run", "atlas-quick", "--model", name],
    "method": lambda name: ["run", "atlas-quick", "--methods", name.replace(",", "")],
    "data": lambda name: ["run", "zsre", "--model", "atlas", "--data", name],
    "protocol": lambda name: ["run", "atlas-quick", "--protocol", name],
    "device": lambda name: ["run", "atlas-quick", "--device", name],
    "on": lambda name: ["run", "atlas-quick", "--on", name],
    "retriever": lambda name: ["run", "atlas-quick", "--methods", "SCR", "--set", f"retriever={json.dumps(name)}"],
    "texts": lambda name: ["run", "atlas-quick", "--methods", "ROME", "--set", f"mom2_texts={json.dumps(name)}"],
}
FEW = {"model": ("sql", "long", "nul", "home of nobody", "markup"), "texts": ("home of nobody", "surrogate")}
EARLY = ("grid", "method", "data")  # looked at before any data set is made
# These are looked at when the cell runs; a plan only makes them part of its key.
LATER = ("retriever", "texts")


@pytest.mark.parametrize(
    ("where", "name"),
    [(where, name) for where in WHERE for name in (ODD if where in EARLY else FEW.get(where, ("long",)))],
)
def test_an_odd_name_is_refused_in_one_sentence(
    where: str, name: str, capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    common = ["--dry-run", "--db", str(tmp_path / "none.db"), "--limit", "1", "--edits", "1"]
    code = main([*WHERE[where](ODD[name]), *common])
    said = capsys.readouterr().err
    assert code == (0 if where in LATER and code == 0 else 2), said
    assert code == 0 or said.strip(), "a refusal says why"
    assert "Traceback" not in said and len(said) < 12_000
    assert list(tmp_path.iterdir()) == []  # nothing was made


def test_names_in_the_database_are_data(tmp_path: Path) -> None:
    """A model whose name is SQL is stored by that name, and every table is still there."""
    model = tiny_world.save_model(tmp_path / "m'; DROP TABLE cells; --")
    db = tmp_path / "run.db"
    grid = ["run", "atlas-quick", "--model", str(model), "--methods", "ICE", "--limit", "2", "--edits", "1"]
    assert main([*grid, "--device", "cpu", "--db", str(db)]) == 0
    with sqlite3.connect(db) as connection:
        names = {row[0] for row in connection.execute("SELECT DISTINCT model FROM cells")}
        assert names == {"m'; DROP TABLE cells; --"}
        assert connection.execute("SELECT count(*) FROM answers").fetchone()[0] > 0
