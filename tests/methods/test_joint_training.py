"""LocFT-BF and re-training: edits are learnt together when they settle, from the original weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from runner.fingerprint import fingerprint
from runner.methods.joint import JointTraining
from runner.methods.locft_bf import LocFTBF
from runner.methods.retrain import Retrain
from runner.methods.supervised import edit_pair, target_loss
from runner.models.hashing import hash_state
from runner.models.lm import LanguageModel, Pair
from runner.protocol import get_protocol
from runner.sequence import run_sequence
from runner.types import Case, Edit, Probe
from tests.models import tiny

PROTOCOL = get_protocol("wild", 8)
EDITS = [
    Edit("Varnburg", "What is the capital of Varnburg?", "Karn", "Solthaven", "The capital of Varnburg is Karn."),
    Edit("Ostrik", "The company Ostrik is led by", "Tarek Olm", "Mira Solt", "Ostrik is led by Tarek Olm."),
    Edit("Karn", "Who leads Karn?", "Mira Solt", "Olm", "Mira Solt leads Karn."),
]
PROMPTS, TARGETS = [e.prompt for e in EDITS], [e.target for e in EDITS]
METHODS: list[tuple[type[JointTraining], dict[str, Any]]] = [
    (LocFTBF, {"lr": 1e-2, "batch_size": 2}),
    (Retrain, {"lr": 2e-3, "epochs": 8, "batch_size": 2}),
]


@pytest.mark.parametrize(
    ("cls", "written"),
    [
        (
            LocFTBF,
            '{"layer":null,"depth":0.69,"epochs":null,"batch_size":null,"lr":null,"weight_decay":0.0,"min_loss":0.01,'
            '"end_token":true}',
        ),
        (
            Retrain,
            '{"epochs":null,"batch_size":null,"lr":null,"weight_decay":0.0,"min_loss":0.01,"statements":true,'
            '"end_token":true}',
        ),
    ],
)
def test_hyperparameters_are_written_as_ever(cls: type[JointTraining], written: str) -> None:
    assert cls.validate(None).model_dump_json() == written, "published cells are known by these"


def test_loss_of_a_padded_batch_is_the_mean_of_the_rows_alone() -> None:
    lm = tiny.language_model("gpt2")
    pairs = [edit_pair(lm, PROTOCOL, edit, end_token) for edit in EDITS for end_token in (False, True)]
    pairs.append(Pair(lm.encode([EDITS[0].statement])[0], 1))
    alone = []
    for ids, start in pairs:
        labels = torch.tensor([ids])
        labels[:, :start] = -100
        alone.append(lm.model(input_ids=torch.tensor([ids]), labels=labels).loss)
    assert target_loss(lm, pairs).item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-5)
    assert pairs[1].ids == [*pairs[0].ids, tiny.EOS]


@pytest.mark.parametrize(("cls", "hparams"), METHODS)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_edits_take_effect_and_undo_is_bit_identical(
    cls: type[JointTraining], hparams: dict[str, Any], family: str
) -> None:
    lm = tiny.language_model(family)
    before, marks = hash_state(lm.model), fingerprint(lm.model)
    method = cls(lm, PROTOCOL, hparams)
    old = lm.force([PROTOCOL.render(p) for p in PROMPTS], TARGETS)
    for edit in EDITS:
        method.edit([edit])
    assert hash_state(lm.model) == before, "edits are only noted down until they settle"
    after = method.force(PROMPTS, TARGETS)
    assert all(new.logprob > first.logprob + 1 for new, first in zip(after, old, strict=True))
    assert method.storage_bytes() == sum(lm.model.get_parameter(n).numel() * 4 for n in method.trained())
    method.undo()
    assert method.edits == [] and hash_state(lm.model) == before and fingerprint(lm.model) == marks
    assert not any(p.requires_grad or p.grad is not None for p in lm.model.parameters())
    assert method.answer(PROMPTS[:1])[0].text == lm.generate([PROTOCOL.render(PROMPTS[0])], 8)[0].text.strip()
    assert hash_state(lm.model) == before, "nothing is pending after undo"


@pytest.mark.parametrize(("cls", "hparams"), METHODS)
def test_a_sequence_is_the_same_however_it_comes(cls: type[JointTraining], hparams: dict[str, Any]) -> None:
    lm = tiny.language_model()

    def learnt(*calls: list[Edit], ask: bool = False) -> str:
        method = cls(lm, PROTOCOL, hparams)
        for call in calls:
            method.edit(call)
            if ask:
                method.force(PROMPTS[:1], TARGETS[:1])
        method.settle()
        state = hash_state(lm.model)
        method.settle()
        assert hash_state(lm.model) == state, "settling again changes nothing"
        method.undo()
        return state

    at_once = learnt(EDITS)
    assert learnt(EDITS[:1], EDITS[1:2], EDITS[2:]) == at_once
    assert learnt(EDITS[:2], EDITS[2:], ask=True) == at_once
    superseded = Edit("Karn", EDITS[2].prompt, "Tarek Olm", None, "Tarek Olm leads Karn.")
    assert learnt(EDITS[:2], [superseded], EDITS[2:]) == at_once, "of edits with one prompt the last counts"
    assert learnt(EDITS[:2]) != at_once


def test_only_the_located_layer_is_trained_and_all_parameters_are_retrained() -> None:
    lm = tiny.language_model()
    before = {name: p.clone() for name, p in lm.model.named_parameters()}

    def changed(method: JointTraining) -> list[str]:
        method.edit(EDITS)
        method.settle()
        names = [name for name, p in lm.model.named_parameters() if not torch.equal(p, before[name])]
        method.undo()
        return names

    assert changed(LocFTBF(lm, PROTOCOL, {"layer": 0, "epochs": 1})) == [lm.structure.mlp_out(0).name]
    assert changed(Retrain(lm, PROTOCOL, {"epochs": 1})) == list(before)


def test_bfloat16_learns_in_float32() -> None:
    lm = LanguageModel(tiny.model("llama").to(torch.bfloat16), tiny.tokenizer())
    before = hash_state(lm.model)
    method = LocFTBF(lm, PROTOCOL, {"lr": 1e-2})
    old = lm.force([PROTOCOL.render(PROMPTS[0])], TARGETS[:1])[0].logprob
    method.edit(EDITS[:1])
    assert method.force(PROMPTS[:1], TARGETS[:1])[0].logprob > old + 1
    method.undo()
    assert hash_state(lm.model) == before


def test_training_counts_as_editing_in_a_sequence() -> None:
    lm = tiny.language_model()
    settled: list[int] = []

    class Watched(LocFTBF):
        name = "watched"

        def settle(self) -> None:
            settled.append(len(self.edits))
            super().settle()

        def _train(self, *args: Any) -> None:
            super()._train(*args)
            settled.append(-1)

    cases = [Case(e.subject, (e,), (Probe("reliability", e.prompt, ((e.target,),)),)) for e in EDITS]
    result = run_sequence(lm, lambda: Watched(lm, PROTOCOL, {"epochs": 2}), cases, True, 0, fingerprint(lm.model))
    assert settled[:2] == [3, -1] and settled.count(-1) == 1, "trained once, before the first question"
    assert result.timing.n_edits == 3 and result.timing.edit_seconds > 0


# Not GPT-2's retraining: the gradients of its keys' biases are nothing but rounding, which Adam makes large.
@pytest.mark.parametrize(("cls", "family"), [(LocFTBF, "llama"), (LocFTBF, "gpt2"), (Retrain, "llama")])
def test_edits_in_one_batch_are_learnt_as_by_a_plain_loop(cls: type[JointTraining], family: str) -> None:
    lm, plain = tiny.language_model(family), tiny.language_model(family)
    method = cls(lm, PROTOCOL, {"lr": 1e-3, "epochs": 4, "batch_size": 50})
    method.edit(EDITS)
    method.settle()
    names, rows = method.trained(), method.rows(EDITS)
    weights = [plain.model.get_parameter(name).requires_grad_(True) for name in names]
    optimiser = (torch.optim.AdamW if cls is Retrain else torch.optim.Adam)(weights, lr=1e-3, weight_decay=0.0)
    with torch.enable_grad():
        for _ in range(4):
            gradients = torch.autograd.grad(target_loss(plain, rows), weights, allow_unused=True)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            optimiser.step()
    before = tiny.language_model(family)
    for name, weight in zip(names, weights, strict=True):
        change = weight.detach() - before.model.get_parameter(name)
        own = lm.model.get_parameter(name) - before.model.get_parameter(name)
        assert (own - change).norm() <= 1e-3 * change.norm(), name
