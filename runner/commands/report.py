"""`report` and `table`: what the board shows, as files for a paper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runner.commands.common import missing_file

if TYPE_CHECKING:
    from leaderboard.data import Board

PUBLISHED = "published"
AnyDb = Annotated[
    str | None,
    typer.Option("--db", help="Database, or `published` (default: palimpsest.db here, else the published results)."),
]
EXTENSION = {"latex": "tex", "markdown": "md", "csv": "csv", "json": "json"}


def report(
    db: AnyDb = None,
    out: Annotated[Path | None, typer.Option(help="File to write (default: report.html or report.md).")] = None,
    format: Annotated[str, typer.Option(help="html (figures inside, one file) or markdown (sentences).")] = "html",
    model: Annotated[str, typer.Option(help="The model (default: that with most results).")] = "",
    tables: Annotated[bool, typer.Option(help="Markdown only: with the numbers behind each sentence.")] = False,
) -> None:
    """Write the findings as one file: the same sentences, figures and tables as on the board.

    Example: python -m runner report --db palimpsest.db --out report.html
    """
    from runner.errors import UserError

    if format not in ("html", "markdown"):
        raise UserError(f"--format is html or markdown, not '{format}'.")
    target = out or Path("report.html" if format == "html" else "report.md")
    with opened(db) as board:
        from leaderboard import report as written

        _known(board, "model", model, board.cells()["model"])
        text = written.html(board, model) if format == "html" else written.markdown(board, model, tables)
        target.write_text(text, encoding="utf-8")
        from leaderboard.formatting import size

        print(f"{target}: {size(len(text.encode()))}.")


def table(
    view: Annotated[str, typer.Argument(help="A table of the board: leaderboard, curves, findings, finding-1, …")],
    db: AnyDb = None,
    format: Annotated[str, typer.Option(help="latex, markdown, csv or json.")] = "markdown",
    model: Annotated[str, typer.Option(help="As on the board's pages.")] = "",
    data: Annotated[str, typer.Option(help="As on the board's pages.")] = "",
    edits: Annotated[int, typer.Option(help="Cases edited in a row; 0 for the longest.")] = 0,
    mode: Annotated[str, typer.Option(help="free or forced.")] = "free",
    filter: Annotated[
        list[str] | None, typer.Option(help="Any other parameter of the page's address, NAME=VALUE; may be repeated.")
    ] = None,
) -> None:
    """Print a table of the board, for a paper: LaTeX (booktabs), Markdown, CSV or JSON.

    Example: python -m runner table leaderboard --edits 10 --format latex
    """
    from runner.errors import UserError

    if format not in EXTENSION:
        raise UserError(f"--format is one of {', '.join(EXTENSION)}, not '{format}'.")
    query = {"model": model, "data": data, "edits": str(edits), "mode": mode}
    for text in filter or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--filter takes NAME=VALUE, got '{text}'.")
        query[name.strip()] = value.strip()
    given = {name: value for name, value in query.items() if value not in ("", "0")}
    with opened(db) as board:
        from leaderboard import twins

        if view not in twins.TABLES:
            raise UserError(f"there is no table '{view}'; there are {', '.join(twins.TABLES)}.")
        for name, column in (("model", "model"), ("data", "dataset")):
            _known(board, name, given.get(name, ""), board.cells()[column])
        filters, frame = twins.table(board, view, given)
        print(twins.written(view, EXTENSION[format], filters, frame).rstrip("\n"))


@contextmanager
def opened(db: str | None) -> Iterator[Board]:
    """The board on a database that is named, else on that of this folder, else on the published one.

    Raises UserError where there is none.
    """
    from db.published import published
    from db.reader import Reader
    from leaderboard.data import Board
    from leaderboard.main import NoDatabase, choose_database
    from runner.errors import UserError

    found = published() if db == PUBLISHED else None
    try:
        location, name = (str(found), "the published results") if found else choose_database(db)
    except NoDatabase as error:
        raise UserError(str(error)) from error
    if missing_file(location):
        raise UserError(f"there is no database {location}; run the runner first or name another file.")
    reader = Reader.open(location)
    try:
        yield Board(reader, name)
    finally:
        reader.close()


def _known(board: Board, name: str, value: str, values: Any) -> None:
    """A board falls back to its default for a name it doesn't know; a file must not be of something else."""
    from runner.errors import UserError

    known = sorted(set(values))
    if value and value not in known:
        raise UserError(f"there is no {name} '{value}' in {board.name}; there are {', '.join(known) or 'none'}.")
