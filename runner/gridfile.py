"""Reading grid files: YAML in, a validated Grid out, and every complaint with its line, key and value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from runner.errors import UserError, did_you_mean
from runner.grid import DatasetEntry, Grid, MethodEntry, ProtocolEntry, problem_message

GRIDS = Path(__file__).parent / "grids"

Location = tuple[str | int, ...]


class Loader(yaml.SafeLoader):
    """Safe YAML whose every complaint is a YAMLError with a line.

    The library lets Python's own errors through for a value that looks like a type and isn't one, as 2026-02-30 does.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            kind = str(node.tag).rpartition(":")[2]
            problem = f"{_short(node.value)} looks like the type {kind} but is not; put it in quotes if it is a text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


@dataclass(frozen=True)
class GridFile:
    """A grid with the place it came from, so that later errors can name the line.

    where: the file as the user gave it.
    root: the root node of the YAML document.
    """

    grid: Grid
    where: str
    root: yaml.Node

    def place(self, location: Location) -> str:
        """ "file, line N" of the deepest node on the way to `location`."""
        return f"{self.where}, line {_line(self.root, location)}"


def names() -> list[str]:
    """The grids that ship with the runner."""
    return sorted(path.stem for path in GRIDS.glob("*.yaml"))


def about(name: str) -> str:
    """What a shipped grid says of itself: the comment in its first line."""
    first = _find(name).read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def load(name_or_path: str) -> GridFile:
    """Read a shipped grid by name or a grid file by path. Raises UserError naming file, line, key and value."""
    path = _find(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"can't read the grid file '{path}': {_reason(error)}.") from error
    return parse(text, str(path) if Path(name_or_path) == path else f"{path.name}")


def parse(text: str, where: str) -> GridFile:
    """A grid from YAML text; `where` names it in errors. Raises UserError."""
    loader = None
    try:
        loader = Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise UserError(f"{where}, line 1: the grid is empty; it needs at least {_needed()}.")
        for key in _duplicate_keys(root):
            raise UserError(f"{where}, line {key.start_mark.line + 1}: the key '{key.value}' stands there twice.")
        data = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{where}, line {line}: this is not YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where}: this is not YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise UserError(f"{where}: this is no grid: it is nested too deeply, or refers to itself.") from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(data, dict):
        raise UserError(f"{where}, line {root.start_mark.line + 1}: a grid is a mapping with the keys {_needed()}.")
    try:
        return GridFile(Grid.model_validate(data), where, root)
    except ValidationError as error:
        raise UserError(_explain(error, where, root)) from error


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    shipped = GRIDS / f"{name_or_path}.yaml"
    if name_or_path in names():
        return shipped
    known = names()
    raise UserError(
        f"there is no grid '{name_or_path}': known are {', '.join(known)}, or give the path of a .yaml file."
        + did_you_mean(name_or_path, known)
    )


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"


def _needed() -> str:
    return ", ".join(name for name, field in Grid.model_fields.items() if field.is_required())


def _duplicate_keys(node: yaml.Node) -> Iterator[yaml.Node]:
    """Keys that stand twice in one mapping; YAML would silently keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _duplicate_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _duplicate_keys(value)


def _line(node: yaml.Node, location: Location) -> int:
    """1-based line of the deepest node that exists on the way to `location` (of a mapping's entry: its key)."""
    line = node.start_mark.line + 1
    for part in location:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line


_PARTS: dict[str, type[BaseModel]] = {
    "methods": MethodEntry,
    "datasets": DatasetEntry,
    "protocol": ProtocolEntry,
    "protocols": ProtocolEntry,
}


def _explain(error: ValidationError, where: str, root: yaml.Node) -> str:
    # A misspelt key also reads as a missing one: name the misspelling first.
    problems = sorted(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    first = problems[0]
    location: Location = tuple(first["loc"])
    # An integer-or-"all" entry reports each branch of the choice; the node's own place ends before the branch's name.
    if location[:1] == ("edits",):
        location = location[:2]
    key = str(next((part for part in reversed(location) if isinstance(part, str)), "grid"))
    place = f"{where}, line {_line(root, location)}"
    others = len({tuple(p["loc"])[:2] for p in problems}) - 1
    more = f" ({others} more problem{'s' if others > 1 else ''} in this file)" if others else ""
    if first["type"] == "extra_forbidden":
        part = _PARTS.get(str(location[0]), Grid) if len(location) > 1 else Grid
        known = list(part.model_fields)
        return f"{place}: unknown key '{key}'; known keys here are {', '.join(known)}.{did_you_mean(key, known)}{more}"
    if first["type"] == "missing":
        return f"{place}: the key '{key}' is missing.{more}"
    return f"{place}: the value {_short(first['input'])} of '{key}' is wrong: {problem_message(first)}.{more}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
