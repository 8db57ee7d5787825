"""Running a sample of a submission again, with the submitted code on the maintainer's machine.

Nothing here takes code out of a bundle: the maintainer names the file, having read it, and its hash must be the
bundle's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runner.bundle.bundle import Bundle
from runner.bundle.coverage import by_sequence
from runner.bundle.verify import Verification
from runner.cells import CaseSet, Cell, MethodRef, ModelRef, Settings, make_cell
from runner.errors import UserError
from runner.types import Answer

AGREE = 0.98  # share of answers from which a run counts as the same: other machines turn near ties


@dataclass(frozen=True)
class Rerun:
    """n_edits, sequences: what was run again. cases, answers: how many; agreement: share of answers that are equal."""

    n_edits: int
    sequences: list[int]
    cases: int
    answers: int
    agreement: float
    differing: list[str]

    @property
    def agrees(self) -> bool:
        """Whether it counts as the same run."""
        return self.answers > 0 and self.agreement >= AGREE


def rerun(
    result: Verification, method: str, model: str, n_cases: int, device: str = "auto", edits: int | None = None
) -> Rerun:
    """Run whole sequences again until `n_cases` are covered, and compare the answers.

    method: what the registry finds the code by. edits: at which edit count; the smallest when None. Which sequences:
    drawn by the bundle's hash, so that a sender can't choose them. Raises UserError for other code or another model.
    """
    bundle = result.bundle
    index = _cell(bundle, edits)
    given = bundle.cells[index]
    reference = _method(bundle, method)
    cell, lm, cls = _prepare(result, index, reference, model, device)
    positions = list(range(len(cell.sequences)))
    random.Random(int(bundle.content_hash[:16], 16)).shuffle(positions)
    sample = sorted(positions[: max(1, -(-n_cases // max(given.n_edits, 1)))])
    again: dict[int, list[Answer]] = {}
    from runner.execute import execute_cell
    from runner.fingerprint import fingerprint

    done = set(positions) - set(sample)
    cases = {case.id: case for case in result.cases or []}
    clean = fingerprint(lm.model)
    execute_cell(cell, lm, cls, cases, clean, done, lambda p, r: again.update({p: r.answers}), together=False)
    stored = by_sequence(given, result.cases or [], bundle.answers[index])
    equal, total, differing = 0, 0, []
    for position in sample:
        theirs = {(a.case_id, a.probe_index, a.mode): a.text for a in stored[position]}
        for answer in again[position]:
            place = (answer.case_id, answer.probe_index, answer.mode)
            same = theirs.get(place) == answer.text
            equal, total = equal + same, total + 1
            if not same:
                differing.append(f"{place[0]} probe {place[1]} ({place[2]})")
    n = sum(len(cell.sequences[position]) for position in sample)
    return Rerun(given.n_edits, sample, n, total, equal / total if total else 0.0, differing)


def _cell(bundle: Bundle, edits: int | None) -> int:
    there = {bundle.cells[i].n_edits: i for i in reversed(bundle.edited)}
    wanted = min(there) if edits is None else edits
    if wanted not in there:
        raise UserError(f"the bundle has no cell of {wanted} edits; there are {', '.join(map(str, sorted(there)))}.")
    return there[wanted]


def _method(bundle: Bundle, spec: str) -> MethodRef:
    from runner.grid import MethodEntry
    from runner.plan import resolve_method

    found = resolve_method(MethodEntry(name=spec, hparams=bundle.method.hparams))
    source = found.files.get("source of the method")
    if found.name != bundle.method.name:
        raise UserError(f"{spec} is the method {found.name}, the bundle is of {bundle.method.name}.")
    if source != bundle.method.source_sha256:
        raise UserError(f"the code of {spec} is not what was submitted (its SHA-256 differs); get the submitted file.")
    return found


def _prepare(result: Verification, index: int, method: MethodRef, model: str, device: str) -> tuple[Cell, Any, Any]:
    from runner.methods import registry
    from runner.models.lm import LanguageModel
    from runner.plan import place_method, resolve_model
    from runner.protocol import get_protocol

    bundle, given = result.bundle, result.bundle.cells[index]
    reference: ModelRef = resolve_model(model)
    if reference.hash != bundle.model.hash:
        raise UserError(f"the model {model} has the hash {reference.hash}, the bundle's has {bundle.model.hash}.")
    lm = LanguageModel.load(model, device, given.dtype)
    protocol = get_protocol(bundle.protocol.name, bundle.protocol.body["max_new_tokens"])
    settings = Settings(protocol, str(lm.device), given.dtype, "")
    cases: Sequence[Any] = result.cases or []
    case_set = CaseSet(bundle.data.name, bundle.data.hash, tuple(cases))
    cell = make_cell(reference, place_method(method, reference), case_set, given.n_edits, given.seed, settings, None)
    return cell, lm, registry.get(method.spec)
