"""Reading dirty values: truths in three shapes, edge white space, absent or empty fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from runner.datasets.records import Record, kind_of
from runner.protocol import is_question
from runner.types import LOCALITY, Edit, Probe

TRIMMED_TARGETS = "targets with edge white space"
TRIMMED_OTHER = "other texts with edge white space"
EMPTY_PROMPT = "probes without a question"
EMPTY_ANSWER = "probes without an answer"
NO_TRUTH = "locality probes without a truth"
NO_TARGET = "cases without a prompt, subject or target"
MARKED = "questions without a question mark"
EMPTY_KINDS = "kinds of probes without a probe"

Answers = tuple[tuple[str, ...], ...]


class Tally:
    """What a loader drops and notices while it reads: `dropped` and `notes` count by reason."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()


def text(record: Record, data: Mapping[str, Any], key: str, tally: Tally, note: str = TRIMMED_OTHER) -> str:
    """The text under `key`, without edge white space (counted under `note`); "" where it is empty or null.

    Raises UserError where the key is missing or holds something else than a text.
    """
    if key not in data:
        present = ", ".join(f"'{k}'" for k in data) or "none"
        record.fail(f"the key '{key}' is missing (keys here: {present}).")
    value = data[key]
    if value is None:
        return ""
    if not isinstance(value, str):
        record.fail(f"'{key}' should be a text, not {kind_of(value)}.")
    return _trim(record, value, key, tally, note)


