"""Every page in a real browser: both themes, phone width, filters, address, hostile text."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

Visit = Callable[..., "WebDriver"]
FACTS = "model=alpha-1b&data=facts"
READY = {
    "/": "#leaderboard [role=gridcell]",
    "/curves": "#curves .plot-container .scatterlayer .trace",
    "/answers": "#answers [role=gridcell]",
    "/tradeoffs": "#tradeoffs .plot-container .scatterlayer .trace",
    "/compare": "#disagreements [role=gridcell]",
    "/cards": "#card-facts [role=gridcell]",
    "/run": "#run-facts [role=gridcell]",
}
DRAWN = ("/curves", "/tradeoffs")
# Every page in each theme and at each width; the first one in all four combinations.
SEEN = [(page, *view) for page in READY for view in ((1280, "light"), (390, "dark"))]
SEEN += [("/", 1280, "dark"), ("/", 390, "light")]
PAGES = ["Leaderboard", "Curves", "Trade-offs", "Compare", "Answers", "Cards", "Runs", "Playground"]


def wait(driver: WebDriver, condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    # IndexError: `find(...)[0]` of what isn't there yet.
    waiter = WebDriverWait(driver, seconds, 0.1, ignored_exceptions=[StaleElementReferenceException, IndexError])
    return waiter.until(lambda _: condition(), f"waited in vain for {what}")


def find(driver: WebDriver, css: str) -> list[Any]:
    return driver.find_elements("css selector", css)


def ready(driver: WebDriver, page: str) -> None:
    wait(driver, lambda: any(e.text.strip() or page in DRAWN for e in find(driver, READY[page])), READY[page])


def texts(driver: WebDriver, css: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => (e.innerText ?? e.textContent).trim())"
    return list(driver.execute_script(script, css))


def methods(driver: WebDriver) -> list[str]:
    """Names in the leaderboard's first column, from top to bottom."""
    return [text for text in texts(driver, "#leaderboard [role=gridcell][aria-colindex='1']") if text]


def line(driver: WebDriver, number: int = 0) -> str:
    return str(find(driver, ".board-line textarea")[number].get_attribute("value"))


def choose(driver: WebDriver, label: str, option: str) -> None:
    """Click an option of a radio or checkbox group."""
    group = f"//*[self::fieldset or contains(@class,'block')][.//span[normalize-space()='{label}']]"
    wait(
        driver,
        lambda: driver.find_elements("xpath", f"{group}//label[.//span[normalize-space()='{option}']]"),
        f"{label}: {option}",
    )[-1].click()


def follow(driver: WebDriver, name: str) -> None:
    """Click one of the links between the pages."""
    wait(driver, lambda: driver.find_elements("link text", name), name)[0].click()


def pick(driver: WebDriver, label: str, option: str) -> None:
    """Choose an option of a dropdown."""
    box = wait(driver, lambda: find(driver, f"input[aria-label='{label}']"), label)[0]
    box.click()
    wait(
        driver,
        lambda: driver.find_elements("xpath", f"//ul[@role='listbox']//li[contains(@aria-label, '{option}')]"),
        f"{label}: {option}",
    )[0].click()


def query(driver: WebDriver) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(driver.current_url).query).items()}


def errors(driver: WebDriver) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def picture(driver: WebDriver, path: Path) -> None:
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))


@pytest.mark.parametrize("page,width,theme", SEEN)
def test_page_shows_without_errors(visit: Visit, shots: Path, page: str, width: int, theme: str) -> None:
    driver = visit(f"{page}?{FACTS}&__theme={theme}", width)
    ready(driver, page)
    wait(driver, lambda: line(driver), "a summary")
    picture(driver, shots / f"{page.strip('/') or 'leaderboard'}-{width}-{theme}.png")
    assert errors(driver) == []
    assert driver.execute_script("return document.body.classList.contains('dark')") == (theme == "dark")
    # Nothing sticks out: only tables, and on a phone the links and the filters, scroll sideways, inside themselves.
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    wide = "return [...document.querySelectorAll('button, nav a, input')].filter((e) => e.offsetParent && "
    wide += "!e.closest('.board-table, .board-filters, #board-head nav') && "
    wide += "e.getBoundingClientRect().right > arguments[0]).map((e) => e.innerText)"
    assert driver.execute_script(wide, width) == []
    assert set(PAGES) <= set(texts(driver, "#board-head nav a"))
    assert texts(driver, "#board-head .name") == ["Palimpsest"]


