"""One sequence: edits one by one, questions asked once, the model left as it was."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch

from runner.datasets import plain
from runner.execute import cell_note, record
from runner.fingerprint import Fingerprint, count_hooks, differences, fingerprint, not_finite
from runner.methods.base import Method, WeightMethod
from runner.methods.ft_m import FTM
from runner.methods.subject import EditError
from runner.metrics import collapse
from runner.models.lm import LanguageModel
from runner.protocol import get_protocol
from runner.sequence import SequenceResult, UndoError, run_sequence, warm_up
from runner.types import Case, Edit, Probe
from tests.models import tiny

PROTOCOL = get_protocol("wild", 5)
WEIGHT = "model.layers.1.mlp.down_proj.weight"


def make_case(name: str, subject: str = "Karn", target: str = "Mira") -> Case:
    prompt = f"Who leads {subject}?"
    probes = (
        Probe("reliability", prompt, ((target, "Mira Solt"),)),
        Probe("locality/near", "Where is Ostrik?", (("Rome",),)),
        Probe("locality/far", "Where is Ostrik?", ()),
    )
    return Case(name, (Edit(subject, prompt, target, "Olm", f"{target} leads {subject}."),), probes)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny.language_model("llama")


@pytest.fixture(scope="module")
def clean(lm: LanguageModel) -> Fingerprint:
    return fingerprint(lm.model)


def run(
    lm: LanguageModel, clean: Fingerprint, method: type[Method], cases: Sequence[Case], **hparams: Any
) -> SequenceResult:
    return run_sequence(lm, lambda: method(lm, PROTOCOL, hparams), cases, True, 0, clean)


class Recorder(Method):
    """Edits nothing; counts what it is asked."""

    name: ClassVar[str] = "recorder"
    family: ClassVar[str] = "test"
    log: ClassVar[list[Any]] = []

    def edit(self, edits: Sequence[Edit]) -> None:
        self.log.append([edit.subject for edit in edits])
        super().edit(edits)

    def answer(self, prompts: Sequence[str]) -> Any:
        self.log.append(("free", *prompts))
        return super().answer(prompts)

    def force(self, prompts: Sequence[str], targets: Sequence[str]) -> Any:
        self.log.append(("forced", *zip(prompts, targets, strict=True)))
        return super().force(prompts, targets)


class Scribble(WeightMethod):
    """Writes a value into one weight."""

    name: ClassVar[str] = "scribble"
    family: ClassVar[str] = "test"
    value: ClassVar[float] = 0.25

    def edit(self, edits: Sequence[Edit]) -> None:
        super().edit(edits)
        self.touch(WEIGHT).data[0, 0] = self.value


class ScribbleHigher(Scribble):
    """Writes into the third block."""

    name: ClassVar[str] = "scribble-higher"

    def edit(self, edits: Sequence[Edit]) -> None:
        self.edits.extend(edits)
        block = self.lm.structure.block_names[2]
        weight = next(n for n, p in self.lm.model.named_parameters() if n.startswith(f"{block}.") and p.ndim == 2)
        self.touch(weight).data[0, 0] = self.value


class Slow(Scribble):
    """The first edit of all costs more."""

    name: ClassVar[str] = "slow"
    first: ClassVar[bool] = True

    def prepare(self) -> None:
        if Slow.first:
            Slow.first = False
            time.sleep(0.2)


class Breaks(Scribble):
    name: ClassVar[str] = "breaks"
    value: ClassVar[float] = float("nan")


class Forgets(Scribble):
    """Never restores what it touched."""

    name: ClassVar[str] = "forgets"

    def undo(self) -> None:
        self._originals.clear()


class Refuses(Method):
    """Can't make edits of one subject."""

    name: ClassVar[str] = "refuses"
    family: ClassVar[str] = "test"

    def edit(self, edits: Sequence[Edit]) -> None:
        if edits[0].subject == "Karn":
            raise EditError("the subject 'Karn' is not in the prompt.")
        super().edit(edits)


