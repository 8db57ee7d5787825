"""The leaderboard's further columns, search, badges, small curves, numbers of papers, and the state in the address."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import fake_db
import pandas as pd
import pytest

from db.reported import read_reported
from leaderboard import badges, choices, extras, formatting, papers, sparkline, state, tables, twins, words
from leaderboard.data import Board
from leaderboard.glossary import TERMS
from leaderboard.state import DEFAULTS, Filters, from_query, to_query

GOLDEN = Path(__file__).parent / "golden_table.csv"
HERE = Filters(model="alpha-1b", data="facts", edits=100)


def shown(board: Board, *groups: str, **values: object) -> tuple[list[str], list[list[str]], list[list[str]]]:
    filters = choices.resolve(board, replace(HERE, groups=groups, **values))[0]  # type: ignore[arg-type]
    value = tables.leaderboard(board.leaderboard(filters), filters.mode, filters.groups)
    return value["headers"], value["metadata"]["display_value"], value["metadata"]["styling"]


def test_the_table_with_every_group_is_the_golden_one(board: Board) -> None:
    headers, rows, _ = shown(board, *extras.GROUPS, data="events")
    text = pd.DataFrame(rows, columns=headers).to_csv(index=False)
    expected = pd.read_csv(GOLDEN, dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False), expected)


def test_groups_show_and_hide_columns(board: Board) -> None:
    always = ["method", "rank", "average", "over edits", "badge"]
    assert shown(board)[0] == [*always, "note"]
    assert "Locality: near" in shown(board, "kinds")[0]
    assert "reliability" not in shown(board, "kinds")[0]
    assert shown(board, "costs")[0] == [*always, "s/edit", "s/answer", "peak memory", "bytes/edit", "note"]
    headers, rows, styles = shown(board, "signs")
    column = headers.index("Collapse: perplexity")
    by_method = {row[0]: row[column] for row in rows}
    assert (by_method["★ SCR"], by_method["○ unedited model"], by_method["◆ MEMIT"]) == ("1,250", "12.5", "–")
    assert "gradient" not in styles[0][column]  # no share, so no bar


def test_bytes_per_edit_and_memory_are_costs(board: Board) -> None:
    headers, rows, _ = shown(board, "costs")
    costs = {row[0]: row[headers.index("peak memory") :] for row in rows}
    assert costs["★ SCR"][:2] == ["100 MB", "400 B"]
    assert costs["○ unedited model"][:2] == ["100 MB", "–"]
    said = [formatting.size(v) for v in (0, 999, 1536, 2e9, 4.8e12, None)]
    assert said == ["0 B", "999 B", "1.5 kB", "2.0 GB", "4,800 GB", "–"]
    assert [formatting.number(v) for v in (3.14159, 0.000123, 123456, 2e12, None)] == [
        "3.14", "0.000123", "123,456", "2e+12", "–",
    ]  # fmt: skip
    least = choices.resolve(board, replace(HERE, sort="bytes"))[0]
    ranked = board.leaderboard(least)
    assert ranked.loc[ranked["status"] == "ranked", "bytes_per_edit"].is_monotonic_increasing


def test_the_small_curve_is_a_picture_of_numbers_only(board: Board) -> None:
    headers, rows, styles = shown(board)
    column = headers.index("over edits")
    scr = next(i for i, row in enumerate(rows) if row[0] == "★ SCR")
    assert re.fullmatch(r"\d+ → \d+", rows[scr][column])
    picture = unquote(re.search(r"image/svg\+xml,([^']+)'", styles[scr][column]).group(1))  # type: ignore[union-attr]
    assert picture.count("<circle") == 3
    assert not re.search(r"[^\w\s<>/\"'=#:.,-]", picture)
    assert all(not set("'\"<>") & set(style.replace("url('", "").replace("') ", "")) for style in styles[scr])
    assert sparkline.style((), (1, 10), "#000000") == ""
    assert "polyline" in sparkline.svg(((10, 0.5),), (10,), "#000000")
    assert styles[-1][column].count("svg") == 0  # the unedited model has no length


def test_a_search_keeps_ranks_and_says_how_many(board: Board) -> None:
    filters = choices.resolve(board, HERE)[0]
    table = board.leaderboard(filters)
    found = extras.search(table, "rOm")
    assert found["label"].tolist() == ["ROME"]
    assert found["rank"].item() == table.set_index("label").loc["ROME", "rank"]
    assert extras.search(table, "unedited")["label"].tolist() == ["none"]
    assert set(extras.search(table, "incomplete memory")["label"]) == {"MEMIT"}
    assert extras.search(table, "<script>").empty
    assert extras.search(table, "") is table
    assert words.matching(1, 7, "rom") == "1 of 7 rows match “rom”. "


def test_badges_say_whose_word_it_is(board: Board) -> None:
    shown = board.leaderboard(choices.resolve(board, HERE)[0]).set_index("label")["badge"]
    assert shown.pop("MEMIT") == ""  # it failed
    assert set(shown) == {badges.VERIFIED}
    submitted = badges.of_cells([
        {"state": "re-scored", "body": {"cells": ["a", {"key": "b"}]}}, {"state": "re-run", "body": {"cells": ["c"]}},
        {"state": "self-reported", "body": {}},
    ])  # fmt: skip
    found = [badges.badge(key, submitted) for key in ("a", "b", "c", "d", "")]
    assert found == [badges.RE_SCORED, badges.RE_SCORED, badges.RE_RUN, badges.VERIFIED, ""]
    for badge in (badges.VERIFIED, *badges.OF_STATE.values(), badges.REPORTED):
        assert badge in TERMS["badge"]


def test_numbers_of_papers_stand_apart_with_their_source(board: Board) -> None:
    filters = choices.resolve(board, replace(HERE, reported=1))[0]
    rows, fits = board.reported(filters)
    assert fits and len(rows) == 2
    rome = rows.set_index("method").loc["ROME"]
    assert (rome["reliability"], rome["portability"], rome["source"]) == (0.9, 0.25, "A paper, table 3")
    assert pd.isna(rome["locality"])
    value = tables.reported(rows)
    assert "rank" not in value["headers"]
    assert all(row[value["headers"].index("badge")] == badges.REPORTED for row in value["data"])
    assert "Not measured here" in papers.words(rows, fits, "alpha-1b", "facts")
    assert board.leaderboard(filters).equals(board.leaderboard(replace(filters, reported=0)))
    others, fits = board.reported(replace(filters, model="beta-7b"))
    assert not fits and len(others) == 3
    assert len(board.reported(replace(filters, find="table 3"))[0]) == 1


def test_names_of_papers_and_of_loaders_meet() -> None:
    assert (
        papers.plain("meta-llama/Llama-3.1-8B-Instruct") == papers.plain("Llama-3.1-8B-instruct") == "llama318binstruct"
    )
    assert papers.plain("ZsRE (KnowEdit)") == papers.plain("zsre") == "zsre"


def test_the_shipped_numbers_have_a_source_each() -> None:
    table = papers.numbers(read_reported(papers.SHIPPED))
    assert len(table) > 100
    assert table["source"].str.contains("arXiv").all()
    assert table[["reliability", "generalization", "portability", "locality"]].notna().any(axis=1).all()


RESOLVERS: dict[str, tuple[tuple[str, ...], Callable[[Board, Filters], Filters]]] = {
    "leaderboard": (state.LEADERBOARD, lambda b, f: choices.resolve(b, f)[0]),
    "curves": (state.CURVES, lambda b, f: choices.resolve_curves(b, f)[0]),
    "tradeoffs": (state.TRADEOFFS, lambda b, f: choices.resolve_tradeoffs(b, f)[0]),
    "compare": (state.COMPARE, lambda b, f: choices.resolve_compare(b, f)[0]),
    "answers": (state.ANSWERS, lambda b, f: choices.resolve_answers(b, f)[0]),
    "cards": (state.CARDS, lambda b, f: choices.resolve_cards(b, f)[0]),
    "run": (state.RUN, lambda b, f: choices.resolve_run(b, f)[0]),
}
CHOSEN = Filters(
    model="alpha-1b", data="events", edits=10, mode="forced", sort="locality", find="rom & co", groups=("kinds",),
    reported=1, metric="locality/near", show=("ICE", "ROME"), method="ICE", kind="reliability", verdict="missed",
    search="town 1", page=2, facet="metric", cost="memory", card="model", name="beta-7b", cell="beta-7b-facts-ICE-10",
)  # fmt: skip


@pytest.mark.parametrize("page", list(RESOLVERS))
@pytest.mark.parametrize("start", [Filters(), CHOSEN, replace(CHOSEN, groups=(), edits=100, data="facts")])
def test_filter_chip_address_reload_reset(board: Board, page: str, start: Filters) -> None:
    names, resolve = RESOLVERS[page]
    own = replace(DEFAULTS, **{name: getattr(start, name) for name in names})
    filters = resolve(board, own)
    spare = choices.explicit(board, filters, lambda trial: resolve(board, trial))
    address = to_query(spare, names)
    reloaded = resolve(board, from_query(dict(parse_qsl(address, keep_blank_values=True))))
    assert reloaded == filters
    chips = {name: text for text, name in words.chips(spare, names)}
    in_address = {name for name, _ in parse_qsl(address, keep_blank_values=True)} - {"page", "card", "name", "cell"}
    assert set(chips) == in_address
    for name in chips:  # taking one back takes back that one
        fewer = resolve(board, replace(spare, **{name: getattr(DEFAULTS, name)}))
        again = choices.explicit(board, fewer, lambda trial: resolve(board, trial))
        assert getattr(again, name) == getattr(DEFAULTS, name)
    if start == Filters():
        assert (address, chips) == ("", {})


def test_files_hold_what_is_searched_for(board: Board) -> None:
    query = {"model": "alpha-1b", "data": "facts", "find": "scr"}
    filters, frame = twins.table(board, "leaderboard", query)
    assert frame["label"].tolist() == ["SCR"]
    text = twins.as_csv(frame)
    assert re.search(r"1:0\.\d{4} 10:0\.\d{4} 100:0\.\d{4}", text)
    assert '"curve":[[1,' in twins.as_json("leaderboard", filters, frame).replace(" ", "")
    _, printed = twins.table(board, "reported", query | {"find": ""})
    assert fake_db.XSS in printed["source"].tolist()
