"""Pages come filled: what Gradio would ask for once its scripts run is in the page from the start.

Gradio sends a page's components empty, and a load event fetches their values when all scripts have run and everything
is drawn, so that everything is drawn twice. Here a middleware computes the same values for the page's query, writes
them into the configuration that the page carries, takes the load event out, and puts `leaderboard.first_view` in front:
the same page as plain HTML, which shows the first rows until the components are there. A page that can't be filled is
left as Gradio made it, with its load event.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

from leaderboard import first_view

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components import Component
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CONFIG, _APP = "window.gradio_config = ", "<gradio-app"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fill:
    """What a page shows first. values: from the page's query to one value (or update) per component."""

    outputs: Sequence[Component]
    values: Callable[[Mapping[str, str]], Sequence[Any]]


_fills: WeakKeyDictionary[gr.Blocks, dict[str, Fill]] = WeakKeyDictionary()


def register(page: gr.Blocks, fill: Fill) -> None:
    """Let the page that is being laid out in these Blocks come filled. Its load event must have the same outputs."""
    _fills.setdefault(page, {})[page.current_page] = fill


class Prefilled:
    """The middleware. fills: by the page's path without slashes."""

    def __init__(self, app: ASGIApp, demo: gr.Blocks) -> None:
        self.app = app
        self._fills = _fills.get(demo, {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fill = self._fills.get(scope["path"].strip("/")) if scope["type"] == "http" else None
        if fill is None or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message = {}
        parts: list[bytes] = []

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            from anyio import to_thread

            page = b"".join(parts)
            if start["status"] == 200:
                query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
                page = await to_thread.run_sync(_filled_or_as_it_was, page, fill, query)
            length = (b"content-length", str(len(page)).encode())
            start["headers"] = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"] + [length]
            await send(start)
            await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, hold)


def _filled_or_as_it_was(page: bytes, fill: Fill, query: Mapping[str, str]) -> bytes:
    try:
        return filled(page.decode(), fill, query).encode()
    except Exception:  # the page still works: its load event asks for the same, and shows what went wrong
        _log.exception("the page could not be filled")
        return page


def filled(page: str, fill: Fill, query: Mapping[str, str]) -> str:
    """A page of Gradio's with the values of its components. Raises ValueError where it isn't one."""
    begin = page.index(_CONFIG) + len(_CONFIG)
    config, end = json.JSONDecoder().raw_decode(page, begin)
    own = {component["id"]: component["props"] for component in config["components"]}
    for block, value in zip(fill.outputs, fill.values(query), strict=True):
        own[block._id].update(_props(block, value))
    ids = [block._id for block in fill.outputs]
    config["dependencies"] = [
        d for d in config["dependencies"] if d["outputs"] != ids or [kind for _, kind in d["targets"]] != ["load"]
    ]
    split = page.index(_APP, end)
    return page[:begin] + _script(config) + page[end:split] + first_view.html(config) + page[split:]


def _props(block: Component, value: Any) -> dict[str, Any]:
    """What a value or a `gr.update` comes to in the configuration, as an event's answer would."""
    if not (isinstance(value, dict) and value.get("__type__") == "update"):
        return {"value": _plain(block.postprocess(value))}
    changed = {name: part for name, part in value.items() if name not in ("__type__", "value")}
    fresh = type(block)(**{**block.constructor_args, **changed, "render": False})
    props = {name: getattr(fresh, name) for name in changed}
    if "value" in value:
        props["value"] = _plain(fresh.postprocess(value["value"]))
    return props


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def _script(config: Mapping[str, Any]) -> str:
    """JSON that is safe inside a script element; missing numbers are null."""
    import orjson

    text = orjson.dumps(config, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()
    for sign in "<>&'\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
