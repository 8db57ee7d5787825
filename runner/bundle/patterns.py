"""Patterns that no honest run leaves: every one is a question to a person, not a verdict."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runner.bundle.bundle import Bundle
from runner.bundle.container import Clock
from runner.bundle.coverage import by_sequence
from runner.bundle.findings import Finding, note, suspicion
from runner.bundle.forms import MARKUP
from runner.bundle.known import Known, stored_answers
from runner.types import Answer, Case, Probe

ODD_SHARE = 0.02  # of a cell's free answers that are gold in odd punctuation
OTHERS_SHARE = 0.02  # of a cell's free answers that name the targets of several other cases
OTHERS = 4  # targets of other cases in one answer
SAME_SHARE = 0.999  # of equal answers, from which two methods are one
BASE_SHARE = 0.05  # of the unedited model's answers that may differ between two machines
TOKENS_PER_SECOND = 1_000_000
LOOKED_THROUGH = 10_000_000  # letters of different texts; a few seconds, however they are chosen
LEAST = 3  # answers; one or two of a kind are chance
_USUAL = frozenset(" \n\t.,!?\"'()*:;-\u2019\u201c\u201d`")
_SCRIPT = re.compile(r"<\s*(script|iframe|object|embed|svg|img|link|meta|style|base|form)\b", re.IGNORECASE)


def check(bundle: Bundle, cases: Sequence[Case], known: Known, clock: Clock) -> Iterator[Finding]:
    """All patterns."""
    by_id = {case.id: case for case in cases}
    looked = Looked()
    for index in range(len(bundle.cells)):
        clock.check()
        label, answers = bundle.label(index), bundle.answers[index]
        free = [answer for answer in answers if answer.mode == "free"]
        if bundle.cells[index].n_edits:
            yield from odd_punctuation(label, free, by_id)
            yield from other_targets(label, free, cases)
        yield from forced_twins(label, answers, by_id)
        yield from script(label, answers, looked)
        yield from timings(bundle, index, cases)
    if looked.left < 0:
        yield note("script", f"only {LOOKED_THROUGH:,} letters of the answers were looked through for script.")
    yield from identical(bundle, known, clock)


def odd_punctuation(label: str, free: Sequence[Answer], cases: Mapping[str, Case]) -> Iterator[Finding]:
    """Answers that are an expected answer but for signs that models don't write around a name."""
    found = [a for a in free if _is_dressed(a.text, cases[a.case_id].probes[a.probe_index])]
    if len(found) >= max(LEAST, ODD_SHARE * len(free)):
        yield suspicion(
            "odd-punctuation",
            f"{label}: {len(found)} of {len(free)} answers are the expected answer with odd punctuation around it.",
        )


def _is_dressed(text: str, probe: Probe) -> bool:
    for alias in (alias for answer in probe.answers for alias in answer if alias):
        before, found, after = text.partition(alias)
        dress = before + after
        if found and dress and all(unicodedata.category(c)[0] in "PSCZ" for c in dress):
            repeated = any(dress.count(c) > 2 for c in set(dress) - {" "})
            return repeated or not set(dress) <= _USUAL
    return False


def other_targets(label: str, free: Sequence[Answer], cases: Sequence[Case]) -> Iterator[Finding]:
    """Answers that list the targets of other cases: whoever names all candidates is always right."""
    targets = sorted({edit.target for case in cases for edit in case.edits if len(edit.target) > 2}, key=len)
    if len(targets) <= OTHERS:
        return
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, reversed(targets))) + r")(?!\w)")
    own = {case.id: {edit.target for edit in case.edits} for case in cases}
    found = [a for a in free if len(set(pattern.findall(a.text)) - own[a.case_id]) >= OTHERS]
    if len(found) >= max(LEAST, OTHERS_SHARE * len(free)):
        yield suspicion(
            "other-targets",
            f"{label}: {len(found)} of {len(free)} answers name the targets of {OTHERS} or more other cases.",
        )


def forced_twins(label: str, answers: Sequence[Answer], cases: Mapping[str, Case]) -> Iterator[Finding]:
    """Forced answers whose text and share of right tokens contradict each other."""
    wrong = 0
    forced = [answer for answer in answers if answer.mode == "forced"]
    for answer in forced:
        target = cases[answer.case_id].probes[answer.probe_index].answers[0][0].strip()
        right = (answer.forced or 0.0) * answer.tokens
        whole = answer.tokens == 0 or abs(right - round(right)) < 1e-3
        if not whole or (answer.forced == 1.0 and answer.text.strip() != target):
            wrong += 1
    if wrong:
        yield suspicion(
            "forced",
            f"{label}: {wrong} of {len(forced)} forced answers have a share of right tokens that their text denies.",
        )


class Looked:
    """What was looked through for script: each text once, and no more letters than a check has time for."""

    def __init__(self) -> None:
        self.left = LOOKED_THROUGH
        self._known: dict[str, bool] = {}

    def has_script(self, value: Any) -> bool:
        """Whether a text, or any text in a value, holds HTML that could run."""
        if isinstance(value, dict):
            return any(self.has_script(key) or self.has_script(item) for key, item in value.items())
        if isinstance(value, list):
            return any(self.has_script(item) for item in value)
        if not isinstance(value, str):
            return False
        if value not in self._known and self.left >= 0:
            self.left -= len(value)
            self._known[value] = self.left >= 0 and _has_script(value)
        return self._known.get(value, False)


