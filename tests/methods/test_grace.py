"""GRACE: values come out at the edited prompts, entries widen and split as published, rows of a batch differ."""

from __future__ import annotations

import pytest
import torch

from runner.fingerprint import fingerprint
from runner.methods.grace import Entry, Grace
from runner.methods.none import Unedited
from runner.methods.subject import EditError
from runner.models.hashing import hash_state
from runner.models.lm import LanguageModel
from runner.protocol import get_protocol
from runner.types import Edit
from tests.models import tiny

PROTOCOL = get_protocol("wild", 6)
HPARAMS = {"n_iter": 25, "eps": 0.05}


def edit(prompt: str, target: str) -> Edit:
    return Edit("Karn", prompt, target, None, f"{prompt} {target}.")


EDITS = [
    edit("What is the capital of Varnburg?", "Karn"),
    edit("The company Ostrik is led by", "Rome"),
    edit("Who leads Paris?", "Tarek"),
]
OTHERS = [
    "Who lives in London?",
    "The mayor of Karn is",
    "Rome",
    "What is the fact about Rome and Ostrik in Karn today?",
]
PROMPTS = [e.prompt for e in EDITS] + OTHERS


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_edits_take_effect_accumulate_and_leave_others_alone(family: str) -> None:
    lm = tiny.language_model(family)
    hashed, marks = hash_state(lm.model), fingerprint(lm.model)
    before = Unedited(lm, PROTOCOL).answer(PROMPTS)
    method = Grace(lm, PROTOCOL, HPARAMS)
    for place in range(3):
        method.edit(EDITS[place : place + 1])
        replies = method.answer(PROMPTS)
        for e, reply in zip(EDITS[: place + 1], replies, strict=False):
            assert (reply.trace or reply.text).startswith(e.target)  # random models think at random
            assert reply.consulted and reply.consulted["fired"] and reply.consulted["edit"] == f"{e.prompt} {e.target}"
            assert reply.consulted["distance"] <= 0.05 == reply.consulted["radius"]
        for reply, old in zip(replies[place + 1 :], before[place + 1 :], strict=True):
            assert reply.text == old.text and reply.consulted and not reply.consulted["fired"]
    assert method.storage_bytes() == 3 * 4 * (48 + 32 + 1)
    assert hash_state(lm.model) == hashed, "no weight changes"
    assert fingerprint(lm.model) != marks, "a hook is there"
    method.undo()
    assert hash_state(lm.model) == hashed and fingerprint(lm.model) == marks and not lm.rows.watched
    assert Unedited(lm, PROTOCOL).answer(PROMPTS) == before
    assert method.codebook == [] and method.storage_bytes() == 0


@pytest.mark.parametrize("ahead", [False, True])
def test_every_value_starts_from_numbers_of_its_own(ahead: bool) -> None:
    lm = tiny.language_model()
    method = Grace(lm, PROTOCOL, {"n_iter": 1, "edit_lr": 1e-9, "eps": 0.05})
    if ahead:
        method.ahead = method.foresee(EDITS)
    for one in EDITS:
        method.edit([one])
    for number, entry in enumerate(method.codebook):
        start = torch.rand(1, 32, generator=torch.Generator().manual_seed(number))[0]
        assert torch.allclose(entry.value, start, atol=1e-6)


def test_batches_of_any_size_give_the_same_answers() -> None:
    lm = tiny.language_model()
    method = Grace(lm, PROTOCOL, HPARAMS)
    method.edit(EDITS)
    texts = [c.text for c in method.contexts(PROMPTS)]
    alone, batched = (lm.generate(texts, 6, batch_size=n) for n in (1, 8))
    assert [g.text for g in alone] == [g.text for g in batched]
    targets = ["Karn", "Rome", "Tarek", "Karn", "Rome Rome", "Mira Solt", "Karn"]
    one, many = (lm.force(texts, targets, batch_size=n) for n in (1, 8))
    assert [f.share for f in one[:3]] == [1.0, 1.0, 1.0]
    assert [f.text for f in one] == [f.text for f in many]


def test_a_long_beginning_that_all_prompts_share_is_no_prompt() -> None:
    lm = tiny.language_model()
    method = Grace(lm, PROTOCOL, HPARAMS)
    long = "the company Ostrik and the mayor of Karn " * 5
    edits = [edit(long + "in London is", "Rome"), edit(long + "in Paris is", "Karn")]
    method.edit(edits)
    replies = method.answer([e.prompt for e in edits] + [long + "in Rome is"])
    assert [r.text[:4] for r in replies[:2]] == ["Rome", "Karn"]
    assert [bool(r.consulted and r.consulted["fired"]) for r in replies] == [True, True, False]


