"""From the Hub's open pull requests into the inbox."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from runner.bundle.bundle import read
from runner.bundle.findings import Unreadable
from runner.bundle.hub import HubDataset, HubError, Proposal
from runner.bundle.inbox import PROPOSED, Inbox
from runner.errors import UserError


def pull_all(dataset: str, inbox: str | Path) -> Iterator[tuple[str, str]]:
    """Take in what the inbox lacks: (address of the pull request, what became of it) for each.

    One that can't be taken in is told and left; the others go on. Raises HubError when the Hub can't be asked.
    """
    from huggingface_hub import get_token

    hub, box, token = HubDataset(dataset), Inbox(inbox), get_token()
    for proposal in hub.proposals(token):
        try:
            yield proposal.address, _pull(hub, box, proposal, token)
        except (HubError, UserError, Unreadable) as problem:
            yield proposal.address, f"not taken in: {problem}"


def _pull(hub: HubDataset, box: Inbox, proposal: Proposal, token: str | None) -> str:
    if any(entry.content_hash == proposal.content_hash for entry in box.entries()):
        return "there already"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.gz"
        hub.fetch(proposal, path, token)
        if read(path).content_hash != proposal.content_hash:
            raise UserError("it is not the bundle of its title.")
        bundle, _ = box.add(path, proposal.author)
    box.append(bundle.content_hash, PROPOSED, proposal.author, address=proposal.address)
    return f"taken in as {bundle.content_hash[:12]} from {proposal.author}"
