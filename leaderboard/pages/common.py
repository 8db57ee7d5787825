"""What all pages share: the head with the links, the filters, writing the address."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from leaderboard import prefill, theme, words
from leaderboard.choices import Choices, explicit
from leaderboard.data import Board
from leaderboard.state import BOTH, DEFAULTS, FORCED, FREE, Filters, from_query, to_query

PAGES = (
    ("Leaderboard", ""), ("Findings", "findings"), ("Curves", "curves"), ("Trade-offs", "tradeoffs"),
    ("Compare", "compare"), ("Answers", "answers"), ("Cards", "cards"), ("Runs", "run"), ("Playground", "playground"),
    ("Submit", "submit"),
)  # fmt: skip
CLAIM = (
    "The claim under test: once a model must answer by itself and take many edits in a row, stating new facts in its "
    "context holds up, while rewriting its weights does not."
)
MODES = [("free-running", FREE), ("teacher-forced", FORCED)]
MODES_BOTH = [*MODES, ("both", BOTH)]


def head(current: str) -> None:
    """Title, claim and links. Static text only: nothing from the database goes through HTML."""
    links = "".join(
        f'<a href="./{path}" data-page="./{path}"{" aria-current=page" if name == current else ""}>{name}</a>'
        for name, path in PAGES
    )
    gr.HTML(
        '<button type="button" class="board-skip" data-skip>Skip to the results</button>'
        f'<p class="name" role="heading" aria-level="1">Palimpsest</p><p class="claim">{CLAIM}</p>'
        f'<nav aria-label="Pages">{links}</nav>',
        elem_id="board-head",
    )
    gr.Navbar(visible=False)


def downloads(table: str, figure: str = "", visible: bool = True) -> gr.HTML:
    """Links to a table's .csv and .json (with the page's query) and, for a figure, to save it as .png or .svg."""
    links = "".join(f'<a href="./data/{table}.{e}" data-page="./data/{table}.{e}">.{e}</a>' for e in ("csv", "json"))
    saves = "".join(
        f'<button type="button" data-figure="{figure}" data-format="{e}">.{e}</button>' for e in ("png", "svg")
    )
    return gr.HTML(
        f'<p class="board-links">Save {"figure " + saves + " data" if figure else ""} {links}'
        '<button type="button" data-copy-link>Copy link to this view</button></p>',
        elem_classes="board-downloads",
        visible=visible,
    )


def line(label: str, quiet: bool = False) -> gr.Textbox:
    """A sentence that changes. A text box, because its words come from the database and must stay plain text."""
    return gr.Textbox(
        label=label, show_label=False, container=False, interactive=False, lines=1, max_lines=60,
        elem_classes=["board-line", "board-quiet"] if quiet else ["board-line"],
    )  # fmt: skip


def common_controls(modes: list[tuple[str, str]]) -> dict[str, Any]:
    """The filters every page has, by the name of the filter they set."""
    return {
        "model": gr.Dropdown([], label="Model", min_width=130, scale=1),
        "data": gr.Dropdown([], label="Data set", min_width=130, scale=1),
        "setup": gr.Dropdown([], label="Setup", min_width=240, scale=2, visible=False),
        "mode": gr.Radio(modes, label="Answers are", value=FREE, min_width=125 + 100 * len(modes), scale=3),
    }


def common_updates(filters: Filters, choices: Choices) -> list[Any]:
    """What to show in them, in their order."""
    return [
        gr.update(choices=choices.models, value=filters.model or None),
        gr.update(choices=choices.datasets, value=filters.data or None),
        gr.update(choices=choices.setups, value=filters.setup or None, visible=len(choices.setups) > 1),
        gr.update(value=filters.mode),
    ]


def edits_control() -> gr.Radio:
    """The number of cases edited in a row."""
    return gr.Radio([], label="Cases edited in a row", min_width=240, scale=2)


def edits_update(filters: Filters, choices: Choices) -> Any:
    """What to show in it."""
    return gr.update(choices=[(f"{n:,}", n) for n in choices.edits], value=filters.edits or None)


def chips() -> gr.CheckboxGroup:
    """What is not at its default, one chip each; to untick one takes it back. Gradio shows the words as plain text."""
    return gr.CheckboxGroup(
        [], label="Filters that are set (choose one to take it back)", show_label=False, container=False,
        visible=False, elem_classes="board-chips",
    )  # fmt: skip


def links(place: str, hint: str) -> None:
    """A line for links that a selection brings (see `link_line`), with a hint until then. Static text only."""
    gr.HTML(f'<p class="board-links" data-hint="{hint}">{hint}</p>', elem_id=place)


def link_line(title: str, *targets: tuple[str, str, dict[str, Any]]) -> str:
    """The JSON of a line of links: words, then (name, page, query) each. JavaScript shows it as text and links to the
    board's own pages, never as HTML."""
    return json.dumps([title, *([name, page, urlencode(query)] for name, page, query in targets)])


