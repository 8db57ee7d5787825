"""Every trap on the page names a test that exists, and the figures marked as ours are the published results'."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from db.published import published
from db.store import Store

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "pitfalls.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))
DEFINED = {
    name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text())
}


def test_the_page_names_tests() -> None:
    assert len(NAMED) >= 25


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_exists(name: str) -> None:
    assert name in DEFINED


@pytest.mark.parametrize(
    ("method", "n_edits", "mode", "figure"),
    [
        ("FT-M", 100, "forced", "0.85 forced"),
        ("FT-M", 100, "free", "0.65 free"),
        ("none", 0, "forced", "0.47 forced"),
        ("none", 0, "free", "0.00 free"),
        ("ROME", 1, "free", "0.97 at 1 edit"),
        ("ROME", 100, "free", "0.57 after 100"),
    ],
)
def test_figures_are_those_of_the_published_results(method: str, n_edits: int, mode: str, figure: str) -> None:
    with Store.open(f"sqlite:///{published()}", readonly=True) as store:
        cell = next(
            cell
            for cell in store.cells(method=method, n_edits=n_edits, dataset="atlas", seed=0, protocol="wild")
            if len(cell["case_ids"]) == 100
        )
        score = next(s for s in store.scores(cell["key"], mode) if s["metric"] == "reliability")
    assert figure in PAGE
    assert f"{score['value']:.2f}" == figure.split()[0]
