"""A batch run in several passes says what one pass over all its rows says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from runner.models import batch as batching
from runner.models import cache
from runner.models.lm import LanguageModel
from runner.models.rows import Rows
from runner.protocol import get_protocol
from tests.methods.locate_edit_samples import EDITS
from tests.models import tiny
from tests.models.test_generation import TEXTS, end_early

WHOLE, CUT = {True: (10**9, 10**9)}, {True: (1, 40)}
UNEQUAL = [*TEXTS, "The mayor of Karn is Tarek Olm, who lives in Varnburg. " * 6, "Q: hello\nA:", "a"]
TARGETS = ["Mira Solt", "", "Rome", "the quick brown fox of Karn", "o", "Varnburg", "Olm", "", "Karn", "Rome", "Solt"]
JOINS = ["llama", "gpt2", "opt"]
ONE_PASS = ["gemma3", "mamba"]  # a window or a state: rows of several passes can't go on as one batch


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Rows and columns of every pass of more than one token."""
    seen: list[tuple[int, ...]] = []
    real = batching.forward

    def counted(model: Any, ids: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(ids.shape))
        return real(model, ids, *args, **kwargs)

    monkeypatch.setattr(batching, "forward", counted)
    return seen


def everything(lm: LanguageModel, batch_size: int) -> tuple[list[Any], list[Any], list[float]]:
    """Answers free-running, and forced beside and apart: what must be equal, and the log probabilities."""
    asked = [i for i, target in enumerate(TARGETS) if target]
    chosen = [UNEQUAL[i] for i in asked], [TARGETS[i] for i in asked]
    with lm.remembering():
        free = lm.generate(UNEQUAL, 7, batch_size=batch_size, targets=TARGETS)
        forced = lm.force(*chosen, batch_size=batch_size)
    forced += lm.force(*chosen, batch_size=batch_size)
    return free, [(f.text, f.share, f.tokens, f.failed) for f in forced], [f.logprob for f in forced]


