"""Executing a cell on a loaded model: its sequences, one after the other, without those that are stored already."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.cells import BASE_METHOD, Cell, canonical_hash
from runner.datasets import plain
from runner.errors import UserError
from runner.fingerprint import Fingerprint, count_hooks, fingerprint
from runner.methods.base import Method, WeightMethod
from runner.methods.tail import hand_out
from runner.metrics import collapse
from runner.models.batch import keeps_states
from runner.sequence import SequenceResult, now, run_sequence, warm_up
from runner.types import Case, Edit

if TYPE_CHECKING:
    from runner.models.lm import LanguageModel

TOGETHER = 16  # sequences whose first edits may be worked out together
ABILITY_TOKENS = 16  # of one answer about the atlas; its names are shorter
OnSequence = Callable[[int, SequenceResult], None]


def execute_cell(
    cell: Cell,
    lm: LanguageModel,
    method_class: type[Method],
    cases: Mapping[str, Case],
    clean: Fingerprint,
    done: Container[int],
    on_sequence: OnSequence,
) -> None:
    """Run the sequences of a cell whose positions are not in `done`; hand each to `on_sequence` as it ends.

    cases: by id, at least those of the cell. clean: the unedited model's fingerprint. Whatever a method raises goes
    through; the sequences handed over before stay valid.
    """

    def make_method() -> Method:
        return method_class(lm, cell.settings.protocol, cell.method.hparams, cell.seed)

    edits_model = cell.method.name != BASE_METHOD
    foresees = method_class.foresee is not Method.foresee
    to_do = [position for position in range(len(cell.sequences)) if position not in done]
    prepared = _warm_up_once(cell, lm, make_method, cases[cell.sequences[to_do[0]][0]], edits_model) if to_do else 0.0
    for position, case_ids in enumerate(cell.sequences):
        if position in done:
            continue
        ahead, seconds = _foresee(cell, lm, make_method, cases, position) if foresees else ({}, 0.0)

        def make_ahead(ahead: Mapping[Edit, Any] = ahead) -> Method:
            method = make_method()
            method.ahead = ahead
            return method

        result = run_sequence(
            lm,
            make_ahead,
            [cases[case_id] for case_id in case_ids],
            edits_model,
            cell.seed * 1_000_003 + position,
            clean,
            partial(record, lm, clean, position == 0),
        )
        result.timing.edit_seconds += seconds
        if position == to_do[0] and prepared:
            result.timing.extra["prepare_seconds"] = result.timing.extra.get("prepare_seconds", 0.0) + prepared
        if position == 0 and result.hparams != cell.method.hparams:
            result.timing.extra["hparams"] = result.hparams
        on_sequence(position, result)


_unedited: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
_ahead: weakref.WeakKeyDictionary[Any, tuple[Any, Mapping[Edit, Any], float]] = weakref.WeakKeyDictionary()
_warm: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def _warm_up_once(
    cell: Cell, lm: LanguageModel, make_method: Callable[[], Method], case: Case, edits_model: bool
) -> float:
    """A warm-up (`sequence.warm_up`) unless this model has had one with this method; seconds of preparing it."""
    known = _warm.setdefault(lm, set())
    key = canonical_hash([cell.method.name, cell.method.hparams, cell.settings.protocol.to_json()])
    if key in known:
        return 0.0
    known.add(key)
    return warm_up(lm, make_method, case, edits_model, cell.seed)


def _foresee(
    cell: Cell, lm: LanguageModel, make_method: Callable[[], Method], cases: Mapping[str, Case], position: int
) -> tuple[Mapping[Edit, Any], float]:
    """What the method works out at once for the sequences beside this one (`Method.foresee`), and this one's share of
    the seconds.

    The sequences are always the same, whether or not some are done, so that a continued run repeats every rounding.
    """
    first = position - position % TOGETHER
    sequences = cell.sequences[first : first + TOGETHER]
    if len(sequences) < 2:
        return {}, 0.0
    key = (cell.key, first)
    if _ahead.get(lm, (None,))[0] != key:
        values: Mapping[Edit, Any] = {}
        start, method = now(lm), make_method()
        edits = [edit for ids in sequences for edit in cases[ids[0]].edits[:1] if edit.has_prompt]
        try:
            method.prepare()
            values = method.foresee(edits)
        except (RuntimeError, ValueError, ArithmeticError):
            pass  # worked out one by one, where what is wrong with one edit belongs to it alone
        finally:
            method.undo()
        _ahead[lm] = (key, values, (now(lm) - start) / len(sequences))
    return _ahead[lm][1:]


def record(lm: LanguageModel, clean: Fingerprint, first: bool, method: Method) -> dict[str, Any]:
    """Signs of collapse of the edited model, and for the first sequence of a cell its general ability.

    A model that equals the unedited one (`clean`) is looked at once.
    """
    changed = isinstance(method, WeightMethod) or count_hooks(lm.model) != clean["hooks"]
    changed = changed or fingerprint(lm.model) != clean
    known: dict[str, Any] = {} if changed else _unedited.setdefault(lm, {})
    if "collapse" not in known:
        apart = isinstance(method, WeightMethod) and count_hooks(lm.model) == clean["hooks"]
        with _from_first_change(lm, method.touched() if isinstance(method, WeightMethod) and apart else ()):
            known["collapse"] = collapse.signs(lm, plain.plain_text(lm.path))
    if isinstance(method, WeightMethod):
        names = method.touched()
        known["collapse"]["weight_change"] = collapse.weight_change(names, lm.model.get_parameter, method.original)
    if first and "ability" not in known:
        questions = dict(plain.known_questions(lm.path))
        texts = [method.protocol.render(prompt) for prompt in questions]
        known["ability"] = {"atlas": collapse.ability(lm, questions, texts, ABILITY_TOKENS)} if questions else {}
    return {name: known[name] for name in ("collapse", "ability")[: 1 + first] if known[name]}


_below: weakref.WeakKeyDictionary[Any, dict[int, Any]] = weakref.WeakKeyDictionary()


@contextmanager
def _from_first_change(lm: LanguageModel, names: Sequence[str]) -> Iterator[None]:
    """For passes over one and the same text: the blocks below the first with a changed weight return what they
    returned for the first method that left them alone, without being run.

    names: the changed parameters; without any, or with one outside of the blocks, every block is run.
    """
    try:
        places = [_block_of(lm, name) for name in names]
    except UserError:  # a family whose parts aren't known
        places = []
    first = min(places, default=0)
    if first == 0 or keeps_states(lm.model):
        yield
        return
    known, top = _below.setdefault(lm, {}), lm.structure.blocks[first - 1]
    if first in known:
        with hand_out([(block, known[first]) for block in lm.structure.blocks[:first]]):
            yield
        return
    handle = top.register_forward_hook(lambda module, args, output: known.update({first: output}))
    try:
        yield
    finally:
        handle.remove()


def _block_of(lm: LanguageModel, name: str) -> int:
    """The block that holds a parameter; 0 where none does."""
    prefixes = enumerate(lm.structure.block_names)
    return next((i for i, prefix in prefixes if name.startswith(f"{prefix}.")), 0)


def cell_note(extras: Sequence[Mapping[str, Any]]) -> str | None:
    """What a reader must know of a cell, from the `extra` of its sequences in order; None when all went well."""
    collapsed = [extra["collapsed"] for extra in extras if extra.get("collapsed")]
    failed = sum(extra.get("failed_edits", 0) for extra in extras)
    apart = sum(extra.get("not_applicable", 0) for extra in extras)
    notes = []
    if collapsed:
        notes.append(f"collapsed: NaN or infinity in {collapsed[0][0]} ({len(collapsed)} of {len(extras)} sequences)")
    if failed:
        notes.append(f"{failed} edit{'s' if failed > 1 else ''} could not be made")
    if apart:
        notes.append(f"{apart} case{'s' if apart > 1 else ''} not applicable: a statement without a prompt to edit")
    return "; ".join(notes) or None
