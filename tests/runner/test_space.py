"""The repository as a Space and as a container: front matter, requirements, Dockerfile, a start without network."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from runner import publishing
from tests.bundle import bundle_samples as samples

ROOT = publishing.ROOT
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
)


def front_matter(page: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", page, re.DOTALL)
    assert found is not None
    matter: dict[str, Any] = yaml.safe_load(found[1])
    return matter


def test_the_readme_makes_the_repository_a_space() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert page.startswith(publishing.front_matter(PINNED["gradio"]))
    matter = front_matter(page)
    assert matter["sdk"] == "gradio" and (ROOT / matter["app_file"]).exists()
    assert matter["sdk_version"] == PINNED["gradio"] and len(matter["short_description"]) <= 60
    assert matter["hf_oauth"] is True and matter["hf_oauth_scopes"] == ["write-discussions"]
    assert re.fullmatch(r"3\.1[1-9]\.\d+", matter["python_version"])
    sizes = {path: path.stat().st_size for path in (ROOT / "runner").rglob("*.safetensors")}
    assert sizes and all(size < 20e6 for size in sizes.values())


def test_requirements_are_ranges_that_hold_the_space_and_the_pins() -> None:
    wanted = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            wanted[requirement.name.lower()] = requirement
            assert {s.operator for s in requirement.specifier} == {">="}, line
    pins = {name.lower().replace("_", "-"): version for name, version in PINNED.items()}
    for name, requirement in wanted.items():
        assert requirement.specifier.contains(pins[name.replace("_", "-")]), requirement
    # What the free GPUs offer.
    assert all(wanted["torch"].specifier.contains(v) for v in ("2.8.0", "2.9.1", "2.10.0", "2.11.0"))
    # A Space's Gradio comes with sign-in; elsewhere the requirement brings it.
    assert wanted["gradio"].extras == {"oauth"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def test_the_container_file() -> None:
    known = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}
    names = [name for name, _ in instructions()]
    assert set(names) == known and names[0] == "FROM" and names.count("FROM") == names.count("CMD") == 1
    assert re.fullmatch(r"python:3\.\d+-slim", of("FROM")[0])
    # Installed as the last user but root never runs anything; nothing is copied after that.
    assert of("USER") == ["1000"] and names.index("USER") < names.index("CMD")
    assert "RUN" not in names[names.index("USER") :] and "COPY" not in names[names.index("USER") :]
    assert of("COPY") == ["requirements.txt constraints.txt ./", ". ."]
    installs = " ".join(of("RUN"))
    assert re.findall(r"-r (\S+)", installs) == ["requirements.txt"] and "-c constraints.txt" in installs
    assert not re.search(r"\b(apt-get|curl|wget|git)\b", installs)
    shell, exec_form = of("HEALTHCHECK")[0].split(" CMD ", 1)
    assert "--interval" in shell and json.loads(exec_form)[0] == "python" and "/healthz" in exec_form
    assert json.loads(of("CMD")[0]) == ["python", "app.py"]
    given = dict(word.split("=", 1) for rest in of("ENV") for word in shlex.split(rest))
    assert given["GRADIO_SERVER_NAME"] == "0.0.0.0" and of("EXPOSE") == [given["GRADIO_SERVER_PORT"]]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", ".env", "tests", "palimpsest.db*"} <= set(ignored)


@pytest.fixture
def health() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(self.server.status if self.path == "/healthz" else 404)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_container_s_health_check_tells_sick_from_well(health: HTTPServer) -> None:
    command = json.loads(of("HEALTHCHECK")[0].split(" CMD ", 1)[1])
    environment = os.environ | {"GRADIO_SERVER_PORT": str(health.server_address[1])}
    for status, expected in ((200, 0), (500, 1)):
        health.status = status  # type: ignore[attr-defined]
        done = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True)
        assert done.returncode == expected


def test_it_starts_read_only_and_without_a_network(tmp_path: Path) -> None:
    database = samples.make_db(tmp_path / "results.db")
    publishing.assemble(tmp_path / "space", database, ["toy"])
    command = [sys.executable, str(ROOT / "scripts" / "try_space.py"), "--python", sys.executable]
    options = ["--folder", "space", "--no-playground", "--limit", "240"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, cwd=tmp_path, timeout=400,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    if done.returncode == 2 and ("unshare" in done.stderr or "doesn't let" in done.stderr):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (
        found["health"] == "ok: 3 cells in the published results" and found["rows"] == 2
    )  # ICE, and the unedited model
    assert 0 < found["cpu_seconds"] < 20 and 50 < found["memory_mb"] < 1000
