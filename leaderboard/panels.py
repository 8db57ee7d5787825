"""The figure of small multiples, in the manner of `leaderboard.figures`."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from leaderboard import figures, palette

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

COLUMNS, ROW_HEIGHT = 3, 290
_PER_ROW = 7  # entries of the legend
_FREE, _FORCED = ", free-running", ", teacher-forced"


def grid(points: pd.DataFrame, title: str) -> go.Figure:
    """One panel per value of `panel`, all with the same axes (percent; cases in a row, log scale) and one legend.

    points: `facets.panels`. title: of the vertical axes.
    """
    from plotly.subplots import make_subplots

    names = list(dict.fromkeys(points["panel"]))
    if not names:
        return figures.curves(points, title)
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[escape(name) for name in names], shared_xaxes="all", shared_yaxes="all",
        horizontal_spacing=0.03, vertical_spacing=0.42 / (rows + 1),
    )  # fmt: skip
    ticks = sorted(int(n) for n in points.loc[points["n_edits"] > 0, "n_edits"].unique())
    # Where every panel has one way of answering, its title says which.
    several = bool(points.groupby("panel")["mode"].nunique().max() > 1)
    shown: set[str] = set()
    for number, name in enumerate(names):
        own = figures.curve_traces(points[points["panel"] == name], several, ticks)
        for trace in own:
            group = str(trace.legendgroup or trace.name)
            dotted = several and group.endswith(_FORCED)  # its colour and marker are those of the solid one
            trace.name = str(trace.name or "").removesuffix(_FREE) if several else trace.name
            trace.showlegend = trace.showlegend is not False and group not in shown and not dotted
            if trace.name and trace.showlegend:
                shown.add(group)
            figure.add_trace(trace, row=number // columns + 1, col=number % columns + 1)
    if several:
        figures.add_mode_legend(figure)
    entries = sum(trace.showlegend is not False for trace in figure.data)
    above = 46 + 26 * (-(-entries // _PER_ROW) - 1)
    figures.lay_out(figure, 44 + above + ROW_HEIGHT * rows)
    figure.update_layout(margin={"t": 24 + above}, legend={"y": 1 + 46 / (ROW_HEIGHT * rows)})
    figure.update_annotations(font={"size": 15, "color": palette.GREY})
    figures.log_axis(figure, ticks)
    figures.percent_axis(figure)
    figure.update_yaxes(title_text=f"{title} (%)", col=1)
    figure.update_xaxes(title_text="cases edited in a row", row=rows)
    return figure
