"""The design's arrows, sizes and manners, read from the code itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = ("runner", "db", "leaderboard", "app.py")
BOTTOM = {"runner", "runner.types", "runner.errors", "runner.parts", "runner.prompts", "runner.protocol"}

# Room -> the rooms it may import. A module belongs to the longest name that fits it.
ALLOWED: dict[str, set[str]] = {
    "db": set(),
    "leaderboard": {"db"},
    "runner": set(),
    "runner.types": set(),
    "runner.errors": set(),
    "runner.parts": set(),
    "runner.prompts": set(),
    "runner.protocol": BOTTOM,
    "runner.models": BOTTOM,
    "runner.methods": BOTTOM | {"runner.models"},
    "runner.metrics": BOTTOM | {"runner.models"},
    "runner.atlas": BOTTOM | {"runner.models", "runner.methods", "runner.metrics"},
    "runner.datasets": BOTTOM | {"runner.models", "runner.atlas"},
}
ALLOWED["runner.grid"] = BOTTOM | {"runner.methods"}
ALLOWED["runner.gridfile"] = BOTTOM | {"runner.grid"}
ALLOWED["runner.provenance"] = BOTTOM
CELLS = {"runner.cells", "runner.fingerprint", "runner.sequence", "runner.together", "runner.execute"}
MEASURING = BOTTOM | {"runner.methods", "runner.datasets", "runner.metrics", "runner.models"}
ALLOWED |= dict.fromkeys(CELLS, MEASURING | CELLS)
ALLOWED["runner.conformance"] = MEASURING | CELLS
ALLOWED["runner.costs"] = MEASURING | CELLS
ALLOWED["runner.locating"] = MEASURING
ALLOWED["runner.ability"] = MEASURING | CELLS
ENGINE = {
    "runner.deadline",
    "runner.plan",
    "runner.ledger",
    "runner.scoring",
    "runner.engine",
    "runner.engine_ray",
    "runner.progress",
    "runner.estimate",
}
GRIDS = {"runner.grid", "runner.gridfile", "runner.provenance"}
ALLOWED |= dict.fromkeys(ENGINE, MEASURING | CELLS | ENGINE | GRIDS | {"db", "runner.costs"})
ALLOWED["runner.bundle"] = MEASURING | CELLS | ENGINE | GRIDS | {"db"}
ALLOWED["runner.publishing"] = BOTTOM | {"runner.datasets", "runner.bundle", "db"}
CLI = {"runner.cli", "runner.commands", "runner.__main__"}
ALLOWED |= dict.fromkeys(
    CLI,
    MEASURING
    | CELLS
    | ENGINE
    | GRIDS
    | CLI
    | {
        "db",
        "runner.ability",
        "runner.atlas",
        "runner.bundle",
        "runner.costs",
        "runner.publishing",
        "runner.conformance",
        "runner.locating",
    },
)

# The report is the board as a file: the one command that needs the board's sentences, figures and tables, which it
# must not make a second time.
ALLOWED["runner.commands.report"] = ALLOWED["runner.commands"] | {"leaderboard", "leaderboard.main"}
ALLOWED["runner.cli"] = ALLOWED["runner.cli"] | {"runner.commands.report"}

# The playground is the one part of the web app that knows the runner.
PLAYGROUND = {"leaderboard.playground", "leaderboard.pages.playground"}
ALLOWED |= dict.fromkeys(PLAYGROUND, MEASURING | CELLS | PLAYGROUND | {"leaderboard", "db"})
INTAKE = {"leaderboard.intake", "leaderboard.pages.submit"}
ALLOWED["leaderboard.intake"] = {"leaderboard", "db", "runner.bundle", "runner.errors"}
ALLOWED["leaderboard.pages.submit"] = {"leaderboard", "leaderboard.intake"}
ALLOWED["leaderboard.board"] = {"leaderboard", "db"} | PLAYGROUND | INTAKE
ALLOWED["leaderboard.main"] = ALLOWED["leaderboard.board"] | {"leaderboard.board"}
ALLOWED["app"] = {"leaderboard", "leaderboard.main"}

EXCEPTIONS = {
    # The second moments of the atlas model are measured on the atlas's own text, which only the atlas can write.
    ("runner.methods.moments", "runner.atlas.folder"),
    # The statements that fill a memory are facts of the atlas.
    ("runner.methods.distractors", "runner.atlas.questions"),
    ("runner.methods.distractors", "runner.atlas.world"),
    # Demonstrations are cases of a data set's training split.
    ("runner.methods.demonstrations", "runner.datasets.base"),
    # One module of statistics for the runner and the board.
    ("leaderboard.ranking", "runner.metrics.statistics"),
    ("leaderboard.glossary", "runner.metrics.statistics"),
    ("leaderboard.compare", "runner.metrics.statistics"),
    ("leaderboard.findings.numbers", "runner.metrics.statistics"),
}


def python_files(*places: str) -> list[Path]:
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return found


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in python_files(*CODE)}


def room_of(module: str) -> str | None:
    fitting = [room for room in ALLOWED if module == room or module.startswith(room + ".")]
    best = max(fitting, key=len, default=None)
    # "runner" stands for the package's own __init__ only: every other module must have a room of its own.
    return None if best == "runner" and module != "runner" else best


def imports(path: Path, lazy: bool = True) -> Iterator[str]:
    """Modules of this project that a file imports; those for type checkers only are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in walk(tree, lazy):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            names = [f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names]
        for name in names:
            if name.split(".")[0] in {"runner", "db", "leaderboard", "app"}:
                yield name


