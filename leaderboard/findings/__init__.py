"""The paper's questions, answered from whatever cells a database has. One module per question."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaderboard.findings.finding import Finding, Question
    from leaderboard.findings.frames import Frames

# In the order of their numbers.
MODULES = (
    "collapse", "latency", "portability", "domains", "memory_size", "hybrids", "retraining", "reasoning", "sizes",
    "forcing",
)  # fmt: skip


def questions() -> list[Question]:
    """What is asked, in order; needs no database."""
    return [import_module(f"{__name__}.{name}").QUESTION for name in MODULES]


def find_all(frames: Frames) -> list[Finding]:
    """Every finding, in order; one that has no cells says how to get them."""
    return [import_module(f"{__name__}.{name}").find(frames) for name in MODULES]
