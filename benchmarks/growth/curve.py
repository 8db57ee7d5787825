"""The curve of cost against edits: its points, its slope, its table and its picture."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 260, 64, 34, 40
COLOURS = ("#1f6f8b", "#b5542b")


@dataclass(frozen=True)
class Point:
    """The state after `edits` edits.

    seconds: processor time of the edits since the point before, per edit. resident, kept: bytes of the process, and of
    what the method keeps to serve its edits (`Method.storage_bytes`). failed: edits so far that could not be made.
    """

    edits: int
    seconds: float
    resident: int
    kept: int
    failed: int


def growth(points: Sequence[Point]) -> dict[str, float]:
    """What the curve says in numbers.

    seconds_first, seconds_last: per edit, medians of the first and the last fifth of the points (at least one each).
    ratio: last over first; 1 where time is linear in edits. resident_per_edit: bytes, between the ends.
    """
    part = max(1, len(points) // 5)
    first = statistics.median(p.seconds for p in points[:part])
    last = statistics.median(p.seconds for p in points[-part:])
    edits = points[-1].edits - points[0].edits
    return {
        "seconds_first": first,
        "seconds_last": last,
        "ratio": last / first if first else float("nan"),
        "resident_per_edit": (points[-1].resident - points[0].resident) / edits if edits else 0.0,
    }


class Writer:
    """A CSV file with one line per point, written as they come: what was measured survives an interruption."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w", newline="", encoding="utf-8")
        self.rows = csv.DictWriter(self.file, [field.name for field in fields(Point)])
        self.rows.writeheader()

    def add(self, point: Point) -> None:
        """Write one more line."""
        self.rows.writerow({**asdict(point), "seconds": f"{point.seconds:.6f}"})
        self.file.flush()

    def close(self) -> None:
        """No more points."""
        self.file.close()


def read(path: Path) -> list[Point]:
    """The points of a CSV file that `Writer` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = [
            {key: float(value) if key == "seconds" else int(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]
    return [Point(**row) for row in rows]


def picture(points: Sequence[Point], title: str) -> str:
    """The curve as SVG: milliseconds per edit on the left, resident megabytes on the right, both from 0."""
    lines = [
        ("milliseconds per edit", [1000 * p.seconds for p in points]),
        ("resident megabytes", [p.resident / 1e6 for p in points]),
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>',
    ]
    right, floor = WIDTH - LEFT, HEIGHT - BOTTOM
    last = points[-1].edits
    for share in (0, 0.5, 1):
        x, y = LEFT + share * (right - LEFT), floor - share * (floor - TOP)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{share * last:,.0f}</text>')
    for n, (name, values) in enumerate(lines):
        top = max(values) * 1.1 or 1.0
        at = [
            (LEFT + p.edits / last * (right - LEFT), floor - v / top * (floor - TOP))
            for p, v in zip(points, values, strict=True)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline fill="none" stroke="{COLOURS[n]}" stroke-width="2" points="{path}"/>')
        x, anchor = (LEFT - 6, "end") if n == 0 else (right + 6, "start")
        for share in (0, 0.5, 1):
            y = floor - share * (floor - TOP) + 4
            parts.append(
                f'<text x="{x}" y="{y:.1f}" text-anchor="{anchor}" fill="{COLOURS[n]}">{share * top:.3g}</text>'
            )
        x, anchor = (LEFT, "start") if n == 0 else (right, "end")
        parts.append(f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="{anchor}" fill="{COLOURS[n]}">{name}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">edits so far</text></svg>')
    return "\n".join(parts) + "\n"
