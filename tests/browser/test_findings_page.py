"""The findings in a real browser: both themes, phone width, words for those who can't see a figure."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_pages import Visit, errors, find, line, picture, query, texts, wait

DRAWN = "#finding-1 .plot-container .scatterlayer .trace"


@pytest.mark.parametrize("width,theme", [(1280, "light"), (390, "dark")])
def test_findings_show_figure_sentence_and_words(visit: Visit, shots: Path, width: int, theme: str) -> None:
    driver = visit(f"/findings?__theme={theme}", width)
    wait(driver, lambda: find(driver, DRAWN), "the first figure")
    wait(driver, lambda: find(driver, "#finding-10 .plot-container .scatterlayer .trace"), "the last figure")
    picture(driver, shots / f"findings-{width}-{theme}.png")
    answers = [e.get_attribute("value") for e in find(driver, "[id$=-answer] textarea")]
    assert len(answers) == 10 and "of 6 methods" in str(answers[0]) and str(answers[1]).startswith("Not run yet")
    assert "python -m runner run latency" in str(answers[1])
    figure = find(driver, "#finding-1")[0]
    wait(driver, lambda: figure.get_attribute("aria-label"), "the words of the figure")
    assert figure.get_attribute("role") == "img" and "SCR" in str(figure.get_attribute("aria-label"))
    assert texts(driver, "#board-head nav a[aria-current]") == ["Findings"]
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert errors(driver) == []


def test_another_model_stands_in_the_address_and_the_details_unfold(visit: Visit) -> None:
    driver = visit("/findings?model=beta-7b")
    wait(driver, lambda: find(driver, DRAWN), "the first figure")
    assert query(driver).get("model") == "beta-7b" or "beta-7b" in str(line(driver))
    measured = "[...document.querySelectorAll('#findings-scope-1 textarea')].map((e) => e.value).join('')"
    find(driver, "button.label-wrap")[0].click()
    wait(driver, lambda: "beta-7b" in driver.execute_script(f"return {measured}"), "what was measured")
    wait(driver, lambda: "SCR" in texts(driver, "#finding-1-table [role=gridcell]"), "the numbers")
    assert errors(driver) == []
