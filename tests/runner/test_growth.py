"""The curve of cost against edits: what is recorded, and what it says."""

from __future__ import annotations

import pytest

from benchmarks.growth.__main__ import facts, run
from benchmarks.growth.curve import Point, Writer, growth, picture, read
from runner.methods.ice import ICE
from runner.protocol import get_protocol
from tests.models import tiny


def points(seconds: list[float]) -> list[Point]:
    return [Point(10 * (i + 1), s, 1_000_000 + 2_000 * i, 5 * i, 0) for i, s in enumerate(seconds)]


def test_a_flat_curve_has_ratio_one_and_a_rising_one_shows() -> None:
    flat, rising = growth(points([0.5] * 10)), growth(points([0.1 * i for i in range(1, 11)]))
    assert flat["ratio"] == 1 and flat["resident_per_edit"] == 200
    assert rising["ratio"] == pytest.approx(0.95 / 0.15)


def test_facts_are_distinct_and_always_the_same() -> None:
    made = list(facts(300))
    assert len({(edit.subject, edit.relation) for edit in made}) == len({edit.prompt for edit in made}) == 300
    assert made == list(facts(300)) and all(edit.target and edit.statement for edit in made)


def test_every_so_many_edits_are_one_line_and_one_point_of_the_picture(tmp_path) -> None:
    lm = tiny.language_model()
    method = ICE(lm, get_protocol("wild"))
    writer, seen = Writer(tmp_path / "a.csv"), []

    def told(point: Point) -> None:
        seen.append(point)
        writer.add(point)

    run(lm, method, facts(25), 10, told)
    writer.close()
    assert [point.edits for point in seen] == [10, 20, 25] and len(method.edits) == 25
    assert [p.edits for p in read(tmp_path / "a.csv")] == [10, 20, 25] and seen[-1].resident > 1e6
    drawn = picture(seen, "ICE & co")
    assert drawn.count("<polyline") == 2 and "ICE &amp; co" in drawn
