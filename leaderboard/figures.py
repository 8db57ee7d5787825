"""The board's figures. Backgrounds are transparent and greys are in the middle, so they read in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from leaderboard import formatting, palette
from leaderboard.glossary import metric_label
from leaderboard.state import FORCED, FREE

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif'
_NO_BUTTONS = ("zoom", "pan", "select", "lasso", "zoomIn", "zoomOut", "autoScale", "resetScale")
INK, GRID = "#808590", "rgba(128,133,144,.25)"
_DASH = {FREE: "solid", FORCED: "dot"}


MANY = 8  # lines; with more of them, intervals are bars and not bands, which would cover one another
_LABEL_GAP, _LABEL_PLACE = 16, 132  # pixels: between two labels beside the figure, and the room for them


def curves(points: pd.DataFrame, metric: str, height: int = 560) -> go.Figure:
    """A metric (percent) against the length of the sequence in cases (log axis), from `views.curves`.

    One line per method and mode with its interval as a band (as bars, where there are many); teacher-forced lines are
    dotted. Each method's name stands at the end of its line. The unedited model is a dashed horizontal line.
    """
    import plotly.graph_objects as go

    ticks = sorted(int(n) for n in points.loc[points["n_edits"] > 0, "n_edits"].unique())
    several = points["mode"].nunique() > 1
    figure = go.Figure(curve_traces(points, several, ticks))
    for trace in figure.data:  # the names stand beside the lines
        trace.showlegend = trace.legendgroup is None
    if several:
        add_mode_legend(figure)
    _lay_out_curves(figure, metric_label(metric), ticks, height)
    _label_ends(figure, points, height)
    return figure


def curve_traces(points: pd.DataFrame, several: bool, ticks: list[int]) -> list[go.Scatter]:
    """The lines, bands and references of one panel. several: whether the figure has both ways of answering, so that
    names must say which. ticks: all lengths of the figure."""
    import plotly.graph_objects as go

    figure = go.Figure()
    edited = points[points["n_edits"] > 0]
    lines = [(*key, line) for key, line in edited.groupby(["label", "method", "mode"], sort=True)]
    # The legend in the order of the curves' right ends, so that the eye finds them.
    for label, method, mode, line in sorted(lines, key=lambda item: -item[3]["value"].iloc[-1]):
        style = palette.style(str(method))
        _add_line(figure, str(label), style, str(mode), several, line, band=len(lines) <= MANY)
    for row in points[points["n_edits"] == 0].to_dict("records"):
        _add_reference(figure, row, ticks, several)
    return list(figure.data)


def add_mode_legend(figure: go.Figure) -> None:
    """What dotted lines are."""
    for name, dash in (("free-running", "solid"), ("teacher-forced", "dot")):
        figure.add_scatter(
            x=[None], y=[None], mode="lines", name=name, line={"color": palette.GREY, "width": 2.5, "dash": dash}
        )


def _label_ends(figure: go.Figure, points: pd.DataFrame, height: int) -> None:
    """The marker and the name of each method at the right end of its line, moved apart where they would overlap."""
    edited = points[points["n_edits"] > 0].sort_values("n_edits")
    if edited.empty:
        return
    # Of a pair of curves the free-running one is named; the dotted one has its colour and its marker.
    edited = edited[edited["mode"] == (FREE if FREE in set(edited["mode"]) else FORCED)]
    ends = edited.groupby("label", sort=False).last().reset_index().sort_values("value", ascending=False)
    per_point = (height - 76) / 105  # pixels for a percentage point, as in `_lay_out_curves`
    for n_edits, own in ends.groupby("n_edits"):
        at = [float(100 * value * per_point) for value in own["value"]]
        placed = spread(at, _LABEL_GAP)
        for row, here, there in zip(own.to_dict("records"), at, placed, strict=True):
            sign = palette.style(str(row["method"])).sign
            figure.add_annotation(
                x=math.log10(n_edits), y=100 * row["value"], ax=26, ay=here - there, xanchor="left", showarrow=True,
                arrowhead=0, arrowwidth=1, arrowcolor=palette.GREY, standoff=7, text=f"{sign} {escape(row['label'])}",
                font={"size": 13}, bgcolor="rgba(0,0,0,0)",
            )  # fmt: skip


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places as near as can be to those wanted (descending), no two nearer than gap, none below 0."""
    placed = list(wanted)
    for i in range(1, len(placed)):
        placed[i] = min(placed[i], placed[i - 1] - gap)
    for i in reversed(range(len(placed))):  # what was pushed out below pushes the others up again
        floor = placed[i + 1] + gap if i + 1 < len(placed) else 0.0
        placed[i] = max(placed[i], floor)
    return placed


