"""Several sequences of a cell at once: edited one after the other or in step, then asked as one batch.

Only for methods that change weights and answer as every model does. What such sequences leave is what each alone would
leave, up to the rounding of batched matrix products. What they took is a share of what all took together, which
`Timing.extra["together"]` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from runner.fingerprint import Fingerprint, fingerprint, not_finite_among
from runner.methods.base import Method, WeightMethod
from runner.methods.variants import NotTogether, Variants
from runner.models.memory import peak, reset_peak
from runner.parts import measured
from runner.sequence import (
    SequenceResult,
    applicable,
    check_undone,
    distinct,
    edits_of,
    forced_answers,
    forced_questions,
    free_answers,
    make_edits,
    note_edited,
    now,
    prompts_of,
    seed_all,
)
from runner.types import Answer, Case, Timing

if TYPE_CHECKING:
    from runner.models.lm import LanguageModel

MOST_CASES = 10  # of a sequence; the questions of more fill batches by themselves
MOST_BYTES = 1 << 31  # of changed weights that are kept beside the model before questions are asked
Measure = Callable[[Method], dict[str, Any]]


@dataclass
class Begun:
    """A sequence on its way. `method` holds its edits, put aside once they are made."""

    method: WeightMethod
    cases: Sequence[Case]
    seed: int
    measure: Measure
    timing: Timing = field(default_factory=Timing)
    answers: list[Answer] = field(default_factory=list)
    hparams: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    peak: int = 0


def can_together(method_class: type[Method], n_cases: int) -> bool:
    """Whether sequences of so many cases may be run together: what the method does is in the weights alone."""
    own = (method_class.answer, method_class.force, method_class.contexts)
    usual = (Method.answer, Method.force, Method.contexts)
    return issubclass(method_class, WeightMethod) and own == usual and n_cases <= MOST_CASES


def learns_in_step(method_class: type[Method]) -> bool:
    """Whether the method can learn an edit each of several sequences in one batch."""
    if not issubclass(method_class, WeightMethod):
        return False
    return method_class.edit_in_step.__func__ is not WeightMethod.edit_in_step.__func__  # type: ignore[attr-defined]


def run_together(lm: LanguageModel, sequences: Sequence[Begun], clean: Fingerprint) -> list[SequenceResult]:
    """As `run_sequence` for each of the sequences, all on the unedited model. All methods are of one class.

    Raises NotTogether, with the model unedited, where this method's or model's kind does not allow it; whatever else
    is raised leaves the model unedited, too.
    """
    results: list[SequenceResult] = []
    try:
        for group in _edited(lm, sequences, clean):
            _ask(lm, group)
            for one in group:
                one.method.take_up()
                one.timing.peak_memory_bytes = one.peak
                one.timing.extra["together"] = len(sequences)
                one.timing.extra.update(one.measure(one.method))
                one.method.undo()
                results.append(SequenceResult(one.answers, one.timing, one.hparams))
            check_undone(lm, clean)  # once for all: none of them counts if one is not undone
    finally:
        for one in sequences:
            one.method.undo()
    return results


def _edited(lm: LanguageModel, sequences: Sequence[Begun], clean: Fingerprint) -> Iterator[list[Begun]]:
    """The sequences with their edits made and put aside, in groups that fit beside the model."""
    kind = type(sequences[0].method)
    in_step = learns_in_step(kind)
    for one in sequences:
        one.cases = applicable(one.method, one.cases, one.timing)
    size = _at_once(lm, sequences[0].method) if in_step else len(sequences)
    for start in range(0, len(sequences), size):
        portion = sequences[start : start + size]
        if in_step:
            _edit_in_step(lm, portion, kind)
        group: list[Begun] = []
        for one in portion:
            if not in_step:
                _edit_alone(lm, one)
            if not group and fingerprint(lm.model) != clean:
                raise NotTogether("the method changes more than weights.")
            note_edited(one.timing, one.failed, not_finite_among(one.method.aside.items()))
            one.hparams, one.timing.storage_bytes = one.method.resolved_hparams(), one.method.storage_bytes()
            group.append(one)
            if sum(map(_bytes, (v for other in group for v in other.method.aside.values()))) > MOST_BYTES:
                yield group
                group = []
        if group:
            yield group


def _at_once(lm: LanguageModel, method: WeightMethod) -> int:
    """How many sequences are edited in step: of each the changed weights are kept, and what they were before."""
    each = 2 * sum(_bytes(lm.model.get_parameter(name)) for name in method.changes_weights())
    return max(1, MOST_BYTES // max(1, each))


def _bytes(tensor: Tensor) -> int:
    """A tensor's size."""
    return tensor.numel() * tensor.element_size()


