"""The playground where nothing survives between calls: every call to it runs in a process forked for it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leaderboard.playground import apart
from leaderboard.playground.apart import Apart
from leaderboard.playground.api import edit_and_ask
from leaderboard.playground.inputs import make_request
from leaderboard.playground.lab import Event, Lab
from runner.conformance import sample

ROOT = Path(__file__).resolve().parents[2]
NAME = sample.NAMES[0]
EDIT = {"subject": NAME, "prompt": f"What is the capital of {NAME}?", "target": sample.known_answer(sample.NAMES[1])}

# What the package does on ZeroGPU, as far as a caller sees it: arguments and results cross by pickling, a generator's
# values one by one, and a generator that is closed stops the worker.
SPACES = """
import functools, multiprocessing, inspect

marked = []

def GPU(task=None, *, duration=60):
    if task is None:
        return functools.partial(GPU, duration=duration)
    assert inspect.isgeneratorfunction(task)
    marked.append((task.__name__, duration))
    context = multiprocessing.get_context("fork")

    def work(pipe, args):
        try:
            for value in task(*args):
                pipe.send(("value", value))
            pipe.send(("end", None))
        except Exception as problem:
            pipe.send(("error", repr(problem)))

    @functools.wraps(task)
    def call(*args):
        ours, theirs = context.Pipe()
        worker = context.Process(target=work, args=(theirs, args), daemon=True)
        worker.start()
        theirs.close()
        try:
            while True:
                kind, value = ours.recv()
                if kind == "error":
                    raise RuntimeError(value)
                if kind == "end":
                    return
                yield value
        finally:
            worker.terminate()
            worker.join()

    return call
"""

# What the page, its second tab and the API do; the API twice, since a call must not need an earlier one.
CALLS = """
import json, sys
sys.path.insert(0, sys.argv[1])
folder, edit = sys.argv[2], json.loads(sys.argv[3])
import gradio as gr
import spaces
from leaderboard.pages import playground as page
from leaderboard.playground.api import edit_and_ask
from leaderboard.playground.apart import zero_gpu
from leaderboard.playground.lab import Lab

lab = Lab((folder,), ("none", "FT-M", "ICE"), device="cpu", apart=zero_gpu())
replies = [edit_and_ask(lab, folder, ("FT-M", "ICE"), [edit], [edit["prompt"]]) for _ in range(2)]
with gr.Blocks() as demo:
    page.build(lab)
ask, watch = [f.fn for f in demo.fns.values() if getattr(f.fn, "__name__", "") == "run"]

class Visitor:
    session_hash = "ada"

rows = [[edit["subject"], edit["prompt"], edit["target"], "", ""]]
asked = list(ask(folder, "ICE", "none", False, rows, edit["prompt"], Visitor))[-1]
watched = list(watch(folder, "none", "none", "atlas", 1, Visitor))[-1]
print(json.dumps({
    "replies": replies, "asked": asked[0], "watched": watched[0], "marked": spaces.marked, "loaded": len(lab._loaded),
    "thread": lab._thread is not None,
}))
"""


@pytest.fixture(scope="module")
def seen(folder: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh program sees on a machine like a Space with ZeroGPU."""
    place = tmp_path_factory.mktemp("zero")
    (place / "spaces.py").write_text(SPACES)
    done = subprocess.run(
        [sys.executable, "-c", CALLS, str(place), folder, json.dumps(EDIT)], cwd=ROOT, timeout=500,
        capture_output=True, text=True, env=os.environ | {"SPACES_ZERO_GPU": "true", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_web_server_s_process_loads_no_model(seen: dict[str, Any]) -> None:
    assert seen["marked"] == [["serve", apart.SECONDS]]
    assert (seen["loaded"], seen["thread"]) == (0, False)


def test_each_call_does_everything_itself(seen: dict[str, Any], folder: str) -> None:
    first, second = seen["replies"]
    assert first == second and first["left"]["why"]["weights"] and first["refused"] == []
    assert first["right"]["answers"][0]["consulted"] is not None
    assert seen["asked"] == seen["watched"] == "Done."
    # And the answers are those that one process gives, which keeps its model.
    here = edit_and_ask(Lab((folder,), device="cpu"), folder, ("FT-M", "ICE"), [EDIT], [EDIT["prompt"]])
    assert (here["base"], here["right"]) == (first["base"], first["right"])
    assert here["left"]["answers"] == first["left"]["answers"]


def test_elsewhere_the_mark_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not apart.zero_gpu() and apart.on_gpu(apart.serve) is apart.serve


def test_a_stopped_visitor_s_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def endless(*_: Any) -> Any:
        try:
            while True:
                yield [Event("waiting", body={"position": 1})]
        finally:
            closed.append(True)

    monkeypatch.setattr(apart, "serve", endless)
    jobs = Apart(("atlas",), ("none",), "cpu")
    request = make_request("atlas", ("none", "none"), [], ["A?"], False)
    assert not jobs.stop("ada")
    first = jobs.stream(request, "ada")
    assert next(first)[0].kind == "waiting"
    second = jobs.stream(request, "ada")
    assert next(second)[0].kind == "waiting"  # and ends the visitor's first job
    assert [event.kind for bunch in first for event in bunch] == ["cancelled"] and closed == [True]
    assert next(second)[0].kind == "waiting"
    assert jobs.stop("ada")
    assert [event.kind for bunch in second for event in bunch] == ["cancelled"]
    assert closed == [True, True] and not jobs.stop("ada")
    left = jobs.stream(request)
    next(left)
    left.close()
    assert len(closed) == 3
