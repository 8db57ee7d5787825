"""How fast the board is on a large database, server side and in headless Chromium.

    python benchmarks/board.py [--rounds 5] [--no-browser] [--db FILE]

Builds the invented database of board_database.py in a temporary folder (or takes --db). Server side: each table of the
board from a newly opened database, and after changes of the filters. In the browser: from navigation to the first rows
on the screen, to the table that can be used (until then the page shows the rows as plain HTML), and from a click to the
changed rows. Printed: the median and the worst of all rounds in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.board_database import DATASETS, EDITS, METHODS, MODELS, build  # noqa: E402
from benchmarks.serving import served  # noqa: E402

TABLES = ("leaderboard", "curves", "tradeoffs", "differences", "disagreements", "answers")
# What is told: name, goal in milliseconds.
GOALS = {"first table": 1500, "filter change": 300, "answers page": 500}
FLAGS = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --window-size=1280,900"

# Runs in the page: clicks the element, answers with the milliseconds until the watched text has changed and is painted.
_UNTIL_CHANGED = """
const [target, watched, done] = arguments;
const text = () => [...document.querySelectorAll(watched)].slice(0, 60).map((e) => e.value ?? e.innerText).join("|");
const before = text(), start = performance.now();
target.click();
const look = () => {
  if (text() !== before) requestAnimationFrame(() => done(performance.now() - start));
  else if (performance.now() - start > 20000) done(null);
  else setTimeout(look, 5);
};
look();
"""
# Runs before the page's own scripts: notes when rows are first shown, and when the table that can be used shows them,
# in milliseconds since navigation.
_NOTE_FIRST = """
window.noted = {};
const look = () => {
  for (const [name, css] of [["seen", "#first-view td, %s"], ["usable", "%s"]]) {
    if (name in window.noted) continue;
    const cell = [...document.querySelectorAll(css)].find((e) => e.innerText && e.innerText.trim());
    if (!cell) continue;
    window.noted[name] = null;
    requestAnimationFrame(() => { window.noted[name] = performance.now(); });
  }
  if (!window.noted.usable) setTimeout(look, 10);
};
look();
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--db", type=Path, help="a database that board_database.py wrote")
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.db or Path(folder) / "large.db"
        if options.db is None:
            began = time.perf_counter()
            print(f"built: {build(path)} in {time.perf_counter() - began:.1f} s")
        load = os.getloadavg()[0]
        print(f"{os.cpu_count()} cores, of which {len(os.sched_getaffinity(0))} for this; load average {load:.1f}\n")
        print("| what | median ms | worst ms | goal ms |\n|---|---|---|---|")
        for name, times in server_side(path, options.rounds):
            tell(f"server: {name}", times)
        if not options.no_browser:
            for name, goal, times in in_browser(path, options.rounds):
                tell(f"browser: {name}", times, GOALS[goal])


def tell(name: str, times: list[float], goal: int | None = None) -> None:
    """One line of the table."""
    print(f"| {name} | {statistics.median(times):.0f} | {max(times):.0f} | {goal or ''} |", flush=True)


def server_side(path: Path, rounds: int) -> Iterator[tuple[str, list[float]]]:
    """Each table from a newly opened database, then after changes of the filters that were not asked for before."""
    from db.reader import Reader
    from leaderboard.data import Board
    from leaderboard.twins import table

    for name in TABLES:
        cold, changed = [], []
        for number in range(rounds):
            reader = Reader.open(path)
            board = Board(reader, "large")
            query = {"model": MODELS[number % len(MODELS)], "data": DATASETS[0], "edits": str(EDITS[0])}
            cold.append(timed(lambda: table(board, name, query)))  # noqa: B023
            for change in ({"edits": str(EDITS[2])}, {"mode": "forced"}, {"data": DATASETS[1]}, {"kind": "locality"}):
                query |= change
                changed.append(timed(lambda: table(board, name, query)))  # noqa: B023
            reader.close()
        yield f"{name}, newly opened database", cold
        yield f"{name}, after a filter change", changed


