"""The parts of the board that need a browser: search, chips, history, links between pages, panels, hostile names."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_pages import FACTS, Visit, choose, errors, find, line, methods, picture, query, ready, texts, wait

CHIPS = ".board-chips label"


def test_filter_chip_address_back_and_reset(visit: Visit) -> None:
    from selenium.webdriver.common.keys import Keys

    driver = visit(f"/?{FACTS}")
    ready(driver, "/")
    find(driver, "input[placeholder^=words], textarea[placeholder^=words]")[0].send_keys("rom", Keys.ENTER)
    wait(driver, lambda: methods(driver) == ["▲ ROME"], "one row")
    wait(driver, lambda: query(driver).get("find") == "rom", "the address")
    assert line(driver).startswith("1 of 7 rows match “rom”.")
    choose(driver, "Columns", "by kind of question")
    wait(driver, lambda: "Columns: scores, by kind of question, costs" in texts(driver, CHIPS), "the chip")
    wait(driver, lambda: query(driver).get("groups") == "scores,kinds,costs", "the address")
    assert "Locality: near" in " ".join(texts(driver, "#leaderboard th .header"))
    driver.back()
    wait(driver, lambda: "groups" not in query(driver), "the step back")
    wait(
        driver, lambda: texts(driver, CHIPS) == ["Model: alpha-1b", "Data set: facts", "Search: rom"], "the view before"
    )
    wait(driver, lambda: methods(driver) == ["▲ ROME"], "the search")
    driver.find_element("xpath", "//label[normalize-space()='Search: rom']").click()
    wait(driver, lambda: len(methods(driver)) == 7, "all rows")
    wait(driver, lambda: query(driver) == {"model": "alpha-1b", "data": "facts"}, "the address")
    driver.find_element("xpath", "//button[normalize-space()='Reset']").click()
    wait(driver, lambda: query(driver) == {} and not find(driver, CHIPS), "the defaults")
    assert errors(driver) == []


def test_numbers_of_papers_are_switched_on_and_hostile_ones_do_not_run(visit: Visit) -> None:
    driver = visit(f"/?{FACTS}&reported=1")
    ready(driver, "/")
    wait(driver, lambda: len(texts(driver, "#reported [role=gridcell][aria-colindex='2']")) >= 2, "the numbers")
    assert set(texts(driver, "#reported [role=gridcell][aria-colindex='2']")) == {"❝ reported"}
    assert any("onerror=" in text for text in texts(driver, "#reported [role=gridcell]"))
    assert find(driver, "#reported img[src='x'], #reported script") == []
    assert driver.execute_script("return window.hacked === undefined")
    choose(driver, "Numbers of papers", "off")
    wait(driver, lambda: not find(driver, "#reported [role=gridcell]"), "no numbers of papers")
    assert errors(driver) == []


def test_a_row_leads_to_its_card_its_run_and_its_answers(visit: Visit) -> None:
    driver = visit(f"/?{FACTS}")
    ready(driver, "/")
    find(driver, "#leaderboard [role=gridcell][aria-colindex='2']")[0].click()
    wait(driver, lambda: len(find(driver, "#row-links a")) == 5, "the links")
    addresses = [link.get_attribute("href") for link in find(driver, "#row-links a")]
    driver.get(addresses[1])
    wait(driver, lambda: line(driver) == "SCR on alpha-1b, facts, 100 cases in a row", "the run")
    command = find(driver, "#run-command textarea")[0].get_attribute("value")
    assert command is not None and "python -m runner run repeat.yaml" in command
    driver.get(addresses[0])
    wait(driver, lambda: line(driver) == "SCR", "the card")
    driver.get(addresses[2])
    wait(driver, lambda: "SCR" in [e.get_attribute("value") for e in find(driver, "input[aria-label=Method]")], "SCR")
    assert errors(driver) == []


def test_one_answer_has_an_address_and_its_trace_is_marked(visit: Visit) -> None:
    driver = visit(f"/answers?{FACTS}&method=ICE&edits=10&kind=reliability&search=Town+0")
    ready(driver, "/answers")
    find(driver, "#answers [role=gridcell][aria-colindex='2']")[0].click()
    number = wait(driver, lambda: query(driver).get("answer"), "the answer's number")
    driver.get(driver.current_url.split("?")[0] + f"?answer={number}")

    def whole() -> str:
        return str(find(driver, "#board-detail textarea")[0].get_attribute("value"))

    wait(driver, lambda: "«But it was Ben Reed, so Ben Reed it is.»" in whole(), "the trace")
    assert "The mayor is Ada Holt <b>now</b>." in whole()
    assert f"Answer {number}" in texts(driver, CHIPS)
    assert errors(driver) == []


@pytest.mark.parametrize("width,theme", [(1280, "light"), (390, "dark")])
def test_panels_are_drawn_and_stay_inside_the_page(visit: Visit, shots: Path, width: int, theme: str) -> None:
    driver = visit(f"/curves?{FACTS}&facet=metric&mode=both&__theme={theme}", width)
    titles = "#curves .annotation-text"
    wait(driver, lambda: texts(driver, titles)[:2] == ["Average", "Reliability"], "the panels")
    picture(driver, shots / f"panels-{width}-{theme}.png")
    assert len(texts(driver, titles)) == 5
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert driver.execute_script("return document.querySelector('#curves .main-svg').clientWidth") >= 600
    assert errors(driver) == []


@pytest.mark.parametrize("card", ["method&name=SCR", "model&name=alpha-1b", "data&name=facts"])
def test_cards_show_what_the_database_holds_as_text(visit: Visit, card: str) -> None:
    driver = visit(f"/cards?card={card}")
    ready(driver, "/cards")
    wait(driver, lambda: line(driver) == card.rpartition("=")[2], "the title")
    wait(driver, lambda: texts(driver, "#card-table-1 [role=gridcell]"), "the table")
    shown = texts(driver, "#card-table-1 [role=gridcell]")
    expected = {"SCR": "confirm", "alpha-1b": "alpha-1b-events-FT-M-1", "facts": "no subject"}[line(driver)]
    assert expected in shown
    assert driver.execute_script("return window.hacked === undefined")
    assert errors(driver) == []


def test_a_line_that_is_pointed_at_stays_and_the_others_fade(visit: Visit) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    driver = visit(f"/curves?{FACTS}")
    ready(driver, "/curves")
    wait(driver, lambda: not find(driver, "#first-view"), "the page's own components")
    lit = "#curves .scatterlayer .trace.board-lit"

    def pointed() -> bool:
        for offset in (0, 1):  # the first move puts the listener on the figure
            mark = find(driver, "#curves .scatterlayer .trace .points path")[0]
            ActionChains(driver).move_to_element_with_offset(mark, offset, 0).perform()
        return bool(find(driver, "#curves .board-dimmed") and find(driver, lit))

    wait(driver, pointed, "the highlighted line")
    faded = "return [...document.querySelectorAll('#curves .scatterlayer .trace')].filter((e) => "
    faded += "parseFloat(getComputedStyle(e).opacity) < 0.5).length"
    wait(driver, lambda: driver.execute_script(faded) > 5, "the faded lines")
    assert len(find(driver, lit)) <= 2  # the line and its band
    assert errors(driver) == []


def test_a_header_explains_itself_in_the_words_of_the_glossary(visit: Visit) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    driver = visit(f"/?{FACTS}")
    ready(driver, "/")
    wait(driver, lambda: not find(driver, "#first-view"), "the page's own components")
    heads = "//*[@id='leaderboard']//th[contains(., 's/answer')]"
    head = next(e for e in driver.find_elements("xpath", heads) if e.is_displayed())
    ActionChains(driver).move_to_element(head).perform()
    wait(driver, lambda: str(head.get_attribute("title")).startswith("Seconds per answer"), "the words")
    assert errors(driver) == []
