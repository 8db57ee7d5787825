"""A page as plain HTML: what a visitor sees, and a program without scripts reads, until the components are there.

Made of the page's own configuration, in its order: the head, each filter with its value, sentences, the first rows of
tables. All words but those of our own `gr.HTML` go through `html.escape`; styles come from `leaderboard.tables`, which
makes them of numbers and of the palette only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from leaderboard.theme import HEAD_CSS

_ROWS = 40  # more than a screen shows
_CHARACTERS = 300  # of a cell

CSS = """
#first-view { --line: #e2e8f0; --paper: #fff; --ground: #fbfbfc; --ink: #1e293b; --soft: #64748b; --stripe: #f8fafc;
  --body-text-color: #1e293b; --board-quiet: #4d5a69; --board-link: #1b5fa8; --board-good: #14713d;
  --board-bad: #b3261e; --border-color-primary: #e2e8f0; color-scheme: light;
  position: absolute; inset: 0 0 auto 0; z-index: 500; min-height: 100vh; box-sizing: border-box; overflow: hidden;
  background: var(--ground); color: var(--ink); font: 14px/1.4 system-ui, -apple-system, "Segoe UI", Roboto,
  "Noto Sans", sans-serif; }
#first-view.dark { --line: #334155; --paper: #1e293b; --ground: #0e1117; --ink: #f1f5f9; --soft: #f1f5f9;
  --stripe: #0f172a; --body-text-color: #f1f5f9; --board-quiet: #aab6c5; --board-link: #7db8f5;
  --board-good: #5fce8f; --board-bad: #ff8a80; --border-color-primary: #334155; color-scheme: dark; }
#first-view .page { max-width: 1480px; margin: 0 auto; padding: 28px 32px; box-sizing: border-box; display: flex;
  flex-direction: column; gap: 16px; }
#first-view .row { display: flex; flex-wrap: wrap; gap: 12px; align-items: end; }
#first-view .row > .line { flex: 1; }
#first-view .form { display: flex; flex-wrap: wrap; flex-grow: 1; background: var(--paper);
  border: 1px solid var(--line); border-radius: 4px; }
#first-view .form:empty { display: none; }
#first-view .control { padding: 10px 12px; box-sizing: border-box; }
#first-view .control b { display: block; font-weight: 400; color: var(--soft); margin-bottom: 8px; }
#first-view .control span { display: inline-block; padding: 7px 12px; margin: 0 8px 6px 0; min-height: 20px;
  border: 1px solid var(--line); border-radius: 4px; }
#first-view .control span.on { box-shadow: inset 0 0 0 1px #4c8ed9; }
#first-view .line { margin: 0; font-size: 1.06rem; line-height: 1.5; white-space: pre-line; }
#first-view .frame { overflow: hidden; border: 1px solid var(--line); border-radius: 8px; }
#first-view table { border-collapse: collapse; table-layout: fixed; width: 100%;
  font-variant-numeric: tabular-nums; }