def test_edits_one_by_one_then_each_question_once(lm: LanguageModel, clean: Fingerprint) -> None:
    Recorder.log.clear()
    result = run(lm, clean, Recorder, [make_case("a"), make_case("b", "Ostrik", "Olm")])
    assert Recorder.log == [
        ["Karn"],
        ["Ostrik"],
        ("free", "Who leads Karn?", "Where is Ostrik?", "Who leads Ostrik?"),
        (
            "forced", ("Who leads Karn?", "Mira"), ("Where is Ostrik?", "Rome"), ("Who leads Ostrik?", "Olm"),
        ),
    ]  # fmt: skip
    assert [(a.case_id, a.probe_index) for a in result.answers if a.mode == "free"] == [
        ("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2),
    ]  # fmt: skip
    # A probe without a known answer can't be forced.
    assert [(a.case_id, a.probe_index) for a in result.answers if a.mode == "forced"] == [
        ("a", 0), ("a", 1), ("b", 0), ("b", 1),
    ]  # fmt: skip
    assert (result.timing.n_edits, result.timing.n_answers, result.timing.extra["n_forced"]) == (2, 3, 3)


def test_identical_questions_have_the_answer_they_would_have_alone(lm: LanguageModel, clean: Fingerprint) -> None:
    result = run(lm, clean, Recorder, [make_case("a")])
    alone = Recorder(lm, PROTOCOL).answer(["Where is Ostrik?"])[0].text
    free = {a.probe_index: a.text for a in result.answers if a.mode == "free"}
    assert free[1] == free[2] == alone


def test_an_edit_changes_answers_and_undo_leaves_the_model_bit_identical(lm: LanguageModel, clean: Fingerprint) -> None:
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    case = make_case("a")
    plain = run(lm, clean, Recorder, [case])
    edited = run(lm, clean, FTM, [case], layer=1, steps=20, lr=0.01)
    share = {
        r: next(a.forced for a in x.answers if a.mode == "forced") for r, x in (("plain", plain), ("edited", edited))
    }
    assert share["edited"] is not None and share["plain"] is not None
    assert share["edited"] > share["plain"]
    assert all(torch.equal(before[name], value) for name, value in lm.model.state_dict().items())


def test_a_method_that_does_not_undo_is_found_out(clean: Fingerprint) -> None:
    own = tiny.language_model("llama")
    with pytest.raises(UndoError, match=WEIGHT):
        run(own, fingerprint(own.model), Forgets, [make_case("a")])


def test_an_edit_that_cannot_be_made_is_counted_and_the_sequence_goes_on(lm: LanguageModel, clean: Fingerprint) -> None:
    result = run(lm, clean, Refuses, [make_case("a"), make_case("b", "Ostrik")])
    assert result.timing.n_edits == 1
    assert result.timing.extra["failed_edits"] == 1
    assert "Karn" in result.timing.extra["failed_edits_listed"][0]
    assert len([a for a in result.answers if a.mode == "free"]) == 6
    assert cell_note([result.timing.extra, {}]) == "1 edit could not be made"


def test_weights_that_are_not_finite_are_a_result(lm: LanguageModel, clean: Fingerprint) -> None:
    result = run(lm, clean, Breaks, [make_case("a")])
    assert result.timing.extra["collapsed"] == [WEIGHT]
    assert len([a for a in result.answers if a.mode == "free"]) == 3
    assert all(a.forced == 0 for a in result.answers if a.mode == "forced")
    note = cell_note([{}, result.timing.extra])
    assert note == f"collapsed: NaN or infinity in {WEIGHT} (1 of 2 sequences)"
    assert fingerprint(lm.model) == clean


def test_another_exception_goes_through_after_the_undo(lm: LanguageModel, clean: Fingerprint) -> None:
    class Raises(Scribble):
        name: ClassVar[str] = "raises"

        def answer(self, prompts: Sequence[str]) -> Any:
            raise RuntimeError("no answer today")

    with pytest.raises(RuntimeError, match="no answer today"):
        run(lm, clean, Raises, [make_case("a")])
    assert fingerprint(lm.model) == clean


def test_a_fingerprint_taken_in_pieces_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Linear(7, 5, dtype=torch.bfloat16)
    model.register_buffer("flags", torch.tensor([True, False, True]))
    whole = fingerprint(model)
    assert whole["flags"] == 2
    monkeypatch.setattr("runner.fingerprint._CHUNK", 3)
    assert fingerprint(model) == whole
    assert not_finite(model) == []
    model.weight.data[4, 6] = float("inf")
    assert not_finite(model) == ["weight"]
    assert differences(whole, fingerprint(model)) == ["weight"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_fingerprint_sees_one_changed_bit(dtype: torch.dtype) -> None:
    model = tiny.model("llama").to(dtype)
    before = fingerprint(model)
    assert fingerprint(model) == before
    weight = model.get_parameter(WEIGHT)
    bits = weight.data.view(torch.int32 if dtype == torch.float32 else torch.int16)
    bits[3, 4] ^= 1
    assert differences(before, fingerprint(model)) == [WEIGHT]
    bits[3, 4] ^= 1
    assert fingerprint(model) == before


def test_the_fingerprint_sees_hooks_and_new_parameters() -> None:
    model = tiny.model("llama")
    before = fingerprint(model)
    handle = model.model.layers[0].register_forward_hook(lambda *args: None)
    assert differences(before, fingerprint(model)) == ["hooks"]
    handle.remove()
    model.model.layers[0].extra = torch.nn.Linear(2, 2)
    assert differences(before, fingerprint(model)) == ["model.layers.0.extra.bias", "model.layers.0.extra.weight"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_names_the_weight(value: float) -> None:
    model = tiny.model("llama")
    assert not_finite(model) == []
    model.get_parameter(WEIGHT).data[1, 2] = value
    assert not_finite(model) == [WEIGHT]


def test_the_first_sequence_is_not_charged_for_the_warm_up(lm: LanguageModel, clean: Fingerprint) -> None:
    Slow.first = True
    prepared = warm_up(lm, lambda: Slow(lm, PROTOCOL), make_case("a"), True, 0)
    result = run(lm, clean, Slow, [make_case("a")])
    assert prepared >= 0.2
    assert result.timing.edit_seconds < 0.2
    assert fingerprint(lm.model) == clean


def test_what_a_method_keeps_and_what_is_measured_is_recorded(lm: LanguageModel, clean: Fingerprint) -> None:
    def measure(method: Method) -> dict[str, Any]:
        assert isinstance(method, Scribble) and method.touched() == (WEIGHT,)
        return {"collapse": collapse.weight_change(method.touched(), lm.model.get_parameter, method.original)}

    result = run_sequence(lm, lambda: Scribble(lm, PROTOCOL), [make_case("a")], True, 0, clean, measure)
    assert result.timing.storage_bytes == lm.model.get_parameter(WEIGHT).numel() * 4
    assert result.timing.extra["collapse"][WEIGHT] > 0


@pytest.mark.parametrize(("name", "modes"), [("teacher-forced", {"forced"}), ("wild", {"free", "forced"})])
def test_only_the_modes_of_the_protocol_are_asked(
    lm: LanguageModel, clean: Fingerprint, name: str, modes: set[str]
) -> None:
    result = run_sequence(lm, lambda: Recorder(lm, get_protocol(name, 4)), [make_case("a")], True, 0, clean)
    assert {answer.mode for answer in result.answers} == modes


def test_signs_of_collapse_are_recorded_for_the_edited_model_and_leave_no_trace(
    lm: LanguageModel, clean: Fingerprint
) -> None:
    method = Scribble(lm, PROTOCOL)
    before = record(lm, clean, True, Recorder(lm, PROTOCOL))["collapse"]
    method.value = 50.0
    method.edit(make_case("a").edits)
    after = record(lm, clean, True, method)["collapse"]
    method.undo()
    assert set(before) == {"perplexity", "effective_rank", "hidden_norm"}
    assert after["perplexity"] != before["perplexity"]
    assert after["weight_change"][WEIGHT] > 0
    assert fingerprint(lm.model) == clean


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "mamba2", "mixtral"])
def test_signs_of_collapse_are_those_of_a_whole_pass(family: str) -> None:
    lm = tiny.language_model(family)
    clean, runs = fingerprint(lm.model), list[int]()
    inside = next(m for m in lm.structure.blocks[1].modules() if getattr(m, "weight", torch.empty(0)).ndim == 2)
    inside.register_forward_pre_hook(lambda *args: runs.append(1))
    for value in (0.5, 3.0, -7.0):
        method = ScribbleHigher(lm, PROTOCOL)
        method.value = value  # type: ignore[misc]
        method.edit(make_case("a").edits)
        found = record(lm, {**clean, "hooks": count_hooks(lm.model)}, False, method)["collapse"]
        found.pop("weight_change")
        assert found == collapse.signs(lm, plain.plain_text(lm.path))
        method.undo()
    assert fingerprint(lm.model)["hooks"] == clean["hooks"] + 1
    # Of the whole passes that it is compared with each runs the block, of the signs' only the first does.
    assert len(runs) == (6 if family == "mamba2" else 4)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux starts the peak of a process anew")
def test_a_sequence_s_peak_memory_is_not_that_of_what_ran_before(lm: LanguageModel, clean: Fingerprint) -> None:
    small = run(lm, clean, FTM, [make_case("a")]).timing.peak_memory_bytes
    big = torch.ones(1 << 28)  # 1 GiB
    full = run(lm, clean, FTM, [make_case("a")]).timing.peak_memory_bytes
    del big
    after = run(lm, clean, FTM, [make_case("a")]).timing.peak_memory_bytes
    assert full - small > 900 << 20
    assert after < full - (900 << 20)
