"""The desk where bundles are handed in: checks them as `python -m runner verify` does, puts them into the inbox, and
opens a pull request on the Hub where the board has a dataset there.

A visitor's file is hostile. It is read by `runner.bundle` with its limits, one at a time; a visitor may have so many
checks and bundles an hour.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.store import Store
from leaderboard import badges

if TYPE_CHECKING:
    from db.engine import Database
    from runner.bundle.bundle import Bundle
    from runner.bundle.hub import HubDataset
    from runner.bundle.verify import Verification

FILE_BYTES = 16 << 20
CONTENT_BYTES = 96 << 20
CHECKS_AN_HOUR, BUNDLES_A_DAY = 20, 5
CHECK_SECONDS = 30.0  # of processor time: a hundred thousand answers
MOST_SHOWN = 50
MOST_WAITING = 200  # bundles in the inbox that nobody has decided about
_HOUR, _DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Report:
    """What the page shows. title: one line. lines: the findings. rows: the rows as they would rank. sendable: whether
    it may be handed in."""

    title: str
    lines: list[str] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    sendable: bool = False


HEADERS = [
    "cases in a row",
    "answers are",
    "average",
    "place",
    "reliability",
    "generalization",
    "portability",
    "locality",
]
RECEIVED_HEADERS = ["received (UTC)", "method", "model", "data set", "sender", "state"]


class Rates:
    """How often each visitor did something within a window of seconds."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self._times: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def allow(self, who: str) -> bool:
        """Whether once more is allowed; counts it if so."""
        now = time.monotonic()
        with self._lock:
            for name in [name for name, seen in self._times.items() if seen and seen[-1] < now - self.seconds]:
                del self._times[name]
            seen = self._times[who]
            while seen and seen[0] < now - self.seconds:
                seen.popleft()
            if len(seen) >= self.most:
                return False
            seen.append(now)
            return True


