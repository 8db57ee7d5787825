"""The findings' figures, in the manner of `leaderboard.figures`: transparent, quiet greys, the palette's colours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from leaderboard import formatting, palette
from leaderboard.comparison_figures import log_ticks
from leaderboard.figures import AXES, GRID, lay_out, percent_axis, say_empty

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_ROTATION = (palette.BLUE, palette.ORANGE, palette.GREEN, palette.PURPLE, palette.VERMILLION, palette.SKY)
_SIGNS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star")


def of_label(label: str) -> palette.Style:
    """The style of a method by its label; a variant ("SCR (confirm=False)") has its own marker in the same colour."""
    method, bracket, _ = label.partition(" (")
    style = palette.style(method)
    return palette.Style(style.colour, palette.style(label).marker) if bracket else style


def of_series(number: int) -> palette.Style:
    """The style of the n-th of several series that are no methods."""
    return palette.Style(_ROTATION[number % len(_ROTATION)], _SIGNS[number % len(_SIGNS)])


def lines(frame: pd.DataFrame, x: str, x_title: str, y_title: str, percent: bool = True) -> go.Figure:
    """One line per `label` through `value` with its interval (low, high) as bars, against column `x` (log axis)."""
    import plotly.graph_objects as go

    figure = go.Figure()
    ordered = sorted(frame.groupby("label", sort=True), key=lambda item: -float(item[1]["value"].iloc[-1]))
    scale = 100 if percent else 1
    for label, line in ordered:
        own, style = line.sort_values(x), of_label(str(label))
        known = own[["low", "high"]].notna().all(axis=1)
        up = (scale * (own["high"] - own["value"])).where(known, 0)
        down = (scale * (own["value"] - own["low"])).where(known, 0)
        figure.add_scatter(
            x=own[x].tolist(), y=(scale * own["value"]).tolist(), name=escape(str(label)), mode="lines+markers",
            line={"color": style.colour, "width": 2.5},
            marker={"symbol": style.marker, "size": 10, "color": style.colour,
                    "line": {"width": 1.5, "color": style.colour}},
            error_y={"type": "data", "array": up.tolist(), "arrayminus": down.tolist(), "thickness": 1.2, "width": 4,
                     "color": style.rgba(0.55)},
            customdata=[_said(row, percent) for row in own.to_dict("records")],
            hovertemplate="%{customdata} at %{x:,}<extra>" + escape(str(label)) + "</extra>",
        )  # fmt: skip
    lay_out(figure, 460)
    ticks = sorted({float(value) for value in frame[x]}) if len(frame) else []
    figure.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{t:,.0f}" for t in ticks], title_text=f"{x_title} (log scale)", **AXES
    )
    if percent:
        percent_axis(figure)
    else:
        figure.update_yaxes(**AXES)
    figure.update_yaxes(title_text=f"{y_title} (%)" if percent else y_title)
    return _or_empty(figure)


def dots(
    frame: pd.DataFrame, series: Sequence[str], x_title: str, percent: bool = True, by_label: bool = False,
    zero: bool = False,
) -> go.Figure:  # fmt: skip
    """One row per `label`, one mark per `series` in it with its interval (value, low, high), slightly apart.

    by_label: colours are the labels', not the series'. zero: a line at zero, and an axis that fits the values.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    labels = list(dict.fromkeys(frame["label"]))[::-1]
    places = {label: number for number, label in enumerate(labels)}
    scale = 100 if percent else 1
    for number, name in enumerate(series):
        own = frame[frame["series"] == name]
        style = of_series(number)
        shift = 0.0 if len(series) == 1 else 0.5 * ((len(series) - 1 - number) / (len(series) - 1) - 0.5)
        known = own[["low", "high"]].notna().all(axis=1)
        colours = [of_label(str(label)).colour for label in own["label"]] if by_label else style.colour
        figure.add_scatter(
            x=(scale * own["value"]).tolist(), y=[places[label] + shift for label in own["label"]], mode="markers",
            name=escape(name), showlegend=len(series) > 1,
            marker={"symbol": style.marker, "size": 11, "color": colours, "line": {"width": 1.5, "color": colours}},
            error_x={"type": "data", "array": (scale * (own["high"] - own["value"])).where(known, 0).tolist(),
                     "arrayminus": (scale * (own["value"] - own["low"])).where(known, 0).tolist(),
                     "thickness": 1.5, "width": 4, "color": palette.GREY if by_label else style.rgba(0.6)},
            customdata=[f"{escape(str(row['label']))}: {_said(row, percent)}" for row in own.to_dict("records")],
            hovertemplate="%{customdata}<extra>" + escape(name) + "</extra>",
        )  # fmt: skip
    lay_out(figure, max(260, 120 + (24 + 7 * (len(series) - 1)) * len(labels)))
    shown = [escape(str(label)) for label in labels]
    figure.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=shown, range=[-0.6, len(labels) - 0.4], automargin=True,
        **AXES,
    )  # fmt: skip
    figure.update_xaxes(title_text=f"{x_title} (%)" if percent and not zero else x_title, **AXES)
    if zero:
        figure.add_vline(x=0, line={"color": palette.GREY, "width": 1.5})
    elif percent:
        figure.update_xaxes(range=[-2, 103], tickvals=[0, 20, 40, 60, 80, 100])
    return _or_empty(figure)


