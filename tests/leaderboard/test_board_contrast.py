"""Text can be read and marks can be told from the page, in light and in dark: WCAG 2.1, computed from the values."""

from __future__ import annotations

import re

import pytest

from leaderboard import figures, first_view, palette, theme

GROUND = {"light": "#fbfbfc", "dark": "#0e1117"}  # as `theme.theme` sets it
PAPER = {"light": "#ffffff", "dark": "#1e293b"}  # of blocks
TEXT, MARK = 4.5, 3.0  # WCAG AA: 1.4.3 for text, 1.4.11 for graphics


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2.1)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def variables(css: str, selector: str) -> dict[str, str]:
    """The colours that a rule sets."""
    body = re.search(re.escape(selector) + r" \{(.*?)\}", css, re.S)
    assert body, selector
    return dict(re.findall(r"--(board-\w+): (#[0-9a-f]{6})", body[1]))


def test_the_formula_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(("name", "selector"), [("light", ":root"), ("dark", ".dark")])
def test_words_can_be_read(name: str, selector: str) -> None:
    colours = variables(theme.CSS, selector)
    assert set(colours) == {"board-good", "board-bad", "board-quiet", "board-link"}
    for colour in colours.values():
        assert contrast(colour, GROUND[name]) >= TEXT
        assert contrast(colour, PAPER[name]) >= TEXT
    # The page as plain HTML has the same colours.
    own = variables(first_view.CSS, "#first-view" + (".dark" if name == "dark" else ""))
    assert own == colours


@pytest.mark.parametrize("name", ["light", "dark"])
def test_every_method_has_a_mark_that_shows(name: str) -> None:
    for method in (*palette._FIXED, "a method of somebody else's"):
        assert contrast(palette.style(method).colour, GROUND[name]) >= MARK, method


def test_lines_that_are_compared_differ_in_more_than_colour() -> None:
    seen = [(palette.style(m).marker, palette.style(m).colour) for m in palette._FIXED]
    assert len(set(seen)) == len(seen)
    assert figures._DASH["free"] != figures._DASH["forced"]
