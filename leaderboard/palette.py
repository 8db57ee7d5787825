"""One colour and one marker per method, the same on every page.

The hues are Okabe and Ito's, which stay apart for colour-blind readers, darkened until each has a contrast of 3:1 with
the page in light and in dark; the marker says it a second time. Warm
colours change weights, cool ones keep the new facts outside of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

GREY = "#808590"
BLUE, SKY, GREEN, ORANGE, VERMILLION, PURPLE = "#2b7bba", "#2599c9", "#009e73", "#c58200", "#d14f00", "#c8709f"
_COLOURS = (BLUE, SKY, GREEN, ORANGE, VERMILLION, PURPLE)

# plotly's symbol and the sign that stands for it in text
_MARKERS = {
    "circle": "●", "square": "■", "triangle-up": "▲", "diamond": "◆", "star": "★", "triangle-down": "▼",
    "circle-open": "○", "square-open": "□", "triangle-up-open": "△", "diamond-open": "◇", "star-open": "☆",
    "triangle-down-open": "▽", "cross": "✚", "x": "✖",
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """colour: "#rrggbb". marker: a plotly symbol. sign: the same shape as a character."""

    colour: str
    marker: str

    @property
    def sign(self) -> str:
        """The marker as a character."""
        return _MARKERS[self.marker]

    def rgba(self, alpha: float) -> str:
        """The colour with transparency, for CSS and plotly."""
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},{alpha:g})"


_FIXED: dict[str, Style] = {
    "none": Style(GREY, "circle-open"),
    "scr": Style(BLUE, "star"),
    "multihop-scr": Style(BLUE, "star-open"),
    "ice": Style(SKY, "circle"),
    "ike": Style(SKY, "circle-open"),
    "grace": Style(GREEN, "cross"),
    "wise": Style(GREEN, "x"),
    "serac": Style(GREEN, "diamond-open"),
    "rome": Style(VERMILLION, "triangle-up"),
    "r-rome": Style(VERMILLION, "triangle-up-open"),
    "rect": Style(VERMILLION, "star-open"),
    "emmet": Style(VERMILLION, "diamond-open"),
    "memit": Style(PURPLE, "diamond"),
    "pmet": Style(PURPLE, "diamond-open"),
    "alphaedit": Style(PURPLE, "triangle-down"),
    "mend": Style(PURPLE, "star-open"),
    "ft-m": Style(ORANGE, "square"),
    "ft-l": Style(ORANGE, "square-open"),
    "locft-bf": Style(ORANGE, "star"),
    "lora": Style(ORANGE, "triangle-down"),
    "adalora": Style(ORANGE, "triangle-down-open"),
    "retrain": Style(ORANGE, "circle"),
}


def style(method: str) -> Style:
    """The style of a method; one that isn't known gets its own by a hash of its name, so it keeps it for ever."""
    known = _FIXED.get(method.lower())
    if known:
        return known
    first, joined, second = method.rpartition("+")
    if joined and second.lower() == "scr":  # an editor with SCR on top: the editor's marker in SCR's colour
        return Style(BLUE, style(first).marker)
    number = int.from_bytes(hashlib.sha256(method.lower().encode()).digest()[:4])
    markers = list(_MARKERS)
    return Style(_COLOURS[number % len(_COLOURS)], markers[number // len(_COLOURS) % len(markers)])
