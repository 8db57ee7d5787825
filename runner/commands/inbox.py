"""`inbox`: what maintainers do with submitted bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runner.commands.common import DbOption, JsonOption, existing_database, print_json, print_table
from runner.commands.verify import DataOption, KnownOption, what_is_known
from runner.commands.verify import show as show_report

if TYPE_CHECKING:
    from runner.bundle.inbox import Entry
    from runner.bundle.known import Known
    from runner.bundle.verify import Verification

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Submitted bundles: list, show, accept, reject.")

FolderOption = Annotated[str, typer.Option("--inbox", help="The inbox's folder.")]
WhoOption = Annotated[str, typer.Option("--by", help="Who decides; it goes into the log.")]
IdArgument = Annotated[str, typer.Argument(help="The bundle: the first letters of its hash.")]
DEFAULT_INBOX = "inbox"
DISAGREES = 1


@app.command("add")
def add(
    bundle: Annotated[str, typer.Argument(help="The bundle's file.")],
    sender: Annotated[str, typer.Option(help="Who sent it.")],
    inbox: FolderOption = DEFAULT_INBOX,
) -> None:
    """Take a bundle in. One that is there already is recognised by its content.

    Example: python -m runner inbox add toy.bundle.gz --sender "Ada Example"
    """
    from runner.bundle.findings import Unreadable
    from runner.bundle.inbox import Inbox
    from runner.errors import UserError

    try:
        found, new = Inbox(inbox).add(bundle, sender)
    except Unreadable as problem:
        raise UserError(f"{bundle}: {problem}") from problem
    what = "taken in as" if new else "there already, as"
    print(f"{found.method.name} on {found.model.name} · {found.data.name}: {what} {found.content_hash[:12]}")


@app.command("pull")
def pull(
    dataset: Annotated[str, typer.Argument(help="The dataset on the Hub, as owner/name.")],
    inbox: FolderOption = DEFAULT_INBOX,
    json: JsonOption = False,
) -> None:
    """Take in the bundles of a Hub dataset's open pull requests, with their authors as senders.

    Reads with the token of this machine, if there is one. The pull requests stay as they are: merge or close them on
    the Hub once decided.

    Example: python -m runner inbox pull owner/submissions
    """
    from runner.bundle.hub import HubError
    from runner.bundle.pulling import pull_all
    from runner.errors import UserError

    try:
        rows = [{"address": address, "what": what} for address, what in pull_all(dataset, inbox)]
    except HubError as problem:
        raise UserError(str(problem)) from problem
    if json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['address']}: {row['what']}")


@app.command("list")
def list_(inbox: FolderOption = DEFAULT_INBOX, json: JsonOption = False) -> None:
    """List the bundles with their states.

    Example: python -m runner inbox list
    """
    from runner.bundle.inbox import Inbox

    entries = Inbox(inbox).entries()
    rows = [{"bundle": e.content_hash, "received": e.received, "sender": e.sender, "state": e.state} for e in entries]
    if json:
        print_json(rows)
    elif not rows:
        print(f"{inbox} is empty.")
    else:
        shown = [[r["bundle"][:12], r["received"][:19], r["sender"], r["state"]] for r in rows]
        print_table("", ["bundle", "received", "sender", "state"], shown)


@app.command("show")
def show(
    bundle: IdArgument,
    inbox: FolderOption = DEFAULT_INBOX,
    known: KnownOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Show a bundle's report, and what happened to it.

    Example: python -m runner inbox show 3fa9
    """
    from runner.bundle.inbox import Inbox, summary

    entry = Inbox(inbox).find(bundle)
    with what_is_known(known, data) as host:
        result = _verify(entry, host)
    if json:
        print_json({"state": entry.state, "events": entry.events, "report": result.to_json()})
        return
    show_report(result)
    method = result.bundle.method
    print(f"code: {'built in' if method.built_in else method.source_link or 'no link'} {method.source_sha256 or ''}")
    for event in entry.events:
        print(f"  {summary(event)}")


@app.command("accept")
def accept(
    bundle: IdArgument,
    by: WhoOption,
    db: DbOption,
    inbox: FolderOption = DEFAULT_INBOX,
    reviewed: Annotated[str, typer.Option(help="Why the suspicions are none; needed where there are some.")] = "",
    data: DataOption = None,
) -> None:
    """Verify a bundle once more, score it and enter it into a database, as re-scored.

    Example: python -m runner inbox accept 3fa9 --by maintainer --db results.db
    """
    from db.store import Store
    from runner.bundle.inbox import ACCEPTED, REFUSED, Inbox
    from runner.bundle.known import Known
    from runner.bundle.merge import check_new, merge
    from runner.errors import UserError

    box = Inbox(inbox)
    entry = box.find(bundle)
    if entry.event(REFUSED):
        raise UserError(f"{entry.content_hash[:12]} was rejected; the sender may send a mended bundle.")
    with Store.open(existing_database(db)) as store:
        host = Known((store,), tuple(data or ()))
        result = _verify(entry, host)
        if not result.acceptable:
            raise UserError(f"it has errors: {_first(result, 'error')} Say why with `inbox reject`.")
        if entry.event(ACCEPTED) is None:
            if not result.passed and not reviewed:
                raise UserError(f"it has suspicions: {_first(result, 'suspicion')} Look, then say why with --reviewed.")
            check_new(store, result)
            box.append(entry.content_hash, ACCEPTED, by, reviewed=reviewed)
            entry = box.find(entry.content_hash)
        new = merge(store, entry, result, host)
    what = "entered as re-scored" if new else "in the database already"
    print(f"{result.bundle.method.name}, {entry.content_hash[:12]}: {what}: {db}")


