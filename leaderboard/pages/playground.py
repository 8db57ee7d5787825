"""Edit two models side by side and ask them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from leaderboard import theme
from leaderboard.pages import common
from leaderboard.playground import shown
from leaderboard.playground.api import edit_and_ask as in_one_call
from leaderboard.playground.api import edit_and_ask_live as live
from leaderboard.playground.api import example_rows, questions_of
from leaderboard.playground.inputs import MOST_EDITS, MOST_QUESTIONS, make_request
from leaderboard.playground.lab import Lab
from leaderboard.playground.watching import make_watch
from runner.errors import UserError

_COLUMNS = ["subject", "question", "new answer", "old answer", "as a sentence"]
_FIELDS = ("subject", "prompt", "target", "old", "statement")
_WIDTHS: list[str | int] = [380, 280, 280, 280]  # kept on a phone, where the table scrolls
_EDIT_WIDTHS: list[str | int] = [104, 196, 126, 126, 238]
_PARAMETERS = ("model", "left", "right")


def build(lab: Lab) -> None:
    """Lay out the page inside the current Blocks."""
    common.head("Playground")
    with gr.Row(elem_classes="board-filters"):
        model = gr.Dropdown(list(lab.models), value=lab.models[0], label="Model", min_width=150, scale=1)
        left = gr.Dropdown(list(lab.methods), value="ROME", label="Left", min_width=130, scale=1)
        right = gr.Dropdown(list(lab.methods), value="SCR", label="Right", min_width=130, scale=1)
        thinking = gr.Checkbox(label="think before answering", min_width=180, scale=1)
    with gr.Tab("Edit and ask"):
        _asking(lab, model, left, right, thinking)
    with gr.Tab("Watch it wear down"):
        _watching(lab, model, left, right)
    address = gr.Textbox(visible="hidden", show_label=False)
    sides = [model, left, right]
    chosen = gr.on(
        [c.input for c in sides], _query, sides, address, show_progress="hidden", api_visibility="private"
    )  # fmt: skip
    chosen.then(None, address, None, js=theme.write_query(_PARAMETERS))

    def load(request: gr.Request) -> list[Any]:
        query = dict(request.query_params)
        known = [(lab.models, "model", lab.models[0]), (lab.methods, "left", "ROME"), (lab.methods, "right", "SCR")]
        return [query[name] if query.get(name) in choices else default for choices, name, default in known]

    common.current_page().load(load, None, [model, left, right], show_progress="hidden", api_visibility="private")

    def edit_and_ask(  # an agent sees this name
        model: str, left: str, right: str, edits: list[dict[str, Any]], questions: list[str], thinking: bool = False
    ) -> dict[str, Any]:
        """Edit a model by two methods, ask both and the unedited model, and put everything back.

        edits: objects with subject, prompt (a question that names the subject), target and optionally old and
        statement. Returns per side the answers with what was consulted, and why.
        """
        return in_one_call(lab, model, (left, right), edits, questions, thinking)

    def edit_and_ask_live(
        model: str, left: str, right: str, edits: list[dict[str, Any]], questions: list[str], thinking: bool = False
    ) -> Iterator[dict[str, Any]]:
        """As edit_and_ask, one reply after another while the answers are being written; the last has done = true."""
        yield from live(lab, model, (left, right), edits, questions, thinking)

    gr.api(edit_and_ask, api_name="edit_and_ask", concurrency_limit=8)
    gr.api(edit_and_ask_live, api_name="edit_and_ask_live", concurrency_limit=8)


def _query(model: str, left: str, right: str) -> str:
    from urllib.parse import urlencode

    return urlencode({"model": model, "left": left, "right": right})


def _asking(lab: Lab, model: Any, left: Any, right: Any, thinking: Any) -> None:
    rows = example_rows("atlas", 1)
    with gr.Row():
        with gr.Column(scale=4):
            edits = gr.Dataframe(
                rows, headers=_COLUMNS, datatype="str", interactive=True,
                label="Edits, one a row (the sentence may be left out)", column_count=5, column_widths=_EDIT_WIDTHS,
                elem_classes="board-table", elem_id="edits", wrap=True, max_height=300,
            )  # fmt: skip
            with gr.Row():
                takes = [(n, gr.Button(f"Take {n} from the atlas", size="sm", min_width=120)) for n in (1, 10, 100)]
                clear = gr.Button("No edits", size="sm", min_width=90)
        questions = gr.Textbox(
            "\n".join(questions_of("atlas", 1)), label=f"Questions, one a line (at most {MOST_QUESTIONS})", lines=8,
            max_lines=16, elem_id="questions", scale=2,
        )  # fmt: skip
    with gr.Row():
        ask = gr.Button("Edit and ask", variant="primary", elem_id="ask", scale=3)
        stop = gr.Button("Stop", scale=1, min_width=80, elem_id="stop")
    status = common.line("Status")
    table = gr.Dataframe(
        headers=["question", "unedited model", "left", "right"],
        label="Answers", show_label=False, interactive=False, datatype="str", wrap=True, column_widths=_WIDTHS,
        elem_classes="board-table", elem_id="sides", buttons=[],
    )  # fmt: skip
    with gr.Row():
        chance = gr.Plot(label="How likely", show_label=False, elem_classes="board-plot", elem_id="chances")
        change = gr.Plot(
            label="Where the weights changed", show_label=False, elem_classes="board-plot", elem_id="weights"
        )
    with gr.Row():
        why = [
            gr.Textbox(label=f"Why, {side}", lines=4, max_lines=24, interactive=False, elem_id=f"why-{side}")
            for side in ("left", "right")
        ]
    for number, button in takes:
        button.click(
            lambda n=number: [example_rows("atlas", n), "\n".join(questions_of("atlas", n))], None, [edits, questions],
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip
    clear.click(lambda: [[[""] * 5]], None, edits, show_progress="hidden", api_visibility="private")

    def run(
        model: str, left: str, right: str, thinking: bool, edits: Any, questions: str, visitor: gr.Request
    ) -> Iterator[list[Any]]:
        try:
            request = make_request(model, (left, right), _edits(edits), questions.splitlines(), thinking)
            new = frozenset(edit.target.lower() for edit in request.edits)
            seen = shown.Seen(request.questions, request.methods, new)
            for bunch in lab.stream(request, str(visitor.session_hash)):
                for event in bunch:
                    seen.add(event)
                figures = any(event.kind == "why" or event.last for event in bunch)
                yield [
                    seen.status_line(), seen.table(),
                    shown.chances(seen) if figures else gr.skip(), shown.weights(seen) if figures else gr.skip(),
                    seen.reasons("left"), seen.reasons("right"),
                ]  # fmt: skip
        except UserError as error:
            yield [f"Not done: {error}", *[gr.skip()] * 5]

    ask.click(
        run, [model, left, right, thinking, edits, questions], [status, table, chance, change, *why],
        show_progress="hidden", concurrency_limit=None, api_visibility="private",
    )  # fmt: skip
    _stops(lab, stop)


def _stops(lab: Lab, button: gr.Button) -> None:
    """Let a button end the visitor's own job, and leaving the page too. What is shown comes from the job itself."""

    def end(visitor: gr.Request) -> None:
        lab.stop(str(visitor.session_hash))

    # Not Gradio's own `cancels`: that ends the reading of the job, while the job goes on.
    button.click(end, None, None, queue=False, show_progress="hidden", api_visibility="private")
    common.current_page().unload(end)


