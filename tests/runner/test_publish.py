"""The folder of a Space: whole, startable, and without anything private."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from db.published import published
from db.store import Store
from runner import cli, publishing
from runner.errors import UserError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small database whose provenance names folders."""
    path = tmp_path_factory.mktemp("results") / "results.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.start_run(
            "python -m runner run --db /ho" + "me/ada/x.db", None, None, {}, {}, {"models": ["/ro" + "ot/m"]}
        )
        store.save_dataset("d1", "atlas", "atlas?seed=0", {}, [("c", "", {"id": "c"})])
    return path


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A small project to publish."""
    root = tmp_path / "code"
    for name in ("app.py", "leaderboard/x.py", "runner/y.py", "db/z.py", "docs/d.md", "runner/notes.secret"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("fine = 1\n")
    (root / "README.md").write_text("---\ntitle: old\n---\n\n# Palimpsest\n")
    return root


def test_the_project_itself(database: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "space"
    assert cli.main(["publish", "--out", str(out), "--db", str(database), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["datasets"] == ["atlas"] and report["files"] > 200 and report["bytes"] < 20e6
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\ntitle: Palimpsest\nsdk: gradio\n") and "app_file: app.py" in readme
    assert (out / "runner" / "atlas" / "model" / "model.safetensors").exists() and not (out / "tests").exists()
    # It starts from that folder alone: its own modules, its own database.
    code = "import sys; sys.path.insert(0, '.'); from leaderboard.main import choose_database as c; print(c(None))"
    environment = {"PALIMPSEST_CACHE": str(tmp_path / "cache"), "PATH": ""}
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=out, capture_output=True, text=True, env=environment)
    assert "the published results" in done.stdout, done.stderr
    (unpacked,) = (tmp_path / "cache").iterdir()
    with Store.open(f"sqlite:///{unpacked}", readonly=True) as store:
        run = store.run(1)
    assert run["command"] == "python -m runner run --db …/x.db" and run["grid"] == {"models": ["…/m"]}
    assert cli.main(["publish", "--out", str(out), "--db", str(database)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        (
            "runner/y.py",
            "TOKEN = 'hf" + "_abcdefghijklmnopqrstuvwxyzABCDEFGH'",
            "runner/y.py holds what looks like a secret",
        ),
        (
            "Dockerfile",
            "ENV TOKEN=hf" + "_abcdefghijklmnopqrstuvwxyzABCDEFGH",
            "Dockerfile holds what looks like a secret",
        ),
        ("docs/d.md", "-----BEGIN RSA PRIVATE" + " KEY-----", "docs/d.md holds what looks like a secret"),
        ("db/z.py", "path = '/Us" + "ers/ada/results.db'", "db/z.py holds the path"),
    ],
)
def test_secrets_and_paths_are_refused(code: Path, database: Path, place: str, text: str, words: str) -> None:
    (code / place).write_text(text)
    with pytest.raises(UserError, match=words):
        publishing.assemble(code.parent / "out", database, root=code)
    assert not (code.parent / "out").exists()


def test_data_without_a_licence_is_refused(code: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with Store.open(f"sqlite:///{path}") as store:
        for number, name in enumerate(("zsre", "zsre-mend", "mine")):
            store.save_dataset(f"d{number}", name, "x.json", {}, [])
    with pytest.raises(UserError, match=r"cases of mine, whose licence is: not known.*zsre-mend.*not stated"):
        publishing.assemble(tmp_path / "out", path, root=code)
    found = publishing.assemble(tmp_path / "out", path, ["mine", "ZSRE-mend"], root=code)
    assert found.datasets == ["mine", "zsre", "zsre-mend"]
    assert not (tmp_path / "out" / "runner" / "notes.secret").exists()
    assert "title: old" not in (tmp_path / "out" / "README.md").read_text()


def test_a_secret_in_an_answer_is_found(code: Path, tmp_path: Path) -> None:
    path = tmp_path / "leak.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.save_dataset("d", "atlas", "x", {}, [("c", "", {"id": "c", "note": "AK" + "IAABCDEFGHIJKLMNOP"})])
    with pytest.raises(UserError, match="the database holds what looks like a secret"):
        publishing.assemble(tmp_path / "out", path, root=code)


def test_the_published_results_can_be_published() -> None:
    database = published()
    assert database is not None
    with Store.open(f"sqlite:///{database}", readonly=True) as store:
        names = {name: row["name"] for name, row in store.datasets().items()}
    assert list(publishing.unlicensed(names, ())) == []


def test_uploading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UserError, match="no Hugging Face token"):
        publishing.push(tmp_path, "ada/board")
    calls: list[Any] = []

    class Api:
        def create_repo(self, space: str, **options: Any) -> None:
            calls.append((space, options["repo_type"], options["exist_ok"]))

        def upload_folder(self, **options: Any) -> None:
            calls.append(options["folder_path"])
            if len(calls) > 2:
                raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "x")
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert publishing.push(tmp_path, "ada/board") == "https://huggingface.co/spaces/ada/board"
    assert calls == [("ada/board", "space", True), tmp_path]
    with pytest.raises(UserError, match="could not be uploaded to ada/board: no network"):
        publishing.push(tmp_path, "ada/board")


def test_the_page_names_what_there_is() -> None:
    from leaderboard.main import parse

    text = (publishing.ROOT / "docs" / "hosting.md").read_text(encoding="utf-8")
    (command,) = [line.split()[2:] for line in text.splitlines() if line.startswith("$ python app.py")]
    assert vars(parse(command[1:]))["inbox"] == "inbox"
    for variable in ("PALIMPSEST_DB", "PALIMPSEST_INBOX", "PALIMPSEST_CACHE", "GRADIO_SERVER_PORT"):
        code = "".join((publishing.ROOT / n).read_text() for n in ("leaderboard/main.py", "db/published.py"))
        assert variable in text and variable in code
    from leaderboard.intake.desk import BUNDLES_A_DAY, CHECKS_AN_HOUR

    assert f"{CHECKS_AN_HOUR} checks an hour and {BUNDLES_A_DAY}" in " ".join(text.split())
