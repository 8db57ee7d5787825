"""Bundles as pull requests on a Hub dataset: opened as the user who sends one, fetched by maintainers.

A bundle lies in the dataset as `bundles/<content hash>.gz`; the pull request's title has the hash, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.bundle.container import Limits

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from runner.bundle.bundle import Bundle

FOLDER = "bundles"
MOST_LISTED = 1_000  # open pull requests that are looked through
SECONDS = 30.0  # without a byte from the Hub
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_HASH = re.compile(r"\b[0-9a-f]{64}\b")


class HubError(Exception):
    """The Hub didn't do what it was asked for: one sentence, without anything secret."""


@dataclass(frozen=True)
class Proposal:
    """An open pull request that says it brings a bundle. author: the user's name on the Hub."""

    number: int
    content_hash: str
    author: str
    address: str


class HubDataset:
    """A dataset on the Hub that takes bundles in.

    name: "owner/name". endpoint: the Hub's address; None for the one huggingface_hub is set to (HF_ENDPOINT).
    """

    def __init__(self, name: str, endpoint: str | None = None) -> None:
        if not _REPOSITORY.fullmatch(name):
            raise HubError(f"'{name[:80]}' is no dataset on the Hub; name it as owner/name.")
        self.name = name
        self._endpoint = endpoint

    def find(self, content_hash: str, token: str | None) -> str | None:
        """The address of the open pull request or of the file that has this content. Raises HubError."""
        same = [proposal for proposal in self.proposals(token) if proposal.content_hash == content_hash]
        if same:
            return same[0].address
        api = self._api(token)
        with _sentences(self.name):
            there = api.file_exists(self.name, _path(content_hash), repo_type="dataset")
        return f"{api.endpoint}/datasets/{self.name}/blob/main/{_path(content_hash)}" if there else None

    def propose(self, path: Path, bundle: Bundle, token: str) -> str:
        """Open a pull request with a bundle's file, as the token's user. Returns its address. Raises HubError."""
        from huggingface_hub import CommitOperationAdd

        what = f"{bundle.method.name} on {bundle.model.name}, {bundle.data.name}, {bundle.protocol.name}"
        operation = CommitOperationAdd(path_in_repo=_path(bundle.content_hash), path_or_fileobj=str(path))
        with _sentences(self.name):
            made = self._api(token).create_commit(
                self.name, [operation], commit_message=f"{what}: bundle {bundle.content_hash}",
                commit_description="Checked and scored anew by the board before it was sent.",
                repo_type="dataset", create_pr=True,
            )  # fmt: skip
        return str(made.pr_url or made.commit_url)

    def proposals(self, token: str | None = None) -> list[Proposal]:
        """The open pull requests with a content hash in the title, oldest first. Raises HubError."""
        with _sentences(self.name):
            listed = self._api(token).get_repo_discussions(
                self.name, repo_type="dataset", discussion_type="pull_request", discussion_status="open"
            )
            found = [
                Proposal(each.num, named[0], each.author, each.url)
                for each in islice(listed, MOST_LISTED)
                if each.is_pull_request and (named := _HASH.findall(each.title))
            ]
        return sorted(found, key=lambda proposal: proposal.number)

    def fetch(self, proposal: Proposal, path: Path, token: str | None = None, limits: Limits | None = None) -> None:
        """Write a pull request's bundle to a file, no more of it than a bundle may have. Raises HubError."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        most = (limits or Limits()).file_bytes
        api = self._api(token)
        url = hf_hub_url(
            self.name, _path(proposal.content_hash), repo_type="dataset", revision=f"refs/pr/{proposal.number}",
            endpoint=api.endpoint,
        )  # fmt: skip
        with _sentences(self.name), get_session().stream("GET", url, headers=build_hf_headers(token=token)) as answer:
            hf_raise_for_status(answer)
            size = 0
            with path.open("wb") as file:
                for chunk in answer.iter_bytes(1 << 16):
                    size += len(chunk)
                    if size > most:
                        raise HubError(f"{proposal.address} holds more than the {most} bytes a bundle may have.")
                    file.write(chunk)

    def _api(self, token: str | None) -> HfApi:
        import huggingface_hub

        global _bounded
        if not _bounded:  # of itself it waits for an answer for ever
            huggingface_hub.set_client_factory(_client)
            _bounded = True
        return huggingface_hub.HfApi(endpoint=self._endpoint, token=token or False)


_bounded = False


def _client() -> Any:
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.timeout = SECONDS
    return client


def _path(content_hash: str) -> str:
    return f"{FOLDER}/{content_hash}.gz"


@contextmanager
def _sentences(dataset: str) -> Iterator[None]:
    """Whatever goes wrong with the Hub as a HubError."""
    from huggingface_hub.errors import HfHubHTTPError

    # httpx or httpx2, whichever the installed huggingface_hub is built on.
    transport = [base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError"]
    lost: tuple[type[Exception], ...] = (*transport, OSError, RuntimeError)  # the last is raised by hf_xet
    try:
        yield
    except HfHubHTTPError as problem:
        raise HubError(_sentence(problem.response.status_code, dataset)) from problem
    except lost as problem:
        raise HubError("The Hub can't be reached just now.") from problem
    except (ValueError, KeyError, TypeError) as problem:
        raise HubError("The Hub's answer could not be understood.") from problem


def _sentence(status: int, dataset: str) -> str:
    if status in (401, 403):
        return (
            "The Hub refused the sign-in: sign out, sign in again, and let the board open discussions and pull "
            "requests for you."
        )
    if status == 404:
        return f"The dataset {dataset} is not on the Hub, or it is private: the maintainers have to mend that."
    if status == 429:
        return "The Hub had too many requests; it takes more in a while."
    return f"The Hub could not do it (status {status})."
