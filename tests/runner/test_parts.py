"""Where an answer's seconds go: parts exclude each other, and SCR names its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runner.fingerprint import fingerprint
from runner.methods import registry
from runner.models.lm import LanguageModel
from runner.parts import measured, part
from runner.protocol import get_protocol
from runner.sequence import run_sequence
from runner.types import Case, Edit, Probe
from tests.models import tiny


def clock(*ticks: float) -> Any:
    turns: Iterator[float] = iter(ticks)
    return lambda: next(turns)


def test_parts_exclude_each_other_and_add_up_over_calls() -> None:
    with measured(clock(0, 3, 4, 10, 20, 25)) as seconds:
        with part("search"), part("encoder"):
            pass
        with part("search"):
            pass
    assert seconds == {"search": 3 + 6 + 5, "encoder": 1}


def test_nothing_is_measured_outside_and_a_failing_part_is_closed() -> None:
    with part("search"):
        pass
    with measured(clock(0, 2, 5, 6)) as seconds:
        with pytest.raises(ValueError), part("search"):
            raise ValueError
        with part("generation"):
            pass
    assert seconds == {"search": 2, "generation": 1}


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny.language_model("llama")


@pytest.mark.parametrize(
    ("name", "hparams", "parts"),
    [
        ("none", {}, {"generation"}),
        ("SCR", {"retriever": "bm25", "confirm_tokens": 3}, {"search", "confirmation", "generation"}),
        ("SCR", {"retriever": "bm25", "confirm": False}, {"search", "generation"}),
        ("FT-M+SCR", {"SCR": {"retriever": "bm25", "confirm_tokens": 3}}, {"search", "confirmation", "generation"}),
        (
            "MultiHop-SCR",
            {"retriever": "bm25", "steps": "questions", "confirm_tokens": 3, "think_tokens": 3},
            {"search", "confirmation", "steps", "generation"},
        ),
    ],
)
def test_a_sequence_says_what_its_answers_took(
    lm: LanguageModel, name: str, hparams: dict[str, Any], parts: set[str]
) -> None:
    edit = Edit("Karn", "Who leads Karn?", "Mira", "Olm", "Mira leads Karn.")
    case = Case("1", (edit,), (Probe("reliability", edit.prompt, (("Mira",),)),))
    method = registry.get(name)
    clean = fingerprint(lm.model)
    result = run_sequence(
        lm, lambda: method(lm, get_protocol("wild", 3), hparams), [case], name != "none", 0, clean
    ).timing
    found = result.extra["answer_parts"]
    assert set(found) == parts
    assert all(seconds >= 0 for seconds in found.values())
    assert 0 < sum(found.values()) <= result.answer_seconds
