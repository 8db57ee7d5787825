"""Targets scored in the pass of the answers: as if they had been scored apart, and the answers stay what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from runner.atlas.recipe import CHAT_TEMPLATE
from runner.methods.ft_m import FTM
from runner.methods.hybrid import compose
from runner.models import lm as lm_module
from runner.parts import measured
from runner.protocol import get_protocol
from tests.methods.locate_edit_samples import EDITS
from tests.models import tiny
from tests.models.test_generation import TEXTS, end_early

TARGETS = ["Mira Solt", "", "Rome", "the quick brown fox of Karn", "o", "Varnburg", "Olm", ""]
SHARES = ["llama", "gpt2", "gptj", "opt", "qwen3"]
KEEP_APART = ["gemma3", "mamba", "mamba2"]  # a window or a state can't be taken back


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each pass that `force` makes by itself."""
    seen: list[int] = []
    real = lm_module.score_targets

    def counted(model: Any, rows: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(rows))
        return real(model, rows, *args, **kwargs)

    monkeypatch.setattr(lm_module, "score_targets", counted)
    return seen


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("family", [*SHARES, *KEEP_APART])
def test_beside_equals_apart(family: str, shared: bool, passes: list[int]) -> None:
    lm = end_early(tiny.language_model(family))
    begin = "Fact: the mayor of Karn is Tarek Olm. The company Ostrik is led by Mira Solt of Varnburg.\n" * shared
    texts = [begin + text for text in TEXTS]
    asked = [i for i, target in enumerate(TARGETS) if target]
    chosen = [texts[i] for i in asked], [TARGETS[i] for i in asked]
    apart, alone = lm.generate(texts, 6), lm.force(*chosen)
    passes.clear()
    with lm.remembering():
        assert lm.generate(texts, 6, targets=TARGETS) == apart
        beside = lm.force(*chosen)
    made = sum(passes)
    assert made == (0 if family in SHARES else len(asked))
    for a, b in zip(alone, beside, strict=True):
        assert (a.text, a.share, a.tokens, a.truncated, a.failed) == (b.text, b.share, b.tokens, b.truncated, b.failed)
        assert a.logprob == pytest.approx(b.logprob, abs=1e-4)
    lm.force(*chosen)
    assert sum(passes) == made + len(asked)  # outside nothing is remembered


def test_what_is_asked_otherwise_is_run(passes: list[int]) -> None:
    lm = tiny.language_model("llama")
    with lm.remembering():
        lm.generate(TEXTS[:2], 3, targets=["Rome", "Olm"])
        lm.force([TEXTS[0], TEXTS[1], TEXTS[1]], ["Rome", "Olm", "Karn"])
    assert passes == [1]


def test_a_text_that_was_cut_is_scored_apart(passes: list[int]) -> None:
    lm = tiny.language_model("llama")
    lm.context_limit = 12  # type: ignore[misc]
    with lm.remembering():
        lm.generate([TEXTS[0] * 3], 4, targets=["Rome"])
        assert lm.force([TEXTS[0] * 3], ["Rome"])[0].truncated
    assert passes == [1]


def test_a_collapsed_model_fails_beside_as_apart() -> None:
    lm = tiny.language_model("llama")
    with torch.no_grad():
        lm.structure.final_norm.weight.fill_(float("nan"))
    alone = lm.force(TEXTS[:1], ["Rome"])
    with lm.remembering():
        assert lm.generate(TEXTS[:1], 3, targets=["Rome"])[0].failed
        assert lm.force(TEXTS[:1], ["Rome"]) == alone


@pytest.mark.parametrize("name", ["FT-M", "GRACE", "ICE", "SCR", "FT-M+SCR"])
def test_every_kind_of_method_says_the_same(name: str, tmp_path: Path) -> None:
    from runner.conformance.kit import sample_hparams
    from runner.methods import registry

    lm = tiny.language_model("llama")
    cls = compose(name) if "+" in name else registry.get(name)
    hparams = sample_hparams(cls, tmp_path)
    prompts = [edit.prompt for edit in EDITS]
    expected = {edit.prompt: edit.target for edit in EDITS}
    method = cls(lm, get_protocol("wild", 4), hparams)
    try:
        method.edit(EDITS[:2])
        replies, apart = method.answer(prompts), method.force(prompts, list(expected.values()))
        with lm.remembering(), measured() as parts:
            method.expected = expected
            assert method.answer(prompts) == replies
            beside = method.force(prompts, list(expected.values()))
    finally:
        method.undo()
    assert [f.text for f in beside] == [f.text for f in apart]
    assert [f.logprob for f in beside] == pytest.approx([f.logprob for f in apart], abs=1e-4)
    assert ("forced" in parts) == (name != "GRACE")  # its hooks read whose row runs: those are scored apart


def test_thinking_begins_elsewhere_than_the_target(passes: list[int]) -> None:
    lm = tiny.language_model("llama")
    lm.tokenizer.chat_template = CHAT_TEMPLATE
    method = FTM(lm, get_protocol("reasoning", 4), {"layer": 1})
    prompt = EDITS[0].prompt
    text = method.protocol.render(prompt)
    assert method.protocol.opened(text) != text
    with lm.remembering():
        method.expected = {prompt: "Rome"}
        method.answer([prompt])
        method.force([prompt], ["Rome"])
    assert passes == [1]
