"""The engine of many machines: cells are tasks of a Ray cluster, and this process alone writes to the database."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from db.errors import CellLost
from runner import deadline, engine, scoring
from runner.cells import Cell
from runner.deadline import OutOfTime
from runner.engine import Summary
from runner.errors import UserError
from runner.grid import Grid
from runner.gridfile import GridFile
from runner.plan import Plan, make_plan
from runner.types import Case

if TYPE_CHECKING:
    from types import TracebackType

    from db.store import Store

TRIES = 3  # times that a cell is begun whose worker is lost
ROOT = str(Path(__file__).resolve().parent.parent)
SEQUENCE, FAILED, REFUSED = "sequence", "failed", "refused"


class RayEngine:
    """Runs plans on an existing cluster, or on one that Ray starts on this machine for the while.

    address: of the cluster's head ("auto", "host:6379" or "ray://host:10001"); None: what RAY_ADDRESS names, the
    cluster this machine belongs to, or a new one of this machine. cpus, gpus: what a cell asks of a node; fractions
    let several cells share a GPU. gpus None: one GPU where the cluster has any, none elsewhere.
    """

    def __init__(self, address: str | None = None, cpus: float = 1.0, gpus: float | None = None) -> None:
        self.address, self.cpus, self.gpus = address, cpus, gpus

    def __enter__(self) -> Self:
        try:
            import ray
        except ImportError as error:
            raise UserError(
                "--engine ray needs the Python package ray; install it with pip install 'ray>=2.40'."
            ) from error
        # Workers find the project and the grid's relative paths where this process does.
        environment = {"PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
        try:
            ray.init(address=self.address, runtime_env={"env_vars": environment}, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"no Ray cluster answers at '{self.address or 'auto'}': {first}") from error
        if self.gpus is None:
            self.gpus = 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        ray.shutdown()

    def plan(self, source: GridFile, grid: Grid) -> Plan:
        """The plan as a worker makes it: its device and its copy of the model are those that count."""
        import ray

        if not self.gpus:
            return make_plan(source, grid.model_copy(update={"device": "cpu"}) if grid.device == "auto" else grid)
        asked = ray.remote(_plan_there).options(num_cpus=self.cpus, num_gpus=self.gpus)
        made: Plan | UserError = ray.get(asked.remote(source, grid, os.getcwd()))
        if isinstance(made, UserError):
            raise made
        return made

    def run(self, plan: Plan, store: Store, run_id: int) -> Summary:
        """Run what is not done of a plan, and score it, as `runner.engine.run` does; cells run side by side.

        A cell whose worker or node is lost is continued on another one, from its last stored sequence on.
        """
        engine.enter(plan, store, run_id)
        states = {row["key"]: row["state"] for row in store.cells(key=[cell.key for cell in plan.cells])}
        to_do = [cell for cell in plan.cells if states[cell.key] != "done"]
        work = _Work(self, plan, store, run_id, len(to_do), Summary(done_before=len(plan.cells) - len(to_do)))
        work.all_of(to_do)
        mine = {cell.key for cell in plan.cells}
        # A cell that ended before its unedited cell did is scored now.
        scoring.score_all(store, [key for key in scoring.unscored(store) if key in mine], run_id)
        return work.summary


@dataclass
class _Flight:
    """A cell that a worker has. heartbeat: closing it ends the signs of life."""

    cell: Cell
    owner: str
    left: set[int]
    begun_with: dict[str, Any] | None
    lost: Any
    heartbeat: ExitStack


@dataclass
class _Work:
    """One call of `RayEngine.run`: what is in the air, and what came of the rest."""

    engine: RayEngine
    plan: Plan
    store: Store
    run_id: int
    total: int
    summary: Summary
    flights: dict[Any, _Flight] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    ended: int = 0

    def all_of(self, cells: Sequence[Cell]) -> None:
        """Keep as many cells in the air as the cluster has room for, until all have landed."""
        import ray

        waiting = deque(cells)
        try:
            while waiting or self.flights:
                while waiting and len(self.flights) < self._room():
                    self._start(waiting.popleft())
                if not self.flights:
                    continue
                ready, _ = ray.wait(list(self.flights), num_returns=1, timeout=1.0)
                for task in ready:
                    again = self._receive(task)
                    if again is not None:
                        waiting.appendleft(again)
        finally:
            for task in list(self.flights):
                flight = self._land(task)
                ray.cancel(task, force=True)
                self.store.release_cell(flight.cell.key, flight.owner)

    def _room(self) -> int:
        """Cells that fit on the nodes the cluster has now; at least one, which then waits for a node."""
        import ray

        have = ray.cluster_resources()
        asked = {"CPU": self.engine.cpus, "GPU": self.engine.gpus or 0.0}
        return max(1, min(int(have.get(name, 0) / amount) for name, amount in asked.items() if amount))

    def _start(self, cell: Cell) -> None:
        import ray

        from db.owner import process_name

        owner = process_name()
        if not self.store.claim_cell(cell.key, self.run_id, owner):
            self.summary.busy.append(cell.label)
            return
        stored = self.store.sequences(cell.key)
        left = set(range(len(cell.sequences))) - {row["position"] for row in stored}
        begun_with = stored[0]["extra"].get("hparams", cell.method.hparams) if stored else None
        heartbeat = ExitStack()
        lost = heartbeat.enter_context(engine.heartbeat(self.store, cell.key, owner))
        cases = self.plan.cases(cell)
        work = ray.remote(_work_there).options(
            num_returns="streaming", num_cpus=self.engine.cpus, num_gpus=self.engine.gpus or 0, max_retries=0
        )
        needed, grid = {case_id: cases[case_id] for case_id in cell.case_ids}, self.plan.grid
        task = work.remote(cell, needed, sorted(left), grid.cell_seconds, grid.together, os.getcwd())
        self.flights[task] = _Flight(cell, owner, left, begun_with, lost, heartbeat)

    def _land(self, task: Any) -> _Flight:
        flight = self.flights.pop(task)
        flight.heartbeat.close()
        return flight

    def _receive(self, task: Any) -> Cell | None:
        """Take one thing that a worker sent. Returns the cell when the worker is lost and it must be begun again."""
        import ray

        flight = self.flights[task]
        try:
            try:
                kind, content = ray.get(next(task))
            except StopIteration:
                self._land(task)
                self._finish(flight)
            except ray.exceptions.RayTaskError as error:
                self._land(task)
                self._fail(flight, engine.reason(error.cause if isinstance(error.cause, Exception) else error))
            except ray.exceptions.RayError as error:
                self._land(task)
                return self._lose(flight, type(error).__name__)
            else:
                self._take(task, flight, kind, content)
        except CellLost:
            if task in self.flights:
                self._land(task)
                ray.cancel(task, force=True)
            self.summary.busy.append(flight.cell.label)
            self._say(flight, "another process took it over")
        return None

    def _take(self, task: Any, flight: _Flight, kind: str, content: Any) -> None:
        if kind == REFUSED:
            raise UserError(content)
        if kind == FAILED:
            self._land(task)
            self._fail(flight, content)
            return
        position, result = content
        if flight.lost.is_set():
            raise CellLost("another process took this cell over.")
        try:
            engine.same_hparams(flight.begun_with, result.hparams)
        except UserError as error:
            import ray

            self._land(task)
            ray.cancel(task, force=True)
            self._fail(flight, str(error))
            return
        self.store.save_sequence(flight.cell.key, position, result.timing, result.answers, flight.owner)
        flight.left.discard(position)

    def _finish(self, flight: _Flight) -> None:
        if flight.left:
            self._fail(flight, f"its worker ended without {len(flight.left)} of its sequences")
            return
        engine.finish(flight.cell, flight.owner, self.store, self.run_id, self.summary, lambda o: self._say(flight, o))

    def _fail(self, flight: _Flight, why: str) -> None:
        engine.fail(flight.cell, why, flight.owner, self.store, self.summary, lambda o: self._say(flight, o))

    def _lose(self, flight: _Flight, why: str) -> Cell | None:
        losses = self.losses[flight.cell.key] = self.losses.get(flight.cell.key, 0) + 1
        if losses == TRIES:
            self._fail(flight, f"its worker was lost {TRIES} times, the last time by {why}")
            return None
        self.store.release_cell(flight.cell.key, flight.owner)
        print(f"{flight.cell.label}: its worker was lost ({why}); it goes on elsewhere", file=sys.stderr, flush=True)
        return flight.cell

    def _say(self, flight: _Flight, outcome: str) -> None:
        self.ended += 1
        print(f"[{self.ended}/{self.total}] {flight.cell.label}: {outcome}", file=sys.stderr, flush=True)


# What runs on the workers

_models: list[Any] = []  # the model this worker has in memory, from one cell to the next


def _plan_there(source: GridFile, grid: Grid, folder: str) -> Plan | UserError:
    _enter_folder(folder)
    try:
        return make_plan(source, grid)
    except UserError as error:
        return error


def _work_there(
    cell: Cell, cases: Mapping[str, Case], to_do: Sequence[int], seconds: float | None, together: bool, folder: str
) -> Iterator[tuple[str, Any]]:
    """Run sequences of a cell. Yields (SEQUENCE, (position, result)) for each, or at last (FAILED | REFUSED, why)."""
    from runner.execute import execute_cell, groups
    from runner.methods import registry
    from runner.sequence import SequenceResult

    _enter_folder(folder)
    if not _models:
        _models.append(engine.Models())
    models = _models[0]
    everything, begun = set(range(len(cell.sequences))), time.monotonic()
    try:
        lm = models.get(cell)
    except UserError as error:
        yield REFUSED, str(error)
        return
    method = registry.get(cell.method.spec)
    portions = ([p for p in group if p in to_do] for group in groups(cell, method, together))
    for portion in filter(None, portions):
        left = None if seconds is None else max(1e-3, seconds - (time.monotonic() - begun))
        kept: dict[int, SequenceResult] = {}
        try:
            with deadline.limit(left, _leave):
                done = everything - set(portion)
                execute_cell(cell, lm, method, cases, models.clean, done, kept.__setitem__, together)
        except (Exception, OutOfTime) as error:
            models.forget(only_if_changed=not isinstance(error, OutOfTime))
            yield FAILED, engine.reason(error)
            return
        for position, result in kept.items():
            result.timing.extra["worker"] = _where()
            yield SEQUENCE, (position, result)


def _leave() -> None:
    """End a worker in which a method hangs and can't be interrupted: the cell is begun again, TRIES times in all."""
    os._exit(1)


def _enter_folder(folder: str) -> None:
    """Relative paths of a grid are those of the process that started the run, on a file system all nodes share."""
    if os.path.isdir(folder):
        os.chdir(folder)


def _where() -> dict[str, Any]:
    """The machine that a sequence ran on."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"host": socket.gethostname(), "gpu": gpu}