def _name(label: str, mode: str, several: bool) -> str:
    """Plotly reads names as markup, so they are escaped."""
    name = escape(label)
    return f"{name}, {'teacher-forced' if mode == FORCED else 'free-running'}" if several else name


def _add_line(
    figure: go.Figure, label: str, style: palette.Style, mode: str, several: bool, line: pd.DataFrame, band: bool
) -> None:
    x, y = line["n_edits"].tolist(), (100 * line["value"]).tolist()
    low = (100 * line["low"].fillna(line["value"])).tolist()
    high = (100 * line["high"].fillna(line["value"])).tolist()
    name = _name(label, mode, several)
    if len(x) > 1 and band:
        figure.add_scatter(
            x=x + x[::-1], y=high + low[::-1], fill="toself", mode="lines", line={"width": 0},
            fillcolor=style.rgba(0.13), hoverinfo="skip", showlegend=False, legendgroup=name,
        )  # fmt: skip
    marker = {"symbol": style.marker, "size": 11, "color": style.colour, "line": {"width": 1.5, "color": style.colour}}
    bars: dict[str, Any] = {}
    if len(x) == 1 or not band:
        above, below = [h - v for h, v in zip(high, y, strict=True)], [v - w for v, w in zip(y, low, strict=True)]
        bars["error_y"] = {"type": "data", "array": above, "arrayminus": below, "thickness": 1.2, "width": 3}
    figure.add_scatter(
        x=x, y=y, name=name, legendgroup=name, mode="lines+markers",
        line={"color": style.colour, "width": 2.5, "dash": _DASH[mode]},
        marker=marker,
        customdata=_hover(line), hovertemplate="%{customdata}<extra>" + name + "</extra>", **bars,
    )  # fmt: skip


def _add_reference(figure: go.Figure, row: dict[str, Any], ticks: list[int], several: bool) -> None:
    span = [ticks[0] / 1.25, ticks[-1] * 1.25] if ticks else [0.8, 1.25]
    value = 100 * row["value"]
    dash = "dashdot" if several and row["mode"] == FORCED else "dash"
    figure.add_scatter(
        x=span, y=[value, value], name=_name("unedited model", row["mode"], several), mode="lines",
        line={"color": palette.GREY, "width": 2, "dash": dash},
        hovertemplate=f"{formatting.percent_interval(row['value'], row['low'], row['high'])} %<extra>unedited</extra>",
    )  # fmt: skip


def _hover(line: pd.DataFrame) -> list[str]:
    return [
        f"{formatting.percent_interval(row['value'], row['low'], row['high'])} % after "
        f"{formatting.count(int(row['n_edits']), 'edit')}, {formatting.count(int(row['n']), 'case')}"
        for row in line.to_dict("records")
    ]


AXES: dict[str, Any] = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "title_font_size": 14}


def lay_out(figure: go.Figure, height: int) -> None:
    """What all figures share: transparent background, quiet greys, a legend above, no drag."""
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 14, "color": INK},
        margin={"l": 56, "r": 16, "t": 24, "b": 52},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.03, "x": 0, "font": {"size": 14}},
        hovermode="closest",
        hoverdistance=60,
        hoverlabel={"font": {"family": FONT, "size": 13}},
        dragmode=False,  # a finger on the figure scrolls the page
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": INK, "remove": list(_NO_BUTTONS)},
    )


def say_empty(figure: go.Figure, text: str) -> None:
    """A sentence in place of axes that have nothing to show."""
    figure.add_annotation(text=text, showarrow=False, font={"size": 16})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)


def log_axis(figure: go.Figure, ticks: list[int]) -> None:
    """Lengths of sequences from left to right."""
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{t:,}" for t in ticks], **AXES)


def percent_axis(figure: go.Figure) -> None:
    """Shares in percent, always the whole range: a cut axis exaggerates."""
    figure.update_yaxes(range=[-2, 103], tickvals=[0, 20, 40, 60, 80, 100], **AXES)


def _lay_out_curves(figure: go.Figure, title: str, ticks: list[int], height: int) -> None:
    lay_out(figure, height)
    log_axis(figure, ticks)
    percent_axis(figure)
    figure.update_layout(margin={"r": _LABEL_PLACE})
    if ticks:  # the names stand in the margin
        first, last = math.log10(ticks[0]), math.log10(ticks[-1])
        room = (last - first) or 1.0
        figure.update_xaxes(range=[first - 0.06 * room, last + 0.02 * room])
    figure.update_xaxes(title_text="cases edited in a row (log scale)")
    figure.update_yaxes(title_text=f"{title} (%)")
    if not len(figure.data):
        say_empty(figure, "No finished scores for these filters yet")
