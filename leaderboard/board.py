"""The web app: pages around a database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

    from leaderboard.data import Board
    from leaderboard.intake.desk import Desk
    from leaderboard.playground.lab import Lab

TITLE = "Palimpsest"


def build(board: Board, lab: Lab | None = None, desk: Desk | None = None) -> gr.Blocks:
    """All pages; without a lab the playground is left out, without a desk the page for submissions.

    Nothing is sent to anybody: Gradio's analytics are off.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from leaderboard import api
    from leaderboard.pages import answers, cards, compare, curves, findings, leaderboard, run, tradeoffs

    with gr.Blocks(title=TITLE, analytics_enabled=False) as demo:
        leaderboard.build(board)
        api.add(board)
    with demo.route("Findings", "findings", show_in_navbar=False):
        findings.build(board)
    with demo.route("Degradation curves", "curves", show_in_navbar=False):
        curves.build(board)
    with demo.route("Trade-offs", "tradeoffs", show_in_navbar=False):
        tradeoffs.build(board)
    with demo.route("Compare", "compare", show_in_navbar=False):
        compare.build(board)
    with demo.route("Answers", "answers", show_in_navbar=False):
        answers.build(board)
    with demo.route("Cards", "cards", show_in_navbar=False):
        cards.build(board)
    with demo.route("Run", "run", show_in_navbar=False):
        run.build(board)
    if lab is not None:
        from leaderboard.pages import playground

        with demo.route("Playground", "playground", show_in_navbar=False):
            playground.build(lab)
    if desk is not None:
        from leaderboard.pages import submit

        with demo.route("Submit", "submit", show_in_navbar=False):
            submit.build(desk)
    return demo
