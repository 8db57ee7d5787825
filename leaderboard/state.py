"""Filters of a page, and how they stand in the URL's query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import quote, unquote, urlencode

FREE, FORCED, BOTH = "free", "forced", "both"


@dataclass(frozen=True)
class Filters:
    """What a visitor has chosen. Empty means: not chosen, take the default.

    model, data: names. setup: short id of an experimental setup (see `views.with_setups`). edits: cases per
    sequence.
    mode: "free" (free-running), "forced" (teacher-forced), on the curves also "both".
    sort: a column of the leaderboard. metric: what the curves and the trade-offs show. show: methods on the curves,
    none means all; on the comparison the two to four methods. cost: what the trade-offs set against it.
    find, groups, reported: the leaderboard's search, its groups of columns, and 1 for published numbers below it.
    facet: what the curves' panels differ in. method, kind, verdict, search, page: the answers page; answer: the id of
    the one that is opened. card, name: which card; cell: the key (or its beginning) of the run page's cell.
    """

    model: str = ""
    data: str = ""
    setup: str = ""
    edits: int = 0
    mode: str = FREE
    sort: str = "rank"
    metric: str = "average"
    show: tuple[str, ...] = ()
    cost: str = "answer"
    method: str = ""
    kind: str = ""
    verdict: str = "all"
    search: str = ""
    page: int = 1
    find: str = ""
    groups: tuple[str, ...] = ("scores", "costs")
    reported: int = 0
    facet: str = ""
    answer: int = 0
    card: str = "method"
    name: str = ""
    cell: str = ""


COMMON = ("model", "data", "setup", "mode")
LEADERBOARD = (*COMMON, "edits", "sort", "find", "groups", "reported")
CURVES = (*COMMON, "metric", "show", "facet")
TRADEOFFS = (*COMMON, "edits", "metric", "cost")
COMPARE = (*COMMON, "edits", "show")
ANSWERS = (*COMMON, "edits", "method", "kind", "verdict", "search", "page", "answer")
CARDS = ("card", "name")
RUN = ("cell",)
FINDINGS = ("model",)

DEFAULTS = Filters()


def pairs(filters: Filters, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """(name, text) of the named filters that aren't at their default, as they stand in a query."""
    found: list[tuple[str, str]] = []
    for name in names:
        value = getattr(filters, name)
        if value == getattr(DEFAULTS, name):
            continue
        text = ",".join(quote(v, safe="") for v in value) if isinstance(value, tuple) else str(value)
        found.append((name, text))
    return found


def to_query(filters: Filters, names: tuple[str, ...]) -> str:
    """The query string (without "?") of the named filters, leaving out what has its default value."""
    return urlencode(pairs(filters, names))


def from_query(query: Mapping[str, str]) -> Filters:
    """Filters of a query. What can't be read keeps its default: a broken link still opens the page."""
    values: dict[str, Any] = {}
    for field in fields(Filters):
        text = query.get(field.name)
        if text is None:
            continue
        default = getattr(DEFAULTS, field.name)
        if isinstance(default, int):
            if text.isascii() and text.isdigit() and len(text) < 10:
                values[field.name] = int(text)
        elif isinstance(default, tuple):
            values[field.name] = tuple(unquote(part) for part in text.split(",") if part)
        else:
            values[field.name] = text[:200]
    return replace(DEFAULTS, **values)
