"""Where a data file comes from: a user's path, an address on the Hub, or the publisher's repository there."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runner.errors import UserError, user_path

HUB = "hf:"
_ADDRESS = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>.+))?")


@dataclass(frozen=True)
class Published:
    """A file as its publisher names it.

    repo: identifier on the Hub, "" where its publisher has none there. file: path inside the repository ("" for none).
    pattern: glob of its name in a user's folder. page: where it is published otherwise.
    """

    repo: str
    file: str
    pattern: str
    page: str = ""


@dataclass(frozen=True)
class Located:
    """A data file, or folder, on this machine. source: its origin in a report (path, or repository with revision)."""

    path: Path
    source: str


def locate(path: str | Path | None, published: Published, split: str | None = None) -> Located:
    """The file at `path`, else the published one.

    path: a file; a folder that holds one by its published name (among several, the one with `split` in its name); or an
        address on the Hub, `hf:owner/name[@revision][/file]`.

    Raises UserError where the path holds no such file or the hub can't be reached.
    """
    if path is None or is_address(path):
        return _from_hub(*_address(path, published))
    place = user_path(path)
    if place.is_dir():
        found = sorted(p for p in place.glob(published.pattern) if p.is_file() and "-sentence" not in p.name)
        if len(found) > 1 and split is not None:
            found = [p for p in found if split in p.stem]
        if len(found) != 1:
            listed = ", ".join(p.name for p in found) or "none"
            raise UserError(
                f"the folder '{path}' should hold one file like {published.pattern} (found: {listed}); "
                "give the file itself."
            )
        place = found[0]
    if not place.exists():
        raise UserError(f"no data file at '{path}'; check the path.")
    return Located(place, str(place))


def locate_folder(path: str | Path | None, published: Published) -> Located:
    """As `locate`, for a data set of several files: the folder with them, or one of the files.

    Of the Hub's folder (the address's part behind the repository) only files that fit the pattern are fetched.
    """
    if path is not None and not is_address(path):
        place = user_path(path)
        if not place.exists():
            raise UserError(f"no data folder at '{path}'; check the path.")
        return Located(place, str(place))
    repo, folder, revision = _address(path, published)
    if folder.endswith(published.pattern.lstrip("*")):
        return _from_hub(repo, folder, revision)
    import huggingface_hub

    inside = f"{folder.strip('/')}/{published.pattern}" if folder else published.pattern

    def download(**options: Any) -> str:
        root = huggingface_hub.snapshot_download(repo, repo_type="dataset", allow_patterns=[inside], **options)
        if not any(Path(root).glob(inside)):
            raise FileNotFoundError("no such files there")
        return root

    root = _cached_or_fetched(download, inside, repo, revision)
    return Located(root / folder, f"{HUB}{repo}@{_revision(root)}/{folder}".rstrip("/"))


def is_address(path: str | Path) -> bool:
    """Whether a path is an address on the Hub."""
    return str(path).startswith(HUB)


def _address(path: str | Path | None, published: Published) -> tuple[str, str, str | None]:
    """Repository, file in it and revision (None: the one first downloaded, else the newest)."""
    if path is None:
        if not published.repo:
            raise UserError(
                f"this data set needs a path: get {published.pattern} from {published.page}, or name a copy on the Hub "
                "as hf:owner/name@revision/file."
            )
        return published.repo, published.file, None
    match = _ADDRESS.fullmatch(str(path))
    if match is None:
        raise UserError(f"'{path}' is no address on the Hub; write hf:owner/name@revision/file.")
    file = match["file"] or published.file
    if not file and "*" not in published.pattern:
        raise UserError(f"'{path}' names no file; write hf:owner/name@revision/file.")
    return match["repo"], file, match["revision"]


def _from_hub(repo: str, file: str, revision: str | None) -> Located:
    import huggingface_hub

    if not file:
        raise UserError(f"'{HUB}{repo}' names no file; write {HUB}{repo}@revision/file.")

    def download(**options: Any) -> str:
        return huggingface_hub.hf_hub_download(repo, file, repo_type="dataset", **options)

    path = _cached_or_fetched(download, file, repo, revision)
    return Located(path, f"{HUB}{repo}@{_revision(path)}/{file}")


def _cached_or_fetched(download: Callable[..., str], what: str, repo: str, revision: str | None) -> Path:
    """From the Hub's cache when it is there, so that a file stays at the revision first downloaded; else from the Hub.

    Raises UserError where neither has it.
    """
    import huggingface_hub

    options = {} if revision is None else {"revision": revision}
    try:
        return Path(download(local_files_only=True, **options))
    except Exception:  # not cached
        pass
    try:
        _check_reachable(huggingface_hub.constants.ENDPOINT)
        return Path(download(**options))
    except Exception as error:  # the client raises its own, its transport's and the system's errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"can't fetch {what} of {repo} from the Hub ({reason}); give your copy by its path.") from None


def _check_reachable(endpoint: str) -> None:
    """Raises OSError where the hub's name doesn't resolve: the client itself would try for half a minute."""
    if urllib.request.getproxies():
        return  # the proxy resolves names
    url = urlsplit(endpoint)
    try:
        socket.getaddrinfo(url.hostname, url.port or 443)
    except OSError as error:
        raise OSError(f"{url.hostname} can't be reached: {error.strerror or error}") from None


def _revision(path: Path) -> str:
    """The commit a downloaded file belongs to: the Hub's cache names its snapshot folders so."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else "unknown"