class Desk:
    """Checks bundles against a database and keeps those handed in.

    database: what is known here. inbox: the folder. hub: the dataset that gets a pull request for each. With neither,
    nothing is taken in, only checked.
    """

    def __init__(self, database: Database, inbox: str | Path | None, hub: HubDataset | None = None) -> None:
        self.database = database
        self.inbox = Path(inbox) if inbox else None
        self.hub = hub
        self._checks = Rates(CHECKS_AN_HOUR, _HOUR)
        self._bundles = Rates(BUNDLES_A_DAY, _DAY)
        self._one = threading.Lock()  # one check at a time bounds memory
        self._sending = threading.Lock()  # and one pull request, so that a bundle gets no second one

    @property
    def takes_in(self) -> bool:
        """Whether bundles can be handed in."""
        return self.inbox is not None or self.hub is not None

    def received(self) -> list[list[str]]:
        """The newest bundles in the inbox: when, what, from whom, and the badge of its state."""
        from runner.bundle.inbox import RECEIVED, Inbox

        entries = Inbox(self.inbox).entries() if self.inbox else []
        return [
            [
                entry.received[:16].replace("T", " "),
                *(str((entry.event(RECEIVED) or {}).get(name, "")) for name in ("method", "model", "data")),
                entry.sender,
                badges.OF_STATE.get(entry.state, entry.state),
            ]
            for entry in entries[: -MOST_SHOWN - 1 : -1]
        ]

    def check(self, path: str | Path, who: str) -> Report:
        """Check a file for a visitor."""
        if not self._checks.allow(who):
            return Report(f"{CHECKS_AN_HOUR} checks an hour are enough; try again later, or run verify yourself.")
        with self._one:
            return self._check(path)

    def hand_in(self, path: str | Path, sender: str, who: str, token: str | None = None) -> str:
        """Check once more, put into the inbox, and open the pull request. Returns a sentence.

        who: whom limits count for. token: of the signed-in user, who is the sender then.
        """
        from runner.bundle.findings import Unreadable
        from runner.errors import UserError

        if not self.takes_in:
            return "This board takes nothing in; send the file to its maintainers."
        if self.hub is not None and not token:
            return "Sign in with Hugging Face first: the pull request will be yours."
        with self._one:
            try:
                report = self._check(path)
                if not report.sendable:
                    return f"Not taken in: {report.title}"
                if self._is_full():
                    return "The inbox is full; try again when the maintainers have been there."
                if not self._bundles.allow(who):
                    return f"{BUNDLES_A_DAY} bundles a day are enough; try again tomorrow."
                bundle, new = self._keep(path, sender)
            except (Unreadable, UserError) as problem:
                return f"Not taken in: {problem}"
        if self.hub is not None and token:
            with self._sending:
                return self._propose(self.hub, Path(path), bundle, sender, token)
        name = bundle.content_hash[:12]
        return f"Taken in as {name}; a maintainer will look at it." if new else f"It is there already, as {name}."

    def _is_full(self) -> bool:
        from runner.bundle.inbox import Inbox

        entries = Inbox(self.inbox).entries() if self.inbox else []
        return sum(entry.state == "self-reported" for entry in entries) >= MOST_WAITING

    def _keep(self, path: str | Path, sender: str) -> tuple[Bundle, bool]:
        """Put it into the inbox, if there is one. Returns it and whether it is new there."""
        from runner.bundle.bundle import read
        from runner.bundle.inbox import Inbox

        return Inbox(self.inbox).add(path, sender, _limits()) if self.inbox else (read(path, _limits()), True)

    def _propose(self, hub: HubDataset, path: Path, bundle: Bundle, sender: str, token: str) -> str:
        """Open the pull request; whatever the Hub does, what is in the inbox stays there."""
        from runner.bundle.hub import HubError
        from runner.bundle.inbox import PROPOSED, Inbox

        name = bundle.content_hash[:12]
        box = Inbox(self.inbox) if self.inbox else None
        before = box.find(bundle.content_hash).event(PROPOSED) if box else None
        if before is not None:
            return f"It is there already, as {name}: {before['address']}"
        try:
            address = hub.find(bundle.content_hash, token)
            known = address is not None
            address = address or hub.propose(path, bundle, token)
        except HubError as problem:
            kept = f"The bundle is kept here as {name}" if box else "Nothing was sent, so keep the file"
            return f"{problem} {kept}; hand it in again later for the pull request."
        if box:
            box.append(bundle.content_hash, PROPOSED, sender, address=address)
        return f"It is there already: {address}" if known else f"Your pull request is open, as {name}: {address}"

    def _check(self, path: str | Path) -> Report:
        from runner.bundle.findings import Unreadable
        from runner.bundle.known import Known
        from runner.bundle.verify import verify

        store = Store(self.database)
        try:
            result = verify(path, Known((store,)), _limits())
        except Unreadable as problem:
            return Report(f"The file can't be read: {str(problem).replace(str(path), 'it')}")
        bundle = result.bundle
        what = f"{bundle.method.name} on {bundle.model.name} · {bundle.data.name} · protocol {bundle.protocol.name}"
        verdict = (
            "nothing is wrong with it."
            if result.passed
            else "a maintainer will have to look at what is odd."
            if result.acceptable
            else "it can't be accepted as it is."
        )
        lines = [f"{finding.level}: {finding.sentence}" for finding in result.findings]
        return Report(f"{what}: {verdict}", lines, _rows(store, result), result.acceptable)


def _limits() -> Any:
    from runner.bundle.container import Limits

    return Limits(file_bytes=FILE_BYTES, content_bytes=CONTENT_BYTES, answers=300_000, seconds=CHECK_SECONDS)


def _rows(store: Store, result: Verification) -> list[list[Any]]:
    """The main scores in percent, with the place by average among the rows measured alike."""
    bundle = result.bundle
    alike = store.cells(
        model_hash=bundle.model.hash, dataset_hash=bundle.data.hash, protocol_hash=bundle.protocol.hash, state="done"
    )
    found = []
    for row in result.rows():
        others = [
            score["value"]
            for cell in alike
            if (cell["n_edits"], cell["seed"]) == (row["n_edits"], row["seed"])
            for score in store.scores(cell["key"], row["mode"])
            if score["metric"] == "average" and score["value"] is not None
        ]
        average = row["average"]
        place = "" if average is None else f"{1 + sum(other > average for other in others)} of {len(others) + 1}"
        values = [_percent(row[name]) for name in HEADERS[4:]]
        found.append([row["n_edits"], row["mode"], _percent(average), place, *values])
    return found


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
