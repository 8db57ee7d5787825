"""UltraEdit: its rows, its normalisation, its closed form; one target token alone; undo."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from runner.errors import UserError
from runner.methods.supervised import edit_pair
from runner.methods.ultraedit import Lifelong, UltraEdit, token_loss
from runner.models.hashing import hash_state
from runner.protocol import get_protocol
from runner.types import Edit
from tests.models import tiny

PROTOCOL = get_protocol("wild", 8)
HPARAMS: dict[str, Any] = {"layers": [1, 2], "lr": 0.01, "batch_size": 2}


def edit(subject: str, target: str) -> Edit:
    return Edit(subject, f"Where does {subject} live?", target, None, f"{subject} lives in {target}.")


EDITS = [edit("Mira Solt", "Karn, Ostrik"), edit("Tarek Olm", "Varnburg"), edit("Paris", "Solthaven and Rome")]


def test_moments_are_those_of_the_reference_and_a_row_alone_is_a_number() -> None:
    torch.manual_seed(0)
    first, second, alone = torch.randn(4, 5) * 3 + 1, torch.randn(6, 5), torch.randn(1, 5)
    both = Lifelong(5, torch.device("cpu"))
    both.update(first)
    assert torch.allclose(both.normalise(first), (first - first.mean(0)) / (4 / 3 * first.var(0)).sqrt(), atol=1e-5)
    both.update(second)
    rows = torch.cat([first, second])
    between = ((first.mean(0) - second.mean(0)) ** 2) * 4 * 6 / 10
    expected = ((4 * first.var(0) + 6 * second.var(0) + between) / 9).sqrt()
    assert torch.allclose(both.normalise(second), (second - rows.mean(0)) / expected, atol=1e-5)
    spread = both.spread.clone()
    both.update(alone)
    assert torch.allclose(both.spread, spread + (alone[0] - rows.mean(0)) ** 2 * 10 / 11, atol=1e-4)
    fresh = Lifelong(5, torch.device("cpu"))
    fresh.update(alone)
    assert torch.allclose(fresh.normalise(alone), alone.sign(), atol=1e-4)
    fresh.update(second[:1])
    assert torch.allclose(fresh.normalise(alone).abs(), torch.full((1, 5), 0.5**0.5), atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_rows_are_the_target_tokens_gradient(family: str) -> None:
    lm = tiny.language_model(family)
    method = UltraEdit(lm, PROTOCOL, {**HPARAMS, "batch_size": 10})
    pairs = [edit_pair(lm, PROTOCOL, one) for one in EDITS]
    rows = method.rows(method.maps(), pairs)
    n_targets = sum(len(pair.ids) - pair.start for pair in pairs)
    for linear, (states, gradients) in zip(method.maps(), rows, strict=True):
        assert states.shape == (n_targets, linear.shape[0]) and gradients.shape == (n_targets, linear.shape[1])
    # The last layer's output changes nothing but its own token's prediction: its rows make up the whole gradient.
    linear, (states, gradients) = method.maps()[-1], rows[-1]
    weight = lm.model.get_parameter(linear.name).requires_grad_(True)
    (whole,) = torch.autograd.grad(token_loss(lm, pairs), [weight])
    lm.model.requires_grad_(False)
    assert torch.allclose(states.T @ gradients, whole if linear.transposed else whole.T, atol=1e-6)


@pytest.mark.parametrize("n", [3, 40])
def test_the_update_is_the_ridge_solution_whichever_system_is_solved(n: int) -> None:
    torch.manual_seed(1)
    method = UltraEdit(tiny.language_model("llama"), PROTOCOL, HPARAMS)
    states, gradients = torch.randn(n, 20), torch.randn(n, 7)
    method.lifelong((20, 7)).update(torch.cat([states, gradients], -1))
    h, g = method.lifelong((20, 7)).normalise(torch.cat([states, gradients], -1)).split([20, 7], -1)
    values = -0.01 * (h**2).sum(-1, keepdim=True) * g
    expected = torch.linalg.solve(states.T @ states + torch.eye(20), states.T @ values).T
    assert torch.allclose(method.update((20, 7), states, gradients), expected, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_edits_help_and_undo_is_bit_identical(family: str) -> None:
    lm = tiny.language_model(family)
    before = hash_state(lm.model)
    method = UltraEdit(lm, PROTOCOL, HPARAMS)
    pairs = [edit_pair(lm, PROTOCOL, one) for one in EDITS]
    loss = float(token_loss(lm, pairs))
    method.edit(EDITS[:2])
    method.edit(EDITS[2:])
    assert float(token_loss(lm, pairs)) < loss
    changed = hash_state(lm.model)
    method.undo()
    assert hash_state(lm.model) == before
    method.edit(EDITS[:2])
    method.edit(EDITS[2:])
    assert hash_state(lm.model) == changed


def test_one_token_alone_makes_a_finite_change() -> None:
    lm = tiny.language_model("llama")
    method = UltraEdit(lm, PROTOCOL, HPARAMS)
    one = edit("Ostrik", "Karn")
    pair = edit_pair(lm, PROTOCOL, one)
    assert len(pair.ids) - pair.start == 1
    loss = float(token_loss(lm, [pair]))
    method.edit([one])
    assert float(token_loss(lm, [pair])) < loss
    once = hash_state(lm.model)
    method.edit([edit("Ostrik", "Rome")])
    assert hash_state(lm.model) != once
    assert all(bool(parameter.isfinite().all()) for parameter in lm.model.parameters())


def test_named_maps_are_edited_and_share_a_normalisation_by_shape() -> None:
    lm = tiny.language_model("llama")
    names = ["model.layers.0.mlp.gate_proj", "model.layers.2.mlp.up_proj"]
    method = UltraEdit(lm, PROTOCOL, {"modules": names, "lr": 0.01})
    method.edit(EDITS)
    assert set(method.touched()) == {f"{name}.weight" for name in names}
    (shared,) = method._lifelong.values()
    assert shared.count == 2 * sum(len(p.ids) - p.start for p in (edit_pair(lm, PROTOCOL, e) for e in EDITS))
    method.undo()
    assert method._lifelong == {}
    with pytest.raises(UserError, match="no linear map 'mlp'; one is 'model.layers.0.mlp.down_proj'"):
        UltraEdit(lm, PROTOCOL, {"modules": ["mlp"]}).edit(EDITS)
