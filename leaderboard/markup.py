"""A table as a paper prints it: LaTeX (booktabs) or Markdown, numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from leaderboard import extras, formatting
from leaderboard.glossary import MAIN_METRICS
from leaderboard.views import TABLE_METRICS, UNEDITED, UNEDITED_LABEL

FORMATS = ("tex", "md")
_LEFT_OUT = {"key", "scorer", "curve", "tied", "front", "id"}
# Columns of shares, shown in percent, beside the metrics; and differences of shares, in signed points.
_SHARES = {
    "value", "average", "other_average", "kept", "free", "forced", "recall", "confirmation_errors", "loss",
    "false_confirmations", "reflection", "thinking", "without", "old_fact_returns", "new_fact_abandoned",
    "question_dropped", "locality_truth", "harmonic", "consulted",
}  # fmt: skip
_NAMES = {
    "label": "method", "n_edits": "edits", "series": "kind", "minus_scr": "minus SCR", "minus_editor": "minus editor",
    "times_scr": "time over SCR", "times_editor": "time over editor", "rank": "rank", "weights": "weight change",
    "edit_seconds": "s/edit", "answer_seconds": "s/answer", "peak_gigabytes": "peak GB",
}  # fmt: skip
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "−": "$-$", "–": "--", "…": r"\ldots{}",
}  # fmt: skip


def shown(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of text. A number and its bounds (x, x_low, x_high, or value, low, high) become one cell; shares
    are in percent; columns that are empty throughout, or no reading matter, are left out."""
    doubled = {"method"} if "label" in frame.columns else set()
    columns = [c for c in frame.columns if c not in _LEFT_OUT | doubled and not _is_bound(c, frame)]
    columns = [c for c in columns if not frame[c].map(_missing).all()]
    headers = [_header(c) for c in columns]
    return headers, [[_cell(row, c) for c in columns] for row in frame.to_dict("records")]


def of_groups(table: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """The leaderboard cut to what a reader compares: method, rank, the scores, and the groups of columns asked for."""
    known = {*extras.GROUPS} & {*groups}
    scores = ["label", "status", "rank", *(name for m in TABLE_METRICS for name in (m, f"{m}_low", f"{m}_high"))]
    costs = ["edit_seconds", "answer_seconds", "peak_gigabytes", "bytes_per_edit"] if extras.COSTS in known else []
    shown_first = [g for g in extras.GROUPS if g in known]
    further = [m for group in shown_first for m in extras.metrics_of(table, group)]
    added = [name for m in further for name in (m, f"{m}_low", f"{m}_high")]
    return table[[*scores, *costs, *added, "cases"]]


def as_markdown(frame: pd.DataFrame) -> str:
    """A Markdown table; text that would be markup is escaped."""
    headers, rows = shown(frame)
    if not headers:
        return ""
    numeric = _numeric(rows, len(headers))
    rule = ["---:" if right else "---" for right in numeric]
    lines = [headers, rule, *([_plain(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_latex(frame: pd.DataFrame, caption: str = "") -> str:
    """A LaTeX table for \\usepackage{booktabs}."""
    headers, rows = shown(frame)
    align = "".join("r" if right else "l" for right in _numeric(rows, len(headers)))
    body = [" & ".join(latex(cell) for cell in row) + r" \\" for row in rows]
    named = [rf"\caption{{{latex(caption)}}}"] if caption else []
    head = " & ".join(latex(header) for header in headers) + r" \\"
    lines = [
        r"\begin{table}", r"\centering", *named, rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule",
        *body,
        r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def latex(text: str) -> str:
    """Text with everything that LaTeX would read as a command escaped."""
    return "".join(_SPECIAL.get(c, c) for c in " ".join(text.split()))


def _plain(text: str) -> str:
    escaped = "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in " ".join(text.split()))
    return escaped or " "


def _header(column: str) -> str:
    named = _NAMES.get(column, column.replace("_", " "))
    return f"{named} %" if _is_share(column) else f"{named} (points)" if _is_difference(column) else named


def _bounds(column: str) -> tuple[str, str]:
    return ("low", "high") if column == "value" else (f"{column}_low", f"{column}_high")


def _is_bound(column: str, frame: pd.DataFrame) -> bool:
    if column in ("low", "high"):
        return "value" in frame.columns
    stem, _, end = column.rpartition("_")
    return end in ("low", "high") and stem in frame.columns


def _is_share(column: str) -> bool:
    head, _, kind = column.partition("/")
    return column in _SHARES or head in MAIN_METRICS or bool(kind and extras.is_share(column))


def _is_difference(column: str) -> bool:
    return column.startswith("minus_") or column in ("gain", "difference")


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column]
    low, high = (row.get(name) for name in _bounds(column))
    if _missing(value):
        return formatting.MISSING
    if isinstance(value, (list, tuple, dict)) or isinstance(value, str):
        return UNEDITED_LABEL if column == "label" and value == UNEDITED else str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = float(value)
    if math.isinf(number):
        return "none"
    if _is_share(column):
        return formatting.percent_interval(number, low, high)
    known = not (_missing(low) or _missing(high))
    if _is_difference(column):
        return formatting.signed(number) + (f" [{_signed(low)}, {_signed(high)}]" if known else "")
    said = f"{number:,.0f}" if number == int(number) and abs(number) < 1e15 else formatting.number(number)
    return said + (f" [{formatting.number(low)}, {formatting.number(high)}]" if known else "")


def _signed(value: Any) -> str:
    return formatting.signed(float(value))


def _missing(value: Any) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _numeric(rows: list[list[str]], columns: int) -> list[bool]:
    """Which columns hold numbers only, so that they stand to the right."""
    starts = set("0123456789+−-–")
    return [bool(rows) and all(row[i][:1] in starts or row[i] == "none" for row in rows) for i in range(columns)]