@app.command("reject")
def reject(
    bundle: IdArgument,
    by: WhoOption,
    reason: Annotated[str, typer.Option(help="Why, in a sentence for the sender.")],
    inbox: FolderOption = DEFAULT_INBOX,
) -> None:
    """Reject a bundle. It stays in the inbox, with the reason in the log.

    Example: python -m runner inbox reject 3fa9 --by maintainer --reason "Half of the cases are missing."
    """
    from runner.bundle.inbox import ACCEPTED, REFUSED, Inbox
    from runner.errors import UserError

    box = Inbox(inbox)
    entry = box.find(bundle)
    for event in (ACCEPTED, REFUSED):
        if entry.event(event):
            raise UserError(f"{entry.content_hash[:12]} is {event} already; what is decided stays.")
    box.append(entry.content_hash, REFUSED, by, reason=reason)
    print(f"{entry.content_hash[:12]}: rejected.")


@app.command("merge")
def merge_all(db: DbOption, inbox: FolderOption = DEFAULT_INBOX, data: DataOption = None) -> None:
    """Enter every accepted bundle that a database lacks, in the order of acceptance: the same rows each time.

    Example: python -m runner inbox merge --db fresh.db
    """
    from db.store import Store
    from runner.bundle.inbox import Inbox
    from runner.bundle.known import Known
    from runner.bundle.merge import mark_re_run, merge

    new = 0
    entries = Inbox(inbox).accepted()
    with Store.open(existing_database(db)) as store:
        host = Known((store,), tuple(data or ()))
        for entry in entries:
            new += merge(store, entry, _verify(entry, host), host)
            mark_re_run(store, entry)
    print(f"{new} of {len(entries)} accepted bundles were entered; the others were there: {db}")


@app.command("rerun")
def rerun(
    bundle: IdArgument,
    method: Annotated[str, typer.Option(help="The submitted code, which you have read: a file, or a built-in name.")],
    by: WhoOption,
    inbox: FolderOption = DEFAULT_INBOX,
    db: Annotated[str | None, typer.Option("--db", help="A database that has the bundle, to mark it re-run.")] = None,
    model: Annotated[str | None, typer.Option(help="What loads the model (default: its name).")] = None,
    cases: Annotated[int, typer.Option(min=1, help="How many cases, at least.")] = 10,
    edits: Annotated[int | None, typer.Option(help="At which edit count (default: the smallest).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    known: KnownOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Run a sample of the cases with the submitted code; where the answers agree, the bundle is re-run.

    Example: python -m runner inbox rerun 3fa9 --method submitted/toy.py --by maintainer --db results.db
    """
    from db.store import Store
    from runner.bundle.inbox import ACCEPTED, RAN, Inbox
    from runner.bundle.merge import mark_re_run
    from runner.bundle.rerun import rerun as run_again
    from runner.errors import UserError

    box = Inbox(inbox)
    entry = box.find(bundle)
    if entry.event(ACCEPTED) is None:
        raise UserError(f"{entry.content_hash[:12]} is not accepted yet; accept it first.")
    with what_is_known([*(known or []), *([db] if db else [])] or None, data) as host:
        result = _verify(entry, host)
        if result.cases is None or not result.acceptable:
            raise UserError(f"it has errors: {_first(result, 'error')}")
        found = run_again(result, method, model or result.bundle.model.name, cases, device, edits)
    report: dict[str, Any] = {"cases": found.cases, "answers": found.answers, "agreement": round(found.agreement, 4)}
    if found.agrees:
        box.append(entry.content_hash, RAN, by, n_edits=found.n_edits, **report)
        if db:
            with Store.open(existing_database(db)) as store:
                mark_re_run(store, box.find(entry.content_hash))
    if json:
        print_json(report | {"agrees": found.agrees, "differing": found.differing})
    else:
        print(
            f"{found.cases} cases at {found.n_edits} edits: {found.agreement:.1%} of {found.answers} answers agree; "
            + ("it is re-run." if found.agrees else "that is not the same run.")
        )
        for place in found.differing[:10]:
            print(f"  differs: {place}")
    if not found.agrees:
        raise typer.Exit(DISAGREES)


def _verify(entry: Entry, known: Known) -> Verification:
    from runner.bundle.findings import Unreadable
    from runner.bundle.verify import verify
    from runner.errors import UserError

    try:
        result = verify(entry.path, known)
    except Unreadable as problem:
        raise UserError(f"{entry.path}: {problem}") from problem
    if result.bundle.content_hash != entry.content_hash:
        raise UserError(f"{entry.path} is not the bundle of its name; the inbox was tampered with.")
    return result


def _first(result: Verification, level: str) -> str:
    return next((finding.sentence for finding in result.findings if finding.level == level), "")
