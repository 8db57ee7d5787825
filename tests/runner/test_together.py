"""Sequences run together leave what each leaves alone: answers, notes, an unedited model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch

from runner import together
from runner.cells import Cell, MethodRef, ModelRef, Settings
from runner.execute import ALONE, TOGETHER, execute_cell
from runner.fingerprint import fingerprint
from runner.methods import registry
from runner.methods.base import Method, WeightMethod
from runner.methods.variants import NotTogether, Variants
from runner.models.lm import LanguageModel
from runner.protocol import get_protocol
from runner.sequence import SequenceResult
from runner.together import can_together
from runner.types import Case, Edit, Probe
from tests.methods.locate_edit_samples import text_file
from tests.models import tiny

PROTOCOL = get_protocol("wild", 6)
SUBJECTS = ("Karn", "Ostrik", "Mira", "Olm", "Veld", "Tarn", "Pesh")
TARGETS = ("Mira", "Rome", "Karn", "Solt")


def cases(n: int) -> dict[str, Case]:
    """Cases that share a question, with as many different targets as there are."""
    found = {}
    for i in range(n):
        subject, target = SUBJECTS[i % len(SUBJECTS)] + "a" * (i // len(SUBJECTS)), TARGETS[i % len(TARGETS)]
        prompt = f"Who leads {subject}?"
        probes = (
            Probe("reliability", prompt, ((target,),)),
            Probe("locality/near", "Where is Ostrik?", ((target, "Rome"),)),
            Probe("locality/far", "Where is Karn?", ()),
        )
        found[f"c{i}"] = Case(f"c{i}", (Edit(subject, prompt, target, "Olm", f"{target} leads {subject}."),), probes)
    return found


class Scrawl(WeightMethod):
    """Writes noise that depends on the edit into a down-projection."""

    name: ClassVar[str] = "scrawl"
    family: ClassVar[str] = "test"
    size: ClassVar[float] = 0.5

    def edit(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            weight = self.touch(self.lm.structure.mlp_weight(1))
            noise = torch.Generator().manual_seed(sum(map(ord, edit.prompt + edit.target)))
            with torch.no_grad():
                weight.add_(self.size * torch.randn(weight.shape, generator=noise))
        super().edit(edits)


class Breaking(Scrawl):
    """Leaves what is no number after one of the edits."""

    def edit(self, edits: Sequence[Edit]) -> None:
        super().edit(edits)
        if "Olm" in edits[0].subject:
            with torch.no_grad():
                self.touch(self.lm.structure.mlp_weight(1)).fill_(torch.nan)


class Failing(Scrawl):
    """Can't make one of the edits, for a reason of its own."""

    def edit(self, edits: Sequence[Edit]) -> None:
        if "Olm" in edits[0].subject:
            raise RuntimeError("a fault")
        super().edit(edits)


class Hooked(Scrawl):
    """Changes more than weights."""

    def edit(self, edits: Sequence[Edit]) -> None:
        super().edit(edits)
        self.handle = self.lm.structure.blocks[0].register_forward_hook(lambda module, args, output: None)

    def undo(self) -> None:
        if self.edits:
            self.handle.remove()
        super().undo()


def run(
    lm: LanguageModel,
    method: type[Method],
    n: int,
    size: int = 1,
    together: bool = True,
    done: Sequence[int] = (),
    hparams: Mapping[str, Any] | None = None,
) -> dict[int, SequenceResult]:
    known = cases(n)
    settings = Settings(PROTOCOL, "cpu", "float32", "fixed")
    given = method.validate(hparams).model_dump(mode="json")
    named = MethodRef(method.name, given)
    cell = Cell("k", None, ModelRef("m", "m", "h"), named, "d", "h", size, 0, tuple(known), settings)
    found: dict[int, SequenceResult] = {}
    clean = fingerprint(lm.model)
    try:
        execute_cell(cell, lm, method, known, clean, done, lambda p, r: found.update({p: r}), together)
    finally:
        assert fingerprint(lm.model) == clean
    return found


