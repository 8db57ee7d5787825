"""Small multiples of the curves."""

from __future__ import annotations

from dataclasses import replace

import fake_db
import pytest

from leaderboard import choices, facets, panels, words
from leaderboard.data import Board
from leaderboard.state import BOTH, Filters

HERE = Filters(model="alpha-1b", data="events")


def resolved(board: Board, **values: object) -> Filters:
    return choices.resolve_curves(board, replace(HERE, **values))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "facet,titles",
    [
        (facets.METRICS, ["Average", "Reliability", "Generalization", "Portability", "Locality"]),
        (facets.MODELS, ["alpha-1b", "beta-7b"]),
        (facets.DATA, ["events", "facts"]),
        (facets.MODES, ["Free-running", "Teacher-forced"]),
    ],
)
def test_every_panel_has_its_curves_and_the_level_before_edits(board: Board, facet: str, titles: list[str]) -> None:
    points = board.curves(resolved(board, facet=facet))
    assert list(dict.fromkeys(points["panel"])) == titles
    figure = panels.grid(points, "Average")
    assert [a.text for a in figure.layout.annotations] == titles
    for number in range(len(titles)):
        axis = "x" if number == 0 else f"x{number + 1}"
        own = [t for t in figure.data if (t.xaxis or "x") == axis]
        assert sum(t.mode == "lines+markers" for t in own) == 6
        assert sum(t.name == "unedited model" for t in own) == 1
    legend = [t.name for t in figure.data if t.showlegend]
    assert sorted(legend) == sorted([*fake_db.METHODS, "unedited model"])
    assert words.points(points)["headers"][0] == "panel"


def test_the_panel_of_the_view_shows_what_the_view_shows(board: Board) -> None:
    one = board.curves(resolved(board))
    for facet, title in ((facets.METRICS, "Average"), (facets.MODELS, "alpha-1b"), (facets.DATA, "events")):
        points = board.curves(resolved(board, facet=facet))
        own = points[points["panel"] == title].drop(columns="panel").reset_index(drop=True)
        assert own.equals(one.reset_index(drop=True)), facet


def test_both_ways_of_answering_are_a_pair_in_every_panel(board: Board) -> None:
    points = board.curves(resolved(board, facet=facets.METRICS, mode=BOTH, show=("SCR",)))
    figure = panels.grid(points, "Score")
    lines = [t for t in figure.data if t.mode == "lines+markers"]
    assert {(t.name, t.line.dash) for t in lines} == {("SCR", "solid"), ("SCR, teacher-forced", "dot")}
    assert len(lines) == 10
    legend = [t.name for t in figure.data if t.showlegend is not False]
    assert sorted(set(legend)) == ["SCR", "free-running", "teacher-forced", "unedited model"]


def test_no_more_panels_than_anybody_compares(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "MOST", 2)
    assert board.curves(resolved(board, facet=facets.METRICS))["panel"].nunique() == 2
    empty = board.curves(replace(resolved(board, facet=facets.METRICS), setup="nowhere"))
    assert "No finished scores" in panels.grid(empty, "Score").layout.annotations[0].text


def test_names_in_panels_are_not_markup(board: Board) -> None:
    points = board.curves(resolved(board, facet=facets.MODELS)).replace({"panel": {"alpha-1b": fake_db.XSS}})
    titles = [a.text for a in panels.grid(points, "Average").layout.annotations]
    assert not any("<" in title for title in titles)
