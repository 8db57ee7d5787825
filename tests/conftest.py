"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runner.methods import registry


@pytest.fixture
def clean_registry() -> Iterator[None]:
    """Methods that a test registers are forgotten after it."""
    known = dict(registry._registered)
    yield
    # A built-in module is imported once in a process, so what it registered has to stay.
    built_in = {k: c for k, c in registry._registered.items() if c.__module__ in registry.BUILT_IN.values()}
    registry._registered.clear()
    registry._registered.update({**known, **built_in})
