"""The comparison's way into a reference's checkout: its modules by file, and as if started in its root."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.parity.checkout import Checkouts


@pytest.fixture(autouse=True)
def no_stand_in_stays() -> Iterator[None]:
    """What stands in for absent packages must not be met by other tests."""
    before = set(sys.modules)
    yield
    for name in [n for n in set(sys.modules) - before if sys.modules[n].__spec__ is None]:
        del sys.modules[name]


def write(root: Path, file: str, text: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_two_checkouts_may_name_their_modules_alike(tmp_path: Path) -> None:
    for name, value in (("one", 1), ("two", 2)):
        write(tmp_path / name, "parity_sample_tools.py", f"VALUE = {value}\n")
        write(tmp_path / name, f"editing/{name}_main.py", "from parity_sample_tools import VALUE\nimport omegaconf\n")
    checkouts = Checkouts([tmp_path / "one", tmp_path / "two"])
    path = list(sys.path)
    assert checkouts.script("editing/one_main.py").VALUE == 1
    assert checkouts.script("editing/two_main.py").VALUE == 2
    assert sys.path == path and "parity_sample_tools" not in sys.modules
    assert checkouts.has("editing/two_main.py") and not checkouts.has("editing/three_main.py")


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no folder"):
        Checkouts([tmp_path / "none"])
