"""Where the parts of a decoder-only model are: its blocks, and each block's attention and MLP output projections.

Parts are found by their place (the one list of equal blocks; a linear map back to the hidden size) and by the handful
of attribute names the families use for them, so a new family usually needs nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from runner.errors import UserError

ATTENTION = ("self_attn", "self_attention", "attention", "attn", "attn1")
# What mixes tokens in place of attention: state spaces (Mamba), linear attention.
MIXERS = (*ATTENTION, "mixer", "mamba", "linear_attn")
MLP_OUT = ("down_proj", "c_proj", "fc_out", "dense_4h_to_h", "fc2", "w2", "proj_down", "ff_out")
ATTENTION_OUT = ("o_proj", "out_proj", "c_proj", "dense", "wo", "proj_out", "attn_out")
# Of a norm between the MLP's output and the stream (Gemma 2 and 3; OLMo 2, which has it alone).
NORM_AFTER = ("post_feedforward_layernorm", "post_mlp_layernorm")
FINAL_NORM = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "final_norm", "norm_f")


class Projection(NamedTuple):
    """A linear map whose output is added to the residual stream.

    module: the `nn.Linear` or `Conv1D`; name: the full parameter name of its weight, "….weight";
    transposed: True when the weight is stored [in, out] (Conv1D of GPT-2), False for [out, in].
    """

    module: nn.Module
    name: str
    transposed: bool

    @property
    def weight(self) -> nn.Parameter:
        """The weight itself."""
        weight = self.module.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @property
    def module_name(self) -> str:
        """The module's full name, without ".weight"."""
        return self.name.removesuffix(".weight")


@dataclass(frozen=True)
class Structure:
    """The parts of one loaded model. Layers count from 0.

    family: the name transformers knows the architecture by.
    blocks, block_names: the blocks in order and their full module names. A block's output is the residual stream, shape
        [batch, tokens, hidden_size].
    head: the output embedding (logits); final_norm: the norm before it; embed: the input embedding.
    mlps: per layer the module whose output (its first tensor) is the MLP's; it is the down-projection itself, but for a
        mixture of experts the whole mixture.
    mlp_outs: the down-projections; empty for a mixture of experts. In a family without MLPs (Mamba) the mixer's output
        projection stands for it: the one linear map of a block whose output is added to the stream (arXiv 2404.03646).
    attn_outs: the attentions' output projections; empty in a family without attention.
    mlp_weights: per layer the full name of the parameter that holds the down-projection, of all experts when fused.
    norm_after: the family puts a norm between the MLP's output and the stream.
    """

    family: str
    n_layers: int
    hidden_size: int
    blocks: list[nn.Module]
    block_names: list[str]
    head: nn.Module
    head_name: str
    final_norm: nn.Module
    final_norm_name: str
    embed: nn.Module
    embed_name: str
    mlps: tuple[nn.Module, ...]
    mlp_outs: tuple[Projection, ...]
    attn_outs: tuple[Projection, ...]
    mlp_weights: tuple[str, ...]
    norm_after: bool

    def mlp_out(self, layer: int) -> Projection:
        """The MLP down-projection of a layer: its input is a key, its output the value added to the stream.

        Raises UserError for a mixture of experts: a token's key is there spread over all experts, and their second
        moments are as wide as all of them together.
        """
        self.check_layer(layer)
        if not self.mlp_outs:
            raise UserError(
                f"models of the family '{self.family}' have no single MLP down-projection per layer (a mixture of "
                "experts), which this method needs; take one that trains weights or leaves them alone, such as FT-M or "
                "SCR."
            )
        return self.mlp_outs[layer]

    def mlp_weight(self, layer: int) -> str:
        """The name of the parameter that holds a layer's down-projection: [hidden, width] or transposed, or of a
        mixture of experts the fused one, [experts, ...]."""
        return self.mlp_weights[self.check_layer(layer)]

    def attn_out(self, layer: int) -> Projection:
        """The attention output projection of a layer. Raises UserError for a family without attention."""
        self.check_layer(layer)
        if not self.attn_outs:
            raise UserError(f"models of the family '{self.family}' have no attention, which this method needs.")
        return self.attn_outs[layer]

    def check_layer(self, layer: int) -> int:
        """The layer itself, or UserError when the model has no such layer."""
        if not 0 <= layer < self.n_layers:
            raise UserError(f"layer {layer} does not exist: this model has layers 0 to {self.n_layers - 1}.")
        return layer

    def depth(self, share: float) -> int:
        """The layer at a relative depth: 0 is the first layer, anything near 1 the last (floor of share x n_layers)."""
        return min(self.n_layers - 1, max(0, int(share * self.n_layers)))


WITHOUT_WEIGHTS = "methods that leave the weights alone still work (none, ICE, IKE, SCR)"


def check_editable(model: Any) -> None:
    """Raise UserError for a model whose weights can't be changed by arithmetic: quantised or offloaded.

    Weights on several accelerators can; what needs them on one says so itself (`runner.models.sharding`).
    """
    settings = getattr(model.config, "quantization_config", None)
    odd = any(not p.is_floating_point() or p.element_size() < 2 for p in model.parameters())
    if settings or odd:
        said = settings.get("quant_method") if isinstance(settings, dict) else getattr(settings, "quant_method", None)
        kind = getattr(said, "value", said) or "values of less than two bytes"
        raise UserError(
            f"this model's weights are quantised ({kind}), so no edit can be added to them; load it unquantised, in "
            f"bfloat16 if memory is short; {WITHOUT_WEIGHTS}."
        )
    places = {str(p.device) for p in model.parameters()}
    if "meta" in places:
        shown = ", ".join("disk or CPU (offloaded)" if place == "meta" else place for place in sorted(places))
        raise UserError(
            f"this model's weights are spread over several places ({shown}), and an edit needs them on one device; "
            f"load it on one, in bfloat16 if memory is short; {WITHOUT_WEIGHTS}."
        )


