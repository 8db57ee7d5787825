"""Pages come filled: values in the configuration, the first rows as plain HTML, nothing of it markup."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import fake_db
import pytest
from starlette.testclient import TestClient

from leaderboard import board as app
from leaderboard import prefill, theme
from leaderboard.data import Board


@pytest.fixture(scope="module")
def demo(board: Board) -> Any:
    demo = app.build(board)
    demo.theme = theme.theme()  # `launch` sets it
    demo.config = demo.get_config_file()
    return demo


@pytest.fixture(scope="module")
def client(demo: Any) -> Iterator[TestClient]:
    from gradio.routes import App

    made = App.create_app(demo)
    made.add_middleware(prefill.Prefilled, demo=demo)
    with TestClient(made) as client:
        yield client


def config(page: str) -> dict[str, Any]:
    begin = page.index("window.gradio_config = ") + len("window.gradio_config = ")
    found: dict[str, Any] = json.JSONDecoder().raw_decode(page, begin)[0]
    return found


def component(page: str, elem_id: str) -> dict[str, Any]:
    return next(c["props"] for c in config(page)["components"] if c["props"].get("elem_id") == elem_id)


def first_view(page: str) -> str:
    return page[page.index('<div id="first-view">') : page.index("<gradio-app")]


def loads(page: str) -> list[Any]:
    return [d for d in config(page)["dependencies"] if [kind for _, kind in d["targets"]] == ["load"]]


def test_the_table_is_in_the_page_and_nothing_is_left_to_load(client: TestClient) -> None:
    page = client.get("/?model=alpha-1b&data=facts&edits=10&mode=forced").text
    table = component(page, "leaderboard")["value"]
    assert "★ SCR" in [row[0] for row in table["metadata"]["display_value"]]
    assert loads(page) == []
    shown = first_view(page)
    assert "After editing 10 cases of facts in a row into alpha-1b" in shown
    assert "★ SCR</td>" in shown and "<th>average</th>" in shown
    choices = next(c["props"] for c in config(page)["components"] if c["props"].get("label") == "Data set")["choices"]
    assert [value for _, value in choices] == ["events", "facts"]


@pytest.mark.parametrize("path", ["/curves", "/tradeoffs", "/compare", "/answers", "/cards", "/run"])
def test_every_page_comes_filled(client: TestClient, path: str) -> None:
    page = client.get(path).text
    assert loads(page) == []
    assert 'aria-current="page"' in first_view(page) or "aria-current=page" in first_view(page)
    assert re.search(r'<p class="line">[^<]{3,}</p>', first_view(page))


def test_words_of_models_are_words(client: TestClient) -> None:
    page = client.get("/answers?model=alpha-1b&data=facts&method=ROME&kind=reliability&edits=100").text
    assert fake_db.XSS not in page
    assert "&lt;img" in first_view(page) or "&lt;script" in first_view(page)
    cells = component(page, "answers")["value"]["data"]
    assert any("onerror=" in cell for row in cells for cell in row)
    hostile = client.get("/?find=%3C/script%3E%3Cimg%20src=x%20onerror=window.hacked=1%3E").text
    assert "<img src=x" not in hostile


def test_a_page_that_can_not_be_filled_still_loads(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise ValueError("no such page")

    monkeypatch.setattr(prefill, "filled", broken)
    page = client.get("/?model=alpha-1b")
    assert page.status_code == 200
    assert len(loads(page.text)) == 1
    assert "first-view" not in page.text
    assert client.head("/").status_code == 200
    assert client.get("/nowhere").status_code == 404


def test_a_filter_is_taken_though_the_session_never_saw_its_choices(demo: Any) -> None:
    shown = [c for c in demo.blocks.values() if getattr(c, "label", "") == "Data set"]
    assert shown and all(c.preprocess("facts") == "facts" for c in shown)
