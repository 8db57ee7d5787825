"""The page on adding a method, executed; the commands on methods."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner import cli
from runner.conformance.checks import CHECKS
from runner.errors import UserError
from runner.methods import easyedit, registry
from runner.methods.base import Method
from runner.methods.card import card, first_sentence, papers
from runner.methods.easyedit.table import EDITORS
from tests.models import tiny

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("clean_registry")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-method.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def call(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def nudge(tmp_path: Path) -> Path:
    path = tmp_path / "nudge.py"
    (source,) = blocks("python")
    path.write_text(source, encoding="utf-8")
    assert source.count("\n") <= 50
    return path


def test_the_example_passes_the_kit(nudge: Path, capsys: Capture) -> None:
    code, out, _ = call(capsys, "check-method", str(nudge))
    assert code == 0, out
    assert "Nudge passes." in out and all(name in out for name in CHECKS)
    assert "fail" not in out


def test_the_example_runs_in_a_grid(nudge: Path, make_grid: Callable[..., Path], tmp_path: Path) -> None:
    db = tmp_path / "own.db"
    grid = make_grid(methods=["none", {"name": str(nudge), "hparams": {"steps": 5}}], edits=[2])
    assert cli.main(["run", str(grid), "--db", str(db)]) == 0
    from db.store import Store

    with Store.open(f"sqlite:///{db}") as store:
        cells = {row["method"]: row for row in store.cells()}
    assert set(cells) == {"none", "Nudge"} and all(row["state"] == "done" for row in cells.values())
    assert cells["Nudge"]["hparams"]["steps"] == 5


def test_the_example_by_module_and_by_entry_point(nudge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tomllib

    (point,) = tomllib.loads(blocks("toml")[0])["project"]["entry-points"][registry.ENTRY_POINTS].items()
    assert point == ("Nudge", "my_package.nudge:Nudge")
    package = nudge.parent / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nudge.py").write_text(nudge.read_text())
    monkeypatch.syspath_prepend(str(nudge.parent))
    from importlib.metadata import EntryPoint

    entry = EntryPoint(name=point[0], value=point[1], group=registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "_entry_points", lambda: {entry.name: entry})
    assert "Nudge" in registry.names()
    assert registry.get("nudge") is registry.get("my_package.nudge:Nudge")


def test_the_page_names_what_there_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| {name} |" in text for name in CHECKS)
    assert all(f"`{easyedit.PREFIX}{one.name}`" in text for one in EDITORS)
    assert re.findall(r"easyedit:([A-Z][\w-]*)`", text) == [one.name for one in EDITORS]
    for command in re.findall(r"python -m runner ([\w-]+)", text):
        assert command in {"check-method", "show", "run", "ls"}


def test_a_failing_check_is_exit_code_1(nudge: Path, capsys: Capture) -> None:
    nudge.write_text(nudge.read_text().replace("weight = self.touch(self.lm.structure.mlp_out(layer).name)",
                                               "weight = self.lm.structure.mlp_out(layer).weight"))  # fmt: skip
    code, out, _ = call(capsys, "check-method", str(nudge), "--json")
    report = json.loads(out)
    failed = {check["name"] for check in report["checks"] if check["outcome"] == "fail"}
    assert code == 1 and not report["passed"] and "undo restores the model" in failed
    assert report["cost"]["seconds_per_edit"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check-method", "rmoe"), "unknown method 'rmoe'"),
        (("check-method", "none", "--set", "x=1"), "has no hyperparameter 'x'"),
        (("check-method", "none", "--set", "x"), "NAME=VALUE"),
        (("check-method", "none", "--model", "nowhere"), "no model at nowhere"),
        (("show",), "one method, or --all"),
        (("show", "ROME", "--all"), "one method, or --all"),
    ],
)
def test_bad_input_is_one_sentence(capsys: Capture, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = call(capsys, *arguments)
    assert code == 2 and words in err and len(err.strip().splitlines()) == 1


def test_a_method_is_checked_on_a_given_model(capsys: Capture, model_folder: Path) -> None:
    code, out, _ = call(capsys, "check-method", "ICE", "--model", str(model_folder), "--device", "cpu", "--json")
    assert code == 0 and json.loads(out)["model"] == str(model_folder)


def test_every_card_is_whole(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(easyedit.VARIABLE, raising=False)
    code, out, _ = call(capsys, "show", "--all", "--json")
    cards = {one["name"]: one for one in json.loads(out)}
    assert code == 0 and set(registry.BUILT_IN) <= set(cards)
    for name in registry.BUILT_IN:
        one = cards[name]
        assert one["summary"] and one["changes"] and one["fidelity"] and one["extra_memory"], name
        assert all(row["meaning"] and row["type"] for row in one["hyperparameters"]), name
        assert all(paper["link"].startswith("https://") for paper in one["papers"]), name


def test_a_card_says_what_defaults_come_to() -> None:
    lm = tiny.language_model("llama")
    rows = {row["name"]: row for row in card(registry.get("FT-M"), lm)["hyperparameters"]}
    assert rows["layer"]["default"] is None and rows["layer"]["resolved"] == lm.structure.depth(0.66)
    assert "resolved" not in card(registry.get("FT-M"))["hyperparameters"][0]


def test_show_for_a_person(capsys: Capture) -> None:
    out = call(capsys, "show", "ROME")[1]
    assert "ROME (locate-then-edit)" in out and "https://arxiv.org/abs/2202.05262" in out and "kl_factor" in out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Changes one MLP. More.", "Changes one MLP."),
        ("Changes W' = W + x\nof a layer. As published.", "Changes W' = W + x of a layer."),
        ("One line", "One line"),
        ("", ""),
    ],
)
def test_first_sentence(text: str, expected: str) -> None:
    assert first_sentence(text) == expected


def test_papers_have_links() -> None:
    assert papers("2503.05212, https://x.org/a, JMLR 3") == [
        {"id": "2503.05212", "link": "https://arxiv.org/abs/2503.05212"},
        {"id": "https://x.org/a", "link": "https://x.org/a"},
        {"id": "JMLR 3", "link": ""},
    ]
    assert papers("") == []


def test_without_a_checkout_one_sentence(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(easyedit.VARIABLE, raising=False)
    assert not [name for name in registry.names() if name.startswith(easyedit.PREFIX)]
    code, _, err = call(capsys, "show", "easyedit:ROME")
    assert code == 2 and err.count("\n") == 1 and "clone github.com/zjunlp/EasyEdit and set EASYEDIT_HOME" in err
    monkeypatch.setenv(easyedit.VARIABLE, "/nowhere")
    with pytest.raises(UserError, match="EASYEDIT_HOME names /nowhere, which holds no easyeditor/models"):
        registry.get("easyedit:ROME")
    assert all(issubclass(registry.get(name), Method) for name in ("none", "ICE"))
    code, out, err = call(capsys, "ls", "methods")
    assert code == 0 and "ROME" in out and err.startswith("note: EASYEDIT_HOME names /nowhere") and err.count("\n") == 1


def fake_checkout(folder: Path, *editors: str, **files: Any) -> Path:
    """A folder that looks like a checkout with these editors."""
    for one in EDITORS:
        if one.name in editors:
            place = folder / "easyeditor" / "models" / one.folder
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{one.main}.py").write_text(files.get(one.name, "raise RuntimeError('broken on purpose')\n"))
            (place / f"{one.settings[0]}.py").write_text("raise RuntimeError('broken on purpose')\n")
            settings = folder / "hparams" / one.files
            settings.mkdir(parents=True, exist_ok=True)
            (settings / "llama3-8b.yaml").write_text("layers: [16]\nlr: 5e-4\nrewrite_module_tmp: 'x.{}.weight'\n")
    return folder


def test_a_checkouts_editors_are_listed(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(easyedit.VARIABLE, str(fake_checkout(tmp_path, "ROME", "FT-M", "FT-L")))
    assert easyedit.names() == ["easyedit:ROME", "easyedit:FT-L", "easyedit:FT-M"]
    rows = {row["method"]: row for row in json.loads(call(capsys, "ls", "methods", "--json")[1])}
    assert rows["easyedit:ROME"]["paper"] == "arXiv 2202.05262" and "EasyEdit" in rows["easyedit:ROME"]["summary"]
    assert registry.get("EasyEdit:ft-m") is registry.get("easyedit:FT-M")
    with pytest.raises(UserError, match=r"no editor 'rmoe' of EasyEdit.*Did you mean 'rome'"):
        registry.get("easyedit:rmoe")
    with pytest.raises(UserError, match="has no wise/wise_main.py"):
        registry.get("easyedit:WISE")


def test_an_editor_that_fails_fails_its_cell(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, make_grid: Callable[..., Path]
) -> None:
    monkeypatch.setenv(easyedit.VARIABLE, str(fake_checkout(tmp_path / "fake", "FT-M")))
    grid = make_grid(methods=["none", "easyedit:FT-M"], edits=[1], cases=1)
    code, out, _ = call(capsys, "run", str(grid), "--db", str(tmp_path / "own.db"))
    assert code == 1 and "EasyEdit's FT-M failed: RuntimeError: broken on purpose (ft_hparams.py:1)" in out


def test_other_code_or_settings_make_another_method(tmp_path: Path) -> None:
    from runner.methods.easyedit.checkout import version

    fake_checkout(tmp_path, "FT-M")
    seen = {version(tmp_path, "ft", "FT")}
    for changed in ("easyeditor/models/ft/ft_main.py", "hparams/FT/llama3-8b.yaml"):
        with (tmp_path / changed).open("a") as file:
            file.write("# changed\n")
        seen.add(version(tmp_path, "ft", "FT"))
    assert len(seen) == 3


def test_settings_come_to_the_models_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.protocol import get_protocol

    monkeypatch.setenv(easyedit.VARIABLE, str(fake_checkout(tmp_path, "FT-M")))
    cls = registry.get("easyedit:FT-M")
    lm = tiny.language_model("llama")
    made = cls(lm, get_protocol("wild"), {"settings": {"num_steps": 3}})
    settings = made.resolved_hparams()["settings"]
    assert settings["layers"] == [1] and settings["lr"] == 5e-4 and settings["num_steps"] == 3
    assert settings["rewrite_module_tmp"] == "model.layers.{}.mlp.down_proj.weight"
    assert settings["objective_optimization"] == "target_new"
    own = tmp_path / "mine.yaml"
    own.write_text("layers: [2]\nrewrite_module_tmp: given\n")
    chosen = cls(lm, get_protocol("wild"), {"file": str(own)}).resolved_hparams()["settings"]
    assert chosen["layers"] == [2] and chosen["rewrite_module_tmp"] == "given"
    with pytest.raises(UserError, match=r"has no settings 'gpt9'; give a YAML file, or one of: llama3-8b"):
        cls(lm, get_protocol("wild"), {"file": "gpt9"})
    with pytest.raises(UserError, match="'device' belongs to the run"):
        cls(lm, get_protocol("wild"), {"settings": {"device": 3}})