def walk(node: ast.AST, lazy: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if not lazy and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        yield child
        yield from walk(child, lazy)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_arrows(module: str) -> None:
    room = room_of(module)
    assert room is not None, f"{module} belongs to no room of the design; give it a place in ALLOWED"
    for imported in imports(MODULES[module]):
        target = room_of(imported)
        if (module, imported) not in EXCEPTIONS:
            assert target == room or target in ALLOWED[room], f"{module} may not import {imported}"


def test_the_arrows_tell_forbidden_imports(tmp_path: Path) -> None:
    source = "from __future__ import annotations\ndef f():\n    from runner.methods import base\n"
    (tmp_path / "x.py").write_text(source)
    found = list(imports(tmp_path / "x.py"))
    assert found == ["runner.methods.base"]
    assert room_of(found[0]) not in ALLOWED["runner.models"]
    assert list(imports(tmp_path / "x.py", lazy=False)) == []


def test_no_circle_of_imports() -> None:
    graph = {module: set(imports(path, lazy=False)) & set(MODULES) for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, "circle: " + " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for imported in graph[module]:
                visit(imported, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert done == set(MODULES)


@pytest.mark.parametrize("path", python_files(*CODE, "tests", "benchmarks"), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_above_400_lines(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= 400


def test_importing_the_command_line_is_light() -> None:
    heavy = ("torch", "transformers", "gradio", "pandas", "numpy", "sqlalchemy", "plotly")
    code = (
        "import sys, time; start = time.perf_counter(); import runner, runner.cli; "
        f"print(time.perf_counter() - start, [m for m in {heavy!r} if m in sys.modules])"
    )
    # The best of three: a busy machine may slow down any one of them.
    outputs = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    assert all(output.split(" ", 1)[1].strip() == "[]" for output in outputs), outputs
    assert min(float(output.split()[0]) for output in outputs) < 1.5


def tracked_text() -> list[Path]:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    endings = {".py", ".md", ".txt", ".toml", ".yaml", ".yml", ".sh", ".ini", ".json", ""}
    return [p for p in (ROOT / line for line in listed.stdout.splitlines()) if p.suffix in endings and p.is_file()]


def test_no_path_of_one_machine() -> None:
    private = re.compile(r"(?<![\w.~])/(?:work|root|Users|home/(?!you\b)\w+)/\w")
    assert private.search("see " + "/ro" + "ot/models/x")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked_text()
        if (match := private.search(path.read_text(encoding="utf-8", errors="replace")))
    ]
    assert found == []
