"""Checking a bundle: the same code for the sender's command line, the maintainer's inbox and the board's upload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.bundle import coverage, patterns
from runner.bundle.bundle import Bundle, read
from runner.bundle.container import Clock, Limits
from runner.bundle.coverage import by_sequence
from runner.bundle.findings import ERROR, SUSPICION, Finding, error, note, shown
from runner.bundle.forms import CellPart
from runner.bundle.known import Known
from runner.cells import order, protocol_hash
from runner.errors import UserError
from runner.types import Case

if TYPE_CHECKING:
    from runner.metrics.scores import MetricValue

CLAIM_TOLERANCE = 1e-6
MAX_LETTERS_PER_TOKEN = 200
MODES = ("free", "forced")
SHOWN_METRICS = ("reliability", "generalization", "portability", "locality", "average", "harmonic")


@dataclass
class Verification:
    """What was found. scores: of each cell, mode -> metrics, made of the raw answers; empty where errors forbid it.

    verdicts: of each cell, one per answer. cases: of the data set, None where nobody here has it.
    """

    bundle: Bundle
    findings: list[Finding] = field(default_factory=list)
    cases: list[Case] | None = None
    scores: dict[int, dict[str, list[MetricValue]]] = field(default_factory=dict)
    verdicts: dict[int, list[Any]] = field(default_factory=dict)

    @property
    def acceptable(self) -> bool:
        """No errors: a maintainer may accept it, after a look at the suspicions."""
        return not any(finding.level == ERROR for finding in self.findings)

    @property
    def passed(self) -> bool:
        """Neither errors nor suspicions."""
        return not any(finding.level in (ERROR, SUSPICION) for finding in self.findings)

    def rows(self) -> list[dict[str, Any]]:
        """The rows as they would stand on the board: a mode of a cell with edits, and its main scores."""
        found = []
        for index, modes in self.scores.items():
            cell = self.bundle.cells[index]
            for mode in MODES:
                values = {m.metric: m.value for m in modes.get(mode, []) if m.metric in SHOWN_METRICS}
                if cell.n_edits and values:
                    row = {"method": self.bundle.method.name, "n_edits": cell.n_edits, "seed": cell.seed, "mode": mode}
                    found.append(row | {name: values.get(name) for name in SHOWN_METRICS})
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything a program may want."""
        b = self.bundle
        return {
            "content_hash": b.content_hash,
            "method": b.method.name,
            "model": b.model.name,
            "dataset": b.data.name,
            "protocol": b.protocol.name,
            "cells": [{"n_edits": cell.n_edits, "seed": cell.seed} for cell in b.cells],
            "passed": self.passed,
            "acceptable": self.acceptable,
            "findings": [vars(finding) for finding in self.findings],
            "scores": self.rows(),
        }


def verify(path: str | Path, known: Known, limits: Limits | None = None) -> Verification:
    """Read and check a bundle. Raises Unreadable; everything else that is wrong becomes a finding."""
    cases: list[Case] | None = None

    def most(head: Bundle) -> int | None:
        nonlocal cases
        cases = known.cases(head.data)
        # Twice as many as there are, so that answers given twice can still be named.
        return None if cases is None else 4 * len(head.cells) * sum(len(case.probes) for case in cases)

    clock = Clock(limits)
    bundle = read(path, limits, most)
    result = Verification(bundle, cases=cases)
    result.findings += [*check_method(bundle), *check_protocol(bundle), *check_provenance(bundle)]
    result.findings += check_names(bundle, known)
    if result.cases is None:
        result.findings.append(
            error(
                "unknown-data",
                f"the data set {bundle.data.name} with hash {bundle.data.hash[:12]} is not known here, so neither "
                "coverage nor scores can be checked; give your copy of it with --data.",
            )
        )
        return result
    if bundle.data.n_cases != len(result.cases):
        result.findings.append(
            error("cases", f"the data set has {len(result.cases)} cases, not {bundle.data.n_cases}.")
        )
    result.findings += coverage.check(bundle, result.cases)
    if not result.acceptable:
        return result
    result.findings += patterns.check(bundle, result.cases, known, clock)
    _rescore(result, clock)
    return result


def check_method(bundle: Bundle) -> Iterator[Finding]:
    """A built-in method's name is its own, with hyperparameters it has; another's code is known by its hash."""
    from runner.methods import registry

    method = bundle.method
    names = {name.casefold() for name in registry.BUILT_IN}
    built_in = all(part.strip().casefold() in names for part in method.name.split("+"))  # "+" makes a hybrid
    if method.card.name != method.name:
        yield error("method", f"the method is {method.name}, its card is that of {method.card.name}.")
    if method.name.casefold() == "none":
        yield error("method", "the unedited model is no method.")
    elif built_in and not method.built_in:
        yield error("method", f"{method.name} is the name of a built-in method; the method needs one of its own.")
    elif method.built_in and not built_in:
        yield error("method", f"{method.name} is said to be built in, but there is no such method.")
    elif built_in:
        try:
            registry.get(method.name).validate(method.hparams)
        except UserError as problem:
            yield error("hparams", f"the hyperparameters don't fit: {shown(problem, 200)}.")
    elif not method.built_in and method.source_sha256 is None:
        yield error("method", "the hash of the method's code is not given, so nobody could run it again.")
    elif not method.source_link:
        yield note("no-link", "the bundle does not say where the method's code can be read.")


