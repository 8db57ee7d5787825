"""The inbox: a folder that only grows. Bundles are stored once, under their content hash, beside a log of events.

    inbox/bundles/<content hash>.gz     as they came
    inbox/log.jsonl                     one event a line: received, proposed, accepted, rejected, re-run

A bundle's state is what the log says: self-reported -> re-scored (accepted) -> re-run, or rejected.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from db.submissions import RE_RUN, RE_SCORED, REJECTED, SELF_REPORTED
from runner.bundle.bundle import Bundle, read
from runner.bundle.container import Limits
from runner.bundle.forms import plain
from runner.errors import UserError

RECEIVED, ACCEPTED, REFUSED, RAN = "received", "accepted", "rejected", "re-run"
PROPOSED = "proposed"  # as a pull request on the Hub; the state stays as it is
STATE_AFTER = {RECEIVED: SELF_REPORTED, ACCEPTED: RE_SCORED, REFUSED: REJECTED, RAN: RE_RUN}
MAX_NAME = 80


@dataclass(frozen=True)
class Entry:
    """A bundle in the inbox with its events, in order."""

    content_hash: str
    path: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """self-reported, re-scored, re-run or rejected."""
        decided = (event["event"] for event in reversed(self.events))
        return next((STATE_AFTER[name] for name in decided if name in STATE_AFTER), SELF_REPORTED)

    @property
    def sender(self) -> str:
        """Who sent it, as the log says."""
        return str(self.events[0]["by"])

    @property
    def received(self) -> str:
        """When it came, as ISO time in UTC."""
        return str(self.events[0]["at"])

    def event(self, kind: str) -> dict[str, Any] | None:
        """The newest event of a kind."""
        return next((event for event in reversed(self.events) if event["event"] == kind), None)


class Inbox:
    """The folder. Nothing in it is ever changed or taken away."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.bundles = self.folder / "bundles"
        self.log = self.folder / "log.jsonl"

    def add(self, path: str | Path, sender: str, limits: Limits | None = None) -> tuple[Bundle, bool]:
        """Take a bundle in. Returns it, and False when the same content is there already.

        Raises Unreadable for a file that is no bundle, UserError for a sender's name that is none.
        """
        sender = _name(sender)
        bundle = read(path, limits)
        if any(entry.content_hash == bundle.content_hash for entry in self.entries()):
            return bundle, False
        self.bundles.mkdir(parents=True, exist_ok=True)
        target = self.bundles / f"{bundle.content_hash}.gz"
        # Under another name first: a copy that was interrupted must not look like a bundle.
        part = target.with_suffix(f".{os.getpid()}.part")
        try:
            shutil.copyfile(path, part)
            if read(part, limits).content_hash != bundle.content_hash:
                raise UserError(f"{path} changed while it was read; send it again.")
            part.chmod(0o444)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        what = {"method": bundle.method.name, "model": bundle.model.name, "data": bundle.data.name}
        self.append(bundle.content_hash, RECEIVED, sender, **what)
        return bundle, True

    def append(self, content_hash: str, event: str, by: str, **body: Any) -> None:
        """Add an event to the log, in one write."""
        line = {"at": _now(), "event": event, "bundle": content_hash, "by": _name(by), **body}
        text = json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, text.encode())
            os.fsync(handle)
        finally:
            os.close(handle)

    def entries(self) -> list[Entry]:
        """All bundles, in the order they came. Raises UserError for a log that was tampered with."""
        found: dict[str, Entry] = {}
        for event in self._events():
            name = event["bundle"]
            entry = found.setdefault(name, Entry(name, self.bundles / f"{name}.gz"))
            entry.events.append(event)
        return list(found.values())

    def find(self, beginning: str) -> Entry:
        """The bundle whose hash begins so. Raises UserError for none or several."""
        fitting = [entry for entry in self.entries() if entry.content_hash.startswith(beginning.lower())]
        if len(fitting) != 1 or not beginning:
            what = "no bundle" if not fitting else f"{len(fitting)} bundles"
            raise UserError(f"{what} in {self.folder} begin with '{beginning}'; see `inbox list`.")
        return fitting[0]

    def accepted(self) -> list[Entry]:
        """The accepted bundles, in the order they were accepted."""
        taken = [(event["at"], entry) for entry in self.entries() if (event := entry.event(ACCEPTED)) is not None]
        return [entry for _, entry in sorted(taken, key=lambda pair: pair[0])]

    def _events(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        events = []
        for number, line in enumerate(self.log.read_text(encoding="utf-8").splitlines(), 1):
            try:
                event = json.loads(line)
                known = event["event"] in (*STATE_AFTER, PROPOSED) and isinstance(event["by"], str)
                valid = known and len(event["bundle"]) == 64 and int(event["bundle"], 16) >= 0
                datetime.fromisoformat(event["at"])
            except (ValueError, KeyError, TypeError):
                valid = False
            if not valid:
                raise UserError(f"{self.log}, line {number}, is no event; put back the log as it was.")
            events.append(event)
        return events


def _name(text: str) -> str:
    try:
        found = plain(" ".join(text.split()))
    except ValueError as problem:
        raise UserError(f"a sender's name should be plain text; {problem}.") from problem
    if not 0 < len(found) <= MAX_NAME:
        raise UserError(f"a sender's name should have 1 to {MAX_NAME} letters.")
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def received_time(entry: Entry) -> datetime:
    """When it came, as the database keeps times: UTC without a zone."""
    return datetime.fromisoformat(entry.received).astimezone(UTC).replace(tzinfo=None)


def summary(event: Mapping[str, Any]) -> str:
    """An event as a line for a person."""
    more = {key: value for key, value in event.items() if key not in ("at", "event", "bundle", "by")}
    details = "; ".join(f"{key}: {value}" for key, value in more.items() if value not in (None, "", []))
    return f"{event['at'][:19]} {event['event']} by {event['by']}" + (f" ({details})" if details else "")