Render = Callable[[Filters], tuple[Filters, list[Any]]]


def wire(
    board: Board,
    names: tuple[str, ...],
    controls: Mapping[str, Any],
    outputs: Sequence[Any],
    resolved: Callable[[Filters], Filters],
    render: Render,
    reset: gr.Button,
    chosen: gr.CheckboxGroup,
    on_submit: Sequence[str] = (),
    page: gr.Number | None = None,
    turns: Sequence[tuple[gr.Button, int]] = (),
) -> None:
    """Connect a page: on load read the address; on a change render and write the address, one step on in the browser's
    history; on a chip's removal take that filter back; on reset start anew.

    names: the parameters of this page. controls: the component that sets each filter. resolved: from what was chosen to
    what it comes to. render: the same, and the values of `outputs`. chosen: the chips. on_submit: controls that count
    only once Enter is pressed.
    """
    query = gr.Textbox(visible="hidden", show_label=False)
    chipped = gr.Textbox("[]", visible="hidden", show_label=False)  # the filters that the chips name, as JSON

    def view(wanted: Filters) -> list[Any]:
        filters, rendered = render(wanted)
        spare = explicit(board, filters, resolved)
        set_ = words.chips(spare, names)
        return [*rendered, _chips_update(set_), json.dumps([name for _, name in set_]), to_query(spare, names)]

    def first(query: Mapping[str, str]) -> list[Any]:
        return view(from_query(query))[:-1]

    def load(request: gr.Request) -> list[Any]:
        return first(dict(request.query_params))

    def change(*values: Any) -> list[Any]:
        return view(from_controls(controls, values))

    def take_back(kept: Sequence[str], named: str, *values: Any) -> list[Any]:
        spare = explicit(board, resolved(from_controls(controls, values)), resolved)
        gone = [name for name in words.CHIPS if name in json.loads(named) and name not in kept]
        return view(replace(spare, page=1, **{name: getattr(DEFAULTS, name) for name in gone}))

    def turn(by: int) -> Callable[..., list[Any]]:
        return lambda now, *values: view(from_controls(controls, values, page=int(now or 1) + by))

    shown = [*outputs, chosen, chipped]
    current_page().load(load, None, shown, show_progress="hidden", api_visibility="private")
    prefill.register(current_page(), prefill.Fill(shown, first))
    for control in [*controls.values(), chosen]:
        # A page that comes filled has choices that its session never told Gradio, so Gradio would refuse them.
        # What isn't known is replaced by its default when the filters are resolved.
        control.preprocess = _as_it_comes
    triggers = [c.submit if name in on_submit else c.input for name, c in controls.items()]
    everything = list(controls.values())
    options: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 8, "api_visibility": "private"}
    events = [
        gr.on(triggers, change, everything, [*shown, query], trigger_mode="always_last", **options),
        chosen.input(take_back, [chosen, chipped, *everything], [*shown, query], **options),
        reset.click(lambda: view(Filters()), None, [*shown, query], **options),
    ]
    for button, by in turns:
        if page is not None:
            events.append(button.click(turn(by), [page, *everything], [*shown, query], **options))
    for event in events:
        event.then(None, query, None, js=theme.write_query(names, push=True))


def from_controls(controls: Mapping[str, Any], values: Sequence[Any], page: int = 1) -> Filters:
    """What the controls say, in their order, as filters."""
    cleaned = {name: _clean(name, value) for name, value in zip(controls, values, strict=True)}
    return replace(Filters(), page=page, **cleaned)


def select_links(table: gr.Dataframe, select: Callable[..., str], inputs: Sequence[Any], place: str) -> None:
    """Show the links of a row (see `link_line`) in `place` when it is chosen."""
    found = gr.Textbox(visible="hidden", show_label=False)
    chosen = table.select(select, list(inputs), found, show_progress="hidden", api_visibility="private")
    chosen.then(None, found, None, js=theme.show_links(place))


def _chips_update(set_: list[tuple[str, str]]) -> Any:
    return gr.update(choices=set_, value=[name for _, name in set_], visible=bool(set_))


def _as_it_comes(payload: Any) -> Any:
    return payload


def current_page() -> gr.Blocks:
    page = gr.context.Context.root_block
    if page is None:
        raise RuntimeError("a page can only be wired inside a Blocks")
    return page


def _clean(name: str, value: Any) -> Any:
    """A control's value as the filter's type."""
    default = getattr(Filters(), name)
    if isinstance(default, tuple):
        return tuple(str(part) for part in value or ())
    if isinstance(default, int):
        return int(value) if value else default
    return str(value)[:200] if value else default
