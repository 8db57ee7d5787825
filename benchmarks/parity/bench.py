"""Editing the same model twice, here and by a reference, and measuring how far apart the two come out.

A method joins the comparison by one decorated function, in the module of its family:

    @comparison("NAME", needs="path/in/the/checkout.py")
    def name(bench: Bench) -> Comparison:
        main = bench.checkouts.module("path/in/the/checkout.py")

        def theirs(batches):                  # edit bench.lm in place by the reference's code, from a fresh state
            for batch in batches:
                main.apply(bench.lm.model, ...)

        return Comparison({...our hyperparameters...}, theirs)

What is compared is the change of all parameters, unless the comparison brings its own two views of what an edit left.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity import world
from benchmarks.parity.checkout import Checkouts
from benchmarks.parity.checkout import request as _request
from runner.methods import registry
from runner.methods.base import Method
from runner.models.lm import LanguageModel
from runner.types import Edit

Batches = Sequence[Sequence[Edit]]  # batches one after the other, each edited at once


@dataclass(frozen=True)
class Bench:
    """What all comparisons on one model share.

    lm: the unedited model (whoever edits it need not undo it). text_file: texts about its world, one a line.
    scratch: a folder for files. tokenizer: a copy for the reference, which pads on the right.
    """

    family: str
    lm: LanguageModel
    text_file: Path
    scratch: Path
    checkouts: Checkouts
    tokenizer: Any

    def requests(self, edits: Sequence[Edit], whole: bool = False) -> list[dict[str, Any]]:
        """The edits as the references take them; whole: with the subject in the prompt and not "{}"."""
        return [_request(edit, world.PROTOCOL, whole) for edit in edits]


@dataclass(frozen=True)
class Comparison:
    """How one method is run on both sides.

    hparams: our hyperparameters. theirs: edits bench.lm in place by the reference, batch by batch, from a fresh state;
    what it returns is compared instead of the change of the parameters when `ours` says what that is for our method.
    adapt: what the comparison makes of each edit first, where the reference can't take it as it is.
    """

    hparams: dict[str, Any]
    theirs: Callable[[Batches], Tensor | None]
    ours: Callable[[Method, Batches], Tensor] | None = None
    adapt: Callable[[Edit], Edit] | None = None


@dataclass(frozen=True)
class Entry:
    """A method's comparison by name; needs: files by which checkouts are known to hold its reference."""

    method: str
    needs: tuple[str, ...]
    build: Callable[[Bench], Comparison]


COMPARISONS: dict[str, Entry] = {}


def comparison(method: str, needs: str | tuple[str, ...], label: str | None = None) -> Callable[[Any], Any]:
    """Decorator: the function that builds a method's comparison; label: a name of its own, else the method's."""

    def keep(build: Callable[[Bench], Comparison]) -> Callable[[Bench], Comparison]:
        COMPARISONS[label or method] = Entry(method, (needs,) if isinstance(needs, str) else needs, build)
        return build

    return keep


@contextlib.contextmanager
def benches(families: Sequence[str], checkouts: Checkouts, steps: int) -> Iterator[Iterator[tuple[Bench, list[Edit]]]]:
    """A trained model per family, with its edits; moments are kept in a temporary folder."""
    with tempfile.TemporaryDirectory() as scratch, _environment("PALIMPSEST_CACHE", scratch):
        yield (_bench(family, Path(scratch) / family, checkouts, steps) for family in families)


def _bench(family: str, folder: Path, checkouts: Checkouts, steps: int) -> tuple[Bench, list[Edit]]:
    facts, edits, texts = world.facts_and_edits()
    lm = world.language_model(family, texts)
    print(f"{family}: trained to loss {world.train(lm, facts, steps):.3f}", file=sys.stderr)
    folder.mkdir()
    text_file = folder / "texts.txt"
    text_file.write_text("\n".join(line.replace("\n", " ") for line in texts), encoding="utf-8")
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.padding_side = "right"
    return Bench(family, lm, text_file, folder, checkouts, tokenizer), edits


def compare(bench: Bench, label: str, edits: Sequence[Edit]) -> Iterator[dict[str, Any]]:
    """One row per edit alone, one for all at once, one for all in sequence."""
    entry = COMPARISONS[label]
    pair = entry.build(bench)
    lm = bench.lm
    edits = [pair.adapt(edit) for edit in edits] if pair.adapt else edits
    before = {name: p.detach().clone() for name, p in lm.model.named_parameters()}
    method = registry.get(entry.method)(lm, world.PROTOCOL, pair.hparams)
    groups: dict[str, Batches] = {edit.subject: [[edit]] for edit in edits}
    groups["all at once"] = [edits]
    groups["one by one"] = [[edit] for edit in edits]
    for name, batches in groups.items():
        for batch in batches:
            method.edit(batch)
        asked = [edit for batch in batches for edit in batch]
        forced = method.force([edit.prompt for edit in asked], [edit.target for edit in asked])
        ours = _change(lm, before) if pair.ours is None else pair.ours(method, batches)
        method.undo()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = pair.theirs(batches)
        reference = _change(lm, before) if pair.ours is None or found is None else found.double().flatten()
        with torch.no_grad():
            lm.model.requires_grad_(False)
            for key, parameter in lm.model.named_parameters():
                parameter.copy_(before[key])
        yield {
            "family": bench.family,
            "method": label,
            "edits": name,
            "relative_difference": float((ours.double().flatten() - reference).norm() / reference.norm()),
            "norm": float(reference.norm()),
            "taken": sum(f.share == 1 for f in forced) / len(forced),
        }


def _change(lm: LanguageModel, before: dict[str, Tensor]) -> Tensor:
    """All parameters' changes as one vector, in float64."""
    return torch.cat([(p.detach() - before[n]).double().flatten() for n, p in lm.model.named_parameters()])


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    old = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if old is None:
            del os.environ[name]
        else:
            os.environ[name] = old
