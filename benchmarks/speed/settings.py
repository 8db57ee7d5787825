"""Our hyperparameters by the names EasyEdit's editors give them, so that both sides do the same work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Method -> hyperparameters set on both sides because EasyEdit's code knows no other.
OURS: dict[str, dict[str, Any]] = {
    "LoRA": {"min_loss": 0.0},  # it makes all its steps, however small the loss
    "FT-L": {"min_loss": 1e-2},  # built into its code
    "FT-M": {"min_loss": 1e-2},
}
SAME = (
    "v_lr", "v_num_grad_steps", "v_weight_decay", "clamp_norm_factor", "kl_factor", "mom2_adjustment", "layers",
    "mom2_update_weight", "emmet_lambda", "nll_loss_factor", "nullspace_threshold", "lr", "weight_decay", "rank", "eps",
    "edit_lr", "n_iter", "val_init", "eps_expand", "mask_ratio", "act_ratio", "save_freq", "merge_freq", "retrieve",
    "densities", "weights",
)  # fmt: skip
RENAMED = {"steps": "num_steps", "l2": "L2", "dropout": "lora_dropout", "alpha": "lora_alpha"}


def translate(ours: Mapping[str, Any], known: Mapping[str, Any], module: str) -> dict[str, Any]:
    """Settings of an editor.

    ours: our hyperparameters, resolved. known: the editor's settings as it ships, which say what it can be set to.
    module: the name of the layer's projection weight, in brackets.
    """
    found = {name: ours[name] for name in SAME if name in ours}
    found |= {theirs: ours[name] for name, theirs in RENAMED.items() if name in ours}
    if "layer" in ours:
        found |= {"layers": [ours["layer"]], "inner_params": [module]}
    if "norm_constraint" in ours:
        found["norm_constraint"] = ours["norm_constraint"] or False
    if "beta" in ours:
        found["act_margin"] = [ours["alpha"], ours["beta"], ours["gamma"]]
    if "lora_type" in known:
        found |= {"lora_type": "lora", "layers": []}
    if "context_template_length_params" in known:
        found["context_template_length_params"] = []  # both sides are given the same contexts
    return {name: _plain(value) for name, value in found.items() if name in known}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
