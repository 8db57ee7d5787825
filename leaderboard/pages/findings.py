"""The paper's questions, answered: figure first, one sentence as the headline, the rest folded."""

from __future__ import annotations

from typing import Any

import gradio as gr

from leaderboard import markup, state
from leaderboard.choices import resolve
from leaderboard.data import Board
from leaderboard.findings import questions
from leaderboard.findings.finding import Finding, Question
from leaderboard.pages import common
from leaderboard.state import Filters

_MOST_ROWS = 60  # of a table on the page; its files have them all


def build(board: Board) -> None:
    """Lay out the page inside the current Blocks."""
    common.head("Findings")
    with gr.Row(elem_classes="board-filters"):
        controls: dict[str, Any] = {"model": gr.Dropdown([], label="Model", min_width=160, scale=1)}
        reset = gr.Button("Reset", min_width=80, scale=0)
    chips = common.chips()
    summary = common.line("Summary")
    outputs: list[Any] = []
    for question in questions():
        outputs += _section(question)
    common.downloads("findings")
    words = gr.Textbox(visible="hidden", show_label=False)

    def resolved(chosen: Filters) -> Filters:
        return resolve(board, chosen)[0]

    def render(chosen: Filters) -> tuple[Filters, list[Any]]:
        filters, choices = resolve(board, chosen)
        found = board.findings(filters.model)
        values = [value for finding in found for value in _values(finding)]
        model = gr.update(choices=choices.models, value=filters.model or None)
        return filters, [model, _summary(found), *values, "\n".join(f.alt or f.answer for f in found)]

    common.wire(
        board, state.FINDINGS, controls, [*controls.values(), summary, *outputs, words], resolved, render, reset, chips
    )
    # The words may be in the page from the start, or come with the load event.
    common.current_page().load(None, words, None, js=_NAME_FIGURES)
    words.change(None, words, None, js=_NAME_FIGURES)


# Figures are drawings to a screen reader: their words are said instead.
_NAME_FIGURES = """(words) => { words.split("\\n").forEach((text, i) => {
  const figure = document.getElementById("finding-" + (i + 1));
  if (figure) { figure.setAttribute("role", "img"); figure.setAttribute("aria-label", text); }
}); }"""


def _section(question: Question) -> list[Any]:
    """One finding; the components of `_values`, in their order."""
    gr.Markdown(f"### {question.number} · {question.title}")
    answer = common.line(question.title)
    answer.elem_id = f"{question.name}-answer"
    # Curves with names at their ends keep their width: on a phone they scroll inside their frame.
    kind = ["board-plot", "board-panels"] if question.number == 1 else ["board-plot"]
    plot = gr.Plot(label=question.title, show_label=False, elem_classes=kind, elem_id=question.name)
    seeds = common.line("By seed", quiet=True)
    common.downloads(question.name, question.name)
    with gr.Accordion("Question, numbers, how to repeat, limits", open=False):
        gr.Markdown(f"**Question.** {question.asks}\n\n**What this model can and can't show.** {question.limits}")
        scope = common.line("What was measured", quiet=True)
        scope.elem_id = f"findings-scope-{question.number}"
        table = gr.Dataframe(
            label="Numbers", show_label=False, interactive=False, datatype="str", elem_classes="board-table",
            elem_id=f"{question.name}-table", buttons=[],
        )  # fmt: skip
        gr.Code("\n".join(question.repeat), language="shell", label="Repeat it", interactive=False)
    return [answer, plot, seeds, scope, table]


def _values(finding: Finding) -> list[Any]:
    headers, rows = markup.shown(finding.table)
    table = {"headers": headers or ["numbers"], "data": rows[:_MOST_ROWS] or [["not measured yet"]]}
    # An empty frame says less than the sentence above it.
    figure = gr.update(value=finding.figure if finding.measured else None, visible=finding.measured)
    return [finding.answer, figure, finding.by_seed, finding.scope, table]


def _summary(found: list[Finding]) -> str:
    done = sum(finding.measured for finding in found)
    waiting = [str(finding.question.number) for finding in found if not finding.measured]
    rest = f" Not run yet: {', '.join(waiting)}." if waiting else ""
    return (
        f"{done} of {len(found)} questions of the paper are answered by this database. Every sentence is made of its "
        f"numbers; intervals hold 95 % and are bootstrapped over cases.{rest}"
    )
