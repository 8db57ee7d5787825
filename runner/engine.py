"""The engine of one machine: cell after cell, each sequence stored as it ends, scores as soon as a cell is done."""

from __future__ import annotations

import gc
import threading
import traceback
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from db.errors import CellLost, StoreError
from runner import deadline, scoring
from runner.cells import Cell, protocol_hash
from runner.deadline import OutOfTime
from runner.errors import UserError
from runner.plan import Plan
from runner.progress import Reporter
from runner.types import to_json

if TYPE_CHECKING:
    from db.store import Store
    from runner.fingerprint import Fingerprint
    from runner.models.lm import LanguageModel
    from runner.sequence import SequenceResult

HEARTBEAT_SECONDS = 30.0
Restart = Callable[[list[str]], None]


@dataclass
class Summary:
    """What a run did.

    failed: (label, reason) per failed cell; failed_keys: their keys. busy: labels of cells another process works on.
    """

    done: int = 0
    done_before: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    failed_keys: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)


def enter(plan: Plan, store: Store, run_id: int) -> None:
    """Put the plan's data sets and cells into the database; what is there already stays as it is."""
    for loaded in plan.datasets.values():
        name = next(cell.dataset for cell in plan.cells if cell.dataset_hash == loaded.hash)
        cases = [(case.id, case.group, to_json(case)) for case in loaded.cases]
        store.save_dataset(loaded.hash, name, loaded.source, loaded.report.to_json(), cases)
    store.add_cells([_row(cell, run_id) for cell in plan.cells])


def run(
    plan: Plan,
    store: Store,
    run_id: int,
    tty: bool | None = None,
    given_up: Container[str] = (),
    restart: Restart | None = None,
) -> Summary:
    """Run what is not done of a plan, and score it.

    A method's exception fails its cell, with the reason, and the run goes on; so does one that takes longer than the
    grid's `cell_seconds`. UserError (a model that can't be loaded), StoreError and KeyboardInterrupt end the run;
    finished sequences are kept, and the same plan continues.

    given_up: keys of failed cells not to try again. restart: called from another thread, with the keys of cells to
    give up, when a cell out of time can't be interrupted; it must replace this process.
    """
    enter(plan, store, run_id)
    rows = {row["key"]: row for row in store.cells(key=[cell.key for cell in plan.cells])}
    undone = [cell for cell in plan.cells if rows[cell.key]["state"] != "done"]
    to_do = [cell for cell in undone if cell.key not in given_up]
    summary = Summary(done_before=len(plan.cells) - len(undone))
    for cell in undone:
        if cell.key in given_up:
            summary.failed.append((cell.label, str(rows[cell.key]["error"])))
            summary.failed_keys.append(cell.key)
    with Reporter(len(to_do), sum(len(cell.case_ids) for cell in to_do), tty) as reporter:
        work = _Work(plan, store, run_id, reporter, summary, restart)
        for cell in to_do:
            _run_cell(cell, work)
        # A run that was killed between a cell's last answer and its scores left it unscored.
        mine = {cell.key for cell in plan.cells}
        scoring.score_all(store, [key for key in scoring.unscored(store) if key in mine], run_id)
    return summary


@dataclass
class _Work:
    """What all cells of one call share."""

    plan: Plan
    store: Store
    run_id: int
    reporter: Reporter
    summary: Summary
    restart: Restart | None
    models: Models = field(default_factory=lambda: Models())


def _run_cell(cell: Cell, work: _Work) -> None:
    from db.owner import process_name

    lm = work.models.get(cell)
    owner = process_name()
    if not work.store.claim_cell(cell.key, work.run_id, owner):
        work.summary.busy.append(cell.label)
        return
    try:
        _run_claimed(cell, owner, lm, work)
    except CellLost:
        work.summary.busy.append(cell.label)
        work.reporter.end_cell("another process took it over")


def _run_claimed(cell: Cell, owner: str, lm: LanguageModel, work: _Work) -> None:
    """Run a cell that is this process's. Raises CellLost, having stored nothing more, once it is another's."""
    from runner.execute import execute_cell
    from runner.methods import registry

    store, models = work.store, work.models
    stored = store.sequences(cell.key)
    done = {row["position"] for row in stored}
    begun_with = stored[0]["extra"].get("hparams", cell.method.hparams) if stored else None
    work.reporter.start_cell(cell, len(done))
    seconds = work.plan.grid.cell_seconds
    try:
        with heartbeat(store, cell.key, owner) as lost, deadline.limit(seconds, lambda: _give_up(cell, owner, work)):

            def keep(position: int, result: SequenceResult) -> None:
                if lost.is_set():
                    raise CellLost("another process took this cell over.")
                same_hparams(begun_with, result.hparams)
                store.save_sequence(cell.key, position, result.timing, result.answers, owner)
                work.reporter.end_sequence(len(cell.sequences[position]))

            method, cases, together = registry.get(cell.method.spec), work.plan.cases(cell), work.plan.grid.together
            execute_cell(cell, lm, method, cases, models.clean, done, keep, together)
    except KeyboardInterrupt:
        store.release_cell(cell.key, owner)
        raise
    except StoreError:
        raise
    except (Exception, OutOfTime) as error:
        # What was interrupted just anywhere may have left more than weights behind.
        models.forget(only_if_changed=not isinstance(error, OutOfTime))
        fail(cell, reason(error), owner, store, work.summary, work.reporter.end_cell)
    else:
        finish(cell, owner, store, work.run_id, work.summary, work.reporter.end_cell)