def script(label: str, answers: Sequence[Answer], looked: Looked) -> Iterator[Finding]:
    """Answers with script in them. They are shown as plain text only; a person should still have a look."""
    found = [a for a in answers if any(looked.has_script(value) for value in (a.text, a.trace, a.consulted))]
    if found:
        yield suspicion("script", f"{label}: {len(found)} of {len(answers)} answers hold HTML that could run.")


def _has_script(text: str) -> bool:
    return "<" in text and bool(_SCRIPT.search(text) or ("=" in text and MARKUP.search(text)))


def timings(bundle: Bundle, index: int, cases: Sequence[Case]) -> Iterator[Finding]:
    """Costs that don't fit the answers, or no machine."""
    cell, label = bundle.cells[index], bundle.label(index)
    probes = {case.id: case.probes for case in cases}
    wrong_counts, inconsistent, too_fast = 0, 0, 0
    for cost, answers in zip(cell.sequences, by_sequence(cell, cases, bundle.answers[index]), strict=True):
        replies: dict[str, Answer] = {}
        for answer in answers:
            if answer.mode != "free":
                continue
            # A prompt that several probes share is asked once, so all of them have its answer.
            first = replies.setdefault(probes[answer.case_id][answer.probe_index].prompt, answer)
            inconsistent += (first.text, first.tokens) != (answer.text, answer.tokens)
        tokens = sum(answer.tokens for answer in replies.values())
        wrong_counts += (cost.n_answers, cost.n_tokens) != (len(replies), tokens)
        too_fast += tokens > 0 and tokens > cost.answer_seconds * TOKENS_PER_SECOND
    if wrong_counts:
        yield suspicion(
            "counts",
            f"{label}: in {wrong_counts} of {len(cell.sequences)} sequences the counted answers and tokens are not "
            "those of the answers.",
        )
    if inconsistent:
        yield suspicion("two-answers", f"{label}: {inconsistent} answers differ from that to the same question.")
    if too_fast:
        yield suspicion(
            "timing",
            f"{label}: {too_fast} of {len(cell.sequences)} sequences were answered faster than "
            f"{TOKENS_PER_SECOND:,} tokens a second, which no machine does.",
        )
    measured = [cost.answer_seconds for cost in cell.sequences]
    if len(measured) >= 5 and len(set(measured)) == 1:
        yield suspicion("timing", f"{label}: all {len(measured)} sequences took exactly the same time.")
    budget = bundle.protocol.body.get("max_new_tokens")
    over = [a for a in bundle.answers[index] if a.mode == "free" and isinstance(budget, int) and a.tokens > budget]
    if over:
        yield suspicion("budget", f"{label}: {len(over)} answers have more tokens than the protocol's {budget}.")


def identical(bundle: Bundle, known: Known, clock: Clock) -> Iterator[Finding]:
    """Answers that equal those of another method, or that differ from those of the same unedited model."""
    at = {"model_hash": bundle.model.hash, "dataset_hash": bundle.data.hash, "protocol_hash": bundle.protocol.hash}
    texts = [_texts(answers) for answers in bundle.answers]
    compared_bases: set[tuple[int, str]] = set()
    for store, row in known.cells(**at):
        clock.check()
        theirs: dict[Any, Any] | None = None
        for index, cell in enumerate(bundle.cells):
            if (row["n_edits"], row["seed"]) != (cell.n_edits, cell.seed):
                continue
            theirs = theirs or _texts(stored_answers(store, row["key"]))
            share = _equal_share(texts[index], theirs)
            label = bundle.label(index)
            if cell.n_edits and share >= SAME_SHARE and row["method"] != bundle.method.name:
                yield suspicion("identical", f"{label}: the answers are those of {row['method']}, one for one.")
            elif cell.n_edits and share == 1.0:
                yield note("identical", f"{label}: the answers equal those of {row['method']} that are known already.")
            elif cell.n_edits == 0 and share < 1 - BASE_SHARE and (index, row["dtype"]) not in compared_bases:
                compared_bases.add((index, row["dtype"]))
                yield suspicion("base", f"{label}: only {share:.1%} of its answers are those known of the same model.")
    for index in bundle.edited:
        base = bundle.base_of(bundle.cells[index])
        if base is not None and _equal_share(texts[index], texts[base]) >= SAME_SHARE:
            yield suspicion("identical", f"{bundle.label(index)}: the answers are those of the unedited model.")


def _texts(answers: Sequence[Answer]) -> dict[tuple[str, int], str]:
    return {(a.case_id, a.probe_index): a.text for a in answers if a.mode == "free"} or {
        (a.case_id, a.probe_index): a.text for a in answers
    }


def _equal_share(texts: Mapping[Any, str], others: Mapping[Any, str]) -> float:
    shared = texts.keys() & others.keys()
    return sum(texts[place] == others[place] for place in shared) / len(shared) if shared else 0.0
