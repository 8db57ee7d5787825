"""The playground in one call, and examples to start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from leaderboard.playground.inputs import MOST_QUESTIONS, SIDES, make_request
from runner.errors import UserError

if TYPE_CHECKING:
    from leaderboard.playground.lab import Lab
    from runner.types import Case


def edit_and_ask(
    lab: Lab,
    model: str,
    methods: Sequence[str],
    edits: Sequence[dict[str, Any]],
    questions: Sequence[str],
    thinking: bool = False,
) -> dict[str, Any]:
    """Edit, ask, put back, in one call: nothing needs to survive between calls.

    Returns {"questions", "base": [answer], "left": {"method", "answers", "why"}, "right": …, "refused": [sentence]};
    an answer has text, trace, consulted and tokens. Raises UserError for bad input and for a job that failed.
    """
    *_, reply = edit_and_ask_live(lab, model, methods, edits, questions, thinking)
    del reply["done"]
    return reply


def edit_and_ask_live(
    lab: Lab,
    model: str,
    methods: Sequence[str],
    edits: Sequence[dict[str, Any]],
    questions: Sequence[str],
    thinking: bool = False,
) -> Iterator[dict[str, Any]]:
    """As `edit_and_ask`, told as it comes: each reply holds what is known so far and "done", true in the last one.

    An answer that is being written has its text so far and nothing else; one that isn't begun is None. Who stops
    reading stops the job.
    """
    request = make_request(model, methods, edits, questions, thinking)
    answers: dict[str, list[Any]] = {side: [None] * len(request.questions) for side in ("base", *SIDES)}
    why: dict[str, Any] = {}
    refused: list[str] = []
    for bunch in lab.stream(request):
        for event in bunch:
            if event.kind == "growing":
                for index, text in event.body["texts"].items():
                    answers[event.side][index] = {"text": text}
            elif event.kind == "answer":
                answers[event.side][event.body["index"]] = event.body["answer"]
            elif event.kind == "why":
                why[event.side] = event.body
            elif event.kind == "refused":
                refused.append(f"{event.side}, edit {event.body['number']}: {event.body['reason']}")
            elif event.kind == "failed":
                raise UserError(event.body["reason"])
            elif event.kind == "cancelled":
                raise UserError("the job was cancelled.")
        sides = {
            side: {"method": name, "answers": list(answers[side]), "why": why.get(side)}
            for side, name in zip(SIDES, request.methods, strict=True)
        }
        known = {"questions": list(request.questions), "base": list(answers["base"]), **sides}
        yield {**known, "refused": list(refused), "done": bunch[-1].last}


@lru_cache(maxsize=4)
def _cases(dataset: str) -> tuple[Case, ...]:
    from runner.datasets.base import load

    return tuple(load(dataset).cases)


def example_rows(dataset: str, number: int) -> list[list[str]]:
    """The first cases' edits as rows of the edits' table: subject, question, new and old answer, statement."""
    edits = [edit for case in _cases(dataset)[:number] for edit in case.edits]
    return [[edit.subject, edit.prompt, edit.target, edit.old or "", edit.statement] for edit in edits[:100]]


def questions_of(dataset: str, number: int) -> list[str]:
    """Questions about them: all of one case, else each case's own question, as many as may be asked."""
    cases = _cases(dataset)[:number]
    if number == 1:
        return [probe.prompt for probe in cases[0].probes][:MOST_QUESTIONS]
    return [case.edits[0].prompt for case in cases][:MOST_QUESTIONS]
