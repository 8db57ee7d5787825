"""Edits that are learnt in one batch, each with weights of its own, come out as they do one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.passes import change
from runner.datasets import base as datasets
from runner.fingerprint import fingerprint
from runner.methods import ft, lora_stacked, registry, stacked
from runner.methods.base import Method
from runner.methods.lora import Lora
from runner.methods.supervised import Training
from runner.models.hashing import hash_state
from runner.models.lm import LanguageModel
from runner.protocol import get_protocol
from runner.types import Edit
from tests.methods import locate_edit_samples as samples
from tests.models import tiny

PROTOCOL = get_protocol("wild", 6)
EDITS = [
    Edit("Varnburg", "What is the capital of Varnburg?", "Karn", None, "s"),
    Edit("Ostrik", "The company Ostrik is led by", "Tarek Olm", None, "s"),
    Edit("Paris", "Who leads Paris?", "Rome", None, "s"),
    Edit("Rome", "The mayor of Rome is", "Mira Solt", None, "s"),
]
NOWHERE = Edit("Nobody", "Who?", " ", None, "s")
MIXED = ("down_proj", "v_proj", "q_proj", "o_proj")
SETTINGS: dict[str, dict[str, Any]] = {
    "FT-M": {"layer": 1, "lr": 0.1, "steps": 20, "min_loss": 3.0, "weight_decay": 1e-3},
    "FT-L": {"layer": 1, "lr": 0.1, "steps": 12, "min_loss": 3.0, "norm_constraint": 0.2},
    "WISE": {
        "layer": 1, "edit_lr": 1.0, "n_iter": 30, "context_templates": ("{}", "Rome. {}"), "alpha": 1.0, "beta": 4.0,
        "gamma": 2.0,
    },
}  # fmt: skip


def made(name: str, lm: LanguageModel, folder: Any, **more: Any) -> Any:
    given = {**SETTINGS[name], **more} | ({"mom2_texts": samples.text_file(folder)} if name == "WISE" else {})
    method = registry.get(name)(lm, PROTOCOL, given)
    method.prepare()
    return method


def weight(method: Any) -> Tensor:
    """What the method made of the layer's weight."""
    bank = getattr(method, "bank", None)
    found: Tensor = bank.learning.weight if bank else method.lm.structure.mlp_out(1).weight
    return found.detach().float().clone()


def one_by_one(method: Method, edits: list[Edit]) -> list[Tensor]:
    found = []
    for edit in edits:
        method.edit([edit])
        found.append(weight(method))
        method.undo()
    return found


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    ("family", "dtype"), [("llama", "float32"), ("gpt2", "float32"), ("opt", "float32"), ("llama", "bfloat16")]
)
def test_edits_learnt_in_one_batch_equal_those_learnt_alone(name, family, dtype, tmp_path, monkeypatch) -> None:
    lm = tiny.language_model(family)
    lm.model.to(getattr(torch, dtype))
    before, start = hash_state(lm.model), lm.structure.mlp_out(1).weight.detach().float().clone()
    method = made(name, lm, tmp_path)
    alone_steps, steps = [0] * len(EDITS), list[int]()
    if name != "WISE":
        step, learn = Training.step, stacked.learn
        running: list[int] = []
        monkeypatch.setattr(Training, "step", lambda self, loss: (running.append(1), step(self, loss))[1])

        def counted(*args: Any, **kwargs: Any) -> Any:
            learnt = learn(*args, **kwargs)
            steps.extend(one.steps for one in learnt)
            return learnt

        monkeypatch.setattr(stacked, "learn", counted)
    alone = []
    for i, edit in enumerate(EDITS):
        alone += one_by_one(method, [edit])
        if name != "WISE":
            alone_steps[i] = len(running) - sum(alone_steps)
    method.ahead = method.foresee([EDITS[0], NOWHERE, *EDITS[1:]])
    assert list(method.ahead) == EDITS, "what can't be learnt is not foreseen"
    assert hash_state(lm.model) == before, "nothing was changed"
    together = one_by_one(method, EDITS)
    if name != "WISE":
        assert steps == alone_steps
        assert name == "FT-L" or len(set(steps)) > 1, "some end before others"
    # Where gradients are nearly nothing, rounding decides which way Adam goes; bfloat16 keeps 8 bits of each number.
    for one, other in zip(together, alone, strict=True):
        difference, change = (one - other).norm(), (other - start).norm()
        assert difference <= (1e-4 * other.norm() if dtype == "float32" else 5e-2 * change)
        assert difference <= (2e-3 if dtype == "float32" else 5e-2) * change > 0
    assert hash_state(lm.model) == before