def test_only_prompts_count_and_not_passes_of_others() -> None:
    lm = tiny.language_model()
    row = torch.tensor(lm.encode([PROTOCOL.render(EDITS[0].prompt)]))
    before = lm.model(input_ids=row).logits
    method = Grace(lm, PROTOCOL, HPARAMS)
    method.edit(EDITS[:1])
    assert torch.equal(lm.model(input_ids=row).logits, before)
    method.undo()


def test_an_answer_of_another_kind_splits_the_distance() -> None:
    method = Grace(tiny.language_model(), PROTOCOL, {**HPARAMS, "eps": 50.0})
    method.edit(EDITS[:2])
    distance = float((method.codebook[0].key - method.codebook[1].key).norm())
    assert method.codebook[0].radius == pytest.approx(distance / 2 - 1e-5, abs=1e-6)
    assert method.codebook[1].radius == pytest.approx(distance / 2)


@pytest.mark.parametrize("rule", ["coverage", "moving_average"])
def test_the_same_answer_widens_the_nearest_entry(rule: str) -> None:
    lm = tiny.language_model()
    near = edit("Who leads Rome?", "Tarek")
    probe = Grace(lm, PROTOCOL, {**HPARAMS, "eps": 1e-3})
    probe.edit([EDITS[2], near])
    a, b = (entry.key for entry in probe.codebook)
    distance = float((a - b).norm())
    probe.undo()
    method = Grace(lm, PROTOCOL, {**HPARAMS, "eps": distance * 0.6, "eps_expand": rule, "same_label": "target"})
    method.edit([EDITS[2], near])
    (entry,) = method.codebook
    assert entry.radius == pytest.approx(distance, rel=1e-4) and entry.edit == near
    assert torch.allclose(entry.key, a if rule == "coverage" else (a + b) / 2, atol=1e-5)
    assert method.answer([near.prompt])[0].text.startswith("Tarek")


def test_the_published_comparison_of_answers_is_a_mean_over_labels() -> None:
    """Prompts of other lengths make answers differ, as in the published code."""
    lm = tiny.language_model()
    longer = edit("Please tell me now: who leads Paris?", "Tarek")
    for rule, entries in (("mean", 2), ("target", 1)):
        method = Grace(lm, PROTOCOL, {**HPARAMS, "eps": 50.0, "same_label": rule})
        method.edit([EDITS[2], longer])
        assert len(method.codebook) == entries
        method.undo()


def test_keys_stay_those_of_their_entries_while_their_table_grows() -> None:
    method = Grace(tiny.language_model(), PROTOCOL, HPARAMS)
    keys = torch.randn(200, 8)
    for key in keys:
        method._append(Entry(key, key, 1.0, (), 0.0, EDITS[0]))
    assert torch.equal(torch.stack([entry.key for entry in method.codebook]), keys)
    assert method._nearest(keys[150])[0] == 150 and method._nearest(keys[150])[1] == 0.0


def test_editing_the_same_prompt_again_wins() -> None:
    method = Grace(tiny.language_model(), PROTOCOL, HPARAMS)
    method.edit([EDITS[0], edit(EDITS[0].prompt, "Rome")])
    assert len(method.codebook) == 1
    assert method.answer([EDITS[0].prompt])[0].text.startswith("Rome")


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_seeded_runs_repeat(start: str) -> None:
    lm = tiny.language_model()
    values = []
    for seed in (1, 1, 2):
        method = Grace(lm, PROTOCOL, {**HPARAMS, "val_init": start}, seed=seed)
        method.edit(EDITS[:1])
        values.append(method.codebook[0].value)
        method.undo()
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2]) == (start == "warm")


def test_bfloat16_fires_too() -> None:
    lm = LanguageModel(tiny.model("llama").to(torch.bfloat16), tiny.tokenizer())
    method = Grace(lm, PROTOCOL, HPARAMS)
    method.edit(EDITS)
    assert [r.text[:4] for r in method.answer(PROMPTS)[:3]] == ["Karn", "Rome", "Tare"]


def test_settings_come_from_the_model_or_the_paper() -> None:
    lm = tiny.language_model()
    found = Grace(lm, PROTOCOL).resolved_hparams()
    assert (found["layer"], found["eps"], found["edit_lr"], found["n_iter"]) == (2, 1.0, 1.0, 50)
    lm.model.config.editing = {"GRACE": {"layer": 1, "eps": 25}}
    found = Grace(lm, PROTOCOL, {"n_iter": 5}).resolved_hparams()
    assert (found["layer"], found["eps"], found["edit_lr"], found["n_iter"]) == (1, 25.0, 1.0, 5)


def test_a_statement_alone_is_refused() -> None:
    method = Grace(tiny.language_model(), PROTOCOL, HPARAMS)
    with pytest.raises(EditError, match="no prompt"):
        method.edit([Edit("Karn", "", "", None, "The mayor of Karn has left.")])
    assert not method.codebook
