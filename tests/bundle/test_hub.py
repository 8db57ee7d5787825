"""Pull requests on the Hub, against a Hub on localhost that answers huggingface_hub's own calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import connect
from leaderboard.intake import desk as module
from leaderboard.intake.desk import Desk
from leaderboard.intake.signing_in import hub_dataset
from runner import cli
from runner.bundle.bundle import read
from runner.bundle.hub import HubDataset, HubError
from runner.bundle.inbox import PROPOSED, Inbox
from tests.bundle.fake_hub import TOKEN, USER, FakeHub, serving


@pytest.fixture(params=["regular"])
def hub(request: pytest.FixtureRequest) -> Iterator[FakeHub]:
    with serving(mode=request.param) as server:
        yield server


def desk_of(hub: FakeHub, host_db: Path, inbox: Path | None) -> Desk:
    database = connect(f"sqlite:///{host_db}", readonly=True)
    return Desk(database, inbox, HubDataset(hub.dataset, hub.address))


@pytest.mark.parametrize("hub", ["regular", "lfs"], indirect=True)
def test_handing_in_opens_one_pull_request(
    hub: FakeHub, host_db: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other way for large files, Xet, talks to a server of its own.
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    desk = desk_of(hub, host_db, tmp_path / "inbox")
    assert "Sign in" in desk.hand_in(bundle, USER, "user ada")
    assert not hub.pulls and not (tmp_path / "inbox").exists()
    content_hash = read(bundle).content_hash
    address = f"{hub.address}/datasets/{hub.dataset}/discussions/1"
    sentence = desk.hand_in(bundle, USER, "user ada", TOKEN)
    assert sentence == f"Your pull request is open, as {content_hash[:12]}: {address}"
    (pull,) = hub.pulls
    assert pull["author"] == USER and pull["files"] == {f"bundles/{content_hash}.gz": bundle.read_bytes()}
    assert pull["title"] == f"ICE on tiny, toy, wild: bundle {content_hash}"
    (entry,) = Inbox(tmp_path / "inbox").entries()
    assert (entry.state, entry.sender) == ("self-reported", USER)
    assert (event := entry.event(PROPOSED)) is not None and event["address"] == address
    # Once more: the inbox knows it; a board that has lost its inbox asks the Hub.
    assert f"It is there already, as {content_hash[:12]}: {address}" in desk.hand_in(bundle, USER, "bob", TOKEN)
    fresh = desk_of(hub, host_db, None)
    assert fresh.hand_in(bundle, USER, "bob", TOKEN) == f"It is there already: {address}"
    hub.pulls.clear()
    hub.merged[f"bundles/{content_hash}.gz"] = b""
    merged = fresh.hand_in(bundle, USER, "bob", TOKEN)
    assert merged == f"It is there already: {hub.address}/datasets/{hub.dataset}/blob/main/bundles/{content_hash}.gz"
    assert not hub.pulls


@pytest.mark.parametrize(
    ("status", "token", "words"),
    [
        (0, "old", "The Hub refused the sign-in: sign out, sign in again"),
        (403, TOKEN, "The Hub refused the sign-in"),
        (404, TOKEN, "is not on the Hub, or it is private"),
        (429, TOKEN, "too many requests"),
        (500, TOKEN, "could not do it (status 500)"),
        (-1, TOKEN, "The Hub can't be reached just now."),
    ],
)
def test_what_the_hub_refuses_is_one_sentence_and_nothing_is_lost(
    hub: FakeHub, host_db: Path, bundle: Path, tmp_path: Path, status: int, token: str, words: str
) -> None:
    desk = desk_of(hub, host_db, tmp_path / "inbox")
    hub.status = max(status, 0)
    if status < 0:
        desk.hub = HubDataset(hub.dataset, "http://127.0.0.1:9")
    sentence = desk.hand_in(bundle, USER, "user ada", token)
    assert words in sentence and "The bundle is kept here as" in sentence and token not in sentence
    (entry,) = Inbox(tmp_path / "inbox").entries()
    assert entry.event(PROPOSED) is None and entry.path.read_bytes() == bundle.read_bytes()
    desk.inbox = None
    assert "Nothing was sent, so keep the file" in desk.hand_in(bundle, USER, "user ada", token)
    # The Hub is back: the same bundle gets its pull request.
    hub.status, desk.inbox, desk.hub = 0, tmp_path / "inbox", HubDataset(hub.dataset, hub.address)
    assert "Your pull request is open" in desk.hand_in(bundle, USER, "user ada", TOKEN) and len(hub.pulls) == 1


def test_a_user_has_so_many_bundles_a_day(
    hub: FakeHub, host_db: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUNDLES_A_DAY", 1)
    desk = desk_of(hub, host_db, None)
    assert "is open" in desk.hand_in(bundle, USER, "user ada", TOKEN)
    calls = len(hub.calls)
    assert "1 bundles a day" in desk.hand_in(bundle, USER, "user ada", TOKEN) and len(hub.calls) == calls
    assert "there already" in desk.hand_in(bundle, "bob", "user bob", TOKEN)


def test_maintainers_pull_what_was_proposed(
    hub: FakeHub, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bundle.read_bytes()
    content_hash = read(bundle).content_hash
    lie, large = "a" * 64, "b" * 64
    hub.open(f"ICE: bundle {content_hash}", USER, {f"bundles/{content_hash}.gz": content})
    hub.open("Fix a typo", "bob", {"README.md": b"x"})
    hub.open(f"bundle {lie}", "eve", {f"bundles/{lie}.gz": content})
    hub.open(f"bundle {large}", "eve", {f"bundles/{large}.gz": bytes(33 << 20)})
    hub.open(f"bundle {'c' * 64}", "eve", {})
    monkeypatch.setattr("runner.bundle.pulling.HubDataset", lambda name: HubDataset(name, hub.address))
    box = tmp_path / "inbox"
    assert cli.main(["inbox", "pull", hub.dataset, "--inbox", str(box)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert f"taken in as {content_hash[:12]} from {USER}" in lines[0]
    assert "is not the bundle of its title" in lines[1]
    assert "holds more than" in lines[2] and "is not on the Hub" in lines[3]
    (entry,) = Inbox(box).entries()
    assert (entry.sender, entry.state, entry.content_hash) == (USER, "self-reported", content_hash)
    assert cli.main(["inbox", "pull", hub.dataset, "--inbox", str(box), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["what"] == "there already"
    hub.status = 500
    assert cli.main(["inbox", "pull", hub.dataset, "--inbox", str(box)]) == 2
    assert "could not do it (status 500)" in capsys.readouterr().err
    assert cli.main(["inbox", "pull", "../x", "--inbox", str(box)]) == 2
    assert "is no dataset on the Hub" in capsys.readouterr().err


def test_without_sign_in_there_are_no_pull_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_dataset(None) is None and hub_dataset("") is None
    with pytest.raises(ValueError, match="on a Space with `hf_oauth: true` only"):
        hub_dataset("owner/name")
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("OAUTH_CLIENT_ID", "client")
    found = hub_dataset("owner/name")
    assert found is not None and found.name == "owner/name"
    for name in ("owner", "../name", "a/b/c", "https://x.org/y"):
        with pytest.raises(ValueError, match="is no dataset on the Hub"):
            hub_dataset(name)
    with pytest.raises(HubError):
        HubDataset("")
