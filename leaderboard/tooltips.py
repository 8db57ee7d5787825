"""What a column's header says when it is pointed at: the glossary's words, by the header in small letters."""

from __future__ import annotations

import json

from leaderboard import glossary

_OTHERS = {
    "method": "The editing method, with the marker and the colour it has in every figure.",
    "note": "Why a row is incomplete, or what to know about it.",
    "verdict": "✓ right, ✗ wrong, or the share of several answers that are there.",
    "question": "What the model was asked after the edits.",
    "expected": "What would have been right; for locality what the unedited model answered.",
    "given": "What the edited model wrote, word for word.",
    "kind": "The score the question counts for, and the kind within it.",
    "consulted": "What the method looked up to answer: retrieved and confirmed facts, codebook entries, side memories.",
    "#": "The answer's number, which its address holds.",
    "p (holm)": "Chance of a difference at least as large if the methods were equal, adjusted for all rows here.",
    "at 5 %": "Whether the adjusted p is below 0.05.",
}


def words() -> dict[str, str]:
    """Header -> explanation, headers in small letters."""
    found = {glossary.metric_label(name).lower(): text for name, text in glossary.METRICS.items()}
    found |= {part.strip(): text for name, text in glossary.TERMS.items() for part in name.split(",")}
    return {**_OTHERS, **found}


def script() -> str:
    """The words for the page's JavaScript."""
    text = json.dumps(words(), ensure_ascii=False).replace("<", "\\u003c")
    return f"<script>window.boardGlossary = {text};</script>\n"
