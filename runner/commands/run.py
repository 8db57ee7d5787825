"""`run`: run a grid, or continue it."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from runner.commands.common import (
    DEFAULT_DB,
    DbOption,
    JsonOption,
    database_url,
    print_json,
    written,
)

if TYPE_CHECKING:
    from db.store import Store
    from runner.engine import Summary
    from runner.engine_ray import RayEngine
    from runner.grid import Grid
    from runner.gridfile import GridFile
    from runner.plan import Plan

SOME_FAILED = 1
GIVEN_UP = "PALIMPSEST_GIVEN_UP"  # keys of cells that a run which started itself again does not try again


def run(
    grid: Annotated[str, typer.Argument(help="A grid by name (see `ls grids`) or a YAML file.")] = "atlas-quick",
    db: DbOption = DEFAULT_DB,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N, or sharded over all GPUs.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16, float16, or auto: float32 on the CPU, bfloat16 on CUDA.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, in what time and memory.")
    ] = False,
    on: Annotated[
        str | None, typer.Option(help="With --dry-run: plan for cpu, rtx-4090, a100, h100 or h200 instead.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N cases of each data set.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model instead of the grid's; may be repeated.")] = None,
    data: Annotated[str | None, typer.Option(help="Your copy of the grid's published data set.")] = None,
    methods: Annotated[str | None, typer.Option(help="Methods instead of the grid's, separated by commas.")] = None,
    edits: Annotated[str | None, typer.Option(help="Edit counts instead of the grid's, separated by commas.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="A seed instead of the grid's; may be repeated.")] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="A protocol instead of the grid's; may be repeated.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE: a hyperparameter for each method that has it.")
    ] = None,
    cell_seconds: Annotated[
        float | None, typer.Option(help="Fail a cell that takes longer than this, and go on with the next.")
    ] = None,
    together: Annotated[
        bool | None,
        typer.Option("--together/--alone", help="Whether short sequences share work; alone, all times are their own."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: cells side by side on a Ray cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster's head, e.g. host:6379.")] = None,
    cpus: Annotated[float, typer.Option(help="CPUs a cell asks of Ray.")] = 1.0,
    gpus: Annotated[
        float | None, typer.Option(help="GPUs a cell asks of Ray, e.g. 0.25; all of one where there are any.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a grid or continue it: finished sequences are never repeated.

    Examples:

    python -m runner run

    python -m runner run zsre --limit 20 --model path/to/model --data path/to/ZsRE-test-all.json

    python -m runner run atlas-quick --methods ROME,SCR --edits 1,10 --dry-run

    python -m runner run atlas-methods --model Qwen/Qwen2.5-7B-Instruct --dry-run --on rtx-4090
    """
    from runner import gridfile
    from runner.commands.dry_run import show_plan
    from runner.errors import UserError
    from runner.grid import override
    from runner.plan import make_plan

    source = gridfile.load(grid)
    wanted = override(
        source.grid,
        models=model or (),
        **written(methods, edits, set_),
        seeds=seed or (),
        data=data,
        limit=limit,
        device=device,
        dtype=dtype,
        protocols=protocol or (),
        cell_seconds=cell_seconds,
        together=together,
    )
    if dry_run:
        plan = make_plan(source, wanted, unseen=True)
        _tell(plan)
        show_plan(plan, db, json, on)
        return
    if on is not None:
        raise UserError("--on is for --dry-run: it names a device to plan for, --device the one to run on.")
    with _engine(engine, address, cpus, gpus) as chosen:
        plan = chosen.plan(source, wanted)
        _tell(plan)
        summary = _execute(plan, db, chosen)
    _report(plan, summary, db, json)
    if summary.failed:
        raise typer.Exit(SOME_FAILED)


def _tell(plan: Plan) -> None:
    for note in plan.notes:
        print(f"note: {note}", file=sys.stderr)


class _LocalEngine:
    """This process, cell after cell."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def plan(self, source: GridFile, grid: Grid) -> Plan:
        from runner.plan import make_plan

        return make_plan(source, grid)

    def run(self, plan: Plan, store: Store, run_id: int) -> Summary:
        from runner import engine

        given_up = os.environ.get(GIVEN_UP, "").split()
        return engine.run(plan, store, run_id, given_up=given_up, restart=_start_again)


def _engine(name: str, address: str | None, cpus: float, gpus: float | None) -> _LocalEngine | RayEngine:
    from runner.errors import UserError

    if name == "ray":
        from runner.engine_ray import RayEngine

        return RayEngine(address, cpus, gpus)
    if name != "local":
        raise UserError(f"there is no engine '{name}'; give --engine local or --engine ray.")
    if address is not None or gpus is not None:
        raise UserError("--address and --gpus are for --engine ray.")
    return _LocalEngine()


def _execute(plan: Plan, db: str, engine: _LocalEngine | RayEngine) -> Summary:
    from db.store import Store
    from runner import provenance

    _handle_signals()
    with Store.open(database_url(db)) as store:
        p = provenance.collect()
        grid = plan.grid.model_dump(mode="json")
        run_id = store.start_run(p.command, p.git_commit, p.git_dirty, p.versions, p.hardware, grid)
        try:
            return engine.run(plan, store, run_id)
        finally:
            store.finish_run(run_id)


def _start_again(given_up: list[str]) -> None:
    """Replace this process, which something hangs in, by the same command without the cells given up."""
    os.environ[GIVEN_UP] = " ".join(given_up)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _handle_signals() -> None:
    """The first Ctrl-C (or SIGTERM) drops the sequence in flight and leaves in order; the second leaves at once."""

    def second(number: int, frame: Any) -> None:
        os._exit(130)

    def first(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, second)
        signal.signal(signal.SIGTERM, second)
        print("\nStopping; once more to leave at once.", file=sys.stderr)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, first)
    signal.signal(signal.SIGTERM, first)


def _report(plan: Plan, summary: Summary, db: str, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "database": db,
                "cells": len(plan.cells),
                "done": summary.done,
                "done_before": summary.done_before,
                "failed": [{"cell": label, "error": reason} for label, reason in summary.failed],
                "busy": summary.busy,
            }
        )
        return
    print(f"{summary.done} cells done, {summary.done_before} were done before, {len(summary.failed)} failed: {db}")
    for label, reason in summary.failed:
        print(f"  failed: {label}: {reason}")
    for label in summary.busy:
        print(f"  another process works on: {label}")
