"""KnowEdit's layout (arXiv 2401.01286), which ZsRE, WikiData_counterfact and WikiData_recent share.

One record is one edit: `subject`, `prompt`, `target_new`, `ground_truth` (what was right before, where the set has it),
a rewording, `portability` and `locality` (objects of probe kinds). Beside the file may lie a second one (JSON lines of
`question`, `answer`, `sentence`), with the new fact of each record as one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runner.datasets import fields, hygiene
from runner.datasets.base import Loaded, make_loaded
from runner.datasets.records import Record, read_records
from runner.datasets.sources import Published, locate
from runner.types import GENERALIZATION, LOCALITY, PORTABILITY, RELIABILITY, Case, Probe

REPO = "zjunlp/KnowEdit"
PAGE = f"https://huggingface.co/datasets/{REPO}"
NO_OP_GROUP = "no-op edit"

SUBJECT_MISSING = "cases whose subject is not in the prompt"
SENTENCE_FOUND = "statements from the sentence file"
SENTENCE_MADE = "statements made by rule"


@dataclass(frozen=True)
class Layout:
    """What differs between the sets: the name (ids begin with it), the file, the rewording's key, the sentence file."""

    name: str
    published: Published
    rephrase: str | None
    sentences: str | None


def load_layout(layout: Layout, path: str | Path | None, split: str | None) -> Loaded:
    """A set of this layout.

    path: the file, a folder that holds it by its published name, or an address on the Hub; None for the publisher's.
    split: a file with it in its name where a folder holds several, or a list of that name in the file's root.

    Raises UserError, with the record's place, where the file is missing, cut off or of the wrong shape.
    """
    located = locate(path, layout.published, split)
    tally = fields.Tally()
    sentences = read_sentences(sentence_file(located.path, layout.sentences))
    cases, usable = [], []
    for record in read_records(located.path, ("prompt", "target_new"), split):
        case = read_case(record, layout, sentences, tally)
        if case is None:
            continue
        cases.append(case)
        if all(hygiene.subject_in(edit.subject, edit.prompt) for edit in case.edits):
            usable.append(case)
    # Found over all records, those that are dropped for their subject included: the file's own figures.
    notes = {**tally.notes, **hygiene.review(cases), **hygiene.census(cases)}
    dropped = {**tally.dropped, SUBJECT_MISSING: notes.pop(hygiene.SUBJECT_NOT_IN_PROMPT)}
    return make_loaded(usable, located.source, dropped, notes)


def read_case(
    record: Record, layout: Layout, sentences: Mapping[tuple[str, str], str], tally: fields.Tally
) -> Case | None:
    """The case of one record; None (counted) where it asks nothing or changes to nothing."""
    read = fields.flat_edit(record, tally)
    if read is None:
        return None
    (edit, old), data = read, record.data
    sentence = sentences.get((edit.prompt, edit.target))
    tally.notes[SENTENCE_FOUND if sentence else SENTENCE_MADE] += 1
    if sentence:
        edit = replace(edit, statement=sentence)
    new = ((edit.target,),)
    probes: list[Probe | None] = [fields.probe(RELIABILITY, edit.prompt, new, tally)]
    if layout.rephrase is not None and layout.rephrase in data:
        rephrase = fields.text(record, data, layout.rephrase, tally)
        probes.append(fields.probe(GENERALIZATION, rephrase, new, tally))
    probes += fields.grouped_probes(record, "portability", PORTABILITY, tally)
    probes += fields.grouped_probes(record, "locality", LOCALITY, tally)
    # The record's position, not a running number: what is dropped before it must not change the id.
    case = Case(f"{layout.name}-{record.index:04d}", (edit,), tuple(probe for probe in probes if probe is not None))
    if hygiene.is_no_op(case, [[alias for answer in old for alias in answer]]):
        tally.notes[hygiene.NO_OP] += 1
        return Case(case.id, case.edits, case.probes, NO_OP_GROUP)
    return case


def sentence_file(main: Path, published: str | None) -> Path | None:
    """The file of sentences beside the main one, by its name or by the published name; None where there is none."""
    for name in filter(None, (f"{main.stem}-sentence{main.suffix}", published)):
        candidate = main.with_name(name)
        if candidate != main and candidate.is_file():
            return candidate
    return None


def read_sentences(path: Path | None) -> dict[tuple[str, str], str]:
    """The new fact as a sentence, by question and answer; empty without a file.

    Raises UserError as `load_layout` does.
    """
    if path is None:
        return {}
    found: dict[tuple[str, str], str] = {}
    unheeded = fields.Tally()  # white space here says nothing about the data set: texts are compared without it
    for record in read_records(path, ("question", "sentence")):
        question = fields.text(record, record.data, "question", unheeded)
        answer = fields.text(record, record.data, "answer", unheeded)
        sentence = fields.text(record, record.data, "sentence", unheeded)
        if sentence:
            found.setdefault((question, answer), sentence)
    return found