@pytest.mark.parametrize("family", [*JOINS, *ONE_PASS])
def test_several_passes_say_what_one_says(family: str, passes: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lm = end_early(tiny.language_model(family))
    lm.model.double()  # so that nothing but a mistake can make a difference
    for batch_size in (4, len(UNEQUAL)):
        monkeypatch.setattr(batching, "PASS_TOKENS", WHOLE)
        free, forced, logprobs = everything(lm, batch_size)
        passes.clear()
        monkeypatch.setattr(batching, "PASS_TOKENS", CUT)
        free_cut, forced_cut, logprobs_cut = everything(lm, batch_size)
        assert free_cut == free and forced_cut == forced
        assert logprobs_cut == pytest.approx(logprobs, rel=1e-6, abs=1e-5)
    whole_batches = [rows for rows, _ in passes if rows == len(UNEQUAL)]
    assert len(whole_batches) == (family in ONE_PASS)  # the last batch, asked freely
    assert any(1 < rows < 4 for rows, _ in passes)


def test_rounding_turns_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = end_early(tiny.language_model("llama"))
    monkeypatch.setattr(batching, "PASS_TOKENS", WHOLE)
    free, forced, logprobs = everything(lm, 8)
    monkeypatch.setattr(batching, "PASS_TOKENS", CUT)
    free_cut, forced_cut, logprobs_cut = everything(lm, 8)
    assert (free_cut, forced_cut) == (free, forced)
    assert logprobs_cut == pytest.approx(logprobs, rel=1e-5, abs=1e-4)
    assert everything(lm, 1)[:2] == (free, forced)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_was_run_in_pieces_is_one_batch(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model(family).double()
    rows = [[5, 6, 7], list(range(5, 35)), [9], [8, 9, 10, 11], list(range(9, 38))]
    monkeypatch.setattr(batching, "PASS_TOKENS", WHOLE)
    whole = batching.prefill(model, rows, tiny.PAD)
    monkeypatch.setattr(batching, "PASS_TOKENS", CUT)
    cut = batching.prefill(model, rows, tiny.PAD)
    assert torch.equal(cut.mask, whole.mask) and torch.equal(cut.lengths, whole.lengths)
    assert torch.allclose(cut.logits, whole.logits, atol=1e-9)
    stored = 0
    for layer, expected in zip(cut.cache.layers, whole.cache.layers, strict=True):
        for own, other in ((layer.keys, expected.keys), (layer.values, expected.values)):
            shown = whole.mask[:, None, :, None].expand_as(other) > 0
            assert torch.allclose(own[shown], other[shown], atol=1e-9)
            assert own.isfinite().all()  # padding too: what is masked still enters sums
            stored += own.numel() * own.element_size()
    assert stored == 5 * 30 * cache.bytes_per_token(model)


@pytest.mark.parametrize("name", ["GRACE", "WISE"])
def test_hooks_are_told_which_rows_a_pass_holds(
    name: str, tmp_path: Path, passes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.conformance.kit import sample_hparams
    from runner.methods import registry

    lm = tiny.language_model("llama")
    cls: Any = registry.get(name)
    method = cls(lm, get_protocol("wild", 4), sample_hparams(cls, tmp_path))
    prompts = [EDITS[0].prompt, "a", EDITS[1].prompt, "Who of all the people in the town is it that? " * 3, "Karn"]
    targets = [edit.target for edit in EDITS[:2]]
    said = []
    try:
        method.edit(EDITS[:2])
        for costs in (WHOLE, CUT):
            monkeypatch.setattr(batching, "PASS_TOKENS", costs)
            passes.clear()
            answers = method.answer(prompts)
            forced = method.force(prompts, [targets[0], "o", targets[1], "the quick brown fox", "Rome"])
            said.append((answers, [(f.text, f.share) for f in forced], [f.logprob for f in forced], len(passes)))
    finally:
        method.undo()
    (whole, forced_whole, logprobs_whole, few), (cut, forced_cut, logprobs_cut, many) = said
    assert few == 2 and many > 4
    for a, b in zip(whole, cut, strict=True):
        assert (a.text, a.tokens) == (b.text, b.tokens)
        for key, value in (a.consulted or {}).items():
            assert b.consulted is not None and b.consulted[key] == (
                pytest.approx(value, rel=1e-3, abs=1e-4) if isinstance(value, float) else value
            )
    assert forced_cut == forced_whole
    assert logprobs_cut == pytest.approx(logprobs_whole, rel=1e-5, abs=1e-4)


def test_rows_of_a_part_stand_at_its_right_end() -> None:
    rows = Rows()
    rows.begin([7, 8, 9, 4], [5, 2, 3, 4], [1, 0, 1, 2], "cpu")
    with rows.only([1, 2]):
        assert rows.inputs == [8, 9] and rows.starts is not None and rows.ends is not None
        assert (rows.starts.tolist(), rows.ends.tolist()) == ([1, 0], [2, 1])
    assert rows.inputs == [7, 8, 9, 4] and rows.starts is not None and rows.ends is not None
    assert (rows.starts.tolist(), rows.ends.tolist()) == ([0, 3, 2, 1], [3, 4, 3, 2])


def test_a_batch_is_cut_where_it_saves_more_than_passes_cost() -> None:
    assert batching.pieces([7], "cpu") == [[0]]
    assert batching.pieces([10] * 40, "cpu") == [list(range(40))]
    assert batching.pieces([12, 10, 11], "cpu") == [[0, 1, 2]]
    assert batching.pieces([300, 4, 290, 5], "cpu") == [[0, 2], [1, 3]]
    assert batching.pieces([300, 4, 290, 5], "cuda") == [[0, 1, 2, 3]]
    assert batching.pieces([9000, 4, 8900, 5], "cuda") == [[0, 2], [1, 3]]
    many = batching.pieces([50] * 100, "cpu")
    assert {len(piece) for piece in many} == {20} and sorted(sum(many, [])) == list(range(100))
    assert batching.pieces([5000, 6000], "cpu") == [[1], [0]]


def test_rows_share_the_beginning_that_saves_most() -> None:
    rows = [[1, 2, 3, 4, i, 7] for i in range(30)] + [[1, 2, 5, 5, i, 7, 8] for i in range(20)] + [[1, 3, 4, 9, 9, 9]]
    length, group = batching.beginnings(rows, 5, "cpu")
    assert (length, group) == (4, [0] * 30 + [1] * 20 + [2])
    assert batching.beginnings(rows, 3, "cpu") == (3, [0] * 30 + [1] * 20 + [2])
    assert batching.beginnings(rows, 5, "cuda")[0] == 0  # not worth a pass there
    assert batching.beginnings(rows[:10], 5, "cpu")[0] == 0  # saves 36 tokens
    assert batching.beginnings(rows[:1], 5, "cpu") == (0, [0])
    context = list(range(100, 140))
    assert batching.beginnings([[*context, 1], [*context, 2, 3]], 40, "cuda") == (40, [0, 0])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_different_beginnings_are_run_once_each(
    family: str, passes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = end_early(tiny.language_model(family))
    lm.model.double()
    begin = ["Q: Who is the mayor of ", "Q: Who leads the company "]
    texts = [begin[i % 2] + text for i, text in enumerate(TEXTS[:6])] + ["Q: Where is the mayor of Karn at home?\nA:"]
    targets = ["Mira Solt", "o", "Rome", "Varnburg", "Olm", "Karn", "of Varnburg"]

    def asked() -> list[Any]:
        with lm.remembering():
            free = lm.generate(texts, 7, targets=targets)
            beside = lm.force(texts, targets)
        forced = beside + lm.force(texts, targets)
        logprobs = [pytest.approx(f.logprob, rel=1e-6, abs=1e-5) for f in forced]
        return [free, [(f.text, f.share) for f in forced], logprobs]

    monkeypatch.setattr(batching, "PASS_TOKENS", WHOLE)
    expected = asked()
    assert [rows for rows, _ in passes] == [7, 7]
    passes.clear()
    monkeypatch.setattr(batching, "PASS_TOKENS", {True: (1, 10**9)})
    got = asked()
    assert got[:2] == expected[:2] and [x.expected for x in got[2]] == expected[2]
    heads, columns = passes[0]
    assert 2 <= heads < 7 and columns >= 3 and len(passes) > 4


def test_a_long_context_is_not_copied_once_more_for_little_padding(passes: list[Any]) -> None:
    model, tails = tiny.model("llama"), [[10 + i] * 4 for i in range(6)] + [[20 + i] * 30 for i in range(9)]
    batching.prefill(model, tails, tiny.PAD)
    assert passes == [(9, 30), (6, 4)]
    for context, expected in ((40, [(9, 30), (6, 4)]), (200, [(15, 30)])):
        passes.clear()
        made = batching.prefill(model, [[7] * context + tail for tail in tails], tiny.PAD)
        assert passes == [(1, context), *expected] and made.mask.shape == (15, context + 30)


def test_no_other_cut_at_the_same_costs_is_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PASS_TOKENS", {True: (16, 10**9)})
    lengths = [3, 30, 8, 8, 21, 5, 22, 9]

    def cost(parts: list[list[int]]) -> int:
        return sum(16 + len(part) * max(lengths[i] for i in part) for part in parts)

    order = sorted(range(8), key=lambda i: lengths[i])
    cuts = [[at for at in range(1, 8) if bits >> at & 1] for bits in range(0, 256, 2)]
    others = [[order[a:b] for a, b in zip([0, *cut], [*cut, 8], strict=True)] for cut in cuts]
    found = batching.pieces(lengths, "cpu")
    assert cost(found) == min(map(cost, others)) and len(found) > 1
