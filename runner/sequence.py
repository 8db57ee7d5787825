"""One sequence: edit, ask, undo. The unit of work that is stored as a whole or not at all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from runner.fingerprint import Fingerprint, differences, fingerprint, not_finite
from runner.methods.subject import EditError
from runner.models.batch import is_out_of_memory
from runner.models.memory import peak, reset_peak
from runner.parts import measured
from runner.types import Answer, Case, Edit, Reply, Timing

if TYPE_CHECKING:
    from runner.methods.base import Method
    from runner.models.force import Forced
    from runner.models.lm import LanguageModel

MAX_LISTED = 20  # failed edits kept in a sequence's record


class UndoError(Exception):
    """A method left the model different from what it was. The model in memory can't be used any more."""


@dataclass(frozen=True)
class SequenceResult:
    """What one sequence leaves.

    answers: free and forced, raw. timing: its cost; `extra` holds failed edits and what collapsed.
    hparams: the hyperparameters in force, with what was left to the model or the method resolved.
    """

    answers: list[Answer]
    timing: Timing
    hparams: dict[str, Any]


def run_sequence(
    lm: LanguageModel,
    make_method: Callable[[], Method],
    cases: Sequence[Case],
    edits_model: bool,
    seed: int,
    clean: Fingerprint,
    measure: Callable[[Method], dict[str, Any]] | None = None,
) -> SequenceResult:
    """Edit the cases one by one, ask all their probes in the modes of the method's protocol, undo.

    measure: what else to record of the edited model, in no time or memory that is counted.

    A fresh method and fresh random states make a sequence independent of those before it, so that a continued run
    equals an uninterrupted one. Weights that stop being finite are a result: the model is asked all the same. Cases
    that are not applicable to the method are neither edited nor asked, so that no score counts them; `extra` says how
    many.
    Raises UndoError when the model differs afterwards from `clean`.
    """
    seed_all(seed)
    reset_peak(lm.device)
    timing = Timing()
    method = make_method()
    try:
        if edits_model:
            cases = applicable(method, cases, timing)
            failed = make_edits(lm, method, edits_of(cases), timing)
            note_edited(timing, failed, not_finite(lm.model))
        hparams = method.resolved_hparams()
        timing.storage_bytes = method.storage_bytes()
        modes = method.protocol.modes
        with lm.remembering():
            if "forced" in modes:
                method.expected = {prompt: target for _, _, (prompt, target) in reversed(forced_questions(cases))}
            answers = _ask_free(lm, method, cases, timing) if "free" in modes else []
            answers += _ask_forced(lm, method, cases, timing) if "forced" in modes else []
        timing.peak_memory_bytes = peak(lm.device)
        if measure is not None:
            timing.extra.update(measure(method))
    finally:
        method.undo()
    check_undone(lm, clean)
    return SequenceResult(answers, timing, hparams)


def check_undone(lm: LanguageModel, clean: Fingerprint) -> None:
    """Raise UndoError when the model differs from `clean`."""
    changed = differences(clean, fingerprint(lm.model))
    if changed:
        raise UndoError(f"undo left {len(changed)} of the model's parts changed, first {changed[0]}")


def edits_of(cases: Sequence[Case]) -> list[Edit]:
    """All edits of the cases, in order."""
    return [edit for case in cases for edit in case.edits]


def note_edited(timing: Timing, failed: Sequence[str], broken: Sequence[str]) -> None:
    """Note what editing left: why edits could not be made, and the weights that are not finite."""
    if failed:
        timing.extra["failed_edits"] = len(failed)
        timing.extra["failed_edits_listed"] = list(failed[:MAX_LISTED])
    if broken:
        timing.extra["collapsed"] = list(broken[:MAX_LISTED])


def warm_up(lm: LanguageModel, make_method: Callable[[], Method], case: Case, edits_model: bool, seed: int) -> float:
    """Edit, ask and undo one case without keeping anything, so that no cost counts what only the first call pays.

    Returns the seconds that preparing the method took, such as measuring second moments; they are paid once, too.
    """
    seed_all(seed)
    method = make_method()
    start = now(lm)
    seconds = 0.0
    try:
        if edits_model and applicable(method, [case], Timing()):
            method.prepare()
            seconds = now(lm) - start
            with suppress(EditError, RuntimeError, ValueError, ArithmeticError):
                method.edit(case.edits[:1])
                method.settle()
        prompts = [probe.prompt for probe in case.probes[:1]]
        if "free" in method.protocol.modes:
            method.answer(prompts)
        if "forced" in method.protocol.modes:
            method.force(prompts, ["warm"] * len(prompts))
    finally:
        method.undo()
    return seconds


