"""Figures of the trade-offs and of the comparison, in the manner of `leaderboard.figures`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from leaderboard import formatting, palette
from leaderboard.figures import AXES, GRID, lay_out, say_empty
from leaderboard.glossary import metric_label

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def tradeoffs(points: pd.DataFrame, metric: str, cost: str, height: int = 540) -> go.Figure:
    """A metric (percent, with its interval) against a cost (log axis), from `tradeoffs.tradeoffs`.

    cost: its name with the unit. The Pareto front is a stepped line through larger markers with a dark rim.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    front = points[points["front"]]
    if len(front):
        figure.add_scatter(
            x=front["cost"], y=100 * front["value"], mode="lines", name="Pareto front",
            line={"shape": "hv", "color": palette.GREY, "width": 1.5, "dash": "dot"}, hoverinfo="skip",
        )  # fmt: skip
    places = (points["cost"].tolist(), (100 * points["value"]).tolist(), points["label"].tolist())
    sides = label_sides(*places, above=points["front"].tolist())
    for row, side in zip(points.to_dict("records"), sides, strict=True):
        style = palette.style(row["method"])
        name = "unedited model" if row["status"] == "reference" else escape(row["label"])
        known = not (formatting.is_missing(row["low"]) or formatting.is_missing(row["high"]))
        bars = {"array": [100 * (row["high"] - row["value"])], "arrayminus": [100 * (row["value"] - row["low"])]}
        figure.add_scatter(
            x=[row["cost"]], y=[100 * row["value"]], mode="markers+text", name=name, showlegend=False,
            text=[f"<b>{name}</b>" if row["front"] else _apart(name, side)], textposition=side, cliponaxis=False,
            textfont={"size": 14 if row["front"] else 12},
            marker={"symbol": style.marker, "color": style.colour, "size": 16 if row["front"] else 10,
                    "line": {"width": 2, "color": style.colour}},
            error_y={"type": "data", "thickness": 1.2, "width": 4, "color": style.rgba(0.6), **bars} if known else None,
            hovertemplate=f"{formatting.percent_interval(row['value'], row['low'], row['high'])} %, "
            f"{row['cost']:.3g} {escape(cost)}<extra>{name}</extra>",
        )  # fmt: skip
    lay_out(figure, height)
    ticks = log_ticks(points["cost"].tolist())
    figure.update_xaxes(
        type="log", title_text=f"{cost} (log scale; left is cheaper)", tickvals=ticks,
        ticktext=[formatting.seconds(t) if "second" in cost else f"{t:g}" for t in ticks], **AXES,
    )  # fmt: skip
    figure.update_yaxes(
        title_text=f"{metric_label(metric)} (%)", range=[-4, 108], tickvals=[0, 20, 40, 60, 80, 100], **AXES
    )
    if points.empty:
        say_empty(figure, "No method has both this score and this cost yet")
    return figure


# plotly's name for a side -> where the label's left edge lies, in its widths and in pixels, and its middle, in pixels
_SIDES = {
    "middle right": (0.0, 12, 0), "middle left": (-1.0, -12, 0),
    "top right": (0.0, 4, 17), "bottom right": (0.0, 4, -17),
    "top left": (-1.0, -4, 17), "bottom left": (-1.0, -4, -17),
    "bottom center": (-0.5, 0, -20), "top center": (-0.5, 0, 20),
}  # fmt: skip
_WIDTH, _HEIGHT, _LETTER, _LINE = 1050, 430, 9, 17  # pixels of a usual figure, and of its letters


def _apart(name: str, side: str) -> str:
    """A name with a space towards its point."""
    return name + "\u2002" if side.endswith("left") else "\u2002" + name if side.endswith("right") else name


