"""What is worked out at once for sequences of one edit equals what each would find alone, and serves only there."""

from __future__ import annotations

import pytest
import torch

from runner import execute
from runner.cells import Cell, MethodRef, ModelRef, Settings
from runner.fingerprint import fingerprint
from runner.methods import registry
from runner.methods.locate_then_edit import LocateThenEdit
from runner.methods.subject import locate
from runner.methods.value import Course, ValueHparams, optimise_value, optimise_values
from runner.protocol import get_protocol
from runner.types import Case, Edit, Probe
from tests.methods.locate_edit_samples import EDITS, TEMPLATES, edit, hparams, taught
from tests.models.tiny import language_model

PROTOCOL = get_protocol("wild", 4)
FEW = {"v_num_grad_steps": 5, "layer": 1}


class Patient(Course):
    """Ends each search after another number of steps."""

    made = 0

    def __init__(self) -> None:
        Patient.made += 1
        self.left = Patient.made

    def enough(self, loss, divergence, said):
        self.left -= 1
        return self.left == 0


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "mamba"])
def test_values_found_together_equal_those_found_alone(family):
    lm = language_model(family)
    rome = registry.get("ROME")(lm, PROTOCOL, {"context_templates": TEMPLATES, "mom2_adjustment": False, **FEW})
    together = rome.foresee([EDITS[0], Edit("Nobody", "Who?", "Karn", None, ""), *EDITS[1:]])
    assert list(together) == EDITS  # what can't be placed is not foreseen
    for known, value in together.items():
        alone = rome.foresee([known])[known]
        assert value.steps == alone.steps and value.loss == pytest.approx(alone.loss, rel=1e-5)
        for name in ("keys", "initial", "delta"):
            a, b = getattr(value, name), getattr(alone, name)
            assert (a - b).norm() <= 1e-5 * b.norm()


def test_a_fact_that_is_done_leaves_the_batch_and_changes_no_other():
    lm = language_model("llama")
    rome = registry.get("ROME")(lm, PROTOCOL, {"context_templates": TEMPLATES, "layer": 1})
    facts = [locate(one, PROTOCOL) for one in [*EDITS, edit("Ostrik", "Karn")]]
    site, h = lm.structure.mlp_out(1).module, ValueHparams(v_num_grad_steps=9)
    Patient.made = 0
    together = optimise_values(lm, facts, rome.templates(), 1, site, h, course=Patient)
    assert [value.steps for value in together] == [1, 2, 3, 4]
    assert not together[0].delta.any()
    for number, fact in enumerate(facts[1:], 2):
        h = ValueHparams(v_num_grad_steps=number)
        alone = optimise_value(lm, fact, rome.templates(), 1, site, h)
        assert (together[number - 1].delta - alone.delta).norm() <= 1e-5 * alone.delta.norm()


@pytest.mark.parametrize("name", ["ROME", "MEMIT", "PMET", "GRACE"])
def test_sequences_of_one_edit_give_the_answers_of_edits_made_alone(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path))
    monkeypatch.setattr(execute, "ALONE", 0)
    lm = taught("llama")
    clean, cls = fingerprint(lm.model), registry.get(name)
    layered = {"layer": 1} if name == "ROME" else {"layers": [0, 1]}
    located = issubclass(cls, LocateThenEdit)
    given = hparams(tmp_path, v_num_grad_steps=6, **layered) if located else {"layer": 1, "n_iter": 5}
    given = cls.validate({k: v for k, v in given.items() if k in cls.Hparams.model_fields}).model_dump(mode="json")
    cases = {
        f"c{i}": Case(f"c{i}", (one,), (Probe("reliability", one.prompt, ((one.target,),)),))
        for i, one in enumerate(EDITS)
    }
    settings = Settings(PROTOCOL, "cpu", "float32", "fixed")
    cell = Cell("k", None, ModelRef("m", "m", "h"), MethodRef(name, given), "d", "h", 1, 0, tuple(cases), settings)

    def run(done: tuple[int, ...] = ()) -> dict[int, list[tuple[str, float | None]]]:
        found = {}
        execute.execute_cell(
            cell, lm, cls, cases, clean, done,
            lambda position, result: found.update({position: [(a.text, a.forced) for a in result.answers]}),
        )  # fmt: skip
        return found

    foreseen = run()
    assert run(done=(0, 2)) == {1: foreseen[1]}  # a continued run
    monkeypatch.setattr(cls, "foresee", lambda self, edits: {})
    assert run() == foreseen


def test_what_was_foreseen_is_for_the_first_edit_of_a_sequence_only():
    lm = taught("llama")
    rome = registry.get("ROME")(lm, PROTOCOL, {"context_templates": TEMPLATES, "mom2_adjustment": False, **FEW})
    rome.ahead = rome.foresee(EDITS[:2])
    with torch.no_grad():
        assert rome.foreseen(EDITS[:1]) == [rome.ahead[EDITS[0]]] and rome.foreseen(EDITS[2:3]) is None
        rome.edit(EDITS[:1])
        assert rome.foreseen(EDITS[1:2]) is None
        rome.undo()
    assert rome.foreseen(EDITS[1:2])


NOWHERE = Edit("Nobody", "Who leads it?", "Karn", None, "")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", ["ROME", "R-ROME", "RECT", "MEMIT", "PMET", "EMMET", "AlphaEdit", "FT-M", "FT-L"])
def test_edits_made_in_step_leave_the_weights_that_each_sequence_leaves_alone(name, family, tmp_path, monkeypatch):
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path))
    lm = taught(family)
    before, cls = fingerprint(lm.model), registry.get(name)
    if issubclass(cls, LocateThenEdit):
        layered = {"layers": [0, 1]} if "layers" in cls.Hparams.model_fields else {"layer": 1}
        given = hparams(tmp_path, v_num_grad_steps=6, **layered)
        broken = NOWHERE
    else:
        given, broken = {"layer": 1, "steps": 5, "lr": 0.02}, edit("Ostrik", "Karn")
    given = {k: v for k, v in given.items() if k in cls.Hparams.model_fields}
    sequences = [EDITS, EDITS[::-1], [EDITS[1], broken, EDITS[0]]]
    methods = [cls(lm, PROTOCOL, given) for _ in sequences]
    for method in methods:
        method.prepare()
    failed = [cls.edit_in_step(methods, step) for step in zip(*sequences, strict=True)]
    assert fingerprint(lm.model) == before and lm.rows.owners is None and lm.rows.inputs is None
    assert [list(one) for one in failed] == [[], [2] if broken is NOWHERE else [], []]
    for method, own in zip(methods, sequences, strict=True):
        alone = cls(lm, PROTOCOL, given)
        alone.prepare()
        for one in own:
            if one is not NOWHERE:
                alone.edit([one])
        changed = {key: lm.model.get_parameter(key).detach().clone() for key in alone.touched()}
        assert method.edits == alone.edits and method.storage_bytes() == alone.storage_bytes()
        alone.undo()
        assert method.aside.keys() == changed.keys()
        for key, value in changed.items():
            original = lm.model.get_parameter(key)
            assert (method.aside[key] - value).norm() <= 1e-3 * (value - original).norm()
        method.undo()
    assert fingerprint(lm.model) == before
