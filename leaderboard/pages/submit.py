"""Hand in the results of one's own method: how to make a bundle, its check, a preview, the inbox."""

from __future__ import annotations

from typing import Any

import gradio as gr

from leaderboard.intake.desk import BUNDLES_A_DAY, FILE_BYTES, HEADERS, RECEIVED_HEADERS, Desk
from leaderboard.pages import common

STEPS = """
1. Write your method as one class in a file, and try it: `python -m runner check-method my_method.py`
2. Run it: `python -m runner run atlas-quick --methods my_method.py --db mine.db`
3. Write a bundle of its raw answers, and look at it as the host will:
   `python -m runner export --method my_method.py --db mine.db --link https://… --out mine.bundle.gz`,
   then `python -m runner verify mine.bundle.gz`
4. Drop the file here. It is checked at once, and its scores are made anew from the answers. Then hand it in.
"""


def build(desk: Desk) -> None:
    """Lay out the page inside the current Blocks."""
    common.head("Submit")
    gr.Markdown(STEPS)
    with gr.Row(elem_classes="board-filters"):
        file = gr.File(label=f"Bundle, at most {FILE_BYTES >> 20} MB", file_count="single", scale=2, elem_id="bundle")
        with gr.Column(scale=1, min_width=220):
            if desk.hub is not None:
                gr.LoginButton(elem_id="sign-in")
            sender = gr.Textbox(
                label="Your name, as it will be shown", max_lines=1, max_length=80, elem_id="sender",
                visible=desk.hub is None,
            )  # fmt: skip
            send = gr.Button("Hand in", variant="primary", interactive=False, elem_id="hand-in")
    title, findings = common.line("Verdict"), common.line("Findings")
    title.elem_id, findings.elem_id = "verdict", "findings"
    rows = gr.Dataframe(
        headers=HEADERS, label="As it would stand on the board", show_label=False, interactive=False, datatype="str",
        elem_classes="board-table", elem_id="preview", visible=False, buttons=[],
    )  # fmt: skip
    taken = common.line("Taken in")
    taken.elem_id = "taken"
    gr.Markdown(f"At most {BUNDLES_A_DAY} bundles a day. Nothing of a bundle is executed here. {_where(desk)}")

    received = gr.Dataframe(
        headers=RECEIVED_HEADERS, label="What came in", interactive=False, datatype="str", elem_classes="board-table",
        elem_id="received", visible=False, buttons=[],
    )  # fmt: skip

    def came_in() -> Any:
        rows = desk.received()
        return gr.update(value={"headers": RECEIVED_HEADERS, "data": rows}, visible=bool(rows))

    def check(path: str | None, request: gr.Request, profile: gr.OAuthProfile | None) -> list[Any]:
        if not path:
            return ["", "", gr.update(visible=False), gr.update(interactive=False), ""]
        report = desk.check(path, _who(request, profile))
        table = {"headers": HEADERS, "data": report.rows}
        return [
            report.title,
            "\n".join(report.lines),
            gr.update(value=table, visible=bool(report.rows)),
            gr.update(interactive=report.sendable and desk.takes_in),
            "",
        ]

    def hand_in(
        path: str | None, name: str, request: gr.Request, profile: gr.OAuthProfile | None, token: gr.OAuthToken | None
    ) -> list[Any]:
        if not path:
            return ["There is no file yet.", gr.skip()]
        sender = profile.username if profile else name
        sentence = desk.hand_in(path, sender, _who(request, profile), token.token if token else None)
        return [sentence, came_in()]

    options: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "desk", "api_visibility": "private"}
    file.change(check, file, [title, findings, rows, send, taken], **options)
    send.click(hand_in, [file, sender], [taken, received], **options)
    common.current_page().load(came_in, None, received, show_progress="hidden", api_visibility="private")


def _where(desk: Desk) -> str:
    if desk.hub is not None:
        return (
            f"A bundle that is handed in becomes a pull request on the dataset `{desk.hub.name}`, opened by you: sign "
            "in for that."
        )
    return "" if desk.takes_in else "This board takes nothing in: it only checks."


def _who(request: gr.Request, profile: gr.OAuthProfile | None) -> str:
    """Whom limits count for: the signed-in user, else the address the request came from."""
    if profile is not None:
        return f"user {profile.username}"
    return str(request.username or (request.client.host if request.client else "nobody"))
