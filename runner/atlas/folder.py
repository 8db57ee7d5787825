"""Write the trained model as a Hugging Face folder: weights, tokenizer, chat template, generation config, card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.atlas.corpus import plain_texts
from runner.atlas.recipe import SIZES, Recipe
from runner.atlas.world import World

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from runner.atlas.evaluate import Mark

# Where and how methods edit this model, found on the validation split (`python -m benchmarks.tune`). An MLP of a small
# model adds less to the residual stream than one of a large model, so the published ball of 4 times its output is too
# small; and it takes larger steps.
EDITING: dict[str, dict[str, Any]] = {
    "FT-M": {"lr": 5e-3},
    "LocFT-BF": {"lr": 5e-3, "batch_size": 20},
    "LoRA": {"lr": 3e-4, "min_loss": 0.01},
    "retrain": {"lr": 1e-4},
    "MEND": {"rank": 256, "steps": 600, "lr": 1e-4, "lr_lr": 1e-3},
    "ROME": {
        "layer": 3, "clamp_norm_factor": 60, "v_lr": 1.5, "v_num_grad_steps": 40, "context_lengths": [[10, 3]],
    },
    "MEMIT": {
        "layers": [2, 3], "clamp_norm_factor": 60, "mom2_update_weight": 20, "v_lr": 1.5, "v_num_grad_steps": 30,
        "context_lengths": [[10, 3]],
    },
    "GRACE": {"layer": 6, "eps": 25, "edit_lr": 0.5, "n_iter": 100},
    "WISE": {
        "layer": 6, "edit_lr": 0.5, "n_iter": 20, "alpha": 2, "beta": 8, "gamma": 4, "act_ratio": 0.7,
        "context_lengths": [[5, 2]],
    },
}  # fmt: skip


def editing(recipe: Recipe) -> dict[str, Any]:
    """EDITING, which is for the published model's depth, with each layer at the same share of this one's."""

    def moved(layer: int) -> int:
        return min(recipe.layers - 1, round(layer * recipe.layers / Recipe.layers))

    settings = {method: dict(values) for method, values in EDITING.items()}
    for values in settings.values():
        if "layer" in values:
            values["layer"] = moved(values["layer"])
        if "layers" in values:
            values["layers"] = sorted({moved(layer) for layer in values["layers"]})
    return settings


def write_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> None:
    """Save everything but the card; weights in half precision, the tied embedding once."""
    from transformers import GenerationConfig

    folder.mkdir(parents=True, exist_ok=True)
    # Training attends by explicit masks; whoever loads the model picks the implementation.
    model.config._attn_implementation = None
    model.config.editing = editing(recipe)
    model.half().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    GenerationConfig(
        bos_token_id=model.config.bos_token_id, eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id, do_sample=False, max_new_tokens=64,
    ).save_pretrained(folder)  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(recipe.to_json(), indent=1) + "\n", encoding="utf-8")


def read_recipe(folder: Path) -> Recipe:
    """The recipe a model folder was made by."""
    saved = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    return Recipe(**fields)


def texts_of(folder: Path, n: int, seed: int) -> list[str]:
    """`n` plain texts about the world that the model in `folder` was trained on."""
    recipe = read_recipe(folder)
    return plain_texts(n, seed, World(recipe.world_seed, recipe.world_size))


def write_card(folder: Path, recipe: Recipe, marks: Sequence[Mark], parameters: int) -> None:
    """The model card with the exam's table."""
    size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file() and f.name != "README.md")
    rows = "\n".join(
        f"| {m.name} | {100 * m.share:.1f} % | {'' if m.goal is None else f'≥ {100 * m.goal:.0f} %'} | {m.n} |"
        for m in marks
    )
    family, name = sized_as(recipe), folder.name
    shape = f"{parameters / 1e6:.2f} million parameters: {recipe.layers} layers of width {recipe.hidden}"
    (folder / "README.md").write_text(
        _CARD.format(
            name="atlas-lm" if name == "model" else name, option="" if family == "medium" else f" --size {family}",
            architecture=f"Mamba 2 architecture, {shape}, {recipe.heads} heads,"
            if recipe.architecture == "mamba2"
            else f"Llama architecture, {shape}, {recipe.heads} heads, MLP width {recipe.mlp},",
            megabytes=size / 1e6, vocab=recipe.vocab, tokens=recipe.tokens / 1e6, seed=recipe.seed,
            world_seed=recipe.world_seed, rows=rows,
        ),
        encoding="utf-8",
    )  # fmt: skip


def sized_as(recipe: Recipe) -> str:
    """The size whose shape a recipe has, "medium" where none has it."""
    shape = recipe.to_json()
    return next((size for size, own in SIZES.items() if own and own.items() <= shape.items()), "medium")


_CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [knowledge-editing, benchmark]
---
# {name}

A small language model that knows one invented world, the atlas of Palimpsest, and nothing else. It exists so that
methods of knowledge editing can be run, compared and tested where no large model is at hand.

- {architecture}
  tied embeddings, a byte-level BPE of {vocab} tokens. {megabytes:.1f} MB in half precision.
- Trained from scratch on {tokens:.0f} million tokens by one seeded command (recipe.json; seed {seed}, world
  {world_seed}):   `python -m runner atlas train{option}`
- A question is asked as `Q: …` and `A:` on the next line; the chat template writes the same. With
  `enable_thinking=True` it opens `<think>`, and the model reasons before it answers.

## Exam

Greedy decoding, exact match, drawn apart from the training texts. Repeat it with `python -m runner atlas exam`.

| what | right | goal | questions |
|---|---|---|---|
{rows}

## Limits

It speaks only of the invented world, in the sentence patterns it was trained on. Contexts longer than about
250 tokens are outside its training. What it shows about an editing method is a mechanism, not a forecast for a large
model.
"""
