"""Raw answers of one method, failures first."""

from __future__ import annotations

from typing import Any

import gradio as gr

from leaderboard import answer_views, state, tables, theme
from leaderboard.choices import resolve_answers
from leaderboard.data import Board
from leaderboard.pages import common
from leaderboard.state import Filters
from leaderboard.views import UNEDITED

_VERDICTS = [("all", "all"), ("missed", "missed"), ("right", "right")]
_WIDTHS: list[str | int] = [110, 300, 220, 260, 190, 320, 84]


def build(board: Board) -> None:
    """Lay out the page inside the current Blocks."""
    common.head("Answers")
    with gr.Row(elem_classes="board-filters"):
        controls = common.common_controls(common.MODES)
        controls["edits"] = common.edits_control()
    with gr.Row(elem_classes="board-filters"):
        controls["method"] = gr.Dropdown([], label="Method", min_width=130, scale=1)
        controls["kind"] = gr.Dropdown([], label="Question kind", min_width=190, scale=2)
        controls["verdict"] = gr.Radio(_VERDICTS, label="Verdict", value="all", min_width=270, scale=2)
        controls["search"] = gr.Textbox(
            label="Search", placeholder="words, then Enter", min_width=170, scale=1, max_length=200
        )
        reset = gr.Button("Reset", min_width=80, scale=0)
    chips = common.chips()
    with gr.Row(elem_id="board-paging"):
        where = common.line("Position")
        back = gr.Button("← Prev", size="sm", min_width=84, scale=0)
        forth = gr.Button("Next →", size="sm", min_width=84, scale=0)
    table = gr.Dataframe(
        label="Answers", show_label=False, interactive=False, datatype="str", column_widths=_WIDTHS, wrap=True,
        max_height=720, elem_classes="board-table", elem_id="answers", buttons=[],
    )  # fmt: skip
    common.downloads("answers")
    detail = gr.Textbox(
        label="Whole answer", placeholder="Click a row to read all of it.", lines=3, max_lines=30, interactive=False,
        elem_id="board-detail", buttons=["copy"],
    )  # fmt: skip
    common.links("answer-links", "")
    address = gr.Textbox(visible="hidden", show_label=False)
    line = gr.Textbox(visible="hidden", show_label=False)
    page = gr.Number(1, visible="hidden", show_label=False, precision=0)

    def resolved(chosen: Filters) -> Filters:
        return resolve_answers(board, chosen)[0]

    def render(chosen: Filters) -> tuple[Filters, list[Any]]:
        filters, choices, methods, kinds = resolve_answers(board, chosen)
        frame, paging = board.answers(filters)
        names = [("unedited model" if label == UNEDITED else label, label) for label in methods]
        return filters, [
            *common.common_updates(filters, choices),
            common.edits_update(filters, choices),
            gr.update(choices=names, value=filters.method or None),
            gr.update(choices=kinds, value=filters.kind),
            filters.verdict,
            filters.search,
            str(paging),
            gr.update(interactive=paging.current > 1),
            gr.update(interactive=paging.current < paging.pages),
            tables.answers(frame),
            *opened(filters.answer),
            paging.current,
        ]

    def opened(answer_id: int) -> list[str]:
        """An answer in full, its part of the address, and the links of its row."""
        found = board.answer(answer_id)
        if found is None:
            return ["", "", ""]
        cells = board.cells()
        cell = cells[cells["key"] == found["cell_key"]].iloc[0]
        line = common.link_line(
            f"Answer {answer_id}:",
            ("link to this answer", "answers", {"answer": answer_id}),
            ("its run", "run", {"cell": cell["key"]}),
            ("the method", "cards", {"card": "method", "name": cell["method"]}),
            ("the data set", "cards", {"card": "data", "name": cell["dataset"]}),
        )
        return [answer_views.detail(found), f"answer={answer_id}", line]

    def select(event: gr.SelectData) -> list[str]:
        # The row carries the answer's id, which stays right after a sort in the browser.
        number = str((event.row_value or [""])[-1])
        return opened(int(number) if number.isascii() and number.isdigit() else 0)

    outputs = [*controls.values(), where, back, forth, table, detail, address, line, page]
    common.wire(
        board,
        state.ANSWERS,
        controls,
        outputs,
        resolved,
        render,
        reset,
        chips,
        on_submit=("search",),
        page=page,
        turns=((back, -1), (forth, 1)),
    )
    chosen = table.select(select, None, [detail, address, line], show_progress="hidden", api_visibility="private")
    chosen.then(None, address, None, js=theme.write_query(("answer",)))
    line.change(None, line, None, js=theme.show_answer("answer-links"))
