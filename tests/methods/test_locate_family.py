"""R-ROME, RECT, EMMET, PMET and AlphaEdit: what each adds to ROME or MEMIT, against plain formulas."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from runner.errors import UserError
from runner.methods import registry
from runner.methods.alphaedit import AlphaEdit
from runner.methods.emmet import Emmet
from runner.methods.hooks import at_subject, hidden, hooked
from runner.methods.memit import Memit
from runner.methods.moments import Moment
from runner.methods.pmet import Confident, Pmet
from runner.methods.r_rome import RRome
from runner.methods.rect import Rect, largest
from runner.methods.rome import Rome
from runner.methods.subject import essence, locate, tokenise
from runner.methods.value import Course, ValueHparams, optimise_value
from runner.models.hashing import hash_state
from runner.protocol import get_protocol
from tests.methods.locate_edit_samples import EDITS, TEMPLATES, hparams, taught, weight
from tests.models.tiny import language_model

PROTOCOL = get_protocol("wild")
SETTINGS = {
    "R-ROME": {"layer": 0},
    "RECT": {"layer": 0},
    "EMMET": {"layers": [0]},
    "PMET": {"layers": [0], **Pmet.sample_hparams},
    "AlphaEdit": {"layers": [0], **AlphaEdit.sample_hparams},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path / "cache"))


def moment(width: int = 24, layer: int = 0) -> Moment:
    """A moment whose directions are used very unequally."""
    torch.manual_seed(0)
    sample = torch.randn(500, width) * torch.logspace(-2, 1, width)
    return Moment(sample.T @ sample / 500, 500, layer)


@pytest.mark.parametrize("name", list(SETTINGS))
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_edits_take_effect_accumulate_and_are_undone_bit_for_bit(name, family, tmp_path):
    lm = taught(family)
    untouched, before = hash_state(lm.model), [weight(lm, layer) for layer in range(3)]
    method = registry.get(name)(lm, PROTOCOL, hparams(tmp_path, **SETTINGS[name]))
    prompts, targets = [e.prompt for e in EDITS[:2]], [e.target for e in EDITS[:2]]
    method.edit(EDITS[:1])
    first = weight(lm, 0)
    assert [f.share for f in method.force(prompts, targets)] == [1, 0]
    method.edit(EDITS[1:2])
    both = weight(lm, 0)
    assert [f.share for f in method.force(prompts, targets)] == [1, 1]
    assert not first.equal(before[0]) and not both.equal(first)
    assert weight(lm, 1).equal(before[1]) and weight(lm, 2).equal(before[2])
    method.undo()
    assert hash_state(lm.model) == untouched
    assert not method.edits and method.storage_bytes() == 0
    # Nothing of the sequence before is left: the same edits give the same weights, bit by bit.
    method.edit(EDITS[:1])
    assert weight(lm, 0).equal(first)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_r_rome_maps_the_averaged_key_to_the_value_and_rome_the_bare_one(family, tmp_path):
    lm = language_model(family)
    module, fact = lm.structure.mlp_out(1).module, locate(EDITS[1], PROTOCOL)
    for method, mended in ((RRome(lm, PROTOCOL, hparams(tmp_path, layer=1)), True), (Rome, False)):
        method = method if mended else Rome(lm, PROTOCOL, hparams(tmp_path, layer=1))
        value = optimise_value(lm, fact, TEMPLATES, 1, module, method.hparams)
        averaged, bare = value.keys.mean(0), value.keys[0]
        method.edit([EDITS[1]])
        with torch.no_grad():
            exact, other = (module(key) - value.target for key in ((averaged, bare) if mended else (bare, averaged)))
        assert exact.norm() < 1e-4 * value.target.norm() < other.norm()
        method.undo()


def test_rect_keeps_the_entries_that_change_relatively_most(tmp_path):
    lm = language_model("llama")
    before = weight(lm, 1)
    whole = Rome(lm, PROTOCOL, hparams(tmp_path, layer=1))
    whole.edit(EDITS[:1])
    change = weight(lm, 1) - before
    whole.undo()
    rect = Rect(lm, PROTOCOL, hparams(tmp_path, layer=1))
    rect.edit(EDITS[:1])
    kept = weight(lm, 1) - before
    n = kept.numel()
    assert torch.count_nonzero(kept) == n - int(0.8 * n)
    assert torch.allclose(kept[kept != 0], change[kept != 0])
    ratio = (change / before).abs()
    assert ratio[kept != 0].min() >= 0.999 * ratio[kept == 0].max()


def test_rect_counts_a_zero_weight_as_changed_without_bounds_and_always_keeps_an_entry():
    update, held = torch.tensor([[1.0, -2.0], [0.0, 4.0]]), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    assert largest(update, held, 0.5).tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert torch.count_nonzero(largest(update, held, 1e-9)) == 1
    assert largest(update, held, 1.0).equal(update)


def test_emmet_meets_its_constraints_exactly_and_is_memit_of_another_weight():
    lm, c = language_model("llama"), moment(48)
    keys, residual = torch.randn(48, 4), torch.randn(32, 4)
    exact = Emmet(lm, PROTOCOL, {"emmet_lambda": 0.0, "mom2_ridge": 0.0})
    update = exact.update(c, keys, residual)
    assert torch.allclose(update @ keys, residual, atol=1e-4)
    inverse, k = torch.linalg.inv(c.matrix.double()), keys.double()
    plain = residual.double() @ torch.linalg.inv(k.T @ inverse @ k) @ k.T @ inverse
    assert torch.allclose(update.double(), plain, rtol=1e-4, atol=1e-5)
    twice = exact.update(c, keys[:, [0, 0]], residual[:, :2])  # one subject, two values: their mean
    assert torch.allclose(twice @ keys[:, 0], residual[:, :2].mean(1), atol=1e-4)
    weighed = Emmet(lm, PROTOCOL, {"emmet_lambda": 0.5, "mom2_update_weight": 3.0})
    memit = Memit(lm, PROTOCOL, {"mom2_update_weight": 1.5})
    assert torch.allclose(weighed.update(c, keys, residual), memit.update(c, keys, residual), atol=1e-5)
    assert weighed.resolved_hparams()["mom2_update_weight"] == 3.0


def test_alphaedit_is_the_published_solution_and_leaves_used_directions_alone():
    lm, c = language_model("llama"), moment()
    method = AlphaEdit(lm, PROTOCOL, {"nullspace_threshold": 0.5, "l2": 2.0})
    keys, residual, past = torch.randn(24, 3), torch.randn(32, 3), torch.randn(24, 5).double()
    values, vectors = torch.linalg.eigh(c.matrix.double())
    quiet, used = vectors[:, values < 0.5], vectors[:, values >= 0.5]
    assert quiet.shape[1] and used.shape[1]
    p, k = quiet @ quiet.T, keys.double()
    method._past[0] = c.null_space(0.5).T @ past
    update = method.update(c, keys, residual).double()
    middle = past @ past.T @ p + k @ k.T @ p + 2 * torch.eye(24)
    assert torch.allclose(update, residual.double() @ k.T @ p @ torch.linalg.inv(middle), atol=1e-6)
    assert (update @ used).norm() < 1e-6 * update.norm()
    seen = method._past.pop(0)
    assert not torch.allclose(update, method.update(c, keys, residual).double(), rtol=1e-2)
    for key in seen.T:  # more keys than directions are kept as a sum, of a size of its own, and say the same
        method._keep(0, key[:, None])
    while 0 in method._past:
        method._keep(0, torch.zeros(len(seen), 1).double())
    assert torch.allclose(update, method.update(c, keys, residual).double(), atol=1e-6)
    kept = method.storage_bytes()
    method._keep(0, seen)
    assert method.storage_bytes() == kept == 8 * len(seen) ** 2


def test_alphaedit_remembers_keys_of_the_edited_model_and_undo_forgets_them(tmp_path):
    lm = language_model("llama")
    method = AlphaEdit(lm, PROTOCOL, hparams(tmp_path, layers=[0, 1], nullspace_threshold=1.0, l2=0.1))
    method.edit(EDITS[:2])
    method.edit(EDITS[2:])
    bare, rest = method.rows([locate(EDITS[2], PROTOCOL)])
    for layer in (0, 1):
        basis = method.prepare_moments([0, 1])[layer].null_space(1.0)
        assert method._past[layer].shape == (basis.shape[1], 3)
        assert torch.allclose(method._past[layer][:, 2:], basis.T @ method.keys(layer, bare, rest).double(), atol=1e-6)
    assert method.storage_bytes() > sum(weight(lm, layer).numel() * 4 for layer in (0, 1))
    method.undo()
    assert not method._past and method.storage_bytes() == 0
    method.edit([])
    assert not method._past


def test_a_null_space_is_orthonormal_and_a_model_without_one_is_refused():
    c = moment()
    basis = c.null_space(0.5)
    assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1], dtype=torch.float64), atol=1e-10)
    assert c.null_space(0.5) is basis
    with pytest.raises(UserError, match="no direction of layer 0"):
        c.null_space(1e-9)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_two_values_found_together_equal_a_plain_optimisation(family):
    lm = language_model(family)
    fact, h = locate(EDITS[2], PROTOCOL), ValueHparams(v_num_grad_steps=4, clamp_norm_factor=3.0, v_weight_decay=0.5)
    sites = [lm.structure.mlp_out(1).module, lm.structure.attn_out(1).module]
    rows = [tokenise(lm, fact.inside(t)) for t in TEMPLATES] + [tokenise(lm, essence(fact))]
    deltas = [torch.zeros(lm.structure.hidden_size, requires_grad=True) for _ in sites]
    first: dict[int, torch.Tensor] = {}

    def add(index, at, module, args, output):
        state = hidden(output).reshape(1, -1, lm.structure.hidden_size)
        first.setdefault(index, state[0, at].detach().clone())
        place = torch.nn.functional.one_hot(torch.tensor(at), state.shape[1])
        state = (state + place[None, :, None] * deltas[index]).reshape(hidden(output).shape)
        return (state, *output[1:]) if isinstance(output, tuple) else state

    optimiser, before = torch.optim.Adam(deltas, lr=h.v_lr or 0.5), None
    for step in range(h.v_num_grad_steps):
        likelihoods = []
        for row in rows:
            hooks = [hooked(site, partial(add, index, row.at)) for index, site in enumerate(sites)]
            with hooks[0], hooks[1], torch.enable_grad():
                logp = lm.model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].log_softmax(-1)
                start = len(row.ids) - len(row.targets)
                if row.targets:
                    likelihoods.append(torch.stack([logp[start + j, t] for j, t in enumerate(row.targets)]).mean())
        now = logp[rows[-1].at]
        before = now.detach() if before is None else before
        decay = sum(delta.norm() / first[index].norm() ** 2 for index, delta in enumerate(deltas))
        divergence = (now.exp() * (now - before)).sum()
        loss = -torch.stack(likelihoods).mean() + h.kl_factor * divergence + h.v_weight_decay * decay
        if step == h.v_num_grad_steps - 1:
            break
        for delta, gradient in zip(deltas, torch.autograd.grad(loss, deltas), strict=True):
            delta.grad = gradient
        optimiser.step()
        with torch.no_grad():
            for index, delta in enumerate(deltas):
                delta.mul_(min(1.0, float(3.0 * first[index].norm() / delta.norm())))
    value = optimise_value(lm, fact, TEMPLATES, 1, sites[0], h, beside=sites[1])
    assert value.loss == pytest.approx(loss.item(), rel=1e-5)
    assert (value.delta - deltas[0].detach()).norm() < 1e-4 * deltas[0].norm()
    assert torch.allclose(value.initial, first[0], atol=1e-5)


def test_pmet_lowers_the_likelihoods_weight_once_the_target_is_said():
    course = Confident(2.0)
    assert course.enough(0.01, 1.0, lambda: False)
    assert not course.enough(1.0, 0.001, lambda: False) and course.factor == 2.0
    assert not course.enough(1.0, 0.5, lambda: True) and course.factor == 0.2
    assert not course.enough(1.0, 0.5, lambda: False) and course.factor == 2.0
    assert course.enough(1.0, 0.001, lambda: True)
    assert not Course().enough(1.0, 0.0, lambda: True) and Course().factor == 1.0


def test_pmet_spreads_by_the_root_of_the_layers_left_and_reads_the_mlp(tmp_path, monkeypatch):
    lm = language_model("llama")
    pmet = Pmet(lm, PROTOCOL, hparams(tmp_path, layers=[0, 1], v_num_grad_steps=3))
    fact, site = locate(EDITS[0], PROTOCOL), lm.structure.mlp_out(1).module
    wanted = pmet.values([fact])[0].target
    (now,) = at_subject(lm, [tokenise(lm, fact)], 1, outputs_of=[site])
    seen = []
    monkeypatch.setattr(pmet, "update", lambda m, k, r: seen.append(r) or torch.zeros(32, 48))
    pmet.edit(EDITS[:1])
    for residual, share in zip(seen, (math.sqrt(2), 1), strict=True):
        assert torch.allclose(residual[:, 0], (wanted - now[0]) / share, atol=1e-5)


@pytest.mark.parametrize("name,kin", [("R-ROME", "ROME"), ("RECT", "ROME"), ("PMET", "MEMIT"), ("AlphaEdit", "MEMIT")])
def test_a_models_settings_for_the_method_it_derives_from_stand_in(name, kin):
    lm = language_model("llama")
    key, value = ("layer", 2) if kin == "ROME" else ("layers", [1, 2])
    lm.model.config.editing = {kin: {key: value, "clamp_norm_factor": 7}}
    resolved = registry.get(name)(lm, PROTOCOL).resolved_hparams()
    assert resolved[key] == value and resolved["clamp_norm_factor"] == 7
    lm.model.config.editing[name] = {key: 0 if kin == "ROME" else [0], "clamp_norm_factor": 2}
    resolved = registry.get(name)(lm, PROTOCOL).resolved_hparams()
    assert resolved[key] in (0, [0]) and resolved["clamp_norm_factor"] == 2


def test_emmet_edits_romes_layer_unless_told_otherwise():
    lm = language_model("llama")
    lm.model.config.editing = {"ROME": {"layer": 2}}
    assert Emmet(lm, PROTOCOL).layers == [2]
    assert Emmet(lm, PROTOCOL, {"layers": [1, 0]}).layers == [0, 1]
    lm.model.config.editing["EMMET"] = {"layers": [1]}
    assert Emmet(lm, PROTOCOL).layers == [1]
