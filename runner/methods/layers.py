"""Which layers a method edits: the one rule that every layered method follows.

In this order: the numbers a user gives; with "located", what causal tracing found in this very model; what the model's
own configuration says; what the papers published for a model of this architecture and size; relative depth.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

from runner.errors import UserError

if TYPE_CHECKING:
    from runner.models.lm import LanguageModel

LOCATED = "located"

# Architecture, number of layers, hidden size, MLP width -> method -> layers published for it.
# Sources: the hyperparameter files of github.com/kmeng01/rome, kmeng01/memit, jianghoucheng/AlphaEdit, ICT-STAR/LocFT,
# XiaojieGu/UltraEdit and zjunlp/EasyEdit, and arXiv 2505.18690 for Llama-3.1-8B. Several models share a line when their
# sizes are the same.
PUBLISHED: dict[tuple[str, int, int, int], dict[str, tuple[int, ...]]] = {
    ("gpt2", 24, 1024, 4096): {"ROME": (8,), "FT-L": (0,)},
    ("gpt2", 36, 1280, 5120): {"ROME": (12,), "FT-L": (0,)},
    ("gpt2", 48, 1600, 6400): {
        "ROME": (17,), "MEMIT": (13, 14, 15, 16, 17), "AlphaEdit": (13, 14, 15, 16, 17), "FT-L": (0,), "GRACE": (35,),
        "MEND": (45, 46, 47),
    },
    ("gptj", 28, 4096, 16384): {
        "ROME": (5,), "MEMIT": (3, 4, 5, 6, 7, 8), "AlphaEdit": (3, 4, 5, 6, 7, 8), "PMET": (3, 4, 5, 6, 7, 8),
        "FT-L": (0,), "FT-M": (21,), "GRACE": (25,), "WISE": (21,), "MEND": (25, 26, 27),
        "UltraEdit": (18, 19, 20, 21, 22, 23, 24, 25, 26),
    },
    ("gpt_neox", 44, 6144, 24576): {"ROME": (15,)},
    ("llama", 32, 4096, 11008): {
        "ROME": (5,), "MEMIT": (4, 5, 6, 7, 8), "PMET": (4, 5, 6, 7, 8), "FT-L": (21,), "FT-M": (21,), "GRACE": (27,),
        "WISE": (27,), "MEND": (29, 30, 31),
    },
    ("llama", 32, 4096, 14336): {
        "ROME": (5,), "MEMIT": (4, 5, 6, 7, 8), "AlphaEdit": (4, 5, 6, 7, 8), "FT-L": (21,), "FT-M": (21,),
        "LocFT-BF": (22,), "GRACE": (27,), "WISE": (29,), "MEND": (29, 30, 31),
    },
    ("mistral", 32, 4096, 14336): {
        "ROME": (5,), "MEMIT": (4, 5, 6, 7, 8), "FT-L": (21,), "FT-M": (21,), "WISE": (27,), "MEND": (29, 30, 31),
        "UltraEdit": (29, 30),
    },
    ("phi3", 40, 5120, 17920): {"UltraEdit": (30, 31, 32, 33, 34, 35, 36, 37, 38)},
    ("qwen2", 28, 3584, 18944): {
        "ROME": (5,), "MEMIT": (4, 5, 6, 7, 8), "AlphaEdit": (4, 5, 6, 7, 8), "FT-L": (27,), "FT-M": (27,),
        "LocFT-BF": (6,), "GRACE": (18,), "WISE": (23,), "MEND": (25, 26, 27),
    },
}  # fmt: skip


def _one(value: Any) -> Any:
    if value is None or value == LOCATED or (type(value) is int and value >= 0):
        return value
    raise ValueError(f"should be a layer from 0 or '{LOCATED}'")


def _many(value: Any) -> Any:
    if value is None or value == LOCATED:
        return value
    if isinstance(value, (list, tuple)) and value and all(type(layer) is int and layer >= 0 for layer in value):
        return tuple(value)
    raise ValueError(f"should be a list of layers from 0 or '{LOCATED}'")


# Types of the hyperparameters `layer` and `layers`.
LayerChoice = Annotated[int | Literal["located"] | None, BeforeValidator(_one)]
LayersChoice = Annotated[tuple[int, ...] | Literal["located"] | None, BeforeValidator(_many)]
LAYER_HELP = "layer to edit, from 0, or 'located'; None: the model's configuration, published, else relative depth"
LAYERS_HELP = "layers to edit, from 0, or 'located'; None: the model's configuration, published, else relative depth"


def choose_layer(lm: LanguageModel, given: LayerChoice, depth: float, *names: str) -> int:
    """The one layer a method edits.

    given: the hyperparameter. depth: relative depth, 0 to 1, where nothing better is known. names: the method's name
    and those of methods whose layers stand in for its own, in order of preference.
    Raises UserError for a layer the model does not have and for "located" without a trace of this model.
    """
    structure = lm.structure
    if given == LOCATED:
        return structure.check_layer(located(lm)["layer"])
    if given is not None:
        return structure.check_layer(int(given))
    for name in names:
        own = configured(lm, name, "layer")
        if own is not None:
            return structure.check_layer(_number(own, name, "layer"))
    known = published(lm, *names)
    return known[0] if known else structure.depth(depth)


def choose_layers(lm: LanguageModel, given: LayersChoice, depths: tuple[float, float], *names: str) -> list[int]:
    """The layers a method edits, ascending. As `choose_layer`, with the relative depths of the first and the last."""
    structure = lm.structure
    if given == LOCATED:
        return sorted({structure.check_layer(layer) for layer in located(lm)["layers"]})
    chosen: Sequence[Any] | None = given if isinstance(given, tuple) else None
    for name in names:
        chosen = chosen or configured(lm, name, "layers")
    if chosen:
        if isinstance(chosen, str) or not isinstance(chosen, Sequence):
            raise UserError(f"the model's configuration names no list of layers for {names[0]}, but {chosen!r}.")
        return sorted({structure.check_layer(_number(layer, names[0], "layers")) for layer in chosen})
    known = published(lm, *names)
    if known:
        return list(known)
    return list(range(structure.depth(depths[0]), structure.depth(depths[1]) + 1))


def configured(lm: LanguageModel, method: str, key: str) -> Any:
    """What the model's own configuration says about a method's hyperparameter, else None.

    Whoever publishes a model can put what causal tracing or tuning found into its config.json, as in
    `"editing": {"ROME": {"layer": 2}, "MEMIT": {"layers": [1, 2, 3]}}`.
    """
    methods = getattr(lm.model.config, "editing", None)
    values = methods.get(method) if isinstance(methods, dict) else None
    return values.get(key) if isinstance(values, dict) else None


def published(lm: LanguageModel, *names: str) -> tuple[int, ...] | None:
    """The layers published for a model of this architecture and size, of the first method named that has any."""
    structure = lm.structure
    if not structure.mlp_outs:
        return None  # a mixture of experts; none of the papers' models is one
    projection = structure.mlp_out(0)
    width = int(projection.weight.shape[0 if projection.transposed else 1])
    config = lm.model.config.get_text_config()
    known = PUBLISHED.get((config.model_type, structure.n_layers, structure.hidden_size, width), {})
    return next((known[name] for name in names if name in known), None)


def located_file(model_hash: str) -> Path:
    """Where the result of causal tracing is kept for a model."""
    from runner.methods.moments import cache_folder

    return cache_folder() / "located" / f"{model_hash}.json"


def located(lm: LanguageModel) -> dict[str, Any]:
    """What causal tracing suggested for this model: "layer" (one) and "layers" (a window around it).

    Raises UserError with the command to run when this model has not been traced.
    """
    return read_located(lm.hash, lm.name)


def read_located(model_hash: str, name: str) -> dict[str, Any]:
    """As `located`, for a model that is not loaded."""
    try:
        found = json.loads(located_file(model_hash).read_text(encoding="utf-8"))
        return {**found, "layer": int(found["layer"]), "layers": [int(layer) for layer in found["layers"]]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"layers 'located' asks for a causal trace of the model '{name}', which has none yet; "
            f"run `python -m runner locate {name}` first."
        ) from error


def _number(value: Any, method: str, key: str) -> int:
    if type(value) is not int:
        raise UserError(f"{method}, {key}: {value!r} is not the number of a layer.")
    return value
