"""SCR: what is retrieved, how a confirmation is read, which context follows."""

from __future__ import annotations

from typing import Any

import pytest

from runner import prompts
from runner.errors import UserError
from runner.methods.distractors import Distractors, drawn
from runner.methods.scr import SCR, parse_confirmation
from runner.models.generate import Generated
from runner.models.lm import LanguageModel
from runner.protocol import get_protocol
from runner.types import Edit
from tests.models import tiny

PROTOCOL = get_protocol("wild", 6)
FACTS = ["Karn is led by Olm.", "The capital of Varnburg is Karn in 2041.", "Team 3 plays in Ostrik."]
EDITS = [
    Edit("Karn", "Who leads Karn?", "Olm", None, FACTS[0], "leader"),
    Edit("Varnburg", "What is the capital of Varnburg?", "Karn", None, FACTS[1], "capital"),
    Edit("Team 3", "Where does Team 3 play?", "Ostrik", None, FACTS[2]),
]
BM25 = {"retriever": "bm25"}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (" 2", 2),
        ("[2]", 2),
        ("2.", 2),
        ("2) because it says so", 2),
        ("Fact 1", 1),
        ("Fact [3] helps.", 3),
        ("The number is 3.", 3),
        ("The answer is: [1]", 1),
        ("**2**", 2),
        ("7", None),
        ("7 but: Karn is led by Olm.", 1),
        ("0", None),
        ("[9] The capital", None),
        ("none", None),
        (" None of them, not even [1].", None),
        ("No fact helps.", None),
        ("Neither 1 nor 2", None),
        ("The needed one is [2].", 2),
        ("The capital of Varnburg is Karn in 2041.", 2),
        ("It says: karn is led by olm", 1),
        ("capital of Varnburg is Karn", 2),
        ("Team 3 plays in Ostrik", 3),
        ("Karn", None),
        ("There is no relevant fact in the list.", None),
        ("The capital of Varnburg is Paris.", None),
        ("", None),
        ("\n\n 2\n1\n", 2),
        ("<think> maybe 1? </think> 3", 3),
        ("<think> maybe 1, I don't", None),
    ],
)
def test_reading_a_confirmation(reply: str, expected: int | None) -> None:
    assert parse_confirmation(reply, FACTS) == expected


def scripted(monkeypatch: pytest.MonkeyPatch, lm: LanguageModel, reply: Any) -> list[list[str]]:
    """Replace the model's generation; returns the batches it was asked."""
    asked: list[list[str]] = []

    def generate(texts: list[str], budget: int) -> list[Generated]:
        asked.append(list(texts))
        return [Generated(reply(text), 1, True) for text in texts]

    monkeypatch.setattr(lm, "generate", generate)
    return asked


def test_confirmed_fact_alone_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.language_model()
    method = SCR(lm, PROTOCOL, BM25)
    method.edit(EDITS)
    asked = scripted(monkeypatch, lm, lambda text: f" {FACTS[1]}" if text.startswith("Facts:") else " Karn")
    prompt = "What is the capital of Varnburg?"
    reply = method.answer([prompt])[0]
    retrieved = reply.consulted["retrieved"] if reply.consulted else []
    assert retrieved[0] == FACTS[1] and len(retrieved) == 3
    assert asked[0] == [prompts.confirm(prompt, retrieved)]
    assert asked[1] == [PROTOCOL.render(prompt, [FACTS[1]])]
    assert reply.text == "Karn" and reply.consulted is not None
    assert reply.consulted["confirmed"] == 1 and FACTS[1] in reply.consulted["confirm_text"]
    assert reply.consulted["scores"] == sorted(reply.consulted["scores"], reverse=True)


