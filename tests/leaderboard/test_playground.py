"""The playground: checked input, jobs that leave the model as it was, and visitors who never see each other's edits."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from leaderboard.playground import shown
from leaderboard.playground.api import edit_and_ask, edit_and_ask_live, example_rows, questions_of
from leaderboard.playground.inputs import MOST_CHARACTERS, make_edit, make_request
from leaderboard.playground.lab import DeltaCache, Event, Lab
from leaderboard.playground.watching import make_watch
from runner.conformance import sample
from runner.errors import UserError
from runner.methods.registry import get
from runner.models.lm import LanguageModel
from runner.protocol import get_protocol

QUESTION = "What is the capital of {}?"
METHODS = ("none", "FT-M", "ICE", "SCR")


@pytest.fixture(scope="module")
def lab(folder: str) -> Lab:
    return Lab((folder,), METHODS, device="cpu")


def edits_of(seed: int, number: int = 10) -> list[dict[str, str]]:
    rng = random.Random(seed)
    names = rng.sample(list(sample.NAMES), min(number, len(sample.NAMES)))
    known = {name: sample.known_answer(name) for name in sample.NAMES}
    return [
        {"subject": n, "prompt": QUESTION.format(n), "target": rng.choice(sorted(known.values())), "old": known[n]}
        for n in names
    ]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"subject": "", "prompt": "Who?", "target": "x"}, "subject 1 is empty"),
        ({"subject": "Rome", "prompt": "Who rules Paris?", "target": "x"}, "must name the subject"),
        ({"subject": "A", "prompt": "A" * (MOST_CHARACTERS + 1), "target": "x"}, "shorten it"),
        ({"subject": "A", "prompt": "A?", "target": "x\x00y"}, "control characters"),
        ("A", "no set of fields"),
    ],
)
def test_bad_edits_are_one_sentence(edit: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_edit(edit)


def test_a_request_is_limited_in_numbers() -> None:
    edit = {"subject": "A", "prompt": "A?", "target": "x"}
    with pytest.raises(UserError, match="101 edits are more"):
        make_request("m", METHODS[:2], [edit] * 101, ["A?"], False)
    with pytest.raises(UserError, match="21 questions"):
        make_request("m", METHODS[:2], [edit], ["A?"] * 21, False)
    with pytest.raises(UserError, match="nothing to ask"):
        make_request("m", METHODS[:2], [edit], ["  ", ""], False)
    assert make_request("m", METHODS[:2], [], ["A?"], False).edits == ()


@pytest.mark.parametrize("name", ["/etc/passwd", "evil.py", "os:system", "ROME", ""])
def test_only_offered_models_and_methods_are_ever_loaded(lab: Lab, name: str) -> None:
    with pytest.raises(UserError, match="offers"):
        edit_and_ask(lab, lab.models[0], (name, "none"), [], ["A?"])
    with pytest.raises(UserError, match="offers"):
        edit_and_ask(lab, name, ("none", "none"), [], ["A?"])


def test_both_sides_answer_and_say_why(lab: Lab) -> None:
    edit = edits_of(3, 1)[0]
    reply = edit_and_ask(lab, lab.models[0], ("FT-M", "ICE"), [edit], [edit["prompt"]])
    assert reply["base"][0]["text"] == edit["old"]
    chance = reply["left"]["why"]["chances"][0]
    assert chance["before"]["old"] > 0.5 and chance["after"]["new"] > chance["before"]["new"]
    changed = reply["left"]["why"]["weights"]
    assert changed and all(row["change"] > 0 for row in changed) and reply["left"]["why"]["bytes"] > 0
    assert reply["right"]["why"]["weights"] == []
    assert reply["right"]["answers"][0]["consulted"] is not None


def test_a_job_leaves_the_model_as_it_was_even_when_it_is_cancelled(lab: Lab) -> None:
    from runner.fingerprint import fingerprint

    name = lab.models[0]
    clean = fingerprint(lab.model(name).model)
    request = make_request(name, ("FT-M", "FT-M"), edits_of(5), [QUESTION.format("x")], False)
    job = lab.submit(request)
    seen: list[Event] = []
    for event in job.events():
        seen.append(event)
        if event.kind == "edited" and event.body["number"] == 3:
            break  # the visitor leaves
    edit_and_ask(lab, name, ("none", "none"), [], ["x?"])  # the next job runs only after the first has been put back
    assert fingerprint(lab.model(name).model) == clean
    assert not any(e.kind == "answer" and e.side == "right" for e in seen)


def test_answers_grow_before_they_are_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leaderboard.playground.asking._TOLD_EVERY", 0)
    edit = edits_of(11, 1)[0]
    request = make_request(lab.models[0], ("FT-M", "SCR"), [edit], [edit["prompt"]], False)
    events = list(lab.submit(request).events())
    for side in ("left", "right"):
        grown = [e.body["texts"][0] for e in events if e.kind == "growing" and e.side == side]
        answer = next(e.body["answer"]["text"] for e in events if e.kind == "answer" and e.side == side)
        assert grown and grown[-1] == answer
    seen = shown.Seen(request.questions, request.methods)
    seen.add(next(e for e in events if e.kind == "growing" and e.side == "left"))
    shown_so_far = seen.table()["data"][0][2]
    assert shown_so_far.endswith(shown.WAITING) and len(shown_so_far) > 1


def test_the_live_call_ends_with_what_the_other_call_returns(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leaderboard.playground.asking._TOLD_EVERY", 0.0)
    edit = edits_of(3, 1)
    asked = (lab.models[0], ("FT-M", "ICE"), edit, [edit[0]["prompt"], QUESTION.format("Nobody")])
    replies = list(edit_and_ask_live(lab, *asked))
    assert [reply.pop("done") for reply in replies] == [False] * (len(replies) - 1) + [True]
    assert replies[-1] == edit_and_ask(lab, *asked)
    last = replies[-1]["base"]
    assert len(replies) > 1 and all(answer["tokens"] for answer in last)
    for reply in replies:
        for answer, whole in zip(reply["base"], last, strict=True):
            assert answer is None or whole["text"].startswith(answer["text"])
    next(edit_and_ask_live(lab, *asked)).clear()  # who stops reading stops the job
    assert edit_and_ask(lab, *asked) == replies[-1]


def test_stop_ends_the_answers_midway_and_a_waiting_job_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from leaderboard.playground import asking
    from runner.fingerprint import fingerprint

    name = lab.models[0]
    clean = fingerprint(lab.model(name).model)
    stopped, go_on = threading.Event(), threading.Event()
    real = asking.Growing.__call__

    def slow(self: Any, index: int, text: str) -> None:
        if self._side == "left":
            stopped.set()
            go_on.wait(10)
        real(self, index, text)

    monkeypatch.setattr(asking.Growing, "__call__", slow)
    edits = edits_of(12, 2)
    request = make_request(name, ("FT-M", "none"), edits, [edits[0]["prompt"]], False)
    first = lab.submit(request, "ada")
    assert stopped.wait(10)
    second = lab.submit(request, "bo")
    assert next(second.events()).body == {"position": 2}
    waiting = lab.submit(request, "cy")
    assert lab.stop("cy") and not lab.stop("cy")
    assert [event.kind for event in waiting.events()] == ["waiting", "cancelled"]  # while the first still runs
    assert lab.stop("ada")
    go_on.set()
    kinds = [(event.kind, event.side) for event in first.events()]
    assert kinds[-1] == ("cancelled", "") and ("answer", "left") not in kinds
    edit_and_ask(lab, name, ("none", "none"), [], ["x?"])
    assert fingerprint(lab.model(name).model) == clean and not lab._waiting and not lab._of


def test_a_visitor_has_one_job_at_a_time(lab: Lab) -> None:
    request = make_request(lab.models[0], ("FT-M", "FT-M"), edits_of(13), ["x?"], False)
    jobs = [lab.submit(request, "ada") for _ in range(5)]
    ends = [list(job.events())[-1].kind for job in jobs]
    assert ends == ["cancelled"] * 4 + ["done"]


def test_a_method_that_breaks_fails_its_job_and_no_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.methods.ft_m import FTM

    def broken(self: Any, edits: Any) -> None:
        parameter = next(iter(self.lm.model.parameters()))
        parameter.data.add_(1.0)  # outside of what it could undo
        raise ZeroDivisionError("no")

    edit = edits_of(6, 1)
    before = edit_and_ask(lab, lab.models[0], ("none", "none"), [], [edit[0]["prompt"]])
    with monkeypatch.context() as patch:
        patch.setattr(FTM, "edit", broken)
        with pytest.raises(UserError, match="ZeroDivisionError"):
            edit_and_ask(lab, lab.models[0], ("FT-M", "none"), edit, [edit[0]["prompt"]])
    after = edit_and_ask(lab, lab.models[0], ("none", "none"), [], [edit[0]["prompt"]])
    assert after["base"] == before["base"] == after["left"]["answers"]


def test_ten_visitors_at_once_get_what_each_would_get_alone(folder: str) -> None:
    """Ten visitors at once, ten edits each and five questions a request, compared with methods that are used one after
    the other on a model of their own, without a lab. PALIMPSEST_VISITS=50 makes it 500 requests."""
    visits, methods = int(os.environ.get("PALIMPSEST_VISITS", "4")), ("FT-M", "ICE")
    lab = Lab((folder,), METHODS, device="cpu")
    wrong: list[Exception] = []
    replies: dict[tuple[int, int], list[list[str]]] = {}

    def questions(visitor: int, turn: int) -> list[str]:
        rng = random.Random(f"{visitor}/{turn % 4}")
        return [QUESTION.format(name) for name in rng.sample(list(sample.NAMES), 5)]

    def visit(visitor: int) -> None:
        try:
            for turn in range(visits):
                reply = edit_and_ask(lab, folder, methods, edits_of(visitor), questions(visitor, turn))
                sides = (reply["base"], reply["left"]["answers"], reply["right"]["answers"])
                replies[visitor, turn] = [[answer["text"] for answer in side] for side in sides]
        except Exception as error:  # a thread's failure must reach the test
            wrong.append(error)

    threads = [threading.Thread(target=visit, args=(v,)) for v in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(replies) == 10 * visits
    lm, protocol = LanguageModel.load(folder, device="cpu"), get_protocol("wild")
    for visitor in range(10):
        alone: dict[str, list[list[str]]] = {}
        for name in ("none", *methods):
            method = get(name)(lm, protocol, seed=0)
            for number, edit in enumerate(edits_of(visitor)):
                method.edit([make_edit(edit, number)])
            alone[name] = [[r.text for r in method.answer(questions(visitor, turn))] for turn in range(4)]
            method.undo()
        for turn in range(visits):
            assert replies[visitor, turn] == [alone[name][turn % 4] for name in ("none", *methods)]
    assert len({str(replies[v, 0]) for v in range(10)}) > 1  # the visitors' edits do differ


def test_kept_weights_are_bounded() -> None:
    import torch

    cache = DeltaCache(limit=1000)
    for i in range(10):
        cache.put(i, {"w": torch.zeros(100)})  # 400 bytes each
        assert cache.bytes <= 1000
    assert cache.get(9) is not None and cache.get(0) is None
    cache.put("large", {"w": torch.zeros(1000)})
    assert cache.get("large") is None and cache.bytes == 0


def test_a_full_waiting_room_turns_visitors_away(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leaderboard.playground.lab.MOST_WAITING", 0)
    with pytest.raises(UserError, match="try again"):
        edit_and_ask(lab, lab.models[0], ("none", "none"), [], ["x?"])


@pytest.fixture(scope="module")
def watched() -> Iterator[list[Event]]:
    lab = Lab(("atlas",), ("none", "ICE"), device="cpu")
    yield list(lab.submit(make_watch("atlas", ("none", "ICE"), "atlas", 4)).events())


def test_scores_are_taken_as_edits_accumulate(watched: list[Event]) -> None:
    scores = [e for e in watched if e.kind == "scores"]
    assert [(e.side, e.body["number"]) for e in scores] == [(s, n) for s in ("left", "right") for n in (1, 3, 4)]
    left, right = ([e.body["scores"] for e in scores if e.side == side] for side in ("left", "right"))
    assert all(s["reliability"] == 0 and s["locality"] == 1 for s in left)
    assert right[0]["reliability"] > left[0]["reliability"]
    seen = shown.Seen((), ("none", "ICE"))
    for event in watched:
        seen.add(event)
    figure = shown.strip(seen)
    assert seen.finished and [len(t.x) for t in figure.data] == [3] * 10


def test_watching_is_limited() -> None:
    for number, data in ((0, "atlas"), (101, "atlas"), (5, "/etc/passwd")):
        with pytest.raises(UserError):
            make_watch("atlas", ("none", "ICE"), data, number)


def test_what_is_shown_is_plain_text_and_marks_the_new_answer() -> None:
    script = "<script>alert(1)</script>"
    seen = shown.Seen((script,), ("ROME", "SCR"), frozenset({"ada"}))
    seen.add(Event("waiting", body={"position": 3}))
    assert seen.status_line() == "In the queue: 2 visitors before you."
    assert seen.table()["data"][0][1:] == [shown.WAITING] * 3
    seen.add(Event("answer", "left", {"index": 0, "answer": {"text": "It is Ada.", "trace": None, "consulted": None}}))
    seen.add(Event("answer", "right", {"index": 0, "answer": {"text": script, "trace": "so", "consulted": {"a": 1}}}))
    seen.add(Event("refused", "left", {"number": 2, "reason": "no"}))
    seen.add(Event("done"))
    row = seen.table()["data"][0]
    assert row == [script, "–", "✓ It is Ada.", script]
    assert "thought: so" in seen.reasons("right") and seen.status_line().startswith("Done. ROME: edit 2")


def test_examples_are_complete_edits() -> None:
    rows = example_rows("atlas", 10)
    assert len(rows) == 10
    names = ("subject", "prompt", "target", "old", "statement")
    made = [make_edit(dict(zip(names, row, strict=True)), i) for i, row in enumerate(rows)]
    assert all(edit.statement.endswith(".") and edit.target in edit.statement for edit in made)
    assert 0 < len(questions_of("atlas", 100)) <= 20