def applicable(method: Method, cases: Sequence[Case], timing: Timing) -> list[Case]:
    """The cases whose every edit the method can make (a statement alone says nothing of a prompt to change); `timing`
    notes how many it can't."""
    kept = [case for case in cases if method.takes_statements() or all(edit.has_prompt for edit in case.edits)]
    if len(kept) < len(cases):
        timing.extra["not_applicable"] = len(cases) - len(kept)
    return kept


def make_edits(lm: LanguageModel, method: Method, edits: Sequence[Edit], timing: Timing) -> list[str]:
    """Apply the edits one by one, timed; returns why those that could not be applied were not."""
    failed: list[str] = []
    start = now(lm)
    method.prepare()
    timing.extra["prepare_seconds"] = now(lm) - start
    start = now(lm)
    for edit in edits:
        try:
            method.edit([edit])
        except EditError as error:  # this edit can't be made, e.g. its subject is not in its prompt
            failed.append(str(error))
        except (RuntimeError, ValueError, ArithmeticError) as error:
            # Linear algebra gives up on NaN: in a collapsed model that is the phenomenon, elsewhere a fault.
            if is_out_of_memory(error) or not not_finite(lm.model):
                raise
            failed.append(f"{edit.prompt}: {error}")
    method.settle()
    timing.edit_seconds = now(lm) - start
    timing.n_edits = len(edits) - len(failed)
    return failed


def _ask_free(lm: LanguageModel, method: Method, cases: Sequence[Case], timing: Timing) -> list[Answer]:
    unique = prompts_of(cases)
    start = now(lm)
    with measured(lambda: now(lm)) as parts:
        replies = dict(zip(unique, method.answer(unique), strict=True)) if unique else {}
    forced = parts.pop("forced", 0.0)  # what was scored beside the answers is no cost of answering
    if forced:
        timing.extra["forced_seconds"] = forced
    timing.answer_seconds = now(lm) - start - forced
    if parts:
        timing.extra["answer_parts"] = parts
    return free_answers(cases, replies, timing)


def prompts_of(cases: Sequence[Case]) -> list[str]:
    """What is asked freely, each prompt once."""
    return distinct(probe.prompt for case in cases for probe in case.probes)


def free_answers(cases: Sequence[Case], replies: Mapping[str, Reply], timing: Timing) -> list[Answer]:
    """The replies, by prompt, as answers of every probe that has the prompt; `timing` gets the counts."""
    timing.n_answers = len(replies)
    timing.n_tokens = sum(reply.tokens for reply in replies.values())
    answers = []
    for case in cases:
        for index, probe in enumerate(case.probes):
            reply = replies[probe.prompt]
            answers.append(Answer(case.id, index, "free", reply.text, reply.trace, reply.consulted, reply.tokens))
    return answers


def _ask_forced(lm: LanguageModel, method: Method, cases: Sequence[Case], timing: Timing) -> list[Answer]:
    """Teacher forcing on the first alias of the first answer; a probe without a known answer has none."""
    unique = distinct(pair for _, _, pair in forced_questions(cases))
    start = now(lm)
    forced = method.force([prompt for prompt, _ in unique], [target for _, target in unique]) if unique else []
    timing.extra["forced_seconds"] = timing.extra.get("forced_seconds", 0.0) + now(lm) - start
    return forced_answers(cases, dict(zip(unique, forced, strict=True)), timing)


def forced_answers(cases: Sequence[Case], results: Mapping[tuple[str, str], Forced], timing: Timing) -> list[Answer]:
    """The results, by prompt and target, as answers of every probe that has both; `timing` gets their number."""
    timing.extra["n_forced"] = len(results)
    return [
        Answer(case_id, index, "forced", results[pair].text, tokens=results[pair].tokens, forced=results[pair].share)
        for case_id, index, pair in forced_questions(cases)
    ]


def forced_questions(cases: Sequence[Case]) -> list[tuple[str, int, tuple[str, str]]]:
    """Case, number of the probe, its prompt and target."""
    return [
        (case.id, index, (probe.prompt, probe.answers[0][0]))
        for case in cases
        for index, probe in enumerate(case.probes)
        if probe.answers and probe.answers[0] and probe.answers[0][0].strip()
    ]


def distinct(values: Iterable[Any]) -> list[Any]:
    """The values in order, each once."""
    return list(dict.fromkeys(values))


def seed_all(seed: int) -> None:
    """Fresh random states: what a sequence draws depends on its own seed alone."""
    random.seed(seed)
    torch.manual_seed(seed)


def now(lm: LanguageModel) -> float:
    """Seconds, after the accelerator has done everything asked of it so far."""
    if lm.device.type == "cuda":
        torch.cuda.synchronize(lm.device)
    return time.perf_counter()
