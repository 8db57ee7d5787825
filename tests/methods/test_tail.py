"""Running only what a change reaches gives what the whole model gives."""

from __future__ import annotations

import pytest
import torch

from runner.methods.hooks import hidden, hooked
from runner.methods.subject import Row
from runner.methods.tail import Tail, before_mlp_out
from tests.models.tiny import CONFIGS, STATE_SPACES, language_model

ROWS = [Row([5, 6, 7, 8, 9, 10], 2, [3, 4]), Row([5, 9, 6, 7, 8, 9, 10], 3, [3, 4]), Row([5, 8, 9], 1, [])]


@pytest.mark.parametrize("family", [*CONFIGS, *STATE_SPACES])
def test_blocks_alone_equal_the_whole_model(family):
    lm = language_model(family)
    site, calls = lm.structure.mlp_out(1).module, []

    def change(module, args, output):
        return output.roll(len(calls), -1)

    logits = {}
    for plain in (True, False):
        tail = Tail(lm, ROWS, before_mlp_out(lm, 1), plain)
        calls.clear()
        with torch.no_grad(), hooked(site, change):
            logits[plain] = []
            for _ in range(3):  # each pass with another change
                logits[plain].append(tail.logits())
                calls.append(0)
    for fast, slow in zip(logits[False], logits[True], strict=True):
        assert torch.allclose(fast, slow, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits[False][0], logits[False][2], rtol=1e-2)
    assert all("forward" not in vars(module) for module in lm.model.modules())


@pytest.mark.parametrize(("family", "whole_passes"), [("llama", 1), ("gemma2", 3)])
def test_a_family_that_does_more_than_its_blocks_is_run_whole(family, whole_passes):
    lm = language_model(family)  # Gemma 2 caps its logits after the head
    passes = []
    with torch.no_grad(), hooked(lm.model, lambda *_: passes.append(1)):
        tail = Tail(lm, ROWS, before_mlp_out(lm, 1))
        passes.clear()
        for _ in range(3):
            tail.logits()
    assert len(passes) == whole_passes


def test_a_pass_through_blocks_leaves_the_cache_as_it_was():
    lm = language_model("llama")
    tail = Tail(lm, ROWS, before_mlp_out(lm, 1))
    with torch.no_grad():
        first = [tail.logits() for _ in range(4)]
    assert all(torch.equal(first[0], other) for other in first[1:])
    seen = []
    with torch.no_grad(), hooked(lm.structure.blocks[2], lambda m, a, out: seen.append(hidden(out).shape)):
        tail.logits()
    assert seen == [(3, 4, 32)]
