"""The same grid gives the same answers: a second time, and whatever the size of the batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.determinism import differing, main, said
from runner import gridfile
from runner.plan import make_plan


def test_twice_and_at_any_batch_size(make_grid: Callable[..., Path]) -> None:
    methods = ["none", {"name": "FT-M", "hparams": {"layer": 1}}, {"name": "LoRA", "hparams": {"steps": 4}}, "ICE"]
    path = make_grid(methods=methods, edits=[3], dtype="float32")
    source = gridfile.load(str(path))
    plan = make_plan(source, source.grid)
    usual = said(plan)
    assert [len(answers) for answers in usual.values()] == [48] * 4  # every probe free-running and forced
    assert said(plan) == usual
    for size in (1, 5):
        assert said(plan, size) == usual


def test_fewer_digits_are_counted_apart(
    make_grid: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_grid(methods=["none", {"name": "FT-M", "hparams": {"layer": 1}}])
    options = ["--methods", "none,FT-M", "--edits", "3", "--limit", "3", "--batch", "2", "--dtype", "bfloat16"]
    monkeypatch.setattr("sys.argv", ["determinism", str(path), *options])
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("| differ again | differ in batches of 2 | differ in bfloat16 |")
    assert [line.split("|")[3:5] for line in lines[2:4]] == [[" 0 ", " 0 "]] * 2
    assert len(lines) == 9


def test_differences_are_found() -> None:
    first = {("c", 0, "free"): ("Rome",), ("c", 1, "free"): ("Olm",)}
    assert differing(first, {("c", 0, "free"): ("Rome",), ("c", 1, "free"): ("Karn",)}) == [
        (("c", 1, "free"), ("Olm",), ("Karn",))
    ]
