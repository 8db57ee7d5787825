"""Degradation curves: a metric against the number of edits."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pandas as pd

from leaderboard import facets, figures, glossary, panels, state, words
from leaderboard.choices import resolve_curves
from leaderboard.data import Board
from leaderboard.glossary import metric_label
from leaderboard.pages import common
from leaderboard.state import Filters


def build(board: Board) -> None:
    """Lay out the page inside the current Blocks."""
    common.head("Curves")
    with gr.Row(elem_classes="board-filters"):
        controls = common.common_controls(common.MODES_BOTH)
        controls["metric"] = gr.Dropdown([], label="Metric", min_width=150, scale=1)
    with gr.Row(elem_classes="board-filters"):
        kinds = [(name, facet) for facet, name in facets.FACETS.items()]
        controls["facet"] = gr.Dropdown(kinds, label="Panels", value=facets.ONE, min_width=170, scale=1)
        controls["show"] = gr.Dropdown([], label="Methods (none chosen: all)", multiselect=True, min_width=320, scale=4)
        reset = gr.Button("Reset", min_width=80, scale=0)
    chips = common.chips()
    summary = common.line("Summary")
    plot = gr.Plot(label="Degradation curves", show_label=False, elem_classes="board-plot", elem_id="curves")
    common.downloads("curves", "curves")
    with gr.Accordion("The points as a table", open=False):
        table = gr.Dataframe(label="Points", show_label=False, interactive=False, datatype="str", elem_id="points")
    with gr.Accordion("What the metrics mean", open=False):
        gr.Markdown(glossary.as_markdown())

    def resolved(chosen: Filters) -> Filters:
        return resolve_curves(board, chosen)[0]

    def render(chosen: Filters) -> tuple[Filters, list[Any]]:
        filters, choices, metrics, methods = resolve_curves(board, chosen)
        points = board.curves(filters)
        return filters, [
            *common.common_updates(filters, choices),
            gr.update(choices=metrics, value=filters.metric),
            filters.facet,
            gr.update(choices=methods, value=list(filters.show)),
            words.curves(board.curve_points(filters, filters.setup, filters.metric), filters),
            _figure(points, filters),
            words.points(points),
        ]

    outputs = [*controls.values(), summary, plot, table]
    common.wire(board, state.CURVES, controls, outputs, resolved, render, reset, chips)


def _figure(points: pd.DataFrame, filters: Filters) -> Any:
    """The plot's update. Panels keep their width, so that on a phone they scroll inside their frame."""
    if not filters.facet:
        return gr.update(value=figures.curves(points, filters.metric), elem_classes=["board-plot"])
    title = "Score" if filters.facet == facets.METRICS else metric_label(filters.metric)
    return gr.update(value=panels.grid(points, title), elem_classes=["board-plot", "board-panels"])
