"""`python -m runner atlas …`: the invented world, its cases and its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from runner.atlas.world import Entity, World

app = typer.Typer(no_args_is_help=True, help="The invented world, its benchmark cases and its language model.")

Seed = Annotated[int, typer.Option(help="Seed of the drawing.")]


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name from the world; nothing: a few entities of each type.")] = "",
    size: Annotated[int, typer.Option(help="About how many facts the world has.")] = 1900,
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 2041,
) -> None:
    """Print facts of the world. Example: python -m runner atlas show "Milfor" """
    from runner.atlas import questions
    from runner.atlas.world import BASE_COUNTS, Entity, World
    from runner.errors import UserError

    try:
        world = World(seed, size)
    except ValueError as error:
        raise UserError(f"{error}; give another --size.") from error
    if not name:
        for kind in BASE_COUNTS:
            few = ", ".join(world.name(Entity(kind, i)) for i in range(min(4, world.count(kind))))
            typer.echo(f"{kind} ({world.count(kind)}): {few}")
        return
    entity = _find(world, name)
    other = world.alias(entity)
    typer.echo(f"{world.name(entity)} ({entity.kind}{f', also called {other}' if other else ''})")
    for r in world.relations_of(entity.kind, include_inverse=True):
        obj = world.object(r.name, entity)
        if obj is not None:
            typer.echo("  " + questions.edit_statement(r.name, world.name(entity), world.name(obj)))


def _find(world: World, name: str) -> Entity:
    from runner.atlas.world import BASE_COUNTS
    from runner.errors import UserError

    for kind in BASE_COUNTS:
        for entity in world.entities(kind):
            if name in world.known_as(entity):
                return entity
    raise UserError(f"nothing is called '{name}' in this world; `python -m runner atlas show` lists a few names.")


@app.command()
def graph(
    name: Annotated[
        str, typer.Argument(help="An entity to draw the surroundings of; nothing: types and relations.")
    ] = "",
) -> None:
    """Print the world's graph for Graphviz. Example: python -m runner atlas graph Milfor | dot -Tsvg -o milfor.svg"""
    from runner.atlas import graph as drawing
    from runner.atlas.world import World

    world = World()
    typer.echo(drawing.surroundings(world, _find(world, name)) if name else drawing.schema(world), nl=False)


@app.command()
def cases(
    out: Annotated[Path, typer.Option(help="File to write, one JSON object a line.")],
    kind: Annotated[str, typer.Option(help="facts or events.")] = "facts",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    seed: Seed = 0,
) -> None:
    """Write the benchmark cases. Example: python -m runner atlas cases --out atlas.jsonl"""
    from runner.atlas.cases import build_cases
    from runner.atlas.event_cases import build_event_cases
    from runner.errors import UserError
    from runner.types import to_json

    if kind not in ("facts", "events"):
        raise UserError(f"--kind is '{kind}'; it must be facts or events.")
    built = (build_cases if kind == "facts" else build_event_cases)(seed, split)
    try:
        out.write_text("".join(json.dumps(to_json(c), ensure_ascii=False) + "\n" for c in built), encoding="utf-8")
    except OSError as error:
        raise UserError(f"can't write {out}: {error.strerror}; give another --out.") from error
    typer.echo(f"{len(built)} cases in {out}")


@app.command()
def train(
    out: Annotated[
        Path | None, typer.Option(help="Folder for the checkpoint and, at the end, the model; default: one below out/.")
    ] = None,
    size: Annotated[str, typer.Option(help="tiny, small, medium (the published one), large or mamba.")] = "medium",
    tokens: Annotated[int | None, typer.Option(help="Training tokens; default: the recipe's.")] = None,
    layers: Annotated[int | None, typer.Option(help="Number of layers; default: the recipe's.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Width; default: the recipe's.")] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the forward pass.")] = True,
    questions: Annotated[int, typer.Option(help="Exam questions per paper at the end.")] = 500,
) -> None:
    """Train the model from scratch, or continue from the checkpoint in --out.

    Example: python -m runner atlas train --size small
    """
    from runner.atlas.folder import write_model
    from runner.atlas.recipe import make_tokenizer, sized
    from runner.atlas.train import train as run

    changes: dict[str, Any] = {
        "tokens": tokens,
        "layers": layers,
        "hidden": hidden,
        "mlp": hidden and 3 * hidden,
        "heads": hidden and hidden // 64,
    }
    recipe = sized(size, seed, **{k: v for k, v in changes.items() if v is not None})
    name = "atlas-lm" if size == "medium" else f"atlas-{size}"
    out = out or Path("out") / name
    model = run(recipe, out, device, compiled=compiled)
    folder = out / ("model" if size == "medium" else name)  # the board calls a model as its folder is called
    write_model(folder, model, make_tokenizer(recipe), recipe)
    exam(str(folder), questions, device, card=True)


@app.command()
def exam(
    model: Annotated[str, typer.Argument(help="A model name or folder.")] = "atlas",
    questions: Annotated[int, typer.Option(help="Questions per paper.")] = 500,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    card: Annotated[bool, typer.Option(help="Write the model card into the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with wrong answers.")] = False,
) -> None:
    """Ask the model everything it should know. Example: python -m runner atlas exam"""
    from dataclasses import asdict

    from runner.atlas.evaluate import sit
    from runner.atlas.folder import read_recipe, write_card
    from runner.atlas.recipe import Recipe
    from runner.atlas.world import World
    from runner.models.lm import LanguageModel

    lm = LanguageModel.load(model, device=device)
    folder = Path(lm.path)
    recipe = read_recipe(folder) if (folder / "recipe.json").exists() else Recipe()
    marks = sit(lm, World(recipe.world_seed, recipe.world_size), questions)
    if as_json:
        typer.echo(json.dumps([{**asdict(m), "share": m.share} for m in marks], indent=1))
    else:
        for mark in marks:
            goal = "" if mark.goal is None else f"goal {100 * mark.goal:.0f} %{'' if mark.reached else '  short'}"
            typer.echo(f"{100 * mark.share:6.1f} %  {mark.name:52s} {goal}")
    if card:
        write_card(folder, recipe, marks, sum(p.numel() for p in lm.model.parameters()))
