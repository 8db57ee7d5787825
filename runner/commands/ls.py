"""`ls`: what there is to run."""

from __future__ import annotations

import sys
from typing import Any

import typer

from runner.commands.common import JsonOption, print_json, print_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List models, methods, data sets or grids.")


@app.command()
def models(json: JsonOption = False) -> None:
    """List the models with a short name; every folder in Hugging Face format and every Hub id works as well.

    Example: python -m runner ls models
    """
    from runner.errors import UserError
    from runner.models.files import ALIASES, check_folder, resolve

    rows: list[dict[str, Any]] = []
    for name in ALIASES:
        try:
            folder = resolve(name)
            weights = check_folder(folder)
            rows.append({"model": name, "values": weights.n_values, "folder": str(folder), "problem": None})
        except UserError as error:
            rows.append({"model": name, "values": None, "folder": None, "problem": str(error)})
    _show(rows, json)


@app.command()
def methods(json: JsonOption = False) -> None:
    """List the methods, built-in and installed, with their hyperparameters' defaults. `show` says more of one.

    Example: python -m runner ls methods
    """
    from runner.methods import easyedit, hybrid, registry
    from runner.methods.card import card

    rows = []
    for name in registry.names():
        method = registry.get(name)
        paper = f"arXiv {method.paper}" if method.paper[:1].isdigit() else method.paper
        defaults = method.validate(None).model_dump(mode="json")
        shown = defaults if json else ", ".join(f"{key}={value}" for key, value in defaults.items())
        row = {"method": method.name, "family": method.family, "paper": paper}
        # A summary is a sentence, which a program can use and a table has no room for.
        rows.append({**row, **({"summary": card(method)["summary"]} if json else {}), "hparams": shown})
    nested: Any = {"X": {}, "SCR": {}}
    pattern = {"method": hybrid.PATTERN, "family": "hybrid", "paper": ""}
    rows.append({**pattern, **({"summary": hybrid.PARTS} if json else {}), "hparams": nested if json else str(nested)})
    _show(rows, json)
    missing = easyedit.problem()
    if missing is not None and not json:
        print(f"note: {missing}", file=sys.stderr)


@app.command()
def datasets(json: JsonOption = False) -> None:
    """List the data sets: what each is, its licence, and whether a run needs the path of a copy.

    Example: python -m runner ls datasets --json
    """
    from runner.datasets import base

    rows: list[dict[str, Any]] = []
    for name in base.names():
        description = " ".join((base.get(name).__doc__ or "").split())
        row: dict[str, Any] = {"dataset": name, "what": description.split(". ")[0].rstrip(".")}
        info = base.info(name)
        row |= {"licence": info.licence, "path": info.path} if info else {"licence": "not said", "path": "not said"}
        if json:
            row["format"] = info.format if info else None
            row["source"] = info.source if info else None
            row["probe_kinds"] = sorted(info.probe_kinds) if info else None
        rows.append(row)
    _show(rows, json)


@app.command()
def grids(json: JsonOption = False) -> None:
    """List the grids that ship with the runner, each with the question it answers.

    Example: python -m runner ls grids
    """
    from runner import gridfile

    rows = []
    for name in gridfile.names():
        grid = gridfile.load(name).grid
        rows.append(
            {
                "grid": name,
                "what": gridfile.about(name),
                "models": ", ".join(grid.models),
                "methods": ", ".join(method.name for method in grid.methods),
                "datasets": ", ".join(dataset.name for dataset in grid.datasets),
                "edits": ", ".join(map(str, grid.edits)),
                "cases": grid.cases,
            }
        )
    _show(rows, json)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        print_table("", list(rows[0]), [list(row.values()) for row in rows])
