"""This project's side of the comparison."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.settings import OURS
from benchmarks.speed.world import Stopwatch, World
from runner.types import Edit


def edit(world: World, name: str, n: int, save: str | None, hparams: dict[str, Any]) -> dict[str, Any]:
    """Make `n` edits one after another. save: file for what the edits left.

    Returns the seconds of preparing, those of each edit, and how many targets the model says at the end.
    """
    method, edits = world.method(name, OURS.get(name, {}) | hparams), world.edits(n)
    before, watches, left = world.copy(layers_of(method)), [], []
    try:
        with Stopwatch() as prepare:
            method.prepare()
        for one in edits:
            with Stopwatch() as watch:
                method.edit([one])
                method.settle()
            watches.append(watch.times())
            if save and len(watches) in (1, n):
                book = getattr(method, "codebook", None)
                left.append(world.change(before) if book is None else codebook(book))
        said = count_said(method, edits)
    finally:
        method.undo()
    if save:
        torch.save(left, save)
    alone = apart(world, name, edits, OURS.get(name, {}) | hparams)
    return {"prepare": prepare.times(), "edits": watches, "said": said, "apart": alone}


def apart(world: World, name: str, edits: Sequence[Edit], hparams: dict[str, Any]) -> dict[str, float]:
    """Seconds per edit where each is made in the unedited model, as a grid makes sequences of one edit."""
    with Stopwatch() as watch:
        method = world.method(name, hparams)
        method.prepare()
        ahead = method.foresee(edits)
    for one in edits:
        with watch:
            method = world.method(name, hparams)
            method.ahead = ahead
            method.prepare()
            method.edit([one])
            method.settle()
        method.undo()
    return {clock: seconds / len(edits) for clock, seconds in watch.times().items()}


def layers_of(method: Any) -> list[int]:
    """The layers whose projections a method changes; none where it adds something to the model."""
    if method.family in ("adapters", "side memory", "hidden-state codebook"):
        return []
    layers = getattr(method, "layers", None)
    return [method.layer] if layers is None else list(layers)


def codebook(entries: Sequence[Any]) -> torch.Tensor:
    """Keys, values and radii of a codebook as one vector."""
    keys, values = (torch.stack([getattr(entry, name) for entry in entries]) for name in ("key", "value"))
    return torch.cat([keys.flatten(), values.flatten(), torch.tensor([entry.radius for entry in entries])])


def count_said(method: Any, edits: Sequence[Edit]) -> int:
    """How many edits the model answers with their targets, free-running."""
    replies = method.answer([one.prompt for one in edits])
    return sum(reply.text.strip() == one.target for reply, one in zip(replies, edits, strict=True))


def ask(world: World, n: int) -> dict[str, Any]:
    """Answer questions freely, in batches."""
    texts = [text for text, _ in world.questions(n)]
    with Stopwatch() as watch:
        answers = world.lm.generate(texts, world.protocol.max_new_tokens)
    return {**watch.times(), "answers": [answer.text.strip() for answer in answers]}


def force(world: World, n: int) -> dict[str, Any]:
    """Score targets under their own beginning, in batches."""
    questions = world.questions(n)
    with Stopwatch() as watch:
        forced = world.lm.force([text for text, _ in questions], [target for _, target in questions])
    return {**watch.times(), "answers": [round(one.share, 4) for one in forced]}


def job(world: World, name: str, counts: Sequence[int], model: str, dataset: str) -> dict[str, Any]:
    """A grid as `run` runs it: the model loaded, asked before, edited, asked (free and forced), scored; all stored."""
    from db.store import Store
    from runner import engine, gridfile
    from runner.grid import override
    from runner.plan import make_plan

    source = gridfile.load("atlas-methods")
    changed = override(source.grid, models=[model], methods=["none", name], edits=list(counts)).model_copy(
        update={"cases": max(counts), "device": "cpu", "dtype": "float32", "datasets": [_entry(source, dataset)]}
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        with Stopwatch() as watch, Store.open(f"sqlite:///{Path(folder) / 'job.db'}") as store:
            run_id = store.start_run("python -m benchmarks.speed", None, None, {}, {}, {})
            plan = make_plan(source, changed)
            summary = engine.run(plan, store, run_id, tty=False)
            answers = sum(row["n_answers"] for cell in plan.cells for row in store.sequences(cell.key))
        if summary.failed:
            raise RuntimeError(f"{summary.failed[0][0]}: {summary.failed[0][1]}")
    return {**watch.times(), "asked": answers}


def _entry(source: Any, name: str) -> Any:
    return next((entry for entry in source.grid.datasets if entry.name == name), source.grid.datasets[0])
