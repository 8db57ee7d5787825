"""Opening the board: which database, bad input, nothing heavy before it is needed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import fake_db
import pytest

from db.errors import StoreError
from db.reader import Reader
from leaderboard import main

ROOT = Path(__file__).resolve().parents[2]


def app(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    import os

    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GRADIO_", "PALIMPSEST_"))}
    command = [sys.executable, str(ROOT / "app.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, env=clean | (env or {}))


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_without_any_database_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main, "PUBLISHED", tmp_path / "published.db")
    with pytest.raises(main.NoDatabase, match=r"python -m runner run.*--db"):
        main.choose_database(None)
    assert main.main([]) == 2
    (tmp_path / "published.db").touch()
    assert main.choose_database(None) == (str(tmp_path / "published.db"), "the published results")
    (tmp_path / "palimpsest.db").touch()
    assert main.choose_database(None)[0] == "palimpsest.db"
    assert main.choose_database("x.db") == ("x.db", "x.db")


def test_a_visitor_reads_neither_folder_nor_password_of_the_database() -> None:
    assert main.choose_database("/home/you/runs/x.db")[1] == "x.db"
    assert main.choose_database("sqlite:////home/you/runs/x.db")[1] == "x.db"
    assert main.choose_database("postgresql+psycopg://anna:secret@db.example/edits")[1] == "edits"


def test_a_missing_database_is_one_sentence(tmp_path: Path) -> None:
    assert_one_sentence(app(tmp_path, "--db", "nowhere.db"), "nowhere.db")
    assert_one_sentence(app(tmp_path, env={"PALIMPSEST_DB": "gone.db"}), "gone.db")
    assert not (tmp_path / "nowhere.db").exists()


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "palimpsest.db").write_text("these are not tables " * 200)
    assert_one_sentence(app(tmp_path), "palimpsest.db")


def test_bad_ports_are_one_sentence(tmp_path: Path, database: Path) -> None:
    assert_one_sentence(app(tmp_path, "--db", str(database), "--port", "99999"), "99999", "--port")
    assert_one_sentence(app(tmp_path, "--db", str(database), env={"GRADIO_SERVER_PORT": "web"}), "'web' is no port")


def test_without_its_package_mcp_is_refused_in_one_sentence(
    database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main.importlib.util, "find_spec", lambda name: None)
    assert main.main(["--db", str(database), "--mcp"]) == 2
    said = capsys.readouterr().err.strip()
    assert said == 'error: --mcp needs the package mcp: pip install "gradio[mcp]".'


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    fake_db.build(path, n_cases=5)
    before = path.read_bytes()
    reader = Reader.open(path)
    stamp = reader.stamp()
    assert reader.cells()
    assert reader.stamp() == stamp
    with pytest.raises(StoreError), reader.database.write():
        pass
    reader.close()
    assert path.read_bytes() == before


def test_the_board_sees_what_a_runner_adds(tmp_path: Path) -> None:
    from sqlalchemy import update

    from db.engine import connect
    from db.schema import Cell
    from leaderboard.data import Board

    path = tmp_path / "growing.db"
    url = fake_db.build(path, n_cases=5)
    reader = Reader.open(url)
    board = Board(reader, "growing")
    assert (board.cells()["state"] == "failed").sum() == 1
    writer = connect(url)
    with writer.write() as db:
        db.execute(update(Cell).values(state="failed"))
    assert (board.cells()["state"] == "failed").all()
    writer.close()
    reader.close()


def test_a_new_file_in_the_old_one_s_place_is_read_at_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leaderboard import choices
    from leaderboard.data import Board
    from leaderboard.glossary import MAIN_METRICS
    from leaderboard.state import Filters

    live, new = tmp_path / "live.db", tmp_path / "new.db"
    fake_db.build(live, n_cases=5)
    shutil.copy(live, new)
    with closing(sqlite3.connect(new)) as other:  # whose rows would be half there if both were read
        other.execute("DELETE FROM scores WHERE cell_key IN (SELECT key FROM cells WHERE method = 'SCR')")
        other.execute("DELETE FROM cells WHERE method = 'SCR'")
        other.commit()

    def table(board: Board) -> Any:
        rows = board.leaderboard(choices.resolve(board, Filters())[0])
        return rows[["label", *MAIN_METRICS]].round(9).astype(str).values.tolist()

    expected_reader = Reader.open(new)
    expected = table(Board(expected_reader, "new"))
    expected_reader.close()
    reader = Reader.open(live)
    board = Board(reader, "published")
    assert table(board) != expected
    values = Reader.case_values
    replaced = []

    def replaced_while_read(self: Reader, *wanted: Any) -> Any:
        if not replaced:
            replaced.append(new.replace(live))
        return values(self, *wanted)

    board._cache.clear()
    monkeypatch.setattr(Reader, "case_values", replaced_while_read)
    assert table(board) == expected and replaced
    assert "SCR" not in [label for label, *_ in expected]
    reader.close()


def test_importing_the_app_is_light() -> None:
    heavy = ("gradio", "pandas", "plotly", "torch")
    code = f"import sys, app, leaderboard.main; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
