"""Weights of other kinds: half precision, tied, quantised, sharded: edited and undone, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runner.errors import UserError
from runner.methods import registry
from runner.models.hashing import hash_state
from runner.models.lm import LanguageModel
from runner.models.sharding import SHARDED, check_resident
from runner.protocol import get_protocol
from tests.methods.locate_edit_samples import EDITS, hparams
from tests.models import tiny

PROTOCOL = get_protocol("wild", 4)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["ROME", "FT-M"])
def test_half_precision_and_tied_embeddings(name: str, tmp_path: Path) -> None:
    model = tiny.model("gemma2")
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    lm = LanguageModel.load(str(tmp_path / "model"), device="cpu", dtype="bfloat16")
    assert lm.structure.head.weight.data_ptr() == lm.structure.embed.weight.data_ptr()
    before = hash_state(lm.model)
    settings = hparams(tmp_path, v_num_grad_steps=3) if name == "ROME" else {"steps": 2, "lr": 1e-2}
    method = registry.get(name)(lm, PROTOCOL, settings)
    weight = lm.model.get_parameter(lm.structure.mlp_weight(method.layer))
    original = weight.detach().clone()
    method.edit(EDITS[:1])
    assert weight.dtype == torch.bfloat16 and not weight.equal(original)
    method.undo()
    assert hash_state(lm.model) == before


def declared(model: nn.Module) -> None:
    model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_8bit": True}


def integers(model: nn.Module) -> None:
    projection = model.model.layers[0].mlp.down_proj
    projection.weight = nn.Parameter(projection.weight.detach().round().to(torch.int8), requires_grad=False)


@pytest.mark.parametrize(("quantise", "kind"), [(declared, "bitsandbytes"), (integers, "less than two bytes")])
@pytest.mark.parametrize("name", ["ROME", "MEMIT", "FT-M"])
def test_quantised_weights_are_not_edited(quantise, kind: str, name: str, tmp_path: Path) -> None:
    lm = tiny.language_model("llama")
    quantise(lm.model)
    with pytest.raises(UserError, match=f"quantised \\(.*{kind}.*SCR") as caught:
        registry.get(name)(lm, PROTOCOL, hparams(tmp_path) if name != "FT-M" else None).edit(EDITS[:1])
    assert "\n" not in str(caught.value) and ". " not in str(caught.value)


def test_a_quantised_model_is_asked_in_context() -> None:
    lm, same = tiny.language_model("llama"), tiny.language_model("llama")
    declared(lm.model)
    answers = []
    for one in (lm, same):
        method = registry.get("ICE")(one, PROTOCOL)
        method.edit(EDITS[:1])
        answers.append(method.answer([EDITS[0].prompt]))
    assert answers[0] == answers[1]


def test_weights_on_disk_answer_but_are_not_edited(tmp_path: Path) -> None:
    """A model that accelerate keeps partly on disk, as it does when several devices are too small."""
    pytest.importorskip("accelerate")
    from transformers import AutoModelForCausalLM

    whole = tiny.language_model("llama")
    whole.model.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    places = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    places |= {"model.rotary_emb": "cpu", "model.layers.1": "disk", "model.layers.2": "disk"}
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=places, offload_folder=str(tmp_path / "away"), dtype=torch.float32
    )
    lm = LanguageModel(model, tiny.tokenizer(), path=str(tmp_path / "model"))
    assert lm.generate(["The capital of", "a"], 4) == whole.generate(["The capital of", "a"], 4)
    with pytest.raises(UserError, match=r"spread over several places \(cpu, disk or CPU.*SCR") as caught:
        registry.get("ROME")(lm, PROTOCOL, hparams(tmp_path)).edit(EDITS[:1])
    assert "\n" not in str(caught.value)


def test_one_device_by_a_device_map_is_edited_as_always(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from transformers import AutoModelForCausalLM

    tiny.model("llama").save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", device_map={"": "cpu"}, dtype=torch.float32)
    lm = LanguageModel(model, tiny.tokenizer(), path=str(tmp_path / "model"))
    before = hash_state(lm.model)
    rome = registry.get("ROME")(lm, PROTOCOL, hparams(tmp_path, v_num_grad_steps=3))
    rome.edit(EDITS[:1])
    assert hash_state(lm.model) != before
    rome.undo()
    assert hash_state(lm.model) == before


def dealt_out() -> LanguageModel:
    """A model with accelerate's hooks on every block, as on several devices, though all of them are one here."""
    accelerate = pytest.importorskip("accelerate")
    lm = tiny.language_model("llama")
    places = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    places |= {f"model.layers.{i}": "cpu" for i in range(3)}
    accelerate.dispatch_model(lm.model, places, main_device="cpu", force_hooks=True)
    return lm


