"""Executing a cell on a loaded model: its sequences, one after the other, without those that are stored already."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from runner.cells import BASE_METHOD, Cell, canonical_hash
from runner.datasets import plain
from runner.errors import UserError
from runner.fingerprint import Fingerprint, count_hooks, fingerprint
from runner.methods.base import Method, WeightMethod
from runner.methods.tail import hand_out
from runner.methods.variants import NotTogether
from runner.metrics import collapse
from runner.models.batch import keeps_states
from runner.sequence import SequenceResult, now, run_sequence, warm_up
from runner.together import Begun, can_together, learns_in_step, run_together
from runner.types import Case, Edit

if TYPE_CHECKING:
    from runner.models.lm import LanguageModel

TOGETHER = 16  # sequences that may share work
ALONE = 2  # the first sequences of a cell, which don't: what they take is what an edit and an answer cost
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
    together: bool = True,
) -> None:
    """Run the sequences of a cell whose positions are not in `done`; hand each to `on_sequence` as it ends.

    cases: by id, at least those of the cell. clean: the unedited model's fingerprint. together: sequences may
    share work. Whatever a method raises goes through; the sequences handed over before stay valid.
    """
    work = _Work(cell, lm, method_class, cases, clean)
    to_do = [position for position in range(len(cell.sequences)) if position not in done]
    prepared = work.warm_up(to_do[0]) if to_do else 0.0
    for group in groups(cell, method_class, together):
        for position, result in work.run(group, [p for p in group if p not in done]):
            if position == to_do[0] and prepared:
                result.timing.extra["prepare_seconds"] = result.timing.extra.get("prepare_seconds", 0.0) + prepared
            if position == 0 and result.hparams != cell.method.hparams:
                result.timing.extra["hparams"] = result.hparams
            on_sequence(position, result)


def groups(cell: Cell, method_class: type[Method], together: bool = True) -> list[list[int]]:
    """The positions of a cell's sequences cut into what is run in one go: those that share work, each other by itself.

    The same whether or not some are done, so that a continued run repeats every rounding.
    """
    shares = method_class.foresee is not Method.foresee or can_together(method_class, len(cell.sequences[0]))
    found: dict[tuple[bool, int], list[int]] = {}
    for position in range(len(cell.sequences)):
        shared = together and shares and position >= ALONE
        found.setdefault((shared, position // TOGETHER if shared else position), []).append(position)
    return list(found.values())


@dataclass
class _Work:
    """What the sequences of one call share; arguments of `execute_cell`."""

    cell: Cell
    lm: LanguageModel
    method_class: type[Method]
    cases: Mapping[str, Case]
    clean: Fingerprint

    @property
    def edits_model(self) -> bool:
        """Whether anything is edited."""
        return self.cell.method.name != BASE_METHOD

    def make_method(self, ahead: Mapping[Edit, Any] | None = None) -> Method:
        """A fresh method. ahead: what was foreseen."""
        cell = self.cell
        method = self.method_class(self.lm, cell.settings.protocol, cell.method.hparams, cell.seed)
        method.ahead = ahead or {}
        return method

    def cases_of(self, position: int) -> list[Case]:
        """The cases of a sequence."""
        return [self.cases[case_id] for case_id in self.cell.sequences[position]]

    def seed(self, position: int) -> int:
        """A sequence's own seed."""
        return self.cell.seed * 1_000_003 + position

    def warm_up(self, position: int) -> float:
        """A warm-up (`sequence.warm_up`) unless this model has had one with this method; seconds of preparing it."""
        known = _warm.setdefault(self.lm, set())
        method = self.cell.method
        key = canonical_hash([method.name, method.hparams, self.cell.settings.protocol.to_json()])
        if key in known:
            return 0.0
        known.add(key)
        return warm_up(self.lm, self.make_method, self.cases_of(position)[0], self.edits_model, self.cell.seed)

    def run(self, group: Sequence[int], to_do: Sequence[int]) -> Iterator[tuple[int, SequenceResult]]:
        """The results of the sequences at `to_do`, of a group that is run in one go (`groups`)."""
        if len(group) == 1 or not to_do:
            for position in to_do:
                yield position, self.alone(position, {})
            return
        learns = learns_in_step(self.method_class)  # then nothing need be foreseen
        results = self.beside(group, {}) if learns else {}
        foreseen, seconds = ({}, 0.0) if results else self.foresee(group)
        if not learns:
            results = self.beside(group, foreseen)
        for position in to_do:
            result = results[position] if results else self.alone(position, foreseen)
            if foreseen:
                result.timing.edit_seconds += seconds
                result.timing.extra["together"] = len(group)
            yield position, result

    def alone(self, position: int, ahead: Mapping[Edit, Any]) -> SequenceResult:
        """One sequence by itself."""
        return run_sequence(
            self.lm,
            partial(self.make_method, ahead),
            self.cases_of(position),
            self.edits_model,
            self.seed(position),
            self.clean,
            partial(record, self.lm, self.clean, position == 0),
        )

    def beside(self, positions: Sequence[int], ahead: Mapping[Edit, Any]) -> dict[int, SequenceResult]:
        """The sequences asked together, by position; none where this method or model does not allow it."""
        apart = _apart.setdefault(self.lm, set())
        if self.method_class in apart or not can_together(self.method_class, len(self.cell.sequences[0])):
            return {}
        begun = []
        for position in positions:
            method = cast(WeightMethod, self.make_method(ahead))
            measure = partial(record, self.lm, self.clean, position == 0)
            begun.append(Begun(method, self.cases_of(position), self.seed(position), measure))
        try:
            return dict(zip(positions, run_together(self.lm, begun, self.clean), strict=True))
        except NotTogether:
            apart.add(self.method_class)
        except (RuntimeError, ValueError, ArithmeticError):
            pass  # run one by one, where what is wrong with one sequence belongs to it alone
        return {}

    def foresee(self, positions: Sequence[int]) -> tuple[Mapping[Edit, Any], float]:
        """What the method works out at once for these sequences (`Method.foresee`), and each one's share of the
        seconds."""
        if self.method_class.foresee is Method.foresee:
            return {}, 0.0
        values: Mapping[Edit, Any] = {}
        start, method = now(self.lm), self.make_method()
        edits = [edit for p in positions for edit in self.cases_of(p)[0].edits[:1] if edit.has_prompt]
        try:
            method.prepare()
            values = method.foresee(edits)
        except (RuntimeError, ValueError, ArithmeticError):
            pass  # worked out one by one, where what is wrong with one edit belongs to it alone
        finally:
            method.undo()
        return values, (now(self.lm) - start) / len(positions)


_unedited: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
_warm: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
# Methods whose sequences this model can't answer together.
_apart: weakref.WeakKeyDictionary[Any, set[type[Method]]] = weakref.WeakKeyDictionary()


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
