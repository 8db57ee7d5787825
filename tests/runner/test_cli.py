"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from runner import cli
from runner.methods import registry
from tests.db.db_samples import unwritable
from tests.runner import tiny_world

Make = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def restore_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.commands.run._handle_signals", lambda: None)


def call(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: Capture, *arguments: object) -> str:
    """The one sentence of a refused command line."""
    code, out, err = call(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_a_run_from_the_command_line(make_grid: Make, tmp_path: Path, capsys: Capture) -> None:
    db = tmp_path / "run.db"
    code, out, err = call(capsys, "run", make_grid(), "--db", db, "--methods", "ICE", "--edits", "2,all", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["cells"], report["done"], report["done_before"], report["failed"]) == (3, 3, 0, [])
    assert "tiny-llama · ICE · zsre · 2 edits: done" in err
    code, out, _ = call(capsys, "status", "--db", db, "--json")
    assert code == 0
    assert json.loads(out)["cells"] == {"pending": 0, "running": 0, "done": 3, "failed": 0}
    code, out, _ = call(capsys, "rescore", "--db", db, "--all")
    assert (code, out) == (0, "3 cells scored.\n")
    assert call(capsys, "rescore", "--db", db)[1] == "Every done cell has been scored by the present scorer.\n"


def test_provenance_stands_beside_every_cell(make_grid: Make, tmp_path: Path, capsys: Capture) -> None:
    db = tmp_path / "run.db"
    call(capsys, "run", make_grid(), "--db", db, "--methods", "none")
    with sqlite3.connect(db) as connection:
        command, versions, hardware, grid, finished = connection.execute(
            "SELECT command, versions, hardware, grid, finished FROM runs JOIN cells ON runs.id = run_id"
        ).fetchone()
    assert command.startswith("python -m runner")
    assert {"torch", "transformers", "python"} <= set(json.loads(versions))
    assert {"cpu", "cores", "memory_bytes", "gpu"} <= set(json.loads(hardware))
    assert json.loads(grid)["name"] == "tiny"
    assert finished is not None


def test_a_limited_run_on_another_model_and_data_file(tmp_path: Path, capsys: Capture) -> None:
    model = tiny_world.save_model(tmp_path / "other", seed=3)
    data = tiny_world.save_data(tmp_path / "mine.json", 8)
    db = tmp_path / "run.db"
    code, out, err = call(
        capsys, "run", "zsre", "--limit", "3", "--model", model, "--data", data, "--methods", "ICE", "--db", db
    )
    assert code == 0, err
    assert "no cells with 10, 100 edits, there are only 3 cases" in err
    with sqlite3.connect(db) as connection:
        assert connection.execute("SELECT model, method, n_edits, n_cases FROM cells ORDER BY n_edits").fetchall() == [
            ("other", "none", 0, 3), ("other", "ICE", 1, 3),
        ]  # fmt: skip


def test_some_failed_cells_exit_with_one(make_grid: Make, tmp_path: Path, capsys: Capture) -> None:
    db = tmp_path / "run.db"
    # ROME has no text to measure second moments on.
    code, out, _ = call(capsys, "run", make_grid(), "--db", db, "--methods", "ROME,ICE", "--edits", "2")
    assert code == 1
    assert "2 cells done, 0 were done before, 1 failed" in out
    assert "ROME · zsre · 2 edits: the model" in out
    code, out, _ = call(capsys, "status", "--db", db)
    assert code == 0
    assert "1 failed" in out
    assert "mom2_texts" in out
    assert "Continue (failed cells are tried again) with: " in out


def test_a_dry_run_creates_nothing_and_counts(make_grid: Make, tmp_path: Path, capsys: Capture) -> None:
    db = tmp_path / "run.db"
    code, out, _ = call(capsys, "run", make_grid(), "--db", db, "--dry-run")
    assert code == 0
    assert not db.exists()
    assert "5 of 5 cells to do, 120 answers to ask, time about" in out and "nothing like it was timed yet" in out
    call(capsys, "run", make_grid(), "--db", db, "--edits", "2")
    code, out, _ = call(capsys, "run", make_grid(), "--db", db, "--dry-run", "--json")
    report = json.loads(out)
    assert [cell["state"] for cell in report["cells"]] == ["done", "new", "done", "new", "done"]
    assert report["seconds"] > 0
    assert [cell["seconds_spent"] > 0 for cell in report["cells"]] == [True, False, True, False, True]
    code, out, _ = call(capsys, "run", make_grid(), "--db", db, "--dry-run")
    assert re.search(r"\d+ sequences done before, in .+ of preparing, editing and asking", out)


def test_bad_input_is_one_sentence(make_grid: Make, tmp_path: Path, data_file: Path, capsys: Capture) -> None:
    grid, db = make_grid(), tmp_path / "never.db"

    def refuse(*arguments: object) -> str:
        return refused(capsys, "run", *arguments, "--db", db)

    assert "Did you mean 'rome'" in refuse(grid, "--methods", "romee")
    assert "no model at" in refuse(grid, "--model", tmp_path / "nowhere")
    assert "config.json" in refuse(grid, "--model", data_file.parent)
    assert "no data file at" in refuse(grid, "--data", tmp_path / "nowhere.json")
    assert "Did you mean 'atlas-quick'" in refuse("atlas-quik")
    assert "'cases'" in refuse(grid, "--limit", 0)
    assert "'edits'" in refuse(grid, "--edits", "1,x")
    assert "'dtype'" in refuse(grid, "--dtype", "float8")
    assert "cuda:77" in refuse(grid, "--device", "cuda:77")
    assert "device 'xpu' is not on this machine" in refuse(grid, "--device", "xpu")
    assert "NAME=VALUE" in refuse(grid, "--set", "layer")
    assert "'2026-02-30' is no value" in refuse(grid, "--set", "layer=2026-02-30")
    assert "tiny2.yaml, line 15: the value 0" in refuse(make_grid("tiny2.yaml", edits=[1, 0]))
    assert not db.exists()


@pytest.mark.parametrize("address", ["{}", "sqlite:///{}"])
def test_a_mistyped_database_is_refused_and_not_created(
    address: str, make_grid: Make, tmp_path: Path, capsys: Capture
) -> None:
    db = tmp_path / "mistyped.db"
    for command in ("rescore", "status"):
        assert f"there is no database {db};" in refused(capsys, command, "--db", address.format(db))
    code, out, _ = call(capsys, "run", make_grid(), "--db", address.format(db), "--dry-run")
    assert code == 0
    assert "5 of 5 cells to do" in out
    assert not db.exists()


@pytest.mark.parametrize("keep", [0.5, 0.98])
def test_a_data_file_that_was_cut_off(
    keep: float, make_grid: Make, tmp_path: Path, data_file: Path, capsys: Capture
) -> None:
    whole = data_file.read_bytes()
    cut = tmp_path / "cut.json"
    cut.write_bytes(whole[: int(len(whole) * keep)])
    assert "cut.json" in refused(capsys, "run", make_grid(), "--data", cut, "--db", tmp_path / "run.db")


def test_a_model_that_was_cut_off(make_grid: Make, tmp_path: Path, capsys: Capture) -> None:
    model = tiny_world.save_model(tmp_path / "cut")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    capsys.readouterr()
    assert "cut off" in refused(capsys, "run", make_grid(), "--model", model, "--db", tmp_path / "run.db")


def test_a_database_that_cannot_be_used(make_grid: Make, tmp_path: Path, capsys: Capture) -> None:
    db = tmp_path / "run.db"
    # In this folder, which somebody who is not root can enter too.
    model, data = tiny_world.save_model(tmp_path / "m"), tiny_world.save_data(tmp_path / "data.json")
    for file in model.iterdir():
        file.chmod(0o644)
    grid = make_grid(models=[str(model)], datasets=[{"name": "zsre", "path": str(data)}])
    capsys.readouterr()
    assert "does not exist" in refused(capsys, "run", grid, "--db", tmp_path / "no" / "folder.db")
    assert "no database" in refused(capsys, "status", "--db", db)
    (tmp_path / "text.db").write_text("not a database at all, but long enough to look like one" * 20)
    assert "text.db" in refused(capsys, "run", grid, "--db", tmp_path / "text.db")
    assert call(capsys, "run", grid, "--db", db, "--methods", "none")[0] == 0
    with unwritable(tmp_path):
        for command in (["run", grid], ["rescore"]):
            assert "read-only" in refused(capsys, *command, "--db", db)
    with sqlite3.connect(db) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for command in (["run", grid], ["status"], ["rescore"]):
        assert "newer version" in refused(capsys, *command, "--db", db)


def test_a_file_that_may_not_be_read(make_grid: Make, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def forbid(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", "secret.json")

    monkeypatch.setattr("runner.datasets.base.load", forbid)
    assert refused(capsys, "run", make_grid()) == "error: Permission denied: secret.json.\n"


def test_mistyped_options_and_commands_exit_with_two(capsys: Capture) -> None:
    code, _, err = call(capsys, "run", "--limt", 3)
    assert code == 2
    assert "--limit" in err
    assert call(capsys, "runn")[0] == 2
    assert call(capsys, "run", "--limit", "many")[0] == 2


@pytest.mark.parametrize(
    "command",
    [["run"], ["status"], ["rescore"], ["ls", "models"], ["ls", "methods"], ["ls", "datasets"], ["ls", "grids"]],
)
def test_every_command_has_help_with_an_example(command: list[str], capsys: Capture) -> None:
    code, out, _ = call(capsys, *command, "--help")
    assert code == 0
    assert f"python -m runner {' '.join(command)}" in " ".join(out.split())


def test_listings(capsys: Capture) -> None:
    methods = json.loads(call(capsys, "ls", "methods", "--json")[1])
    assert [row["method"] for row in methods][: len(registry.BUILT_IN)] == list(registry.BUILT_IN)
    assert all(row["family"] and row["summary"] for row in methods)
    assert {"atlas", "zsre"} <= {row["dataset"] for row in json.loads(call(capsys, "ls", "datasets", "--json")[1])}
    grids = {row["grid"]: row for row in json.loads(call(capsys, "ls", "grids", "--json")[1])}
    assert grids["atlas-quick"]["edits"] == "1, 10, 100"
    assert grids["latency"]["what"].startswith("What does SCR's answer cost")
    assert "atlas" in [row["model"] for row in json.loads(call(capsys, "ls", "models", "--json")[1])]
    assert "atlas-quick" in call(capsys, "ls", "grids")[1]


def test_the_atlas_brings_its_own_commands(capsys: Capture) -> None:
    assert "atlas" in call(capsys, "--help")[1]
    code, out, _ = call(capsys, "atlas", "--help")
    assert code == 0
    assert "train" in out
    assert call(capsys, "atlas", "no-such-command")[0] == 2