def said(results: Mapping[int, SequenceResult]) -> list[Any]:
    return [
        (position, a.case_id, a.probe_index, a.mode, a.text, a.tokens, None if a.forced is None else round(a.forced, 6))
        for position, result in sorted(results.items())
        for a in result.answers
    ]


def shared(results: Mapping[int, SequenceResult]) -> list[int]:
    return [position for position, result in sorted(results.items()) if "together" in result.timing.extra]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "qwen3"])
@pytest.mark.parametrize("size", [1, 2])
def test_answers_together_are_those_alone(family: str, size: int) -> None:
    lm = tiny.language_model(family)
    together, alone = run(lm, Scrawl, 9, size), run(lm, Scrawl, 9, size, together=False)
    assert said(together) == said(alone)
    assert len({text for _, case, index, mode, text, *_ in said(together) if (index, mode) == (1, "free")}) > 2
    assert shared(together) == list(range(ALONE, len(together))) and not shared(alone)
    for position, result in together.items():
        for name in ("n_edits", "n_answers", "n_tokens", "storage_bytes"):
            assert getattr(result.timing, name) == getattr(alone[position].timing, name)
        assert result.timing.extra["n_forced"] == alone[position].timing.extra["n_forced"]
        assert (
            result.timing.extra["collapse"]["weight_change"]
            == alone[position].timing.extra["collapse"]["weight_change"]
        )
        assert result.timing.answer_seconds > 0 and result.timing.peak_memory_bytes > 0


@pytest.mark.parametrize("name", ["FT-M", "FT-L", "ROME", "LocFT-BF"])
def test_methods_that_change_weights_say_the_same(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path))
    lm, method = tiny.language_model("llama"), registry.get(name)
    given = {"steps": 4, "lr": 0.02, "epochs": 3, "layer": 1, "v_num_grad_steps": 4, "mom2_adjustment": False,
             "context_templates": ("{}", "It is said. {}")}  # fmt: skip
    hparams = {key: value for key, value in given.items() if key in method.Hparams.model_fields}
    for size in (1, 2):
        together = run(lm, method, 8, size, hparams=hparams)
        assert said(together) == said(run(lm, method, 8, size, together=False, hparams=hparams))
        assert shared(together) == list(range(ALONE, len(together)))


@pytest.mark.parametrize("name", ["FT-M", "ROME", "MEMIT"])
def test_no_more_sequences_are_edited_in_step_than_memory_is_meant_for(
    name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path))
    lm, method = tiny.language_model("llama"), registry.get(name)
    given = {"steps": 4, "lr": 0.02, "layer": 1, "layers": [0, 1], "v_num_grad_steps": 4, "mom2_adjustment": False,
             "mom2_texts": text_file(tmp_path), "mom2_n_tokens": 2000,
             "context_templates": ("{}", "Well. {}")}  # fmt: skip
    hparams = {key: value for key, value in given.items() if key in method.Hparams.model_fields}
    seen: list[int] = []
    step = method.edit_in_step.__func__  # type: ignore[attr-defined]

    def counted(cls: Any, methods: Any, edits: Any) -> Any:
        seen.append(len(methods))
        return step(cls, methods, edits)

    monkeypatch.setattr(method, "edit_in_step", classmethod(counted))
    whole = run(lm, method, 8, hparams=hparams)
    layers = 2 if name == "MEMIT" else 1
    weight = lm.model.get_parameter(lm.structure.mlp_weight(1))
    monkeypatch.setattr(together, "MOST_BYTES", 2 * layers * weight.numel() * weight.element_size() * 4)
    bounded = run(lm, method, 8, hparams=hparams)
    assert seen == [6, 4, 2] and said(bounded) == said(whole)