@pytest.mark.parametrize("name", ["LocFT-BF", "retrain", "ICE"])
def test_methods_that_edit_a_model_on_several_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one real device here: shown is that accelerate's hooks change nothing and that nothing is refused."""
    monkeypatch.setattr("runner.models.sharding.places", lambda model: ["cuda:0", "cuda:1"])
    settings = {key: 3 for key in ("steps", "epochs") if key in registry.get(name).Hparams.model_fields}
    said = []
    for lm in (dealt_out(), tiny.language_model("llama")):
        before = hash_state(lm.model)
        method = registry.get(name)(lm, PROTOCOL, settings)
        method.edit(EDITS[:2])
        said.append(method.answer([edit.prompt for edit in EDITS]))
        assert (hash_state(lm.model) != before) == (name != "ICE")
        method.undo()
        assert hash_state(lm.model) == before
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "name", ["FT-M", "FT-L", "ROME", "MEMIT", "AlphaEdit", "MEND", "UltraEdit", "GRACE", "WISE", "LoRA"]
)
def test_other_methods_refuse_a_model_on_several_devices(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("runner.models.sharding.places", lambda model: ["cuda:0", "cuda:1"])
    lm, cls = dealt_out(), registry.get(name)
    before = hash_state(lm.model)
    settings = hparams(tmp_path) | ({"steps": 0} if name == "MEND" else {})
    method = cls(lm, PROTOCOL, {k: v for k, v in settings.items() if k in cls.Hparams.model_fields})
    with pytest.raises(UserError, match=r"spread over several devices \(cuda:0, cuda:1\).*LocFT-BF.*SCR") as caught:
        method.edit(EDITS[:1])
    assert ". " not in str(caught.value) and hash_state(lm.model) == before


def test_sharded_needs_several_gpus_and_all_of_the_model_on_them() -> None:
    with pytest.raises(UserError, match="this machine has none"):
        LanguageModel.load("atlas", device=SHARDED)
    model = tiny.language_model("llama").model
    model.hf_device_map = {"model": 0, "lm_head": 1}
    check_resident(model, "m")
    model.hf_device_map["lm_head"] = "disk"
    with pytest.raises(UserError, match="parts of it would be on disk"):
        check_resident(model, "m")


def test_a_model_goes_from_its_folder_through_a_device_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to several devices, with one in their place."""
    from transformers import AutoModelForCausalLM

    tiny.model("llama").save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    whole = LanguageModel.load(str(tmp_path / "model"), device="cpu")
    load, asked = AutoModelForCausalLM.from_pretrained, {}

    def here(*arguments: Any, device_map: str, max_memory: dict[int, int], **options: Any) -> Any:
        asked.update(device_map=device_map, max_memory=max_memory)
        return load(*arguments, device_map={"": "cpu"}, **options)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (2**30, 2**31))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", here)
    monkeypatch.setattr("runner.models.sharding.check_resident", lambda model, name: None)
    lm = LanguageModel.load(str(tmp_path / "model"), device=SHARDED, dtype="float32")
    assert asked["device_map"] == "balanced" and set(asked["max_memory"]) == {0, 1}
    monkeypatch.undo()
    assert lm.generate(["The capital of"], 4) == whole.generate(["The capital of"], 4)
