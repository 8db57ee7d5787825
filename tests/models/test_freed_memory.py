"""What a pass frees is there for the next one."""

from __future__ import annotations

import platform

import pytest
import torch

from runner.models.memory import keep_freed


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_freed_blocks_are_not_fetched_anew() -> None:
    import resource

    def fetched() -> int:
        """Pages fetched while 60 MB in three blocks are made, written and freed four times."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(4):
            blocks = [torch.ones(20 << 18) for _ in range(3)]
            del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed()
    fetched()
    assert fetched() < 1000  # of 4 * 15360
