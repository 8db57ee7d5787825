"""Batched decoding says what decoding alone says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from runner.errors import UserError
from runner.models import batch as batching
from runner.models import cache
from runner.models import lm as lm_module
from runner.models.lm import LanguageModel
from tests.models import tiny

TEXTS = [
    "Q: What is the capital of Varnburg?\nA:",
    "The",
    "Question: Who leads the company Ostrik? Answer: Mira",
    "capital",
    "Fact: the mayor of Karn is",
    "Q: hello hello hello hello hello hello hello\nA:",
    "",
    "Give its number, or say none.",
]


def end_early(lm: LanguageModel) -> LanguageModel:
    """Make an eighth of the vocabulary end an answer, so that rows end at different steps."""
    lm.model.generation_config.eos_token_id = [tiny.EOS, *range(40, tiny.VOCABULARY, 8)]
    return lm


def alone(lm: LanguageModel, text: str, new: int) -> list[int]:
    """The reference: transformers' own greedy generation of one text."""
    ids = torch.tensor(lm.encode([text]))
    out = lm.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
    tokens = out[0, ids.shape[1] :].tolist()
    return tokens[: next((i for i, t in enumerate(tokens) if t in lm.end_ids), len(tokens))]


@pytest.mark.parametrize("family", list(tiny.CONFIGS))
def test_batch_equals_reference_one_by_one(family: str) -> None:
    lm = end_early(tiny.language_model(family, begin=family != "gpt2"))
    expected = [alone(lm, text, 16) for text in TEXTS]
    lengths = {len(ids) for ids in expected}
    assert len(lengths) > 1, "the rows must end at different steps for this test to mean anything"
    got = lm.generate(TEXTS, 16)
    assert [g.text for g in got] == [lm.decode(ids) for ids in expected]
    assert [g.tokens for g in got] == [len(ids) for ids in expected]
    assert [g.finished for g in got] == [len(ids) < 16 for ids in expected]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_padding_does_not_change_answers(family: str) -> None:
    lm = end_early(tiny.language_model(family))
    assert lm.generate(TEXTS, 12, batch_size=1) == lm.generate(TEXTS, 12, batch_size=8)
    again = lm.generate(TEXTS[::-1], 12, batch_size=3)
    assert again[::-1] == lm.generate(TEXTS, 12)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gptj", "gpt_neox"])
def test_shared_beginning_changes_nothing(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = end_early(tiny.language_model(family))
    facts = "Fact: the mayor of Karn is Tarek Olm. " * 8
    texts = [facts + text for text in TEXTS]
    targets = ["Mira Solt", "Karn"] * 4
    shared, scored = lm.generate(texts, 40), lm.force(texts, targets)
    assert batching.common_prefix(lm.encode(texts)) >= batching.SHARED_PREFIX
    monkeypatch.setattr(batching, "beginnings", lambda rows, limit, device: (0, [0] * len(rows)))
    assert lm.generate(texts, 40) == shared
    for a, b in zip(lm.force(texts, targets), scored, strict=True):
        assert (a.text, a.share) == (b.text, b.share)
        assert a.logprob == pytest.approx(b.logprob, abs=1e-3)


def test_sliding_window_models_do_not_share_a_beginning() -> None:
    assert not batching.can_share_prefix(tiny.model("gemma3"))
    assert batching.can_share_prefix(tiny.model("llama"))


def test_common_prefix_leaves_every_row_a_token() -> None:
    assert batching.common_prefix([[1, 2, 3], [1, 2, 3, 4]]) == 2
    assert batching.common_prefix([[1, 2, 9], [1, 3, 3, 4]]) == 1
    assert batching.common_prefix([[5], [5]]) == 0


def test_a_listener_hears_answers_grow() -> None:
    lm = end_early(tiny.language_model("llama"))
    heard: dict[int, list[str]] = {}
    outputs = lm.generate(TEXTS, 12, batch_size=3, told=lambda row, text: heard.setdefault(row, []).append(text))
    assert [o.text for o in outputs] == [o.text for o in lm.generate(TEXTS, 12, batch_size=3)]
    for row, output in enumerate(outputs):
        grown = heard.get(row, [])
        assert len(grown) == output.tokens
        assert not grown or grown[-1] == output.text.rstrip("\ufffd")
    assert max(map(len, heard.values())) > 2


def test_only_answers_are_heard_and_a_listener_may_end_them() -> None:
    from runner.methods.registry import get
    from runner.protocol import get_protocol

    lm = tiny.language_model("llama")
    method, heard = get("none")(lm, get_protocol("wild", 6)), []
    with lm.listening(lambda row, text: heard.append(row)):
        lm.generate(["The"], 4)
        assert heard == []
        method.answer(["The", "A"])
    assert set(heard) == {0, 1} and lm.listener is None

    def enough(row: int, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), lm.listening(enough):
        method.answer(["The"])
    assert lm.listener is None


def test_collapsed_model_gives_empty_answers() -> None:
    lm = tiny.language_model("llama")
    with torch.no_grad():
        lm.structure.final_norm.weight.fill_(float("nan"))
    for output in lm.generate(TEXTS, 8):
        assert output.failed and output.text == "" and output.tokens == 0 and not output.finished
    for forced in lm.force(TEXTS[:2], ["Karn", "Karn"]):
        assert forced.failed and forced.share == 0.0 and forced.logprob == float("-inf")


def test_long_input_keeps_its_end_and_says_so() -> None:
    lm = tiny.language_model("gpt2", begin=True)
    lm.model.config.n_positions = 24
    assert lm.context_limit == 24
    long, short = "hello " * 40 + "The mayor of Karn is", "Karn"
    outputs = lm.generate([long, short], 8)
    assert [o.truncated for o in outputs] == [True, False]
    ids = lm.encode([long])[0]
    assert lm._cut(ids, 16) == [tiny.BOS, *ids[-15:]]
    forced = lm.force([long, short], ["Tarek Olm", "Mira"])
    assert [f.truncated for f in forced] == [True, False]


def test_out_of_memory_halves_the_batch_and_keeps_the_order() -> None:
    sizes: list[int] = []

    def work(batch: list[int]) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [10 * i for i in batch]

    results, fitted = batching.run_batches([5, 1, 4, 2, 3, 9, 7, 8], 8, work)
    assert results == [0, 10, 20, 30, 40, 50, 60, 70]
    assert fitted == 2 and sizes == [8, 4, 2, 2, 2, 2]


def test_other_errors_and_a_single_row_too_large_are_not_swallowed() -> None:
    def broken(batch: list[int]) -> list[int]:
        raise RuntimeError("shapes do not match")

    def too_large(batch: list[int]) -> list[int]:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(RuntimeError, match="shapes"):
        batching.run_batches([1, 2], 2, broken)
    with pytest.raises(torch.OutOfMemoryError):
        batching.run_batches([1, 2], 2, too_large)


def test_a_batch_size_that_fitted_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.language_model("llama")
    expected = lm.generate(TEXTS, 4)
    real = lm.model.forward

    def forward(*args: object, **kwargs: object) -> object:
        ids = kwargs["input_ids"]
        assert isinstance(ids, torch.Tensor)
        if ids.shape[0] > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(*args, **kwargs)

    monkeypatch.setattr(batching, "accepts", lambda model, argument: True)
    monkeypatch.setattr(lm.model, "forward", forward)
    assert lm.generate(TEXTS, 4) == expected
    assert lm.batch_size == 2


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "gptj"])
def test_cache_size_is_what_the_model_stores(family: str) -> None:
    model = tiny.model(family)
    filled = batching.prefill(model, [[5, 6, 7, 8], [9, 10, 11]], tiny.PAD).cache
    stored = sum(t.numel() * t.element_size() for layer in filled.layers for t in (layer.keys, layer.values))
    assert stored == 2 * 4 * cache.bytes_per_token(model)


