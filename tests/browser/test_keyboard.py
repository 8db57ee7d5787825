"""The leaderboard without a mouse: the skip link, every control in its order, and a ring around what has the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from test_pages import FACTS, Visit, errors, find, ready, wait

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

# The words of what has the focus, and whether a ring is drawn around it.
_FOCUSED = """
const e = document.activeElement, style = getComputedStyle(e);
const block = e.closest(".block, fieldset"), label = block && block.querySelector("[data-testid=block-info]");
const words = label && !e.closest("#board-head") ? label.innerText : e.innerText || e.getAttribute("aria-label") || "";
const ring = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
return [words.trim().split("\\n")[0], ring];
"""
_ORDER = ["Skip to the results", "Leaderboard", "Curves", "Model", "Data set", "Answers are", "Cases edited in a row",
          "Sort by", "Search", "Columns", "Numbers of papers", "Reset"]  # fmt: skip


def press(driver: WebDriver, key: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(key).perform()


def test_the_tab_key_reaches_every_control_in_order(visit: Visit) -> None:
    from selenium.webdriver.common.keys import Keys

    driver = visit(f"/?{FACTS}")
    ready(driver, "/")
    wait(driver, lambda: not find(driver, "#first-view"), "the page's own components")
    passed: list[str] = []
    for _ in range(45):
        press(driver, Keys.TAB)
        words, ring = driver.execute_script(_FOCUSED)
        assert ring, f"no ring around {words!r}"
        if not passed or passed[-1] != words:
            passed.append(words)
        if words == "Reset":
            break
    assert [words for words in passed if words in _ORDER] == _ORDER
    assert errors(driver) == []


def test_the_skip_link_leads_to_the_table(visit: Visit) -> None:
    from selenium.webdriver.common.keys import Keys

    driver = visit(f"/?{FACTS}")
    ready(driver, "/")
    wait(driver, lambda: not find(driver, "#first-view"), "the page's own components")
    press(driver, Keys.TAB)
    skip = driver.switch_to.active_element
    wait(driver, lambda: skip.text == "Skip to the results", "the link in sight")
    assert skip.rect["x"] >= 0  # in sight while it has the focus
    press(driver, Keys.ENTER)
    inside = "return Boolean(document.activeElement.closest('#leaderboard'))"
    wait(driver, lambda: driver.execute_script(inside), "the table")