def discover(model: Any, check: bool = True) -> Structure:
    """Find the parts of a causal language model. check: its weights are to be edited, and not only counted.

    Raises UserError (one sentence) for a family it cannot serve and for weights that can't be edited
    (`check_editable`).
    """
    if check:
        check_editable(model)
    family = getattr(model.config, "model_type", type(model).__name__)
    config = model.config.get_text_config()
    hidden = int(config.hidden_size)
    names = {id(module): name for name, module in model.named_modules()}
    list_name, blocks = _block_list(model, int(config.num_hidden_layers), family)
    parent = model.get_submodule(list_name.rpartition(".")[0])
    norm_name = next((n for n in FINAL_NORM if isinstance(getattr(parent, n, None), nn.Module)), None)
    head, embed = model.get_output_embeddings(), model.get_input_embeddings()
    if norm_name is None or head is None or embed is None:
        raise UserError(f"models of the family '{family}' cannot be edited here: no final norm or no output embedding.")
    block_names = [f"{list_name}.{i}" for i in range(len(blocks))]
    parts = [_parts(block, name, hidden, family) for block, name in zip(blocks, block_names, strict=True)]
    mlp_outs = [part.mlp_out for part in parts if part.mlp_out is not None]
    attn_outs = [part.attn_out for part in parts if part.attn_out is not None]
    return Structure(
        family=family,
        n_layers=len(blocks),
        hidden_size=hidden,
        blocks=list(blocks),
        block_names=block_names,
        head=head,
        head_name=names[id(head)],
        final_norm=getattr(parent, norm_name),
        final_norm_name=names[id(getattr(parent, norm_name))],
        embed=embed,
        embed_name=names[id(embed)],
        mlps=tuple(part.mlp for part in parts),
        mlp_outs=tuple(mlp_outs) if len(mlp_outs) == len(parts) else (),
        attn_outs=tuple(attn_outs) if len(attn_outs) == len(parts) else (),
        mlp_weights=tuple(part.mlp_weight for part in parts),
        norm_after=any(name in NORM_AFTER for name, _ in blocks[0].named_children()),
    )


def _block_list(model: nn.Module, n_layers: int, family: str) -> tuple[str, nn.ModuleList]:
    """The outermost list of `n_layers` modules that each mix tokens."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and 0 < len(module) == n_layers:
            if all(any(child in MIXERS for child, _ in block.named_children()) for block in module):
                return name, module
    raise UserError(
        f"models of the family '{family}' cannot be edited here: no list of {n_layers} attention blocks was found."
    )


class _Parts(NamedTuple):
    """One block's parts; see `Structure`."""

    mlp: nn.Module
    mlp_weight: str
    mlp_out: Projection | None
    attn_out: Projection | None


def _parts(block: nn.Module, name: str, hidden: int, family: str) -> _Parts:
    """Raises UserError unless the block has at most one projection of each kind and something to edit."""
    inside = _projections(block, name, hidden, mixer=True)
    outside = _projections(block, name, hidden, mixer=False)
    experts = _fused_experts(block, name, hidden)
    if len(inside) > 1 or len(outside) > 1 or not (inside or outside):
        part, many = ("attention output projection", inside) if len(inside) > 1 else ("MLP down-projection", outside)
        raise UserError(
            f"models of the family '{family}' cannot be edited here: "
            f"exactly one {part} is needed in {name}, found {len(many) or 'none'}."
        )
    if experts is not None:
        return _Parts(experts[0], experts[1], None, inside[0] if inside else None)
    attends = any(child in ATTENTION for child, _ in block.named_children())
    if outside:
        return _Parts(outside[0].module, outside[0].name, outside[0], inside[0] if inside and attends else None)
    if not attends:
        return _Parts(inside[0].module, inside[0].name, inside[0], None)
    raise UserError(
        f"models of the family '{family}' cannot be edited here: "
        f"exactly one MLP down-projection is needed in {name}, found none."
    )


def _projections(block: nn.Module, block_name: str, hidden: int, *, mixer: bool) -> list[Projection]:
    """The block's linear maps back to the hidden size, inside or outside what mixes its tokens."""
    wanted = ATTENTION_OUT if mixer else MLP_OUT
    found: list[Projection] = []
    for name, module in block.named_modules():
        path = name.split(".")
        if path[-1] not in wanted or (path[0] in MIXERS) != mixer:
            continue
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() != 2:
            continue
        transposed = not isinstance(module, nn.Linear)
        if weight.shape[1 if transposed else 0] == hidden:
            found.append(Projection(module, f"{block_name}.{name}.weight", transposed))
    return found


def _fused_experts(block: nn.Module, block_name: str, hidden: int) -> tuple[nn.Module, str] | None:
    """A mixture of experts whose down-projections are one parameter, [experts, ...]: the mixture, the parameter."""
    for name, parameter in block.named_parameters():
        path = name.split(".")
        if path[-1] in MLP_OUT and path[0] not in MIXERS and parameter.dim() == 3 and hidden in parameter.shape[1:]:
            return block.get_submodule(path[0]), f"{block_name}.{name}"
    return None
