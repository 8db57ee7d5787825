"""Whose word a number is: measured here, sent in, or printed in a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

VERIFIED, REPORTED = "✓ verified", "❝ reported"
SELF_REPORTED, RE_SCORED, RE_RUN = "◇ self-reported", "◈ re-scored", "✓ re-run"
OF_STATE = {"self-reported": SELF_REPORTED, "re-scored": RE_SCORED, "re-run": RE_RUN}


def of_cells(submissions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """cell key -> badge of the cells that came in as submissions; all others were measured here.

    submissions: rows of `db.reader.Reader.submissions`, whose body names its cells under "cells", as keys or as objects
    with a "key". Those that were rejected are not on the board.
    """
    badges: dict[str, str] = {}
    for row in submissions:
        badge = OF_STATE.get(row["state"], SELF_REPORTED)
        for cell in row["body"].get("cells") or ():
            key = cell.get("key") if isinstance(cell, Mapping) else cell
            badges[str(key)] = badge
    return badges


def badge(key: str, submitted: Mapping[str, str]) -> str:
    """The badge of one row; "" for a row without a cell."""
    return submitted.get(key, VERIFIED) if key else ""