def check_protocol(bundle: Bundle) -> Iterator[Finding]:
    """The protocol is one of those known here, word by word."""
    from runner.protocol import get_protocol

    stated = bundle.protocol
    budget = stated.body.get("max_new_tokens")
    try:
        protocol = get_protocol(stated.name, budget if type(budget) is int and budget > 0 else None)
    except UserError as problem:
        yield error("protocol", f"{shown(problem, 200)}.")
        return
    if protocol.to_json() != stated.body or protocol_hash(protocol) != stated.hash:
        yield error("protocol", f"the protocol '{stated.name}' is not the one of that name here.")
        return
    longest = protocol.max_new_tokens * MAX_LETTERS_PER_TOKEN
    for index, answers in enumerate(bundle.answers):
        long = [a for a in answers if len(a.text) + len(a.trace or "") > longest]
        if long:
            yield error(
                "too-long", f"{bundle.label(index)}: {len(long)} answers are longer than {budget} tokens can be."
            )


def check_names(bundle: Bundle, known: Known) -> Iterator[Finding]:
    """Names mean here what they mean in the bundle."""
    data, model = bundle.data, bundle.model
    names = {found["name"] for store in known.stores for name, found in store.datasets().items() if name == data.hash}
    if names and data.name not in names:
        yield error("data-name", f"the data set is called {data.name}; with this hash it is {min(names)} here.")
    cells = [cell for store in known.stores for cell in store.cells(model=model.name)]
    if cells and all(cell["model_hash"] != model.hash for cell in cells):
        yield note(
            "model-name", f"with the hash {model.hash} the model {model.name} is another one than that known here."
        )


def check_provenance(bundle: Bundle) -> Iterator[Finding]:
    """Times in order, a grid that is one, code that can be found."""
    from pydantic import ValidationError

    from runner.grid import Grid

    for number, run in enumerate(bundle.runs):
        try:
            started, finished = run.times()
            if finished is not None and (finished.tzinfo is None) == (started.tzinfo is None) and finished < started:
                yield error("times", f"run {number} ended before it began.")
        except ValueError:
            yield error("times", f"run {number} has a time that is none.")
        try:
            Grid.model_validate(run.grid)
        except (ValidationError, RecursionError):
            yield error("grid", f"run {number} has a grid that this program can't read.")
        if run.git_commit is None:
            yield note("commit", f"run {number} does not say on which commit of the code it ran.")
        elif run.git_dirty:
            yield note("commit", f"run {number} ran on code with changes after commit {run.git_commit[:10]}.")


def _rescore(result: Verification, clock: Clock) -> None:
    """Scores from the raw answers; a claim of the sender that differs is an error."""
    for index, cell in enumerate(result.bundle.cells):
        clock.check()
        try:
            result.scores[index], result.verdicts[index] = scores_of_cell(result, index)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            result.findings.append(
                error("signs", f"{result.bundle.label(index)}: what was recorded with its sequences can't be scored.")
            )
            result.scores.clear()
            return
        result.findings += _claims(result, index, cell)


def scores_of_cell(result: Verification, index: int, base: Sequence[Any] | None = None) -> tuple[dict[str, Any], Any]:
    """Mode -> metrics, and verdicts, of one cell; `base` are other answers of the unedited model than the bundle's."""
    from runner import scoring

    bundle, cell = result.bundle, result.bundle.cells[index]
    cases = {case.id: case for case in result.cases or []}
    ordered = [cases[case_id] for case_id in order(result.cases or [], cell.seed)]
    if base is None:
        own = bundle.base_of(cell)
        base = bundle.answers[own] if own is not None else []
    extras = [sequence.extra for sequence in cell.sequences]
    asked = [a for part in by_sequence(cell, result.cases or [], bundle.answers[index]) for a in part]
    return scoring.scores_of(bundle.protocol.body, cell.n_edits, ordered, asked, base, extras)


def _claims(result: Verification, index: int, cell: CellPart) -> Iterator[Finding]:
    from runner.metrics.scores import SCORER_VERSION

    if cell.claims is None:
        return
    label = result.bundle.label(index)
    if cell.claims.scorer_version != SCORER_VERSION:
        yield note(
            "scorer", f"{label}: scored by scorer {shown(cell.claims.scorer_version)}; this is {SCORER_VERSION}."
        )
        return
    for mode, claimed in cell.claims.scores.items():
        found = {metric.metric: metric.value for metric in result.scores[index].get(mode, [])}
        for name, value in claimed.items():
            here = found.get(name)
            if (value is None) != (here is None) or abs((value or 0) - (here or 0)) > CLAIM_TOLERANCE:
                yield error(
                    "claim",
                    f"{label}: {shown(name)} ({mode}) is claimed to be {_percent(value)}, "
                    f"the answers give {_percent(here)}.",
                )


def _percent(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.2%}"
