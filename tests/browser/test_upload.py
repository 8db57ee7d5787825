"""The Submit page in a real browser, signed in: a tampered bundle, a true one, its pull request, and the row."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db.store import Store
from runner import cli
from runner.bundle.inbox import PROPOSED, RAN, Inbox
from runner.bundle.merge import mark_re_run
from tests.bundle import bundle_samples as samples
from tests.bundle.fake_hub import USER, FakeHub, serving, signing_key

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """The Hub, as far as the board needs it."""
    signing_key()  # slow to make; the board waits a few seconds only for the answer that is signed with it
    with serving() as server:
        yield server


@pytest.fixture
def board(tmp_path: Path, hub: FakeHub) -> Iterator[str]:
    """Address of a board that takes submissions in, started as a Space starts it."""
    samples.make_db(tmp_path / "palimpsest.db", {"method": "IKE", "hparams": {"k": 3}})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GRADIO_", "PALIMPSEST_", "HF_"))}
    space = {
        "SYSTEM": "spaces", "SPACE_ID": "ada/board", "HF_ENDPOINT": hub.address, "OPENID_PROVIDER_URL": hub.address,
        "OAUTH_CLIENT_ID": "client", "OAUTH_CLIENT_SECRET": "x", "OAUTH_SCOPES": "openid profile write-discussions",
        "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "HF_HOME": str(tmp_path / "home"),
        "PALIMPSEST_INBOX": "inbox", "PALIMPSEST_HUB_DATASET": hub.dataset,
    }  # fmt: skip
    with (tmp_path / "log.txt").open("w+") as log:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py")], cwd=tmp_path, env=clean | space, stdout=log, stderr=log
        )
        deadline = time.monotonic() + 120
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the board did not start:\n{(tmp_path / 'log.txt').read_text()}")
                time.sleep(0.3)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=20)


def tampered(content: bytes) -> bytes:
    """The bundle with a better average than its answers have, and right checksums."""
    parts = samples.records(content)
    claims = next(cell["claims"] for cell in parts["cells"] if cell["n_edits"] == 4)
    claims["scores"]["free"]["average"] = 1.0
    return samples.packed(parts)


def test_from_the_upload_to_the_row(
    board: str, hub: FakeHub, driver: WebDriver, shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    monkeypatch.chdir(tmp_path)
    samples.make_db(tmp_path / "mine.db")
    assert cli.main(["export", "--db", "mine.db", "--out", "mine.bundle.gz"]) == 0
    known = ["--known", "palimpsest.db"]
    assert cli.main(["verify", "mine.bundle.gz", *known]) == 1  # IKE says what ICE says: to be looked at
    Path("better.bundle.gz").write_bytes(tampered(Path("mine.bundle.gz").read_bytes()))
    wait = WebDriverWait(driver, 120, ignored_exceptions=[StaleElementReferenceException])

    def text(selector: str) -> str:
        # In one go: the page may draw a part anew between finding and reading it.
        code = "const e = document.querySelector(arguments[0]); return e ? e.value || e.innerText : '';"
        return str(driver.execute_script(code, selector) or "")

    def value(place: str) -> str:
        return text(f"#{place} textarea")

    def until(condition: Callable[[], object]) -> None:
        wait.until(lambda _: condition())

    def signed_in() -> bool:
        return f"Logout ({USER})" in text("#sign-in") and driver.current_url.startswith(f"{board}/submit")

    def sign_in() -> None:
        """A click before the page's scripts listen is lost, and on a busy machine a call of the sign-in gives up."""
        for _ in range(8):
            driver.get(f"{board}/submit")
            until(lambda: text("#sign-in"))
            driver.execute_script("document.querySelector('#sign-in').click()")
            end = time.monotonic() + 15
            while time.monotonic() < end:
                if signed_in():
                    return
                time.sleep(0.3)
        pytest.fail((tmp_path / "log.txt").read_text()[-3000:])

    def upload(name: str) -> None:
        field = (By.CSS_SELECTOR, "#bundle input[type=file]")
        until(lambda: driver.find_elements(*field))
        driver.find_element(*field).send_keys(str(tmp_path / name))

    size = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    sign_in()
    assert "scope openid profile write-discussions" in hub.calls

    upload("better.bundle.gz")
    until(lambda: "it can't be accepted as it is" in value("verdict"))
    assert "'average' (free) is claimed to be 100.00%, the answers give" in value("findings")
    assert not driver.find_element(By.CSS_SELECTOR, "#hand-in").is_enabled()
    driver.save_screenshot(str(shots / "submit-tampered.png"))

    driver.get(f"{board}/submit")
    until(signed_in)
    upload("mine.bundle.gz")
    until(lambda: "ICE on tiny" in value("verdict"))
    assert "the answers are those of IKE" in value("findings")
    until(lambda: "1 of 2" in text("#preview"))
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | {"width": 1280})
    driver.save_screenshot(str(shots / "submit.png"))
    until(lambda: driver.find_element(By.CSS_SELECTOR, "#hand-in").is_enabled())
    driver.find_element(By.CSS_SELECTOR, "#hand-in").click()
    until(lambda: "Your pull request is open" in value("taken"))
    (pull,) = hub.pulls
    assert pull["author"] == USER and list(pull["files"].values()) == [Path("mine.bundle.gz").read_bytes()]
    (entry,) = Inbox("inbox").entries()
    assert entry.sender == USER and (event := entry.event(PROPOSED)) and event["address"] in value("taken")
    until(lambda: "◇ self-reported" in text("#received"))

    driver.get(f"{board}/?model=tiny&data=toy&edits=4")
    until(lambda: "IKE" in text("body"))
    assert "ICE" not in text("#leaderboard")
    decision = ["--by", "Max", "--db", "palimpsest.db", "--reviewed", "It is a copy on purpose."]
    assert cli.main(["inbox", "accept", entry.content_hash, *decision]) == 0
    driver.get(f"{board}/?model=tiny&data=toy&edits=4")
    until(lambda: "ICE" in text("#leaderboard") and "◈ re-scored" in text("#leaderboard"))
    # What `inbox rerun` writes down when the answers agree; tests/bundle/test_submit_page.py runs it.
    Inbox("inbox").append(entry.content_hash, RAN, "Max", cases=4, answers=32, agreement=1.0)
    with Store.open("sqlite:///palimpsest.db") as store:
        assert mark_re_run(store, Inbox("inbox").find(entry.content_hash))
    driver.get(f"{board}/?model=tiny&data=toy&edits=4")
    until(lambda: "✓ re-run" in text("#leaderboard"))