@pytest.mark.parametrize("name", SETTINGS)
def test_only_the_first_edit_of_a_sequence_is_taken_from_what_was_foreseen(name, tmp_path) -> None:
    lm = tiny.language_model("llama")
    method = made(name, lm, tmp_path)
    method.edit(EDITS[:2])
    plain = weight(method)
    method.undo()
    method.ahead = method.foresee(EDITS)
    method.edit(EDITS[:2])
    one = weight(method)
    method.undo()
    method.edit(EDITS[1:2])
    assert (weight(method) - plain).norm() > 1e-3, "the second depends on the first"
    method.undo()
    assert (one - plain).norm() <= 1e-4 * plain.norm()


@pytest.mark.parametrize("name", ["FT-M", "FT-L"])
def test_edits_may_begin_from_weights_of_their_own(name, tmp_path) -> None:
    lm = tiny.language_model("gpt2")
    method = made(name, lm, tmp_path)
    starts, ends = [], []
    for first, second in zip(EDITS[:3], EDITS[1:], strict=True):
        method.edit([first])
        starts.append(weight(method))
        method.edit([second])
        ends.append(weight(method))
        method.undo()
    h, lessons = method.hparams, [method.lesson(edit) for edit in EDITS[1:]]
    learnt = stacked.fine_tune(
        lm, 1, lessons, torch.stack(starts), h.lr, h.weight_decay, h.steps, h.min_loss, method.limits
    )
    for one, end, start in zip(learnt, ends, starts, strict=True):
        assert (one.values[0] - end).norm() <= 2e-3 * (end - start).norm() > 0


def test_groups_are_as_large_as_memory_that_is_set_aside_allows(tmp_path, monkeypatch) -> None:
    lm = tiny.language_model("llama")
    method, sizes = made("FT-M", lm, tmp_path), list[int]()
    fine_tune, n = stacked.fine_tune, lm.structure.mlp_out(1).weight.numel()
    monkeypatch.setattr(ft, "fine_tune", lambda *a, **k: (sizes.append(len(a[2])), fine_tune(*a, **k))[1])
    whole = method.foresee(EDITS)
    monkeypatch.setattr(stacked, "AT_ONCE", 16 * n * 3)
    few = method.foresee(EDITS)
    assert sizes == [4, 3, 1] and list(few) == EDITS
    for edit in EDITS:
        assert (few[edit] - whole[edit]).norm() <= 1e-4 * whole[edit].norm()
    monkeypatch.setattr(stacked, "AT_ONCE", 16 * n * 2 - 1)
    assert method.foresee(EDITS) == {} and sizes == [4, 3, 1]
    assert made("FT-M", tiny.language_model("mixtral"), tmp_path).foresee(EDITS) == {}


def test_a_loss_that_is_not_a_number_ends_its_own_edit_alone(tmp_path) -> None:
    lm = tiny.language_model("llama")
    method = made("FT-M", lm, tmp_path)
    h, good = method.hparams, lm.structure.mlp_out(1).weight.detach()
    starts = torch.stack([good, good * float("nan"), good])
    lessons = [method.lesson(edit) for edit in EDITS[:3]]
    learnt = stacked.fine_tune(lm, 1, lessons, starts, h.lr, h.weight_decay, h.steps, h.min_loss, method.limits)
    alone = one_by_one(method, EDITS[:3])
    assert learnt[1].steps == 0 and learnt[1].values[0].isnan().all()
    for i in (0, 2):
        assert learnt[i].steps > 0 and (learnt[i].values[0] - alone[i]).norm() <= 1e-4 * alone[i].norm()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("family", "more"), [("llama", {}), ("gpt2", {}), ("llama", {"target_modules": MIXED})])
