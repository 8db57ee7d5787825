"""The desk of the board's Submit page: the same check, limits, the inbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.engine import connect
from leaderboard.intake import desk as module
from leaderboard.intake.desk import HEADERS, Desk, Rates
from runner.bundle.inbox import Inbox
from tests.bundle import bundle_samples as samples


@pytest.fixture
def desk(host_db: Path, tmp_path: Path) -> Desk:
    return Desk(connect(f"sqlite:///{host_db}", readonly=True), tmp_path / "inbox")


def test_a_bundle_is_checked_previewed_and_taken_in(desk: Desk, bundle: Path) -> None:
    report = desk.check(bundle, "ada")
    assert report.title == "ICE on tiny · toy · protocol wild: nothing is wrong with it." and report.sendable
    assert [row[:2] for row in report.rows] == [[1, "free"], [1, "forced"], [4, "free"], [4, "forced"]]
    assert all(len(row) == len(HEADERS) for row in report.rows)
    assert report.rows[0][3] == "2 of 2"  # behind the host's own IKE, which is always right
    assert "Taken in as" in desk.hand_in(bundle, "Ada", "ada")
    assert "It is there already" in desk.hand_in(bundle, "Ada", "ada")
    assert desk.inbox is not None
    (entry,) = Inbox(desk.inbox).entries()
    assert (entry.sender, entry.state) == ("Ada", "self-reported")
    (shown,) = desk.received()
    assert shown[1:] == ["ICE", "tiny", "toy", "Ada", "◇ self-reported"]
    Inbox(desk.inbox).append(entry.content_hash, "rejected", "Max", reason="No.")
    assert desk.received()[0][-1] == "rejected"


def test_what_the_desk_refuses(desk: Desk, bundle: Path, content: bytes, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gz"
    bad.write_bytes(content[:-9])
    report = desk.check(bad, "eve")
    assert "can't be read" in report.title and not report.sendable and not report.rows
    assert str(tmp_path) not in report.title
    assert "Not taken in" in desk.hand_in(bad, "Eve", "eve")
    assert "Not taken in: a sender's name" in desk.hand_in(bundle, "<script>", "eve")
    parts = samples.records(content)
    parts["answers"].pop()
    bad.write_bytes(samples.packed(parts))
    report = desk.check(bad, "eve")
    assert "can't be accepted" in report.title and "1 of 64 answers are missing" in report.lines[0]
    assert "Not taken in" in desk.hand_in(bad, "Eve", "eve")
    assert not (tmp_path / "inbox").exists()
    assert "takes nothing in" in Desk(desk.database, None).hand_in(bundle, "Ada", "ada")


def test_limits(desk: Desk, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    rates = Rates(2, 25)
    assert [rates.allow("a"), rates.allow("a"), rates.allow("a"), rates.allow("b")] == [True, True, False, True]
    assert rates.allow("a") and len(rates._times) == 2  # the window has moved on
    monkeypatch.setattr(desk, "_checks", Rates(1, 3600))
    assert desk.check(bundle, "ada").sendable
    assert "checks an hour" in desk.check(bundle, "ada").title and desk.check(bundle, "bob").sendable
    monkeypatch.setattr(module, "FILE_BYTES", 100)
    monkeypatch.setattr(desk, "_checks", Rates(9, 3600))
    assert "a bundle has at most 100" in desk.check(bundle, "ada").title
    monkeypatch.undo()
    monkeypatch.setattr(desk, "_checks", Rates(9, 3600))
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.0)
    report = desk.check(bundle, "ada")
    assert "takes more than the 0 s of processor time" in report.title and not report.sendable
    monkeypatch.undo()
    monkeypatch.setattr(module, "MOST_WAITING", 0)
    assert "The inbox is full" in desk.hand_in(bundle, "Ada", "ada")