def timed(work: Any) -> float:
    """Milliseconds of a call."""
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def in_browser(path: Path, rounds: int) -> Iterator[tuple[str, str, list[float]]]:
    """(what, name of its goal, times). The first visit of a page warms the browser's cache and is told apart."""
    from selenium import webdriver

    browser = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    driver_path = shutil.which("chromedriver")
    if not browser or not driver_path:
        sys.exit("no Chromium with chromedriver here; add --no-browser")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in FLAGS.split():
        options.add_argument(flag)
    with served(path) as address:
        driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
        driver.set_script_timeout(30)
        try:
            yield from _leaderboard(driver, address, rounds)
            yield from _answers(driver, address, rounds)
        finally:
            driver.quit()


def _leaderboard(driver: Any, address: str, rounds: int) -> Iterator[tuple[str, str, list[float]]]:
    rows = "#leaderboard [role=gridcell]"
    yield from _visits("leaderboard, first visit", "first table", [_opened(driver, f"{address}/", rows)])
    opened = [_opened(driver, f"{address}/?model={MODELS[i % len(MODELS)]}", rows) for i in range(rounds)]
    yield from _visits("leaderboard, later visits", "first table", opened)
    times = []
    for number in EDITS[:-1] * 2:
        times.append(_changed(driver, f"//label[.//span[normalize-space()='{number}']]", rows))
    for name in ("teacher-forced", "free-running"):
        times.append(_changed(driver, f"//label[.//span[normalize-space()='{name}']]", rows))
    yield "leaderboard, filter change", "filter change", times


def _answers(driver: Any, address: str, rounds: int) -> Iterator[tuple[str, str, list[float]]]:
    rows = "#answers [role=gridcell]"
    first = f"{address}/answers?method={METHODS[0]}&edits={EDITS[1]}"
    opened = [_opened(driver, f"{first}&model={MODELS[i % len(MODELS)]}", rows) for i in range(rounds)]
    yield from _visits("answers, opened", "answers page", opened)
    button = "//button[normalize-space()='{}']"
    times = [_changed(driver, button.format("Next →"), rows) for _ in range(2)]
    times += [_changed(driver, button.format("← Prev"), rows) for _ in range(2)]
    yield "answers, next page", "answers page", times
    times = [_changed(driver, f"//label[.//span[normalize-space()='{v}']]", rows) for v in ("right", "all") * 2]
    yield "answers, filter change", "answers page", times


def _visits(name: str, goal: str, opened: list[tuple[float, float]]) -> Iterator[tuple[str, str, list[float]]]:
    yield f"{name}: rows are seen", goal, [seen for seen, _ in opened]
    yield f"{name}: the table can be used", goal, [usable for _, usable in opened]


def _opened(driver: Any, address: str, rows: str) -> tuple[float, float]:
    """Milliseconds until the first rows are seen, and until the table can be used."""
    driver.get("about:blank")
    note = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _NOTE_FIRST % (rows, rows)})
    driver.get(address)
    try:
        for _ in range(400):
            found = driver.execute_script("return window.noted")
            if found.get("usable"):
                time.sleep(0.5)  # let it come to rest before anything is clicked
                return float(found.get("seen") or found["usable"]), float(found["usable"])
            time.sleep(0.05)
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": note["identifier"]})
    raise SystemExit(f"{address} shows no rows")


def _changed(driver: Any, xpath: str, watched: str) -> float:
    target = next(e for e in driver.find_elements("xpath", xpath) if e.is_displayed())
    found = driver.execute_async_script(_UNTIL_CHANGED, target, watched)
    if found is None:
        raise SystemExit(f"a click on {xpath} changed nothing")
    time.sleep(0.3)
    return float(found)


if __name__ == "__main__":
    main()