def test_adapters_trained_in_one_batch_equal_those_trained_alone(family, more, dropout, monkeypatch) -> None:
    lm = tiny.language_model(family)
    method = Lora(lm, PROTOCOL, {"lr": 2e-2, "steps": 15, "min_loss": 3.2, "dropout": dropout, "rank": 3, **more})
    before = hash_state(lm.model), fingerprint(lm.model), [(n, id(m)) for n, m in lm.model.named_modules()]
    steps, made_steps, step, learn = list[int](), [0] * len(EDITS), torch.optim.Adam.step, stacked.learn

    def counted(*args: Any, **kwargs: Any) -> Any:
        learnt = learn(*args, **kwargs)
        steps.extend(one.steps for one in learnt)
        return learnt

    monkeypatch.setattr(lora_stacked, "learn", counted)
    method.ahead = method.foresee([NOWHERE, *EDITS])
    assert list(method.ahead) == EDITS
    assert (hash_state(lm.model), fingerprint(lm.model), [(n, id(m)) for n, m in lm.model.named_modules()]) == before

    def adapters(edit: Edit) -> tuple[dict[str, Tensor], Any]:
        method.edit([edit])
        values = {n: p.detach().clone() for n, p in lm.model.named_parameters() if "lora_" in n}
        said = method.force([edit.prompt], [edit.target])
        method.undo()
        return values, said

    together = [adapters(edit) for edit in EDITS]
    method.ahead = {}
    for i, edit in enumerate(EDITS):
        calls = list[int]()
        monkeypatch.setattr(torch.optim.Adam, "step", lambda self, c=calls: (c.append(1), step(self))[1])
        (alone, said), made_steps[i] = adapters(edit), len(calls)
        assert together[i][1][0].logprob == pytest.approx(said[0].logprob, abs=5e-3)
        for name, value in alone.items():
            assert (together[i][0][name] - value).norm() <= 1e-3 * value.norm(), name
    assert steps == made_steps and len(set(steps)) > 1


def test_adapters_are_not_foreseen_where_a_projection_is_run_twice() -> None:
    lm = tiny.language_model("llama")
    queries = lm.model.get_submodule("model.layers.0.self_attn.q_proj")
    values = lm.model.get_submodule("model.layers.0.self_attn.v_proj")
    assert lora_stacked.called_once(lm, [values, queries], [1, 5, 6]) == [1, 0], "in the order of the calls"
    mlp: Any = lm.model.get_submodule("model.layers.1.mlp")
    mlp.up_proj = mlp.gate_proj
    assert lora_stacked.called_once(lm, [values, mlp.gate_proj], [1, 5, 6]) is None
    assert Lora(lm, PROTOCOL, {"target_modules": ("gate_proj",), "steps": 2}).foresee(EDITS) == {}


@pytest.mark.parametrize(
    ("name", "more"), [("FT-M", {}), ("FT-L", {"steps": 8}), ("WISE", {"n_iter": 8}), ("LoRA", {"steps": 8})]
)
def test_edits_of_the_shipped_model_are_the_same_together_and_alone(name, more) -> None:
    lm = LanguageModel.load("atlas")
    method: Any = registry.get(name)(lm, get_protocol("wild"), more)
    method.prepare()
    edits = [case.edits[0] for case in datasets.load("atlas").cases[:3]]

    def left() -> list[Tensor]:
        found = []
        for edit in edits:
            method.edit([edit])
            found.append(change(method))
            method.undo()
        return found

    alone = left()
    method.ahead = method.foresee(edits)
    assert list(method.ahead) == edits
    for one, other in zip(left(), alone, strict=True):
        # Of LoRA's third edit some gradients are nearly nothing; its steps are as many.
        assert (one - other).norm() <= (1e-2 if name == "LoRA" else 1e-3) * other.norm() > 0