def test_refusal_asks_the_bare_question(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.language_model()
    method = SCR(lm, PROTOCOL, BM25)
    method.edit(EDITS)
    scripted(monkeypatch, lm, lambda text: " none")
    context = method.contexts(["Who wrote the book?"])[0]
    assert context.text == PROTOCOL.render("Who wrote the book?")
    assert context.consulted is not None and context.consulted["confirmed"] is None
    assert context.consulted["why"] == "the model refused" and context.consulted["confirm_text"] == " none"


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_restated_fact_is_a_confirmation_too(monkeypatch: pytest.MonkeyPatch, one_by_one: bool) -> None:
    lm = tiny.language_model()
    method = SCR(lm, PROTOCOL, {**BM25, "one_by_one": one_by_one})
    method.edit(EDITS)
    scripted(monkeypatch, lm, lambda text: f" {FACTS[1]}" if FACTS[1] in text else " no relevant fact")
    context = method.contexts(["Who leads Karn?"])[0]
    assert context.text == PROTOCOL.render("Who leads Karn?", [FACTS[1]])
    assert context.consulted is not None and context.consulted["why"] == "the model named it"
    assert FACTS[1] in context.consulted["confirm_text"]


def test_batched_and_confirmed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.language_model()
    method = SCR(lm, PROTOCOL, {**BM25, "k": 2})
    method.edit(EDITS)
    asked = scripted(monkeypatch, lm, lambda text: "1")
    questions = [e.prompt for e in EDITS]
    contexts = method.contexts([*questions, questions[0]])
    assert [len(batch) for batch in asked] == [3] and contexts[0] == contexts[3]
    method.force(questions, ["Olm", "Karn", "Ostrik"])
    assert len(asked) == 1, "forced answers use the contexts that are already confirmed"
    method.edit(EDITS[:1])
    method.contexts(questions)
    assert len(asked) == 2, "a new edit asks again"


def test_empty_memory_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.language_model()
    method = SCR(lm, PROTOCOL, BM25)
    method.edit(EDITS)
    method.undo()
    asked = scripted(monkeypatch, lm, lambda text: "1")
    context = method.contexts(["Who leads Karn?"])[0]
    assert context.text == PROTOCOL.render("Who leads Karn?") and asked in ([], [[]])
    assert context.consulted == {
        "retrieved": [], "scores": [], "confirmed": None, "confirm_text": "", "why": "nothing in memory",
    }  # fmt: skip
    assert method.storage_bytes() == 0


def test_without_confirmation_all_retrieved_facts_are_stated() -> None:
    method = SCR(tiny.language_model(), PROTOCOL, {**BM25, "confirm": False, "k": 2})
    method.edit(EDITS)
    context = method.contexts(["Who leads Karn?"])[0]
    assert context.consulted is not None and context.consulted["confirmed"] is None
    assert context.text == PROTOCOL.render("Who leads Karn?", context.consulted["retrieved"])
    assert context.consulted["retrieved"][0] == FACTS[0]


def test_threshold_leaves_nothing_to_confirm() -> None:
    method = SCR(tiny.language_model(), PROTOCOL, {**BM25, "threshold": 1e6})
    method.edit(EDITS)
    context = method.contexts(["Who leads Karn?"])[0]
    assert context.text == PROTOCOL.render("Who leads Karn?")
    assert context.consulted is not None and context.consulted["why"] == "nothing reached the threshold"


@pytest.mark.parametrize(("supersede", "count"), [(False, 5), (True, 3)])
def test_later_edits_supersede_when_asked(supersede: bool, count: int) -> None:
    method = SCR(tiny.language_model(), PROTOCOL, {**BM25, "supersede": supersede})
    method.edit(EDITS)
    later = [
        Edit("Karn", "Karn's leader is", "Solt", None, "Karn is led by Solt.", "leader"),
        Edit("Team 3", "Where does Team 3 play?", "Karn", None, "Team 3 plays in Karn."),
    ]
    method.edit(later)
    assert len(method.memory) == count
    assert method.memory.statements[-2:] == [e.statement for e in later]
    assert (FACTS[0] in method.memory.statements) is not supersede


def test_retriever_in_force_is_named() -> None:
    resolved = SCR(tiny.language_model(), PROTOCOL).resolved_hparams()
    assert resolved["retriever"] in ("contriever", "minilm", "bm25")


def test_one_by_one_takes_the_first_statement_that_is_confirmed_alone(monkeypatch):
    lm = tiny.language_model()
    asked: list[list[str]] = []

    def generate(texts, max_new_tokens, batch_size=None):
        asked.append(list(texts))
        return [Generated(" 1" if FACTS[1] in t else " none", 1, True, False, False) for t in texts]

    scr = SCR(lm, PROTOCOL, {**BM25, "one_by_one": True, "k": 3})
    scr.edit(EDITS)
    monkeypatch.setattr(lm, "generate", generate)
    context = scr.contexts(["What is the capital of Varnburg?"])[0]
    assert context.consulted["retrieved"][context.consulted["confirmed"] - 1] == FACTS[1]
    assert all(text.count("\n- ") == 1 for batch in asked for text in batch)
    refused = scr.contexts(["Who leads Karn?"])[0]
    assert refused.consulted["confirmed"] in (None, refused.consulted["retrieved"].index(FACTS[1]) + 1)


def test_distractors_lie_in_memory_and_never_contradict_an_edit(tmp_path, monkeypatch):
    lines = ["Karn is led by Brod.", "Ostrik exports tin.", "The river Sel is long.", "Nobody lives in Tov."]
    (tmp_path / "lines.txt").write_text("\n".join([*lines, "", lines[0]]), encoding="utf-8")
    hparams = {**BM25, "distractors": 4, "distractors_from": str(tmp_path / "lines.txt")}
    method = SCR(tiny.language_model(), PROTOCOL, hparams, seed=1)
    method.prepare()
    assert sorted(method.memory.statements) == sorted(lines)
    before = method.memory.statements
    method.edit(EDITS[:1])
    assert method.memory.statements == [line for line in before if "Karn" not in line] + [FACTS[0]]
    scripted(monkeypatch, method.lm, lambda text: " none")
    assert method.contexts(["Who leads Karn?"])[0].consulted["retrieved"][0] == FACTS[0]
    method.undo()
    assert method.memory.statements == before
    with pytest.raises(UserError, match="has 4 different statements, fewer than the 5"):
        SCR(tiny.language_model(), PROTOCOL, {**hparams, "distractors": 5})


def test_superseded_statements_stay_in_memory_where_asked_for():
    old = drawn("atlas", 3, 0)[0]
    assert old.fact is not None
    subject, relation, _ = old.fact
    edit = Edit(subject, "Who?", "Olm", None, f"{subject} has Olm.", relation)
    for source, stays in (("atlas", False), ("atlas+superseded", True)):
        method = SCR(tiny.language_model(), PROTOCOL, {**BM25, "distractors": 3, "distractors_from": source})
        method.edit([edit])
        assert (old.text in method.memory.statements) == stays
        assert edit.statement in method.memory.statements
        method.undo()
        assert len(method.memory) == 3


def test_only_an_object_that_belongs_to_one_subject_counts_as_contradicted():
    found = Distractors("atlas", 1900, 0)
    own = {stated.fact[1]: stated for stated in found.stated}
    for relation, others in (("profession", 0), ("mentor", 1)):
        _, _, obj = own[relation].fact
        edit = Edit("Olm Newcomer", "Who?", obj, None, "Olm Newcomer has it.", relation)
        named = found.against(edit)
        assert (own[relation].text in named) == bool(others)
        assert len(named) == 2 * others  # as somebody's object, and as the subject of a fact of its own
