"""The findings as one file for a paper's appendix: HTML with everything inside, or Markdown."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from leaderboard import choices, formatting, markup, words
from leaderboard.state import Filters

if TYPE_CHECKING:
    from leaderboard.data import Board
    from leaderboard.findings.finding import Finding

_CSS = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fbfbfc; --quiet: #4d5a69; --line: rgba(128,133,144,.35); }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --paper: #0e1117; --quiet: #aab6c5; } }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; color: var(--ink);
  background: var(--paper); max-width: 60rem; margin: 0 auto; padding: 2rem 1rem; }
h1 { letter-spacing: -.02em; } h2 { margin: 3rem 0 .5rem; }
.answer { font-size: 1.08rem; font-weight: 550; } .quiet { color: var(--quiet); font-size: .92rem; }
figure { margin: 1rem 0; border: 1px solid var(--line); border-radius: 12px; padding: 8px; overflow-x: auto; }
figure text { fill: var(--quiet) !important; } figcaption { color: var(--quiet); font-size: .88rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
code { background: rgba(128,133,144,.14); padding: 1px 5px; border-radius: 5px; }
summary { cursor: pointer; margin: .5rem 0; }
@media print { details > * { display: block; } figure, table { break-inside: avoid; } }
"""
_TITLE = "Palimpsest: findings"
_HOW = (
    "Every sentence is made of the numbers in the database. Intervals hold 95 % and are bootstrapped over cases; "
    "shares are in percent, differences of shares in points."
)


def html(board: Board, model: str = "") -> str:
    """One HTML page with text, tables and figures, which needs nothing from elsewhere. model: "" for the fullest."""
    from plotly.offline import get_plotlyjs

    filters, _ = choices.resolve(board, Filters(model=model))
    found = board.findings(filters.model)
    body = "".join(_section(finding) for finding in found)
    contents = "".join(f'<li><a href="#{f.question.name}">{escape(f.question.title)}</a></li>' for f in found)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_TITLE}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_CSS}</style><script>{get_plotlyjs()}</script></head><body><h1>{_TITLE}</h1>"
        f'<p>{_HOW}</p><p class="quiet">{escape(words.provenance(board))}</p><ol>{contents}</ol>{body}</body></html>\n'
    )


def _section(finding: Finding) -> str:
    question = finding.question
    figure = ""
    if finding.measured:
        drawn = finding.figure.to_html(
            full_html=False, include_plotlyjs=False, div_id=f"{question.name}-figure",
            config={"displaylogo": False, "displayModeBar": False, "responsive": True},
        )  # fmt: skip
        label = escape(finding.alt, quote=True)
        figure = f'<figure><div role="img" aria-label="{label}">{drawn}</div></figure>'
    measured = [f'<p class="quiet">{escape(text)}</p>' for text in (finding.by_seed, finding.scope) if text]
    commands = "".join(f"<li><code>{escape(command)}</code></li>" for command in question.repeat)
    return (
        f'<section id="{question.name}"><h2>{question.number}. {escape(question.title)}</h2>'
        f'<p class="answer">{escape(finding.answer)}</p>{figure}{"".join(measured)}'
        f"<p><b>Question.</b> {escape(question.asks)}</p>{_table(finding)}"
        f"<p><b>What this model can and can't show.</b> {_with_code(question.limits)}</p>"
        f"<p><b>Repeat it.</b></p><ul>{commands}</ul></section>"
    )


def _with_code(text: str) -> str:
    """HTML of a text in which backticks stand around commands."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _table(finding: Finding) -> str:
    headers, rows = markup.shown(finding.table)
    if not rows:
        return ""
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<details><summary>The numbers ({formatting.count(len(rows), 'row')})</summary>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>'
    )


def markdown(board: Board, model: str = "", tables: bool = False) -> str:
    """The same sentences as Markdown, without figures. tables: with the numbers behind them."""
    filters, _ = choices.resolve(board, Filters(model=model))
    parts = [
        "# Findings\n",
        "Written by `python -m runner report --format markdown`; the board's page Findings shows the same with "
        f"figures. {_HOW}\n",
    ]
    for finding in board.findings(filters.model):
        question = finding.question
        lines = [f"## {question.number}. {question.title}\n", f"{question.asks}\n", f"**{_inline(finding.answer)}**\n"]
        said = [text for text in (finding.by_seed, finding.scope) if text]
        lines += [" ".join(_inline(text) for text in said) + "\n"] if said else []
        lines += [f"Limits: {question.limits}\n", f"Repeat it: {', '.join(f'`{c}`' for c in question.repeat)}\n"]
        lines += [markup.as_markdown(finding.table)] if tables and len(finding.table) else []
        parts += lines
    return "\n".join(parts)


def _inline(text: str) -> str:
    """A sentence of numbers and names in Markdown: nothing in it is markup."""
    return "".join(f"\\{c}" if c in "\\`*_<>#|" else c for c in text)
