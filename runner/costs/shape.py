"""A model's shape: how many values lie where, from its configuration alone, without weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from runner.errors import UserError, user_path

CONFIGS = Path(__file__).with_name("shapes.yaml")
# How many characters of English a token stands for: tokenizers of large vocabularies, and small ones.
CHARACTERS, CHARACTERS_SMALL, LARGE_VOCABULARY = 4.0, 2.6, 16_000


@dataclass(frozen=True)
class Shape:
    """Counts of values, without their size in bytes.

    n_values: all parameters, shared ones once. active: those that one token passes, fewer in a mixture of experts.
    block: of one block (mean); block_active likewise. hidden, width: of the residual stream, of an MLP's inside (None:
    no single one). vocabulary: of the output embedding. cached: keys and values of one token, all layers. maps: (in,
    out) of the linear maps of one MLP. attended: (in, out) of the projections that adapters stand beside, of one block.
    bare: the model itself without weights (on the "meta" device), which methods may ask for their layers.
    """

    n_values: int
    active: int
    block: int
    block_active: int
    n_layers: int
    hidden: int
    width: int | None
    vocabulary: int
    cached: int
    maps: tuple[tuple[int, int], ...]
    attended: tuple[tuple[int, int], ...]
    bare: Any

    @property
    def down(self) -> int:
        """Values of one MLP down-projection; of a mixture of experts, of all its experts' together."""
        if self.width is not None:
            return self.hidden * self.width
        return max((p.numel() for p in self.bare.model.parameters() if p.dim() == 3), default=0)

    def tokens(self, characters: float) -> float:
        """How many tokens so many characters of English make, roughly."""
        return characters / (CHARACTERS if self.vocabulary >= LARGE_VOCABULARY else CHARACTERS_SMALL)


class Bare:
    """What stands in for a loaded model where only its shape is asked for."""

    def __init__(self, model: Any, name: str, path: str = "") -> None:
        from runner.models.structure import discover

        self.model, self.name, self.path, self.hash = model, name, path, ""
        self.structure = discover(model, check=False)


def shape_of(spec: str) -> Shape:
    """The shape of a model by name: an alias, a folder (its config.json is enough), or a Hub id.

    A Hub id is looked up in the local cache, then in `shapes.yaml`, then its config.json alone is fetched.
    Raises UserError where none of these knows it, and for a configuration that makes no model.
    """
    return _shape(spec, json.dumps(config_of(spec), sort_keys=True))


def config_of(spec: str) -> dict[str, Any]:
    """The configuration of a model that need not be here. Raises UserError."""
    from runner.models.files import ALIASES, is_hub_name, read_config, resolve

    if spec in ALIASES or user_path(spec).exists() or not is_hub_name(spec):
        return read_config(resolve(spec))
    return _cached(spec) or dict(known().get(spec, {}).get("config", {})) or _fetched(spec)


@lru_cache(maxsize=1)
def known() -> Mapping[str, Any]:
    """The models of `shapes.yaml` by Hub id."""
    import yaml

    content: dict[str, Any] = yaml.safe_load(CONFIGS.read_text(encoding="utf-8"))
    return content


def _cached(spec: str) -> dict[str, Any] | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    from runner.models.files import read_config

    try:
        found = try_to_load_from_cache(spec, "config.json")
    except HFValidationError:  # it has characters that no Hub id has
        return None
    return read_config(Path(found).parent) if isinstance(found, str) else None


def _fetched(spec: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    from runner.models.files import read_config

    try:
        return read_config(Path(hf_hub_download(spec, "config.json")).parent)
    except UserError:
        raise
    except Exception as error:  # the hub client has several kinds of "not there"
        raise UserError(
            f"nothing is known about the model '{spec}': it is not on this machine, and the Hugging Face Hub did not "
            f"give its config.json ({type(error).__name__}); check the spelling, or name a folder that holds one."
        ) from error


@lru_cache(maxsize=16)
def _shape(spec: str, config_json: str) -> Shape:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from runner.methods.lora import FUSED, QUERY_VALUE
    from runner.methods.mend_net import mlp_maps

    settings: dict[str, Any] = json.loads(config_json)
    try:
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # a configuration can be wrong in any way, and so can the code that reads it
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise UserError(f"no model can be made of the configuration of '{spec}': {said}.") from error
    bare = Bare(model, spec)
    structure = bare.structure
    text = config.get_text_config()
    blocks = [_count(block, text) for block in structure.blocks]
    whole = _count(model, text)
    head: Any = structure.head.weight
    width = None
    if structure.mlp_outs:
        out = structure.mlp_out(0)
        width = int(out.weight.shape[0 if out.transposed else 1])
    shapes = {name: tuple(module.weight.shape) for name, module in structure.blocks[0].named_modules()
              if isinstance(getattr(module, "weight", None), torch.Tensor) and module.weight.dim() == 2}  # fmt: skip
    chosen = [v for k, v in shapes.items() if k.rpartition(".")[2] in QUERY_VALUE]
    chosen = chosen or [v for k, v in shapes.items() if k.rpartition(".")[2] in FUSED]
    return Shape(
        n_values=whole[0],
        active=whole[1],
        block=sum(b[0] for b in blocks) // len(blocks),
        block_active=sum(b[1] for b in blocks) // len(blocks),
        n_layers=structure.n_layers,
        hidden=structure.hidden_size,
        width=width,
        vocabulary=int(head.shape[0]),
        cached=_cached_values(text),
        maps=tuple(linear.shape for linear in mlp_maps(structure, model, [0])) if structure.mlp_outs else (),
        attended=tuple((int(a), int(b)) for a, b in chosen),
        bare=bare,
    )


def _count(module: Any, text: Any) -> tuple[int, int]:
    """Parameters of a module, and those that one token passes."""
    parameters = {id(p): p for p in module.parameters()}.values()
    experts = getattr(text, "num_local_experts", None) or getattr(text, "num_experts", None) or 1
    used = getattr(text, "num_experts_per_tok", None) or 1
    every = sum(p.numel() for p in parameters)
    fused = sum(p.numel() for p in parameters if p.dim() == 3)
    return every, int(every - fused * (1 - min(1.0, used / experts)))


def _cached_values(text: Any) -> int:
    heads = getattr(text, "num_key_value_heads", None) or getattr(text, "num_attention_heads", None) or 0
    size = getattr(text, "head_dim", None) or (text.hidden_size // heads if heads else 0)
    if getattr(text, "num_attention_heads", None) and not getattr(text, "head_dim", None):
        size = text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * size)