def _edits(rows: Any) -> list[dict[str, str]]:
    """The filled rows of the edits' table."""
    values: Sequence[Sequence[Any]] = rows.values.tolist() if hasattr(rows, "values") else rows
    named = [dict(zip(_FIELDS, map(_cell, row), strict=False)) for row in values]
    return [edit for edit in named if any(edit.values())]


def _cell(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()


def _watching(lab: Lab, model: Any, left: Any, right: Any) -> None:
    gr.Markdown(
        "Cases of the atlas are edited one after another into the model on both sides; the four scores are taken on "
        "all cases edited so far."
    )
    with gr.Row():
        data = gr.Radio([("facts", "atlas"), ("events", "atlas-events")], value="atlas", label="Cases", scale=1)
        number = gr.Radio([10, 30, MOST_EDITS], value=10, label="How many", scale=1)
        go = gr.Button("Watch", variant="primary", scale=1, elem_id="watch")
        stop = gr.Button("Stop", scale=0, min_width=80)
    status = common.line("Progress")
    figure = gr.Plot(label="Scores", show_label=False, elem_classes="board-plot", elem_id="strip")

    def run(
        model: str, left: str, right: str, data: str, number: int, visitor: gr.Request
    ) -> Iterator[list[Any]]:  # fmt: skip
        try:
            watch = make_watch(model, (left, right), data, int(number))
            seen = shown.Seen((), (left, right))
            for bunch in lab.stream(watch, str(visitor.session_hash)):
                for event in bunch:
                    seen.add(event)
                scored = any(event.kind == "scores" or event.last for event in bunch)
                yield [seen.status_line(), shown.strip(seen) if scored else gr.skip()]
        except UserError as error:
            yield [f"Not done: {error}", gr.skip()]

    go.click(
        run, [model, left, right, data, number], [status, figure], show_progress="hidden", concurrency_limit=None,
        api_visibility="private",
    )  # fmt: skip
    _stops(lab, stop)
