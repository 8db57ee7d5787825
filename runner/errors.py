"""The one error a user is meant to read, and what helps to write it."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Bad input: one sentence that says what is wrong, where, and how to mend it.

    The command line prints the sentence without a traceback and leaves with exit code 2.
    """


def user_path(text: str | Path) -> Path:
    """A path as a user writes it, "~" being their home; where nobody has that home, the path as it stands."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def did_you_mean(word: str, choices: list[str]) -> str:
    """A hint such as `` Did you mean 'rome'?``, or an empty string when nothing is close."""
    import difflib

    close = difflib.get_close_matches(word.lower(), [c.lower() for c in choices], n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
