"""Methods are found by name, from a file or a module, and importing the registry stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runner.errors import UserError
from runner.methods import registry
from runner.methods.base import Method

pytestmark = pytest.mark.usefixtures("clean_registry")
OWN = """
from typing import ClassVar
from runner.methods.base import Method
from runner.methods.registry import register

@register
class Own(Method):
    name: ClassVar[str] = "{name}"
    family: ClassVar[str] = "own"
"""


def test_importing_the_registry_is_light() -> None:
    code = (
        "import sys; from runner.methods import registry; registry.names(); registry.get('none'); registry.get('ICE');"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'pandas', 'gradio'} & set(sys.modules);"
        "print(','.join(sorted(heavy)) or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"


def test_names_are_the_papers() -> None:
    names = registry.names()
    assert names[0] == "none" and names[: len(registry.BUILT_IN)] == list(registry.BUILT_IN)
    assert {"FT-M", "ROME", "R-ROME", "RECT", "MEMIT", "EMMET", "PMET", "AlphaEdit", "ICE", "SCR"} <= set(names)


@pytest.mark.parametrize("spelling", ["FT-M", "ft-m", "Ft-M"])
def test_case_does_not_matter(spelling: str) -> None:
    assert registry.get(spelling).name == "FT-M"


def test_unknown_name_has_a_hint() -> None:
    with pytest.raises(UserError, match=r"unknown method 'rmoe'; known: none, .*Did you mean 'rome'"):
        registry.get("rmoe")


def test_every_built_in_module_registers_its_name() -> None:
    for name, module in registry.BUILT_IN.items():
        if Path(*module.split(".")).with_suffix(".py").exists():
            assert registry.get(name).name == name
            assert registry.get(name).__module__ == module


def test_method_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN.format(name="Own-1"))
    cls = registry.get(str(file))
    assert issubclass(cls, Method) and registry.get("own-1") is cls and "Own-1" in registry.names()
    assert registry.get(str(file)).name == "Own-1", "reading the file again is no conflict"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = 1", "exactly one method"),
        ("import not_there_at_all", "cannot be imported: ModuleNotFoundError"),
        (OWN.format(name="ROME"), "built-in"),
    ],
)
def test_bad_file_is_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(content)
    with pytest.raises(UserError, match=words):
        registry.get(str(file))


def test_missing_file() -> None:
    with pytest.raises(UserError, match="no method file"):
        registry.get("nowhere/own.py")


def test_method_from_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_party_method.py").write_text(OWN.format(name="Own-2"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.get("third_party_method:Own").name == "Own-2"
    with pytest.raises(UserError, match="cannot be imported"):
        registry.get("third_party_method:Absent")
    with pytest.raises(UserError, match="is not a method"):
        registry.get("pathlib:Path")


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    for stem in ("one", "two"):
        (tmp_path / f"{stem}.py").write_text(OWN.format(name="Own-3"))
    registry.get(str(tmp_path / "one.py"))
    with pytest.raises(UserError, match="two methods are named 'Own-3'"):
        registry.get(str(tmp_path / "two.py"))


def test_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed(Method):
        name, family = "Installed", "own"

    class Point:
        name, value = "Installed", "package:Installed"

        def load(self) -> type[Method]:
            return Installed

    monkeypatch.setattr(registry, "_entry_points", lambda: {"Installed": Point()})
    assert "Installed" in registry.names()
    assert registry.get("installed") is Installed
