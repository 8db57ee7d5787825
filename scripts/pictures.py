"""Take the pictures of the docs: every page of the board, in light and in dark, from a database.

    python scripts/pictures.py [--db FILE] [--out docs/pictures] [--only WORD ...]

Starts `python app.py` on the database (the published results unless --db names another) and looks at it with headless
Chromium. Pictures are reduced to 256 colours, which keeps them small. Needs selenium, Chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.serving import served  # noqa: E402

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars "
    "--force-color-profile=srgb --disable-background-networking"
)
WIDE, PHONE = 1280, 390
PATIENCE = 180  # seconds for a page, and for the playground's model


@dataclass(frozen=True)
class Picture:
    """One page to look at. ready: CSS of what must be there. height: of the picture, in pixels."""

    name: str
    address: str
    ready: str
    height: int = 900
    width: int = WIDE
    steps: Callable[[Any], None] | None = None


def edit_and_ask(driver: Any) -> None:
    """Press the playground's button and wait for the answers and both figures."""
    _until(driver, "return [...document.querySelectorAll('#questions textarea')].some((e) => e.value)")
    driver.execute_script("document.querySelector('button#ask, #ask button').click()")
    _until(driver, "return [...document.querySelectorAll('.board-line textarea')].some((e) => /^Done/.test(e.value))")
    _until(driver, "return document.querySelectorAll('#weights .bars path').length > 0")


def open_first_answer(driver: Any) -> None:
    """Show one answer whole."""
    driver.find_element("css selector", "#answers [role=gridcell][aria-colindex='2']").click()
    _until(driver, "return document.querySelector('#board-detail textarea').value")
    driver.execute_script("window.scrollTo(0, 0)")


CELL, DRAWN = "[role=gridcell]", ".plot-container .scatterlayer .trace"
PICTURES = (
    Picture("leaderboard", "", f"#leaderboard {CELL}", 1150),
    Picture("findings", "findings", ".board-plot .plot-container .main-svg", 1200),
    Picture("curves", "curves", f"#curves {DRAWN}", 1060),
    Picture("panels", "curves?facet=metric&mode=both", f"#curves {DRAWN}", 1180),
    Picture("tradeoffs", "tradeoffs", f"#tradeoffs {DRAWN}", 1000),
    Picture("compare", "compare", f"#disagreements {CELL}", 1200),
    Picture("answers", "answers", f"#answers {CELL}", 1240, steps=open_first_answer),
    Picture("cards", "cards", f"#card-facts {CELL}", 1080),
    Picture("run", "run", f"#run-facts {CELL}", 1180),
    Picture("submit", "submit", "#board-head nav a", 900),
    Picture("leaderboard-phone", "", f"#leaderboard {CELL}", 1100, PHONE),
    Picture("curves-phone", "curves", f"#curves {DRAWN}", 1200, PHONE),
    Picture("playground", "playground?left=ROME&right=SCR", "#questions textarea", 1560, steps=edit_and_ask),
    Picture("playground-phone", "playground?left=ROME&right=SCR", "#questions textarea", 2300, PHONE, edit_and_ask),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", type=Path, help="a database of results; without it the published ones")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--only", nargs="+", default=[], help="take only pictures whose name begins with one of these")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = [p for p in PICTURES if not options.only or p.name.startswith(tuple(options.only))]
    if not chosen:
        sys.exit(f"no such picture; there are {', '.join(p.name for p in PICTURES)}")
    with served(options.db) as address, browser() as driver:
        failed = []
        for picture in chosen:
            try:
                for path in taken(driver, address, picture, options.out):
                    print(f"{path} {path.stat().st_size / 1000:.0f} kB", flush=True)
            except TimeoutError as error:
                failed.append(f"{picture.name}: {error}")
    if failed:
        sys.exit("not taken:\n" + "\n".join(failed))


def taken(driver: Any, address: str, picture: Picture, out: Path) -> Iterator[Path]:
    """The picture in light and in dark. A page is opened once and shown in both."""
    size = {"width": picture.width, "height": picture.height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(f"{address}/{picture.address}{'&' if '?' in picture.address else '?'}__theme=light")
    _until(driver, f"return [...document.querySelectorAll({picture.ready!r})].length > 0")
    if picture.steps:
        picture.steps(driver)
    for theme in ("light", "dark"):
        driver.execute_script("document.body.classList.toggle('dark', arguments[0])", theme == "dark")
        _settled(driver)
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path = out / f"{picture.name}-{theme}.png"
        path.write_bytes(_small(base64.b64decode(shot["data"])))
        yield path


def _small(png: bytes) -> bytes:
    """The picture with 256 colours."""
    from PIL import Image

    reduced = (
        Image.open(io.BytesIO(png))
        .convert("RGB")
        .quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    )
    kept = io.BytesIO()
    reduced.save(kept, "PNG", optimize=True)
    return kept.getvalue()


def _until(driver: Any, script: str) -> None:
    """Wait until a script's value is true."""
    deadline = time.monotonic() + PATIENCE
    while not driver.execute_script(script):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE} s in vain for: {script}")
        time.sleep(0.1)


def _settled(driver: Any) -> None:
    """Wait until the page has looked the same for half a second."""
    look = "return document.body.innerText + document.querySelectorAll('*').length + document.body.scrollHeight"
    before, since = None, time.monotonic()
    while time.monotonic() - since < 0.5:
        now = driver.execute_script(look)
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.1)


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    from selenium import webdriver

    found = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    driver_path = shutil.which("chromedriver")
    if not found or not driver_path:
        sys.exit("no Chromium with chromedriver here (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = found
    for flag in FLAGS.split():
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
    driver.set_script_timeout(PATIENCE)
    try:
        yield driver
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
