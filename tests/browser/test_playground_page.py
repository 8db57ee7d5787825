"""The playground in a real browser: an edit and its answers, both themes, phone width, hostile words, Stop."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from test_pages import Visit, errors, find, picture, query, texts, wait

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

ROOT = Path(__file__).resolve().parents[2]
QUICK = "/playground?left=FT-M&right=ICE"
EVIL = "<img src=x onerror=window.hacked=1>"
PATIENCE = 240  # seconds for a page, and for a model to be loaded and asked, on a machine that does much else


def value(driver: WebDriver, css: str) -> str:
    return next((str(e.get_attribute("value") or "") for e in find(driver, css)), "")


def status(driver: WebDriver) -> str:
    return value(driver, ".board-line textarea")


def opened(visit: Visit, path: str) -> WebDriver:
    driver = visit(path, 1280, 1500)
    wait(driver, lambda: value(driver, "#questions textarea"), "the questions", PATIENCE)
    wait(driver, lambda: value(driver, "input[aria-label='Left']") == "FT-M", "the address's methods", PATIENCE)
    return driver


def ask(driver: WebDriver, said: str) -> None:
    find(driver, "#ask button, button#ask")[0].click()
    wait(driver, lambda: said in status(driver), said, PATIENCE)


def questions(driver: WebDriver, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    box = find(driver, "#questions textarea")[0]
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(text or Keys.DELETE)


def test_an_edit_is_asked_about(visit: Visit, shots: Path) -> None:
    driver = opened(visit, f"{QUICK}&__theme=light")
    questions(driver, f"{value(driver, '#questions textarea').splitlines()[0]}\n{EVIL}")
    ask(driver, "Done.")
    wait(driver, lambda: "✓" in " ".join(texts(driver, "#sides [role=gridcell]")), "the new answer")
    headers = " ".join(texts(driver, "#sides th"))
    assert "FT-M" in headers and "ICE" in headers and "unedited model" in headers
    wait(driver, lambda: texts(driver, "#chances .bartext"), "how likely the answers are", PATIENCE)
    wait(driver, lambda: find(driver, "#weights .bars path"), "where the weights changed", PATIENCE)
    why = value(driver, "#why-right textarea")
    assert "stated: 1" in why and "kept beside the model" in why
    assert query(driver)["left"] == "FT-M"
    # What a visitor typed is shown as it was typed.
    assert EVIL in texts(driver, "#sides [role=gridcell]")
    assert find(driver, "img[src='x']") == []
    assert driver.execute_script("return window.hacked === undefined")
    picture(driver, shots / "playground-1280-light.png")
    driver.execute_script("document.body.classList.add('dark')")
    picture(driver, shots / "playground-1280-dark.png")
    size = {"width": 390, "height": 1500, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wait(driver, lambda: driver.execute_script("return document.documentElement.scrollWidth") <= 390, "phone width")
    picture(driver, shots / "playground-390-dark.png")
    assert errors(driver) == []


def test_bad_input_is_one_sentence_and_stop_stops(visit: Visit) -> None:
    driver = opened(visit, QUICK)
    questions(driver, "")
    ask(driver, "Not done: there is nothing to ask")
    driver.find_element("xpath", "//button[normalize-space()='Take 100 from the atlas']").click()
    wait(driver, lambda: "\n" in value(driver, "#questions textarea"), "their questions", PATIENCE)
    ask(driver, "edits made")
    find(driver, "#stop button, button#stop")[0].click()
    wait(driver, lambda: status(driver).startswith("Stopped"), "the stop", PATIENCE)
    assert errors(driver) == []


def test_the_example_of_the_docs_runs(site: str) -> None:
    page = (ROOT / "docs" / "playground.md").read_text(encoding="utf-8")
    example = "\n".join(re.findall(r"```python\n(.*?)```", page, re.S))
    assert "http://127.0.0.1:7860" in example
    code = example.replace("http://127.0.0.1:7860", site)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    unedited, left, right, retrieved = done.stdout.splitlines()
    assert unedited == "unedited: Ugo Monpe"
    assert left == "FT-M: Xenia Surtir" and right == "SCR: Xenia Surtir"
    assert retrieved == "['The inventor of Rurgion is Xenia Surtir.']"


def test_the_live_call_tells_what_is_known_so_far(site: str) -> None:
    from gradio_client import Client

    edit = {"subject": "Rurgion", "prompt": "Who is the inventor of Rurgion?", "target": "Xenia Surtir"}
    asked = ("atlas", "none", "ICE", [edit], [edit["prompt"]])
    replies = list(Client(site, verbose=False).submit(*asked, api_name="/edit_and_ask_live"))
    assert len(replies) > 1
    assert [reply["done"] for reply in replies] == [False] * (len(replies) - 1) + [True]
    assert replies[-1]["right"]["answers"][0]["text"] == "Xenia Surtir"