def test_the_method_stays_in_sight_on_a_phone(visit: Visit) -> None:
    driver = visit(f"/?{FACTS}", 390)
    ready(driver, "/")
    driver.execute_script("document.querySelector('#leaderboard .virtual-table-viewport').scrollLeft = 400")
    place = "return document.querySelector('#leaderboard [role=gridcell][aria-colindex=\"1\"]').getBoundingClientRect()"
    box = wait(driver, lambda: driver.execute_script(place), "the first method")
    assert 0 <= box["left"] < 60
    assert box["right"] < 390


def test_nothing_is_fetched_from_elsewhere(visit: Visit, site: str) -> None:
    driver = visit("/")
    ready(driver, "/")
    script = "return performance.getEntriesByType('resource').map((e) => e.name)"
    fetched = driver.execute_script(script)
    assert fetched
    assert [url for url in fetched if not url.startswith((site, "data:", "blob:"))] == []


def test_leaderboard_rows_and_filters(visit: Visit) -> None:
    driver = visit(f"/?{FACTS}")
    ready(driver, "/")
    first = methods(driver)
    assert first[0] == "★ SCR"
    assert first[-1] == "○ unedited model"
    assert {"◆ MEMIT", "✚ GRACE"} <= set(first[4:6])
    before = texts(driver, "#leaderboard [role=gridcell]")
    choose(driver, "Cases edited in a row", "1")
    wait(driver, lambda: texts(driver, "#leaderboard [role=gridcell]") != before, "another table")
    wait(driver, lambda: query(driver).get("edits") == "1", "the address")
    assert "After editing 1 case of facts into alpha-1b" in line(driver)
    pick(driver, "Sort by", "Method")
    wait(driver, lambda: methods(driver)[0] == "■ FT-M", "rows by name")
    choose(driver, "Answers are", "teacher-forced")
    wait(driver, lambda: "free avg." in " ".join(texts(driver, "#leaderboard th .header")), "the other average")
    assert query(driver) == query(driver) | {"edits": "1", "sort": "method", "mode": "forced", "model": "alpha-1b"}
    assert errors(driver) == []


def test_the_address_brings_the_view_back_and_reset_clears_it(visit: Visit) -> None:
    driver = visit("/?model=beta-7b&data=facts&edits=10&mode=forced&sort=locality")
    ready(driver, "/")
    text = "After editing 10 cases of facts in a row into beta-7b"
    wait(driver, lambda: text in line(driver), text)
    assert "teacher-forced" in line(driver)
    driver.find_element("xpath", "//button[normalize-space()='Reset']").click()
    wait(driver, lambda: "After editing 100 cases" in line(driver), "the defaults")
    wait(driver, lambda: query(driver) == {}, "an empty address")


def test_a_choice_holds_on_the_next_page(visit: Visit) -> None:
    driver = visit("/?model=beta-7b&data=facts&edits=10")
    ready(driver, "/")
    follow(driver, "Answers")
    wait(driver, lambda: urlsplit(driver.current_url).path == "/answers", "the answers page")
    assert query(driver)["edits"] == "10"
    follow(driver, "Curves")
    ready(driver, "/curves")
    wait(driver, lambda: "beta-7b on facts" in line(driver), "the same model")


