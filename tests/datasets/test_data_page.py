"""The figures and names of docs/data.md are those of the loaders."""

from __future__ import annotations

import re
from pathlib import Path

from runner.datasets import base
from runner.datasets.base import SUPERSEDED, load

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def test_every_data_set_is_listed():
    for name in ("atlas", "atlas-events", "zsre"):
        assert name in base.names()
    assert {name for name in base.names() if f"| `{name}` |" in PAGE} == set(base.names())


def test_the_figures_are_those_of_the_real_file(zsre_folder):
    report = load("zsre", zsre_folder).report
    rows = re.findall(r"^\| ([^|`]+) \| ([\d]+) \|", PAGE, re.MULTILINE)
    assert {name: int(count) for name, count in rows} == {**report.dropped, **report.notes}
    superseded = load("zsre", zsre_folder).resolve_conflicts().report.dropped[SUPERSEDED]
    assert f"In `zsre` {superseded} of {report.kept:,} go." in PAGE


def test_the_example_of_own_cases_is_one(tmp_path):
    (example,) = re.findall(r"```jsonl\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "own.jsonl"
    path.write_text(example, encoding="utf-8")
    loaded = load("jsonl", path)
    assert [case.id for case in loaded.cases] == ["case-0001", "two-edits"]
    assert loaded.report.probe_kinds == {
        "generalization": 1,
        "locality/near": 1,
        "portability/2-hop": 1,
        "reliability": 2,
    }


def test_every_kind_a_published_file_can_have_is_named():
    for name in {n for n in base.names() if base.info(n).source != "generated"} - {"jsonl"}:
        for kind in base.info(name).probe_kinds:
            # "portability/2-hop … portability/6-hop" stand for those between.
            assert f"`{kind}`" in PAGE or re.fullmatch(r"portability/[345]-hop", kind), kind


def test_every_probe_kind_is_named(zsre_folder):
    assert all(f"`{kind}`" in PAGE for kind in load("zsre", zsre_folder).report.probe_kinds)