def test_a_continued_run_repeats_what_was_shared() -> None:
    lm = tiny.language_model("llama")
    whole = run(lm, Scrawl, TOGETHER + 4)
    assert list(whole) == list(range(TOGETHER + 4))  # handed over in order
    some = run(lm, Scrawl, TOGETHER + 4, done=(0, 3, 4, TOGETHER + 1))
    assert said(some) == [entry for entry in said(whole) if entry[0] in some] and len(some) == TOGETHER
    assert some[5].timing.extra["collapse"] == whole[5].timing.extra["collapse"]


def test_a_collapsed_model_answers_beside_the_others() -> None:
    lm = tiny.language_model("llama")
    together, alone = run(lm, Breaking, 7), run(lm, Breaking, 7, together=False)
    assert said(together) == said(alone)
    assert [p for p, r in together.items() if r.timing.extra.get("collapsed")] == [3]
    assert together[3].timing.extra["collapsed"] == alone[3].timing.extra["collapsed"]


def test_one_edit_that_fails_costs_no_other_its_answers() -> None:
    lm = tiny.language_model("llama")
    found: dict[int, SequenceResult] = {}
    known = cases(7)
    settings = Settings(PROTOCOL, "cpu", "float32", "fixed")
    cell = Cell("k", None, ModelRef("m", "m", "h"), MethodRef("failing", {}), "d", "h", 1, 0, tuple(known), settings)
    clean = fingerprint(lm.model)
    with pytest.raises(RuntimeError, match="a fault"):
        execute_cell(cell, lm, Failing, known, clean, (), lambda p, r: found.update({p: r}))
    assert list(found) == [0, 1, 2] and fingerprint(lm.model) == clean


@pytest.mark.parametrize(("method", "family"), [(Hooked, "llama"), (Scrawl, "opt"), (Scrawl, "mamba")])
def test_what_can_t_run_together_runs_alone(method: type[WeightMethod], family: str) -> None:
    lm = tiny.language_model(family)
    together = run(lm, method, 6)
    assert not shared(together)
    assert said(together) == said(run(lm, method, 6, together=False))


def test_a_method_with_answers_of_its_own_or_long_sequences_are_not_run_together() -> None:
    assert can_together(registry.get("MEMIT"), 10) and not can_together(registry.get("MEMIT"), 11)
    assert not can_together(registry.get("SCR"), 1) and not can_together(registry.get("GRACE"), 1)
    assert not can_together(registry.get("FT-M+SCR"), 1)


def test_each_row_has_the_logits_of_its_own_model() -> None:
    lm = tiny.language_model("llama")
    name = lm.structure.mlp_weight(2)
    weight = lm.model.get_parameter(name)
    original, texts = weight.detach().clone(), ["Where is Ostrik?", "Who leads Karn?", "Where is Ostrik?"]
    changes = [{}, {name: original * 3}, {name: original.flip(0)}]
    expected = []
    for change, text in zip(changes, texts, strict=True):
        with torch.no_grad():
            weight.copy_(change.get(name, original))
        expected.append(lm.force([text], ["Mira Solt"])[0].logprob)
    with torch.no_grad():
        weight.copy_(original)
    variants = Variants(lm, changes)
    with lm.remembering(), variants.asked([0, 1, 2]):
        lm.generate(texts, 3, targets=["Mira Solt"] * 3)
        beside = [one.logprob for one in lm.force(texts, ["Mira Solt"] * 3)]
    with variants.asked([2, 1, 0]):
        apart = [one.logprob for one in lm.force(texts[::-1], ["Mira Solt"] * 3)][::-1]
    assert beside == pytest.approx(expected, rel=1e-4) and apart == pytest.approx(expected, rel=1e-4)
    assert len({round(value, 3) for value in expected}) == 3


def test_only_weights_of_projections_can_vary() -> None:
    lm = tiny.language_model("llama")
    names = ["model.norm.weight", "model.embed_tokens.weight"]
    for name in names:
        with pytest.raises(NotTogether):
            Variants(lm, [{name: lm.model.get_parameter(name).detach()}])
    assert not lm.rows.watched and lm.rows.owners is None