def test_batch_is_fitted_to_the_hosts_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.language_model("llama")
    expected = lm.generate(TEXTS, 4)
    sizes: list[int] = []
    real = lm_module.greedy

    def watched(model: object, rows: list[list[int]], *args: object) -> object:
        sizes.append(len(rows))
        return real(model, rows, *args)

    tokens = max(map(len, lm.encode(TEXTS))) + 4
    monkeypatch.setattr(lm_module, "greedy", watched)
    row = tokens * cache.bytes_per_token(lm.model) + cache.logit_bytes(lm.model)
    monkeypatch.setattr(lm_module, "available_memory", lambda device: 3 * 3 * row + 1)
    assert lm.generate(TEXTS, 4) == expected
    assert sizes == [3, 3, 2] and lm.batch_size == 128


def test_a_large_vocabulary_takes_smaller_batches() -> None:
    model = tiny.model("llama")
    few, many = model.config.vocab_size, 150_000
    cached = 100 * cache.bytes_per_token(model)
    room = 3 * 8 * (cached + 10 * few * 12)
    assert cache.rows_that_fit(model, 100, room, kept=10) == 8
    model.config.vocab_size = many
    assert cache.rows_that_fit(model, 100, 3 * 8 * (cached + 10 * many * 12), kept=10) == 8
    assert cache.rows_that_fit(model, 100, room, kept=10) == 1


def direct(lm: LanguageModel, text: str, target: str) -> tuple[list[int], float, float]:
    """Teacher forcing written out: every position of the joint text, no batch, no cache."""
    prompt, whole = lm.encode([text])[0], lm.encode([f"{text} {target}"])[0]
    assert whole[: len(prompt)] == prompt
    logits = lm.model(torch.tensor([whole])).logits[0]
    target_ids = whole[len(prompt) :]
    at = logits[len(prompt) - 1 : -1]
    logprob = at.log_softmax(-1)[range(len(target_ids)), target_ids].sum().item()
    best = at.argmax(-1).tolist()
    return best, sum(a == b for a, b in zip(best, target_ids, strict=True)) / len(target_ids), logprob


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "opt"])
@pytest.mark.parametrize("style", ["byte", "metaspace"])
def test_force_equals_direct_computation(family: str, style: str) -> None:
    lm = tiny.language_model(family, style=style, begin=True)
    texts = [text for text in TEXTS if text]
    targets = ["Karn", "Solthaven", "Solt, who lives in Karn", "of Varnburg", "Tarek Olm", "Paris", "none"]
    for text, target, got in zip(texts, targets, lm.force(texts, targets), strict=True):
        best, share, logprob = direct(lm, text, target)
        assert got.text == lm.decode(best)
        assert got.share == pytest.approx(share)
        assert got.logprob == pytest.approx(logprob, abs=2e-3)
        assert got.tokens == len(best)


def test_force_finds_the_models_own_answer() -> None:
    lm = tiny.language_model("llama")
    text = "The capital of Ostrik is"
    ids = lm.encode([text])[0]
    pair = lm.encode_pairs([text], ["Karn"])[0]
    own = SimpleNamespace(ids=alone(lm, text, 3))
    assert pair.ids[: pair.start] == ids
    with torch.no_grad():
        rows = [[*ids, *own.ids]]
        from runner.models.force import score_targets

        scored = score_targets(lm.model, rows, [3], tiny.PAD, "cpu")[0]
    assert scored.ids == own.ids and scored.share == 1.0


def test_empty_target_is_refused() -> None:
    with pytest.raises(UserError, match="empty target"):
        tiny.language_model().force(["The capital is"], [" "])
