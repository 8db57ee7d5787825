"""Where visitors can sign in, and so be the ones who open a pull request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.bundle.hub import HubDataset


def hub_dataset(name: str | None) -> HubDataset | None:
    """The dataset that gets the pull requests; None without a name.

    Raises ValueError for a name that is none, and where nobody can sign in: outside of Spaces Gradio's sign-in button
    would make every visitor the owner of the machine's own token.
    """
    if not name:
        return None
    from runner.bundle.hub import HubDataset, HubError

    if os.environ.get("SYSTEM") != "spaces" or not os.environ.get("OAUTH_CLIENT_ID"):
        raise ValueError(
            "pull requests on the Hub need visitors who sign in, which they can on a Space with `hf_oauth: true` only; "
            "take submissions in with --inbox."
        )
    try:
        return HubDataset(name)
    except HubError as problem:
        raise ValueError(str(problem)) from problem