def test_curves_follow_the_filters(visit: Visit) -> None:
    driver = visit(f"/curves?{FACTS}")
    ready(driver, "/curves")
    names, legend = "#curves .annotation-text", "#curves .legendtext"
    assert {"★ SCR", "▲ ROME"} <= set(texts(driver, names))  # each at the end of its line
    assert texts(driver, legend) == ["unedited model"]
    pick(driver, "Methods (none chosen: all)", "★ SCR")
    wait(driver, lambda: texts(driver, names) == ["★ SCR"], "one method")
    choose(driver, "Answers are", "both")
    wait(driver, lambda: {"free-running", "teacher-forced"} <= set(texts(driver, legend)), "a pair of curves")
    pick(driver, "Metric", "Reliability")
    wait(driver, lambda: "Reliability (%)" in texts(driver, "#curves .ytitle"), "another metric")
    wait(driver, lambda: query(driver).get("metric") == "reliability", "the address")
    assert query(driver)["show"] == "SCR"
    assert errors(driver) == []


def test_hostile_text_is_shown_and_not_run(visit: Visit) -> None:
    driver = visit(f"/answers?{FACTS}&method=ROME&kind=reliability&edits=100")
    ready(driver, "/answers")
    cell = wait(
        driver,
        lambda: driver.find_elements("xpath", "//*[@id='answers']//*[@role='gridcell'][contains(., 'onerror=')]"),
        "the text",
    )[0]
    assert find(driver, "#answers img[src='x'], #answers script") == []
    cell.click()
    shown = wait(driver, lambda: find(driver, "#board-detail textarea")[0].get_attribute("value"), "the whole answer")
    assert "<script>window.hacked" in shown
    assert driver.execute_script("return window.hacked === undefined")
    assert errors(driver) == []


def test_answers_are_paged_and_searched(visit: Visit) -> None:
    from selenium.webdriver.common.keys import Keys

    driver = visit(f"/answers?{FACTS}&method=SCR&edits=10")
    ready(driver, "/answers")
    wait(driver, lambda: line(driver).startswith("1–50 of 360"), "the first page")
    assert texts(driver, "#answers [role=gridcell][aria-colindex='1']")[0] == "✗ wrong"
    driver.find_element("xpath", "//button[normalize-space()='Next →']").click()
    wait(driver, lambda: line(driver).startswith("51–100 of 360"), "the second page")
    wait(driver, lambda: query(driver).get("page") == "2", "the address")
    box = next(e for e in find(driver, "textarea, input") if (e.get_attribute("placeholder") or "").startswith("words"))
    box.send_keys("town 17", Keys.ENTER)
    wait(driver, lambda: line(driver).startswith("1–6 of 6"), "what was searched for")
    choose(driver, "Verdict", "missed")
    wait(driver, lambda: query(driver).get("verdict") == "missed", "the address")
    assert query(driver).get("page") is None
    assert errors(driver) == []


def test_sorting_in_the_table_is_by_number(visit: Visit) -> None:
    """The table shows "100 [98, 100]" and sorts by 1.0, so that 100 isn't below 20."""
    driver = visit(f"/?{FACTS}&edits=1")
    ready(driver, "/")
    driver.execute_script("document.querySelector('#leaderboard th[title=locality] .cell-menu-button').click()")
    menu = "//*[@role='menuitem' or self::button][contains(normalize-space(), 'Sort ascending')]"
    wait(driver, lambda: driver.find_elements("xpath", menu), "the column's menu")[0].click()

    heads = [text.split("\n")[0] for text in texts(driver, "#leaderboard .header-table th, #leaderboard thead th")]
    column = heads.index("locality") + 1

    def values() -> list[float]:
        cells = texts(driver, f"#leaderboard [role=gridcell][aria-colindex='{column}']")
        return [float(text.split(" ")[0]) for text in cells]

    wait(driver, lambda: values() == sorted(values()) and values()[-1] == 100, "rows by locality")
    stripes = "return getComputedStyle([...document.querySelectorAll('#leaderboard [role=gridcell]')].find("
    colour = driver.execute_script(stripes + "(e) => e.innerText.includes('SCR'))).boxShadow")
    assert "rgb(43, 123, 186)" in colour  # the style follows its row