def stacked(frame: pd.DataFrame, parts: Sequence[str], x_title: str) -> go.Figure:
    """One bar per `label`, cut into `parts` (columns, in milliseconds)."""
    import plotly.graph_objects as go

    figure = go.Figure()
    labels = frame["label"].tolist()[::-1]
    rows = frame.set_index("label").loc[labels] if len(frame) else frame
    for number, part in enumerate(parts):
        style = of_series(number)
        figure.add_bar(
            x=rows[part].tolist(), y=[escape(str(label)) for label in labels], name=escape(part), orientation="h",
            marker={"color": style.rgba(0.85), "line": {"width": 1, "color": style.colour}},
            hovertemplate="%{x:.2f} ms<extra>" + escape(part) + "</extra>",
        )  # fmt: skip
    lay_out(figure, max(240, 130 + 36 * len(labels)))
    figure.update_layout(barmode="stack", bargap=0.35, legend_traceorder="normal")
    figure.update_xaxes(title_text=x_title, rangemode="tozero", **AXES)
    figure.update_yaxes(automargin=True, gridcolor=GRID)
    return _or_empty(figure)


def heat(frame: pd.DataFrame, x_title: str) -> go.Figure:
    """One row per `label`, one column per `series`; the shade is the share `value`, which stands in the cell too."""
    import plotly.graph_objects as go

    figure = go.Figure()
    labels, series = list(dict.fromkeys(frame["label"]))[::-1], sorted(frame["series"].unique())
    rows = {(row["label"], row["series"]): row for row in frame.to_dict("records")}
    cells = [[rows.get((label, name)) for name in series] for label in labels]
    shade = palette.Style(palette.BLUE, "circle")  # never so strong that the words in the cell can't be read
    figure.add_heatmap(
        z=[[None if cell is None else 100 * cell["value"] for cell in line] for line in cells],
        x=[escape(str(name)) for name in series], y=[escape(str(label)) for label in labels], zmin=0, zmax=100,
        colorscale=[[0, shade.rgba(0.03)], [1, shade.rgba(0.5)]], showscale=False, xgap=2, ygap=2,
        text=[["" if cell is None else formatting.percent(cell["value"]) for cell in line] for line in cells],
        texttemplate="%{text}", textfont={"size": 13},
        customdata=[["" if cell is None else _said(cell, True) for cell in line] for line in cells],
        hovertemplate="%{y}, %{x}: %{customdata}<extra></extra>",
    )  # fmt: skip
    lay_out(figure, max(260, 90 + 30 * len(labels)))
    figure.update_xaxes(side="top", title_text=x_title, **AXES | {"showgrid": False})
    figure.update_yaxes(automargin=True, **AXES | {"showgrid": False})
    figure.update_layout(margin={"t": 70, "b": 16})
    return _or_empty(figure)


def slopes(frame: pd.DataFrame, left: str, right: str, names: tuple[str, str]) -> go.Figure:
    """One line per `label` from its share in column `left` to that in column `right`: lines that cross have swapped."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for row in frame.sort_values(right, ascending=False).to_dict("records"):
        style, label = of_label(str(row["label"])), escape(str(row["label"]))
        figure.add_scatter(
            x=[0, 1], y=[100 * row[left], 100 * row[right]], name=label, mode="lines+markers",
            line={"color": style.colour, "width": 2.5},
            marker={"symbol": style.marker, "size": 11, "color": style.colour,
                    "line": {"width": 1.5, "color": style.colour}},
            hovertemplate="%{y:.1f} %<extra>" + label + "</extra>",
        )  # fmt: skip
    lay_out(figure, 520)
    figure.update_xaxes(tickvals=[0, 1], ticktext=[escape(name) for name in names], range=[-0.1, 1.1], **AXES)
    percent_axis(figure)
    figure.update_yaxes(title_text="Average (%)")
    return _or_empty(figure)


def above(top: go.Figure, bottom: go.Figure) -> go.Figure:
    """Two figures of `lines` under one legend, the same axis from left to right."""
    from plotly.subplots import make_subplots

    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.6, 0.4])
    for row, part in enumerate((top, bottom), 1):
        for trace in part.data:
            trace.legendgroup, trace.showlegend = trace.name, row == 1
            figure.add_trace(trace, row=row, col=1)
    lay_out(figure, 640)
    x = top.layout.xaxis
    figure.update_xaxes(type="log", tickvals=x.tickvals, ticktext=x.ticktext, **AXES)
    figure.update_xaxes(title_text=x.title.text, row=2)
    figure.update_yaxes(range=top.layout.yaxis.range, tickvals=top.layout.yaxis.tickvals, row=1, **AXES)
    figure.update_yaxes(title_text=top.layout.yaxis.title.text, row=1)
    figure.update_yaxes(title_text=bottom.layout.yaxis.title.text, row=2, **AXES)
    figure.update_yaxes(automargin=True, title_standoff=10)
    seconds = [float(v) for trace in bottom.data for v in trace.y if v > 0]
    if seconds:
        ticks = log_ticks(seconds)
        text = [formatting.seconds(tick) for tick in ticks]
        figure.update_yaxes(type="log", tickvals=ticks, ticktext=text, row=2)
    return figure


def _said(row: dict[str, Any], percent: bool) -> str:
    if percent:
        return f"{formatting.percent_interval(row['value'], row['low'], row['high'])} %"
    return formatting.number(row["value"])


def _or_empty(figure: go.Figure) -> go.Figure:
    if not len(figure.data):
        say_empty(figure, "Nothing to show yet")
    return figure
