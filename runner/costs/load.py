"""How much a cell asks of a model, in tokens: read off its cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from runner.costs.shape import Shape
from runner.protocol import Protocol
from runner.types import Case

OTHER = 12  # characters of a protocol's own words around a question


@dataclass(frozen=True)
class Load:
    """Means over a cell's cases, in tokens.

    prompt, target, tail: of an edit: its prompt, its target, and what comes after its subject, target included.
    statement: of a fact as a sentence. asked: of a probe's prompt. new: the budget of an answer. questions: probes of a
    sequence. edits: of a sequence. forced: whether answers are scored under teacher forcing too.
    """

    prompt: float
    target: float
    tail: float
    statement: float
    asked: float
    new: int
    questions: int
    edits: int
    forced: bool

    @property
    def row(self) -> float:
        """Tokens of an edit with its target."""
        return self.prompt + self.target


def load_of(cases: Sequence[Case], sequences: Sequence[Sequence[str]], protocol: Protocol, shape: Shape) -> Load:
    """The load of a cell's first sequence, which is as long as any."""
    chosen = set(sequences[0]) if sequences else set()
    first = [case for case in cases if case.id in chosen] or list(cases[:1])
    edits = [edit for case in first for edit in case.edits]
    probes = [probe for case in first for probe in case.probes]

    def mean(values: Sequence[float], least: float = 1.0) -> float:
        return max(least, shape.tokens(fmean(values))) if values else least

    def after(edit: Any) -> float:
        place = edit.prompt.find(edit.subject) if edit.subject else -1
        rest = len(edit.prompt) - place - len(edit.subject) if place >= 0 else len(edit.prompt)
        return float(rest + 4 + len(edit.target))

    return Load(
        prompt=mean([len(e.prompt) + OTHER for e in edits]),
        target=mean([len(e.target) + 1 for e in edits]),
        tail=mean([after(e) for e in edits]),
        statement=mean([len(e.statement or e.prompt + e.target) for e in edits]),
        asked=mean([len(p.prompt) + OTHER for p in probes]),
        new=protocol.max_new_tokens,
        questions=len({p.prompt for p in probes}),
        edits=len(edits),
        forced="forced" in protocol.modes,
    )
