"""One cell: where its numbers come from, and the command that repeats it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from leaderboard import state
from leaderboard.choices import resolve_run
from leaderboard.data import Board
from leaderboard.pages import common
from leaderboard.state import Filters


def build(board: Board) -> None:
    """Lay out the page inside the current Blocks."""
    common.head("Runs")
    with gr.Row(elem_classes="board-filters"):
        controls: dict[str, Any] = {"cell": gr.Dropdown([], label="Cell", min_width=300, scale=5)}
        reset = gr.Button("Reset", min_width=80, scale=0)
    chips = common.chips()
    title = common.line("Title")
    title.elem_classes = [*title.elem_classes, "board-title"]
    command = gr.Textbox(
        label="Repeat this cell (with the code, packages and model named below)", lines=6, max_lines=14,
        interactive=False, buttons=["copy"], elem_id="run-command",
    )  # fmt: skip
    facts = gr.Dataframe(
        headers=["what", "value"], label="Provenance", show_label=False, interactive=False, datatype="str", wrap=True,
        column_widths=["26%", "74%"], max_height=900, elem_classes="board-table", elem_id="run-facts", buttons=[],
    )  # fmt: skip
    common.downloads("run")

    def resolved(chosen: Filters) -> Filters:
        return resolve_run(board, chosen)[0]

    def render(chosen: Filters) -> tuple[Filters, list[Any]]:
        filters, cells = resolve_run(board, chosen)
        page = board.run_page(filters.cell)
        return filters, [
            gr.update(choices=cells, value=filters.cell or None),
            page.title,
            page.command,
            {"headers": ["what", "value"], "data": page.facts},
        ]

    common.wire(board, state.RUN, controls, [*controls.values(), title, command, facts], resolved, render, reset, chips)
