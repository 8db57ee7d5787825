"""The .csv, .json, .tex and .md twin of every table, at /data/NAME.csv with the page's own query.

A plain GET with the same parameters as the page's address; nothing else is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from db.reader import AnswerQuery
from leaderboard import choices, extras, markup
from leaderboard.answer_views import expected
from leaderboard.findings import MODULES
from leaderboard.state import Filters, from_query

if TYPE_CHECKING:
    from starlette.routing import Route

    from leaderboard.data import Board

MOST_ANSWERS = 20_000  # rows of one answers file; a whole database is better copied as a file


def _leaderboard(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
    filters, _ = choices.resolve(board, filters)
    return filters, extras.search(board.leaderboard(filters), filters.find)


def _curves(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
    filters, *_ = choices.resolve_curves(board, filters)
    return filters, board.curves(filters)


def _tradeoffs(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
    filters, _ = choices.resolve_tradeoffs(board, filters)
    return filters, board.tradeoffs(filters)


def _differences(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
    filters, *_ = choices.resolve_compare(board, filters)
    return filters, board.comparison(filters)[0]


def _disagreements(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
    filters, *_ = choices.resolve_compare(board, filters)
    return filters, board.comparison(filters)[1]


def _answers(board: Board, filters: Filters, most: int = MOST_ANSWERS) -> tuple[Filters, pd.DataFrame]:
    filters, *_ = choices.resolve_answers(board, filters)
    query = AnswerQuery(board.cell_key(filters), filters.mode, filters.kind, filters.verdict, filters.search)
    one = board.answer(filters.answer)
    rows = [
        {
            "id": row["id"], "case": row["case_id"], "probe": row["probe_index"], "metric": row["metric"],
            "correct": row["correct"], "question": row["probe"].get("prompt", ""), "expected": expected(row),
            "given": row["text"], "before": row["before"], "trace": row["trace"],
            "consulted": json.dumps(row["consulted"], ensure_ascii=False) if row["consulted"] else None,
        }
        for row in ([one] if one else board.reader.answers(query, most))
    ]  # fmt: skip
    return filters, pd.DataFrame(rows)


def _reported(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
    filters, _ = choices.resolve(board, filters)
    return filters, board.reported(filters)[0]


def _card(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
    filters, _ = choices.resolve_cards(board, filters)
    card = board.card(filters)
    rows = [("facts", *fact) for fact in card.facts]
    rows += [(t.title, r[0], " | ".join(r[1:])) for t in card.tables for r in t.rows]
    return filters, pd.DataFrame(rows, columns=["part", "what", "value"])


def _run(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
    filters, _ = choices.resolve_run(board, filters)
    page = board.run_page(filters.cell)
    return filters, pd.DataFrame([*page.facts, ["repeat", page.command]], columns=["what", "value"])


def _findings(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
    filters, _ = choices.resolve(board, filters)
    rows = [
        {
            "finding": found.question.number, "title": found.question.title, "question": found.question.asks,
            "answer": found.answer, "measured": found.measured, "by_seed": found.by_seed, "scope": found.scope,
            "repeat": found.question.repeat[0],
        }
        for found in board.findings(filters.model)
    ]  # fmt: skip
    return filters, pd.DataFrame(rows)


def _finding(number: int) -> Callable[[Board, Filters], tuple[Filters, pd.DataFrame]]:
    """The numbers behind one finding; before they are measured one row that says how to get them."""

    def rows(board: Board, filters: Filters) -> tuple[Filters, pd.DataFrame]:
        filters, _ = choices.resolve(board, filters)
        found = board.findings(filters.model)[number - 1]
        return filters, found.table if len(found.table) else pd.DataFrame([{"answer": found.answer}])

    return rows


TABLES: dict[str, Callable[[Board, Filters], tuple[Filters, pd.DataFrame]]] = {
    "leaderboard": _leaderboard,
    "curves": _curves,
    "tradeoffs": _tradeoffs,
    "differences": _differences,
    "disagreements": _disagreements,
    "answers": _answers,
    "reported": _reported,
    "card": _card,
    "run": _run,
    "findings": _findings,
    **{f"finding-{number}": _finding(number) for number in range(1, len(MODULES) + 1)},
}
EXTENSIONS = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "tex": "text/x-tex; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
}


def table(board: Board, name: str, query: Mapping[str, str], most: int | None = None) -> tuple[Filters, pd.DataFrame]:
    """The rows a page shows for a query, unformatted (shares 0 to 1, seconds), and the filters it came to.

    most: no more rows than that. Raises KeyError for an unknown name.
    """
    if name == "answers" and most is not None:  # the one table too long to be read and then cut
        return _answers(board, from_query(query), most)
    filters, frame = TABLES[name](board, from_query(query))
    return filters, frame if most is None else frame.head(most)


def written(name: str, extension: str, filters: Filters, frame: pd.DataFrame) -> str:
    """A table's text in one of EXTENSIONS."""
    if extension == "json":
        return as_json(name, filters, frame)
    if name == "leaderboard" and extension in markup.FORMATS:
        frame = markup.of_groups(frame, filters.groups)
    if extension == "md":
        return markup.as_markdown(frame)
    return markup.as_latex(frame, name) if extension == "tex" else as_csv(frame)


def as_csv(frame: pd.DataFrame) -> str:
    """CSV text. A text cell that a spreadsheet would run as a formula gets an apostrophe in front."""
    return frame.map(_defused).to_csv(index=False)


def _defused(value: Any) -> Any:
    if isinstance(value, tuple):  # a small curve
        return " ".join(f"{n}:{share:.4f}" for n, share in value)
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def as_json(name: str, filters: Filters, frame: pd.DataFrame) -> str:
    """{"table", "filters", "rows"}; missing numbers are null."""
    rows = json.loads(frame.to_json(orient="records"))
    body = {"table": name, "filters": {k: v for k, v in vars(filters).items() if v}, "rows": rows}
    return json.dumps(body, ensure_ascii=False)


def routes(board: Board) -> list[Route]:
    """What serves them."""
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    def serve(request: Request) -> Response:
        name, extension = request.path_params["name"], request.path_params["extension"]
        if name not in TABLES or extension not in EXTENSIONS:
            known = f"{', '.join(TABLES)}, each as .{', .'.join(EXTENSIONS)}"
            return PlainTextResponse(f"no such table; there are {known}\n", status_code=404)
        filters, frame = table(board, name, dict(request.query_params))
        text = written(name, extension, filters, frame)
        headers = {"Content-Disposition": f'attachment; filename="palimpsest-{name}.{extension}"'}
        return Response(text, media_type=EXTENSIONS[extension], headers=headers)

    def healthy(_: Request) -> Response:
        return PlainTextResponse(f"ok: {len(board.cells())} cells in {board.name}\n")

    return [Route("/data/{name}.{extension}", serve), Route("/healthz", healthy)]