def label_sides(
    costs: Sequence[float], values: Sequence[float], names: Sequence[str], above: Sequence[bool]
) -> list[str]:
    """On which side of its point each label stands, so that labels cover neither one another nor a point.

    costs: on the log axis. values: percent. above: whether the label had best stand above its point, where the line of
    the front isn't. The first free side is taken; where none is, the one that covers least.
    """
    known = [math.log10(max(c, 1e-12)) for c in costs]
    span = (max(known) - min(known)) or 1.0 if known else 1.0
    spots = [(_WIDTH * (c - min(known)) / span, _HEIGHT * v / 112) for c, v in zip(known, values, strict=True)]
    taken = [(x - 9, y - 9, x + 9, y + 9) for x, y in spots]
    chosen = []
    for (x, y), name, high in zip(spots, names, above, strict=True):
        width = _LETTER * len(name)
        boxes = {
            side: (x + share * width + dx, y + dy - _LINE / 2, x + (share + 1) * width + dx, y + dy + _LINE / 2)
            for side, (share, dx, dy) in _SIDES.items()
        }
        order = list(reversed(boxes)) if high else list(boxes)
        best = min(order, key=lambda side: _covered(boxes[side], taken))
        chosen.append(best)
        taken.append(boxes[best])
    return chosen


def _covered(box: tuple[float, ...], taken: Sequence[tuple[float, ...]]) -> float:
    """Square pixels of a box (left, low, right, high) that are taken, or outside of the figure's left and right."""
    area = sum(
        max(0.0, min(box[2], t[2]) - max(box[0], t[0])) * max(0.0, min(box[3], t[3]) - max(box[1], t[1])) for t in taken
    )
    outside = max(0.0, -40 - box[0]) + max(0.0, box[2] - _WIDTH - 80)
    return area + _LINE * outside


def log_ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten that lie around positive values, from one below to one above them."""
    known = [v for v in values if v > 0]
    if not known:
        return []
    first, last = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    steps = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
    inside = [i for i, step in enumerate(steps) if min(known) <= step <= max(known)]
    if not inside:
        return [s for s in steps if s < min(known)][-1:] + [s for s in steps if s > max(known)][:1]
    return steps[max(0, inside[0] - 1) : inside[-1] + 2]


def differences(table: pd.DataFrame, height: int = 0) -> go.Figure:
    """Paired differences in percentage points with their 95 % intervals, from `compare.differences`.

    One row of marks per metric and pair. Filled marks are significant, open ones aren't; right of zero the first
    method of the pair is better.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    pairs = table.groupby(["first", "second"], sort=False)
    names = []
    one = pairs.ngroups == 1  # then the axis says which pair it is
    for (first, second), rows in pairs:
        for row in rows.to_dict("records"):
            metric = metric_label(row["metric"])
            names.append(metric if one else f"{metric}  ·  {escape(first)} − {escape(second)}")
            better = palette.style(str(first if row["difference"] >= 0 else second).partition(" ")[0])
            value = 100 * row["difference"]
            figure.add_scatter(
                x=[value], y=[names[-1]], mode="markers", showlegend=False,
                marker={"size": 12, "color": better.colour if row["significant"] else "rgba(0,0,0,0)",
                        "symbol": "circle", "line": {"width": 2, "color": better.colour}},
                error_x={"type": "data", "array": [100 * row["high"] - value], "arrayminus": [value - 100 * row["low"]],
                         "thickness": 2, "width": 5, "color": better.colour},
                hovertemplate=f"{formatting.signed(row['difference'])} points "
                f"[{formatting.signed(row['low'])}, {formatting.signed(row['high'])}], p {formatting.p_value(row['p'])}"
                f"<extra>{names[-1]}</extra>",
            )  # fmt: skip
    lay_out(figure, height or max(300, 110 + 34 * len(names)))
    figure.add_vline(x=0, line={"color": palette.GREY, "width": 1.5})
    title = "difference in percentage points, with 95 % interval"
    if one:
        first, second = (escape(str(table[side].iloc[0])) for side in ("first", "second"))
        title = f"← {second} is better     {title}     {first} is better →"
    figure.update_xaxes(title_text=title, ticksuffix="", **AXES)
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], automargin=True, gridcolor=GRID)
    if not names:
        say_empty(figure, "Choose at least two methods that are finished here")
    return figure