#first-view th, #first-view td { text-align: left; padding: 9px 8px; overflow: hidden; vertical-align: top; }
#first-view th { border-bottom: 1px solid var(--line); vertical-align: bottom; }
#first-view .short th, #first-view .short td { white-space: nowrap; }
#first-view tbody tr:nth-child(odd) { background: var(--stripe); }
@media (max-width: 640px) { #first-view .page { padding: 16px 12px; } }
"""
CSS += HEAD_CSS.replace("#board-head", "#first-view [data-id=board-head]")

# The theme as Gradio reads it; gone when the page's own components show their words.
_SCRIPT = """
(() => {
  const view = document.getElementById("first-view"), query = new URLSearchParams(location.search);
  const asked = query.get("__theme");
  if (asked === "dark" || (asked !== "light" && matchMedia("(prefers-color-scheme: dark)").matches))
    view.classList.add("dark");
  view.querySelectorAll("a[data-page]").forEach((link) => { link.href = link.dataset.page + location.search; });
  const began = performance.now(), table = view.querySelector("table");
  const look = () => {
    const app = document.querySelector("gradio-app");
    const shown = app && app.querySelector(table ? "[role=gridcell]" : "#board-head");
    if (shown && (!table || shown.innerText.trim()) || performance.now() - began > 20000) view.remove();
    else requestAnimationFrame(look);
  };
  look();
})();
"""


def html(config: Mapping[str, Any]) -> str:
    """The page. config: Gradio's, of one page, with the values of its components."""
    components = {component["id"]: component for component in config["components"]}
    body = "".join(_block(node, components) for node in config["layout"]["children"])
    return f'<style>{CSS}</style><div id="first-view"><div class="page">{body}</div></div><script>{_SCRIPT}</script>'


def _block(node: Mapping[str, Any], components: Mapping[int, Any]) -> str:
    """One node of the layout and what is in it; nothing for what has no place here."""
    component = components.get(node["id"])
    if component is None or component["props"].get("visible", True) is not True:
        return ""
    kind, props = component["type"], component["props"]
    if kind in ("row", "column", "form"):
        inside = "".join(_block(child, components) for child in node.get("children", []))
        style = f' style="flex-grow:{int(props.get("scale") or 1)}"' if kind != "row" else ""
        return f'<div class="{kind}"{style}>{inside}</div>'
    if kind == "html":  # our own, with no word of the database
        return f'<div class="{" ".join(props.get("elem_classes") or [])}" data-id="{_id(props)}">{props["value"]}</div>'
    if "board-line" in (props.get("elem_classes") or []):
        return f'<p class="line">{escape(str(props.get("value") or ""))}</p>'
    if kind in ("dropdown", "radio", "checkboxgroup", "textbox") and props.get("label") and props.get("container"):
        return _control(kind, props)
    if kind == "dataframe":
        return _table(props)
    return ""


def _id(props: Mapping[str, Any]) -> str:
    return escape(str(props.get("elem_id") or ""))


def _control(kind: str, props: Mapping[str, Any]) -> str:
    """A filter: its label and its value, or all it offers."""
    value = props.get("value")
    chosen = value if isinstance(value, list) else [value]
    named = [(str(name), of in chosen) for name, of in props.get("choices") or []]
    if kind == "dropdown":
        words = [(", ".join(name for name, on in named if on) or "\xa0", False)]
    elif kind == "textbox":
        words = [(str(value or props.get("placeholder") or "\xa0").partition("\n")[0], False)]
    else:
        words = named
    options = "".join(f"<span{' class=on' if on else ''}>{escape(word)}</span>" for word, on in words)
    size = f"flex:{int(props.get('scale') or 1)} 1 {int(props.get('min_width') or 160)}px"
    return f'<div class="control" style="{size}"><b>{escape(str(props["label"]))}</b>{options}</div>'


def _table(props: Mapping[str, Any]) -> str:
    """The first rows of a table."""
    value = props.get("value") or {}
    if not value.get("data"):
        return ""
    metadata = value.get("metadata") or {}
    texts = (metadata.get("display_value") or value["data"])[:_ROWS]
    styles = metadata.get("styling") or [[""] * len(value["headers"])] * len(texts)
    widths = [f"{w}px" if isinstance(w, int) else str(w) for w in props.get("column_widths") or []]
    columns = "".join(f'<col style="width:{escape(width)}">' for width in widths)
    head = "".join(f"<th>{escape(str(name))}</th>" for name in value["headers"])
    rows = "".join(f"<tr>{''.join(_cells(row, style))}</tr>" for row, style in zip(texts, styles, strict=False))
    short = "" if props.get("wrap") else " short"
    label = escape(str(props.get("label") or ""))
    return (
        f'<div class="frame{short}"><table aria-label="{label}"><colgroup>{columns}</colgroup>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cells(row: list[Any], styles: list[str]) -> Iterator[str]:
    for text, style in zip(row, styles, strict=False):
        styled = f' style="{escape(style)}"' if style else ""
        yield f"<td{styled}>{escape(str('' if text is None else text)[:_CHARACTERS])}</td>"
