"""Grid files: what they mean, and what is said of the wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner import gridfile
from runner.errors import UserError
from runner.grid import DatasetEntry, override

GOOD = """\
name: demo
models: [atlas]
methods:
  - none
  - name: ROME
    hparams: {layer: 1}
datasets:
  - {name: zsre, path: zsre.json}
  - atlas
edits: [1, 10, all]
cases: 5
protocol: {name: wild, max_new_tokens: 8}
"""


def test_a_grid_reads_as_written() -> None:
    grid = gridfile.parse(GOOD, "demo.yaml").grid
    assert [method.name for method in grid.methods] == ["none", "ROME"]
    assert grid.methods[1].hparams == {"layer": 1}
    assert [(d.name, d.path) for d in grid.datasets] == [("zsre", "zsre.json"), ("atlas", None)]
    assert grid.edits == [1, 10, "all"]
    assert grid.seeds == [0]
    assert grid.protocol.max_new_tokens == 8


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("cases: 5", "case: 5", 11, ["unknown key 'case'", "Did you mean 'cases'?"]),
        ("cases: 5", "cases: five", 11, ["'five'", "'cases'"]),
        ("cases: 5", "cases: 0", 11, ["0", "'cases'", "greater than or equal to 1"]),
        ("cases: 5", "cases: 2.5", 11, ["2.5", "'cases'"]),
        ("cases: 5", "cases: yes", 11, ["True", "'cases'"]),
        ("cases: 5", "", 1, ["'cases' is missing"]),
        ("cases: 5", "cases: 5\ncases: 6", 12, ["'cases'", "twice"]),
        ("cases: 5", "cases: 5\nseeds: [-1]", 12, ["-1", "'seeds'"]),
        ("cases: 5", "cases: 5\ndtype: int3", 12, ["'int3'", "'dtype'", "bfloat16"]),
        ("[1, 10, all]", "[1, ten]", 10, ["'ten'", "'edits'", 'or "all"']),
        ("[1, 10, all]", "[]", 10, ["[]", "'edits'"]),
        ("[1, 10, all]", "1", 10, ["1", "'edits'"]),
        ("    hparams:", "    hparam:", 6, ["unknown key 'hparam'", "Did you mean 'hparams'?"]),
        ("  - none", "  - 7", 4, ["7", "'methods'"]),
        ("name: zsre, path", "name: zsre, file", 8, ["unknown key 'file'", "path"]),
        ("max_new_tokens", "max_tokens", 12, ["unknown key 'max_tokens'", "Did you mean 'max_new_tokens'?"]),
        ("[atlas]", "[atlas", 3, ["not YAML"]),
        ("  - none", "\t- none", 4, ["not YAML", "'\\t'"]),
        ("name: demo", "name: 2026-02-30", 1, ["not YAML", "'2026-02-30' looks like the type timestamp", "quotes"]),
        ("{layer: 1}", "{layer: !!int one}", 6, ["not YAML", "'one' looks like the type int"]),
        ("name: demo", "name: &a !!python/object:os.system x", 1, ["not YAML"]),
    ],
)
def test_a_malformed_grid_is_named_by_file_line_key_and_value(old: str, new: str, line: int, words: list[str]) -> None:
    assert old in GOOD
    with pytest.raises(UserError) as error:
        gridfile.parse(GOOD.replace(old, new, 1), "demo.yaml")
    text = str(error.value)
    assert text.startswith(f"demo.yaml, line {line}: "), text
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("text", "said"), [("", "empty"), ("# nothing\n", "empty"), ("- a\n", "a grid is a mapping"), ("\0", "not YAML")]
)
def test_what_is_no_grid_at_all(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        gridfile.parse(text, "demo.yaml")


def test_all_problems_are_counted_and_the_misspelling_comes_first() -> None:
    with pytest.raises(UserError, match=r"line 11: unknown key 'case'.*\(1 more problem in this file\)"):
        gridfile.parse(GOOD.replace("cases:", "case:"), "demo.yaml")


def test_the_shipped_grids_are_valid_and_the_default_is_one_of_them() -> None:
    assert {"atlas", "atlas-quick", "zsre"} <= set(gridfile.names())
    for name in gridfile.names():
        assert gridfile.load(name).grid.name == name
        assert len(gridfile.about(name)) > 20
    quick = gridfile.load("atlas-quick").grid
    assert quick.edits == [1, 10, 100]
    assert [method.name for method in quick.methods] == ["none", "FT-M", "ROME", "MEMIT", "ICE", "SCR"]


def test_unknown_names_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'atlas-quick'"):
        gridfile.load("atlas-quik")
    with pytest.raises(UserError, match="missing.yaml.*No such file"):
        gridfile.load(str(tmp_path / "missing.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(UserError, match="not UTF-8"):
        gridfile.load(str(tmp_path / "latin.yaml"))


def test_the_command_line_replaces_parts() -> None:
    grid = gridfile.parse(GOOD, "demo.yaml").grid
    new = override(
        grid, models=["m"], methods=["rome", "ICE"], edits=[2], seeds=[3], data="x.json", limit=2, device="cpu"
    )
    assert new.models == ["m"]
    assert [(m.name, m.hparams) for m in new.methods] == [("ROME", {"layer": 1}), ("ICE", {})]
    assert [(d.name, d.path) for d in new.datasets] == [("zsre", "x.json"), ("atlas", None)]
    assert (new.edits, new.seeds, new.cases, new.device) == ([2], [3], 2, "cpu")
    assert override(grid) == grid


def test_hyperparameters_go_to_the_methods_that_have_them() -> None:
    grid = gridfile.parse(GOOD, "demo.yaml").grid
    new = override(grid, methods=["ROME", "ICE"], hparams={"v_lr": 0.1})
    assert [m.hparams for m in new.methods] == [{"layer": 1, "v_lr": 0.1}, {}]
    with pytest.raises(UserError, match="'v_lt'.*Did you mean 'v_lr'"):
        override(grid, hparams={"v_lt": 0.1})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limit": 0}, "'cases'"),
        ({"edits": ["ten"]}, "'edits'"),
        ({"edits": [0]}, "'edits'"),
        ({"seeds": [-1]}, "'seeds'"),
    ],
)
def test_bad_values_on_the_command_line(change: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        override(gridfile.parse(GOOD, "demo.yaml").grid, **change)  # type: ignore[arg-type]


def test_data_needs_a_data_set_that_is_read_from_a_file() -> None:
    with pytest.raises(UserError, match="--data"):
        override(gridfile.load("atlas-quick").grid, data="x.json")


def test_a_data_set_may_take_fewer_cases_than_the_grid() -> None:
    from runner.plan import read_dataset

    assert [entry.cases for entry in gridfile.load("retraining").grid.datasets] == [10, 100, 1000]
    entries = [DatasetEntry(name="atlas"), DatasetEntry(name="atlas", cases=3), DatasetEntry(name="atlas", cases=9)]
    assert [len(read_dataset(entry, 5, 1).cases) for entry in entries] == [5, 3, 5]
