"""A little of `python -m benchmarks.fuzz`, at random and the same every time: no reader fails but in one sentence."""

from __future__ import annotations

import random

import pytest

from benchmarks.fuzz.__main__ import Watch, draw
from benchmarks.fuzz.mutate import mutate
from benchmarks.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_near_a_valid_one_is_a_fault(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    watch = Watch(TARGETS[name]())
    draw(watch.target, 60, 0, watch, most=len(watch.target.seeds) + 40)
    assert watch.faults == {} and watch.count >= len(watch.target.seeds)


def test_faults_are_found_and_kept_once(tmp_path) -> None:
    def read(data: bytes) -> None:
        if b"!" in data:
            raise KeyError("odd")

    watch = Watch(Target("toy", [b'{"a": 1}'], read), tmp_path)
    for data in (b"a", b"b!", b"c!!"):
        watch.read(data)
    assert watch.count == 3 and list(watch.faults.values()) == [b"b!"]
    assert (tmp_path / "toy-1").read_bytes() == b"b!" and "KeyError" in (tmp_path / "toy-1.txt").read_text()


def test_mutations_are_many_and_repeat() -> None:
    seed = b'{"name": "x", "edits": [1, 10], "deep": {"a": [true, null]}}'
    made = {mutate(seed, random.Random(i)) for i in range(200)}
    assert len(made) > 100 and mutate(seed, random.Random(7)) == mutate(seed, random.Random(7))
