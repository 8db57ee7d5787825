"""Running only what a change reaches gives what the whole model gives."""

from __future__ import annotations

import pytest
import torch

from runner.methods import tail as tail_module
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


@pytest.mark.parametrize("family", [*CONFIGS, *STATE_SPACES])
def test_the_last_mlp_on_the_asked_places_alone_changes_no_logit_and_no_gradient(family, monkeypatch):
    monkeypatch.setattr(tail_module, "WORTH", 1)
    lm = language_model(family)
    site, found, widths = lm.structure.mlp_out(1).module, {}, {}
    last = lm.model.get_submodule(lm.structure.mlp_out(2).module_name)
    for plain in (True, False):
        shift = torch.zeros(lm.structure.hidden_size, requires_grad=True)
        tail, seen = Tail(lm, ROWS, before_mlp_out(lm, 1), plain), []
        tail.logits()
        whole = last.forward

        def counted(states, whole=whole, seen=seen):
            seen.append(states.shape[:-1].numel())
            return whole(states)

        monkeypatch.setitem(vars(last), "forward", counted)
        with hooked(site, lambda module, args, output, shift=shift: output + shift):
            logits = tail.logits()
        monkeypatch.delitem(vars(last), "forward")
        (gradient,) = torch.autograd.grad(logits.square().sum(), shift)
        found[plain], widths[plain] = (logits, gradient), seen
    for fast, slow in zip(found[False], found[True], strict=True):
        assert (fast - slow).norm() <= 1e-5 * slow.norm() and slow.norm() > 0
    assert widths[True] == [tail.ids.numel()]
    if family in ("llama", "gpt2", "mistral", "qwen3"):
        assert widths[False] == [len(tail.rows)]


def test_a_hook_in_the_last_mlp_sees_every_token(monkeypatch):
    monkeypatch.setattr(tail_module, "WORTH", 1)
    lm, seen = language_model("llama"), []
    tail = Tail(lm, ROWS, before_mlp_out(lm, 1))
    with torch.no_grad():
        tail.logits()
        with hooked(lm.structure.mlp_out(2).module, lambda m, args, out: seen.append(out.shape[:-1].numel())):
            tail.logits()
    assert seen == [tail.ids.numel()]
