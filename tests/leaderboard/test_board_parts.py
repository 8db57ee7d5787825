"""Address, numbers, colours, tables and figures."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from leaderboard import figures, formatting, glossary, palette, state, tables, views, words
from leaderboard.choices import resolve
from leaderboard.comparison_figures import label_sides
from leaderboard.data import Board
from leaderboard.state import Filters, from_query, to_query


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters(model="a/b c&d=é?", data="x", setup="12ab34cd", edits=10, mode="forced", sort="locality"),
        Filters(metric="locality/near", show=("SCR", "ROME (layer=3, rate=0.5)", "ü,&%")),
        Filters(method="ICE", kind="portability/alias", verdict="missed", search="who is <b>", page=7),
    ],
)
def test_filters_survive_the_address(filters: Filters) -> None:
    from urllib.parse import parse_qsl

    names = tuple(Filters.__dataclass_fields__)
    assert from_query(dict(parse_qsl(to_query(filters, names)))) == filters


def test_an_address_that_makes_no_sense_opens_the_defaults() -> None:
    query = {"edits": "ten", "page": "-3", "unknown": "x", "show": ",,", "__theme": "dark"}
    assert from_query(query) == Filters()
    assert from_query({"page": "9" * 40}) == Filters()


def test_a_page_writes_its_own_parameters_only() -> None:
    filters = Filters(model="m", edits=10, metric="locality", page=3)
    assert to_query(filters, state.LEADERBOARD) == "model=m&edits=10"
    assert to_query(filters, state.CURVES) == "model=m&metric=locality"


def test_numbers_as_people_read_them() -> None:
    assert formatting.percent_interval(0.931, 0.9, 0.951) == "93.1 [90, 95]"
    assert formatting.percent_interval(0.931, None, None) == "93.1"
    assert [formatting.percent(share) for share in (1.0, 0.9999, 0.0)] == ["100", "100.0", "0.0"]
    assert formatting.percent_interval(None, 0.1, 0.2) == "–"
    said = [formatting.seconds(s) for s in (0.0034, 0.0995, 0.25, 12.34, 0, None, float("nan"))]
    assert said == ["3.4 ms", "0.10 s", "0.25 s", "12 s", "0 s", "–", "–"]
    assert formatting.signed(-0.02) == "−2.0"
    assert [formatting.count(n, "edit") for n in (1, 1200)] == ["1 edit", "1,200 edits"]


def test_known_methods_differ_in_colour_or_marker() -> None:
    known = [palette.style(name) for name in palette._FIXED]
    assert len(set(known)) == len(known)
    quick = [palette.style(name) for name in ("FT-M", "ROME", "MEMIT", "ICE", "SCR", "GRACE")]
    assert len({s.colour for s in quick}) == len({s.marker for s in quick}) == 6
    assert all(s.sign for s in known)


def test_an_unknown_method_keeps_its_style() -> None:
    style = palette.style("MyMethod")
    assert style == palette.style("mymethod")
    assert re.fullmatch("#[0-9a-f]{6}", style.colour)
    assert re.fullmatch(r"rgba\(\d+,\d+,\d+,0\.5\)", style.rgba(0.5))


def test_the_table_marks_the_best_and_quiets_the_rest(board: Board) -> None:
    filters = resolve(board, Filters(model="alpha-1b", data="facts", edits=100))[0]
    value = tables.leaderboard(board.leaderboard(filters), filters.mode)
    shown, styles = value["metadata"]["display_value"], value["metadata"]["styling"]
    assert [row[0] for row in shown][-1] == "○ unedited model"
    assert value["headers"][-1] == "note"
    bold = [row[0] for row, style in zip(shown, styles, strict=True) if "700" in style[2]]
    assert bold == ["★ SCR"]
    incomplete = next(row for row in shown if row[0] == "◆ MEMIT")
    assert incomplete[1] == "–"
    assert incomplete[-1] == "incomplete: failed: not enough memory for the covariance"
    assert all(len(row) == len(value["headers"]) for rows in (value["data"], shown, styles) for row in rows)
    complete = resolve(board, Filters(model="alpha-1b", data="events", edits=100))[0]
    assert "note" not in tables.leaderboard(board.leaderboard(complete), "free")["headers"]


def test_words_name_the_leader_and_the_missing(board: Board) -> None:
    filters = resolve(board, Filters(model="alpha-1b", data="facts", edits=100))[0]
    text = words.leaderboard(board.leaderboard(filters), filters)
    assert "SCR alone ranks first, with an average of" in text
    assert "Incomplete: GRACE (no score for portability, average); MEMIT (failed: not enough memory" in text
    empty = board.leaderboard(replace(filters, setup="nowhere"))
    assert words.leaderboard(empty, filters).startswith("No results yet.")
    assert text.startswith("After editing 100 cases of facts in a row into alpha-1b (60 cases in all, free-running")
    only = board.leaderboard(filters)
    only = only[only["status"] != views.RANKED]
    assert "nothing is finished yet" in words.leaderboard(only, filters)


def test_words_do_not_call_a_tie_a_win(board: Board) -> None:
    filters = resolve(board, Filters(model="alpha-1b", data="events", edits=1))[0]
    table = board.leaderboard(filters)
    table.loc[:1, "rank"] = 1
    assert "share rank 1 and can't be told apart" in words.leaderboard(table, filters)


def test_the_figure_has_a_line_a_band_and_the_reference(board: Board) -> None:
    filters = resolve(board, Filters(model="alpha-1b", data="events"))[0]
    figure = figures.curves(board.curves(filters), "average")
    lines = [t for t in figure.data if t.mode == "lines+markers"]
    assert sorted(t.name for t in lines) == ["FT-M", "GRACE", "ICE", "MEMIT", "ROME", "SCR"]
    assert all(t.line.color == palette.style(t.name).colour for t in lines)
    assert sum(t.fill == "toself" for t in figure.data) == 6
    reference = next(t for t in figure.data if t.name == "unedited model")
    assert reference.line.dash == "dash"
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis.tickvals) == [1, 10, 100]


def test_one_point_has_a_bar_and_nothing_says_so(board: Board) -> None:
    filters = resolve(board, Filters(model="alpha-1b", data="events"))[0]
    points = board.curves(filters)
    single = figures.curves(points[points["n_edits"] == 10], "average")
    assert all(t.error_y.array is not None and t.error_y.array[0] >= 0 for t in single.data)
    empty = figures.curves(points[points["n_edits"] > 1000], "average")
    assert "No finished scores" in empty.layout.annotations[0].text


def test_names_are_not_markup_in_figures(board: Board) -> None:
    filters = resolve(board, Filters(model="alpha-1b", data="events"))[0]
    points = board.curves(filters).replace({"label": {"SCR": "<a href='javascript:alert(1)'>SCR</a>"}})
    names = [t.name for t in figures.curves(points, "average").data if t.name]
    assert not any("<" in name for name in names)
    assert any("&lt;a href" in name for name in names)


def test_the_glossary_explains_every_column() -> None:
    text = glossary.as_markdown()
    for word in ("Reliability", "Generalization", "Portability", "Locality", "Average", "Rank", "s/edit", "s/answer"):
        assert f"**{word}**" in text, word
    assert glossary.metric_label("portability/two_hop") == "Portability: two hop"
    assert glossary.metric_label("locality_truth/near") == "Locality against the truth: near"


def test_names_at_the_ends_of_lines_do_not_overlap(board: Board) -> None:
    placed = figures.spread([100.0, 99.0, 98.0, 50.0, 1.0, 0.5, 0.0], 16)
    assert all(high - low >= 16 for high, low in zip(placed, placed[1:], strict=False))
    assert placed[0] == 100 and placed[-1] == 0
    assert figures.spread([90.0, 40.0], 16) == [90.0, 40.0]
    filters = resolve(board, Filters(model="alpha-1b", data="events"))[0]
    figure = figures.curves(board.curves(filters), "average")
    assert {a.text for a in figure.layout.annotations} == {"★ SCR", "● ICE", "✚ GRACE", "■ FT-M", "▲ ROME", "◆ MEMIT"}


def test_labels_of_points_that_are_close_stand_on_different_sides() -> None:
    sides = label_sides([1.0, 1.02, 9.0], [50.0, 50.0, 90.0], ["one", "two", "three"], [False, False, True])
    assert sides[0] != sides[1]
    assert sides[2] == "top center"
    assert label_sides([], [], [], []) == []