def _edit_alone(lm: LanguageModel, one: Begun) -> None:
    seed_all(one.seed)
    reset_peak(lm.device)
    one.failed = make_edits(lm, one.method, edits_of(one.cases), one.timing)
    one.method.put_aside()
    one.peak = peak(lm.device)


def _edit_in_step(lm: LanguageModel, sequences: Sequence[Begun], kind: type[WeightMethod]) -> None:
    """The first edits of all, then the second ones, and so on; each sequence bears its share of the seconds."""
    reset_peak(lm.device)
    seed_all(sequences[0].seed)
    for one in sequences:
        start = now(lm)
        one.method.prepare()
        one.timing.extra["prepare_seconds"] = now(lm) - start
    edits = [edits_of(one.cases) for one in sequences]
    for step in range(max(map(len, edits))):
        start = now(lm)
        members = [(one, own[step]) for one, own in zip(sequences, edits, strict=True) if step < len(own)]
        failed = kind.edit_in_step([one.method for one, _ in members], [edit for _, edit in members])
        share = (now(lm) - start) / len(members)
        for place, (one, _) in enumerate(members):
            one.timing.edit_seconds += share
            one.timing.n_edits += place not in failed
            one.failed += [failed[place]] if place in failed else []
    for one in sequences:
        one.peak = peak(lm.device)


def _ask(lm: LanguageModel, group: Sequence[Begun]) -> None:
    """All questions of the group in one go. Each sequence bears the share of the seconds that its questions are."""
    variants = Variants(lm, [one.method.aside for one in group])
    speaker = group[0].method  # renders and reads answers as each of them would
    reset_peak(lm.device)
    with lm.remembering():
        if "free" in speaker.protocol.modes:
            _ask_free(lm, group, variants, speaker)
        if "forced" in speaker.protocol.modes:
            _ask_forced(lm, group, variants, speaker)
    highest = peak(lm.device)
    for one in group:
        one.peak = max(one.peak, highest)


def _ask_free(lm: LanguageModel, group: Sequence[Begun], variants: Variants, speaker: Method) -> None:
    asked = [(which, prompt) for which, one in enumerate(group) for prompt in prompts_of(one.cases)]
    if "forced" in speaker.protocol.modes:
        speaker.expected = _expected(group)
    start = now(lm)
    with measured(lambda: now(lm)) as parts, variants.asked([which for which, _ in asked]):
        replies = speaker.answer([prompt for _, prompt in asked])
    seconds = now(lm) - start
    by_place = dict(zip(asked, replies, strict=True))
    for which, one in enumerate(group):
        own = {prompt: reply for (owner, prompt), reply in by_place.items() if owner == which}
        share = len(own) / max(1, len(asked))
        shares = {name: spent * share for name, spent in parts.items()}
        forced = shares.pop("forced", 0.0)  # what was scored beside the answers is no cost of answering
        if forced:
            one.timing.extra["forced_seconds"] = forced
        one.timing.answer_seconds = seconds * share - forced
        if shares:
            one.timing.extra["answer_parts"] = shares
        one.answers += free_answers(one.cases, own, one.timing)


def _expected(group: Sequence[Begun]) -> dict[str, str]:
    """Prompt -> the target that will be forced after it; none where sequences disagree."""
    found: dict[str, str] = {}
    for one in group:
        own = {prompt: target for _, _, (prompt, target) in reversed(forced_questions(one.cases))}
        for prompt, target in own.items():
            found[prompt] = target if found.get(prompt, target) == target else ""
    return {prompt: target for prompt, target in found.items() if target}


def _ask_forced(lm: LanguageModel, group: Sequence[Begun], variants: Variants, speaker: Method) -> None:
    pairs = [(which, *pair) for which, one in enumerate(group)
             for pair in distinct(pair for _, _, pair in forced_questions(one.cases))]  # fmt: skip
    start = now(lm)
    with variants.asked([which for which, _, _ in pairs]):
        found = speaker.force([prompt for _, prompt, _ in pairs], [target for _, _, target in pairs])
    seconds = now(lm) - start
    by_place = dict(zip(pairs, found, strict=True))
    for which, one in enumerate(group):
        own = {(prompt, target): forced for (owner, prompt, target), forced in by_place.items() if owner == which}
        extra = one.timing.extra
        extra["forced_seconds"] = extra.get("forced_seconds", 0.0) + seconds * len(own) / max(1, len(pairs))
        one.answers += forced_answers(one.cases, own, one.timing)