def _trim(record: Record, value: str, key: str, tally: Tally, note: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        record.fail(f"'{key}' holds half of a surrogate pair, which is no text; fetch the file again.")
    trimmed = value.strip()
    if trimmed != value:
        tally.notes[note] += 1
    return trimmed


def flat_edit(record: Record, tally: Tally) -> tuple[Edit, Answers] | None:
    """The edit of a record with `prompt`, `subject`, `target_new` and `ground_truth` at its top, stated by rule.

    With what was right before, all of it. None (counted) where a part is empty. Raises UserError where one is missing.
    """
    data = record.data
    prompt = text(record, data, "prompt", tally)
    subject = text(record, data, "subject", tally)
    target = text(record, data, "target_new", tally, TRIMMED_TARGETS)
    if not (prompt and subject and target):
        tally.dropped[NO_TARGET] += 1
        return None
    old = answers(record, data.get("ground_truth"), "ground_truth", tally)
    return Edit(subject, prompt, target, old[0][0] if old else None, statement(prompt, target)), old


def part(record: Record, data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`. Raises UserError where it is missing or something else."""
    value = data.get(key)
    if not isinstance(value, dict):
        record.fail(f"'{key}' should be an object, not {kind_of(value) if key in data else 'missing'}.")
    return value


def parts(record: Record, data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects in the list under `key`. Raises UserError where it is missing or holds something else."""
    values = _list(record, data, key)
    for value in values:
        if not isinstance(value, dict):
            record.fail(f"'{key}' should hold objects, not {kind_of(value)}.")
    return values


def texts(record: Record, data: Mapping[str, Any], key: str, tally: Tally) -> list[str]:
    """The texts in the list under `key`, without edge white space, empty ones left in as "".

    Raises UserError where it is missing or holds something else than texts.
    """
    values = _list(record, data, key)
    for value in values:
        if not isinstance(value, str):
            record.fail(f"'{key}' should hold texts, not {kind_of(value)}.")
    return [_trim(record, value, key, tally, TRIMMED_OTHER) for value in values]


def _list(record: Record, data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    if not isinstance(value, list):
        record.fail(f"'{key}' should be a list, not {kind_of(value) if key in data else 'missing'}.")
    return value


def question(prompt: str, tally: Tally) -> str:
    """A text that is known to be a question, with a question mark where none stands (counted).

    By its end a prompt is told from an unfinished sentence, which is put to the model in another way.
    """
    if not prompt or is_question(prompt):
        return prompt
    tally.notes[MARKED] += 1
    return f"{prompt}?"


def answers(record: Record, value: Any, key: str, tally: Tally) -> Answers:
    """A truth as distinct answers, each a tuple of aliases with the canonical one first.

    value: "a" (one answer), ["a", "b"] (distinct answers), [["a", "alias of a"], ["b"]], or a mixture; null or empty
        parts are left out, and so are repetitions that differ in case only.

    Raises UserError where the value has another shape.
    """
    distinct = [] if value is None else value if isinstance(value, list) else [value]
    groups = []
    for answer in distinct:
        aliases = [] if answer is None else answer if isinstance(answer, list) else [answer]
        for alias in aliases:
            if not isinstance(alias, str):
                record.fail(f"'{key}' should be a text, a list of texts or a list of lists, not {kind_of(alias)}.")
        groups.append([_trim(record, alias, key, tally, TRIMMED_OTHER) for alias in aliases])
    return _distinct(groups)


def _distinct(groups: list[list[str]]) -> Answers:
    """Without empty texts and empty answers, and without what repeats but for case."""
    seen: set[tuple[str, ...]] = set()
    result = []
    for group in groups:
        spelled: dict[str, str] = {}
        for alias in filter(None, group):
            spelled.setdefault(alias.casefold(), alias)
        aliases, key = tuple(spelled.values()), tuple(spelled)
        if aliases and key not in seen:
            seen.add(key)
            result.append(aliases)
    return tuple(result)


def probe(kind: str, prompt: str, truth: Answers, tally: Tally, hops: int = 1) -> Probe | None:
    """A probe, or None (counted) where there is nothing to ask or nothing to score.

    A locality probe needs no truth: its answer is compared with the one before the edit.
    """
    if not prompt:
        tally.dropped[EMPTY_PROMPT] += 1
        return None
    if not truth:
        if kind.split("/")[0] != LOCALITY:
            tally.dropped[EMPTY_ANSWER] += 1
            return None
        tally.notes[NO_TRUTH] += 1
    return Probe(kind, prompt, truth, hops)


def kind_name(group: str, name: str) -> str:
    """A probe kind such as "portability/subject_aliasing" from a file's own spelling of its sub-kind."""
    return f"{group}/{'_'.join(name.strip().casefold().replace('-', ' ').split())}"


def grouped_probes(record: Record, key: str, group: str, tally: Tally) -> list[Probe]:
    """The probes of a KnowEdit field: {kind: [{"prompt": …, "ground_truth": …}, …], …}, which may be absent or null.

    Raises UserError where it has another shape.
    """
    kinds = record.data.get(key)
    if kinds is None or kinds == []:  # publishers write an empty list for "no kinds"
        return []
    if not isinstance(kinds, dict):
        record.fail(f"'{key}' should be an object of probe kinds, not {kind_of(kinds)}.")
    found = []
    for name, items in kinds.items():
        items = [] if items is None else items
        tally.notes[EMPTY_KINDS] += items == []
        if not isinstance(items, list):
            record.fail(f"'{key}' → '{name}' should be a list of probes, not {kind_of(items)}.")
        for item in items:
            if not isinstance(item, dict):
                record.fail(f"'{key}' → '{name}' should hold objects, not {kind_of(item)}.")
            prompt = text(record, item, "prompt", tally)
            truth = answers(record, item.get("ground_truth"), "ground_truth", tally)
            made = probe(kind_name(group, name), prompt, truth, tally)
            if made is not None:
                found.append(made)
    return found


def statement(prompt: str, target: str) -> str:
    """The new fact as a sentence, by rule: for data sets that publish none.

    A question becomes ``The answer to "<question>" is <target>.``; an unfinished sentence is finished with the target.
    """
    stop = "" if target.endswith((".", "!", "?")) else "."
    if is_question(prompt):
        return f'The answer to "{prompt}" is {target}{stop}'
    return f"{prompt} {target}{stop}"