def _give_up(cell: Cell, owner: str, work: _Work) -> None:
    """Called from another thread when a cell out of time does not let itself be interrupted."""
    why = f"took longer than {work.plan.grid.cell_seconds:g} s (--cell-seconds) and could not be interrupted"
    with suppress(StoreError):  # whether it is said in the database or not, the others go on
        work.store.fail_cell(cell.key, why, owner)
    if work.restart is not None:
        work.reporter.say(f"{cell.label}: {why}; starting again without it")
        work.restart([*work.summary.failed_keys, cell.key])


def fail(cell: Cell, why: str, owner: str, store: Store, summary: Summary, say: Callable[[str], None]) -> None:
    """Close a cell that can't be finished, and `say` so."""
    store.fail_cell(cell.key, why, owner)
    summary.failed.append((cell.label, why))
    summary.failed_keys.append(cell.key)
    say(f"failed: {why}")


def finish(cell: Cell, owner: str, store: Store, run_id: int, summary: Summary, say: Callable[[str], None]) -> None:
    """Close a cell all of whose sequences are stored, score it, and `say` so."""
    from runner.execute import cell_note

    note = cell_note([row["extra"] for row in store.sequences(cell.key)])
    store.finish_cell(cell.key, note, owner)
    scoring.score(store, cell.key, run_id)
    summary.done += 1
    say("done" + (f" ({note})" if note else ""))


def same_hparams(begun_with: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """A value left to "auto" may come out otherwise on another machine; a cell must not mix the two."""
    if begun_with is None:
        return
    for name, value in now.items():
        if begun_with.get(name) != value:
            raise UserError(
                f"the cell was begun with {name}={begun_with.get(name)!r}, which comes out as {value!r} here; "
                "set it in the grid, or continue where it was begun."
            )


def reason(error: BaseException) -> str:
    """Why a cell failed, in one line: a user error as it is, another with its type and the place it came from."""
    if isinstance(error, (UserError, OutOfTime)):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}{place}"


class Models:
    """The model in memory. One at a time: cells are ordered by model, and two may not fit."""

    def __init__(self) -> None:
        self._spec: tuple[str, str, str] | None = None
        self._lm: LanguageModel | None = None
        self.clean: Fingerprint = {}

    def get(self, cell: Cell) -> LanguageModel:
        """The cell's model, unedited."""
        from runner.fingerprint import fingerprint
        from runner.models.lm import LanguageModel

        spec = (cell.model.spec, cell.settings.device, cell.settings.dtype)
        if self._lm is None or spec != self._spec:
            self._let_go()
            self._lm, self._spec = LanguageModel.load(*spec), spec
            self.clean = fingerprint(self._lm.model)
        return self._lm

    def forget(self, only_if_changed: bool) -> None:
        """After a method that failed: load the model anew for the next cell, or only if it isn't what it was."""
        from runner.fingerprint import fingerprint

        if self._lm is not None and not (only_if_changed and fingerprint(self._lm.model) == self.clean):
            self._let_go()

    def _let_go(self) -> None:
        """Give the model's memory back: the next one needs it now, and a model is a web of references."""
        import torch

        self._lm = None
        gc.collect()
        if torch.cuda.is_available():
            # The allocator keeps freed blocks, which neither the check of free memory nor other processes see.
            torch.cuda.empty_cache()


@contextmanager
def heartbeat(store: Store, key: str, owner: str) -> Iterator[threading.Event]:
    """Give signs of life while a long sequence runs. The event is set when the cell has been taken over."""
    stop, lost = threading.Event(), threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            try:
                if not store.heartbeat(key, owner):
                    lost.set()
                    return
            except StoreError:
                # A database that can't be written shows at the end of the sequence, where it can be said.
                continue

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield lost
    finally:
        stop.set()
        thread.join()


def _row(cell: Cell, run_id: int) -> dict[str, Any]:
    """The cell as columns of the database."""
    settings = cell.settings
    return {
        "key": cell.key,
        "run_id": run_id,
        "base_key": cell.base_key,
        "model": cell.model.name,
        "model_hash": cell.model.hash,
        "method": cell.method.name,
        "hparams": cell.method.hparams,
        "dataset": cell.dataset,
        "dataset_hash": cell.dataset_hash,
        "n_edits": cell.n_edits,
        "n_cases": len(cell.case_ids),
        "seed": cell.seed,
        "protocol": settings.protocol.name,
        "protocol_hash": protocol_hash(settings.protocol),
        "protocol_body": settings.protocol.to_json(),
        "dtype": settings.dtype,
        "device": settings.device,
        "case_ids": list(cell.case_ids),
    }
