"""Train the atlas model from scratch: one seeded command that a checkpoint restarts.

The forward pass is compiled and runs in bf16 autocast (AMX on recent CPUs, tensor cores on a GPU).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.atlas.recipe import Batch, Recipe, batches, make_model, make_tokenizer
from runner.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CHECKPOINT = "checkpoint.pt"


def train(
    recipe: Recipe, out: Path, device: str = "auto", stop_at: int | None = None, every: int = 250, compiled: bool = True
) -> PreTrainedModel:
    """Train to the end of the recipe, or to step `stop_at`, continuing from `out`/checkpoint.pt when it is there.

    Returns the model on the CPU. Writes a checkpoint every `every` steps and at the end; an interrupt loses what came
    after the last one. Raises UserError when the checkpoint belongs to another recipe.
    """
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(recipe)
    model = make_model(recipe, len(tokenizer))
    model.to(torch.device(device))  # type: ignore[arg-type]
    optimizers = make_optimizers(model, recipe)
    step = _restore(out / CHECKPOINT, recipe, model, optimizers)
    forward: Any = _scan if recipe.architecture == "mamba2" else _forward
    forward = torch.compile(forward) if compiled else forward
    columns = (
        TextColumn("atlas-lm"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[info]}"),
        TimeRemainingColumn(),
    )
    end = min(recipe.steps, stop_at or recipe.steps)
    with Progress(*columns) as bar:
        task = bar.add_task("train", total=recipe.steps, completed=step, info="")
        average, began, first = None, time.monotonic(), step
        for batch in _prefetched(recipe, step):
            if step >= end:
                break
            loss = _step(forward, model, optimizers, batch, recipe, step, device)
            average = loss if average is None else 0.98 * average + 0.02 * loss
            step += 1
            rate = (step - first) * recipe.rows * recipe.length / (time.monotonic() - began)
            bar.update(task, completed=step, info=f"loss {average:.3f}, {rate:,.0f} tokens/s")
            if step % every == 0 or step == end:
                _save(out / CHECKPOINT, recipe, model, optimizers, step)
                if not bar.console.is_terminal:
                    bar.console.print(f"step {step} of {recipe.steps}, loss {average:.4f}, {rate:,.0f} tokens/s")
    return model.cpu()


def make_optimizers(model: PreTrainedModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings and norms."""
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    if recipe.optimizer == "adamw":
        return [
            torch.optim.AdamW(
                list(model.parameters()), lr=recipe.lr, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
            )
        ]
    return [
        torch.optim.Muon(matrices, lr=recipe.lr, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _step(
    forward: Any, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer], batch: Batch, recipe: Recipe,
    step: int, device: str,
) -> float:  # fmt: skip
    import torch

    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * recipe.lr_factor(step)
        optimizer.zero_grad(set_to_none=True)
    ids = batch.ids.to(device)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
        if recipe.architecture == "mamba2":
            hidden = forward(model.base_model, ids)
        else:
            lower, upper = (mask.to(device) for mask in batch.masks(torch.bfloat16))
            hidden = forward(model.base_model, ids, recipe.closed_layers, batch.positions.to(device), lower, upper)
        # Only the learnt tokens need logits: two fifths of all.
        rows, columns = (batch.learn[:, 1:]).to(device).nonzero(as_tuple=True)
        logits = model.get_output_embeddings()(hidden[rows, columns])
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[rows, columns + 1], reduction="none")
    weights = batch.weights.to(device)[rows, columns + 1]
    loss = (weights * losses).sum() / weights.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach())


def _scan(model: Any, ids: Any) -> Any:
    """Last hidden states of a state space."""
    return model(input_ids=ids, use_cache=False).last_hidden_state


def _forward(model: Any, ids: Any, closed_layers: int, positions: Any, lower: Any, upper: Any) -> Any:
    """Last hidden states, with one attention mask for the lowest layers and one for the others."""
    hidden = model.embed_tokens(ids)
    rotary = model.rotary_emb(hidden, position_ids=positions)
    for number, layer in enumerate(model.layers):
        mask = lower if number < closed_layers else upper
        out = layer(hidden, attention_mask=mask, position_ids=positions, position_embeddings=rotary)
        hidden = out[0] if isinstance(out, tuple) else out
    return model.norm(hidden)


def _prefetched(recipe: Recipe, start: int) -> Iterator[Batch]:
    """Batches made one process ahead of the training."""
    from torch.utils.data import DataLoader, IterableDataset

    class Stream(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Batch]:
            return batches(recipe, make_tokenizer(recipe), start)

    yield from DataLoader(Stream(), batch_size=None, num_workers=1, prefetch_factor=8)


def _save(
    path: Path, recipe: Recipe, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer], step: int
) -> None:
    import torch

    state = {
        "recipe": recipe.to_json(), "step": step, "model": model.state_dict(),
        "optimizers": [o.state_dict() for o in optimizers],
    }  # fmt: skip
    partial = path.with_suffix(".tmp")
    torch.save(state, partial)
    partial.replace(path)  # a crash while writing leaves the last checkpoint whole


def _restore(path: Path, recipe: Recipe, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer]) -> int:
    import torch

    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    theirs = {k: tuple(v) if isinstance(v, list) else v for k, v in state["recipe"].items()}
    if theirs != recipe.to_json():
        raise UserError(f"{path} is a checkpoint of another recipe; give another --out folder or remove it.")
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])
