"""Which format a file or folder is in, told by the keys of its first record."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from runner.datasets import base
from runner.datasets.records import read_records, read_text
from runner.datasets.sources import is_address
from runner.errors import UserError, user_path


def detect(path: str) -> str:
    """The name of the data set whose format the file, or the files of the folder, are in.

    Raises UserError where there is no file, its records fit no known format, or a folder holds several formats.
    """
    if is_address(path):
        raise UserError(f"say which format '{path}' is in: --format NAME, of {', '.join(base.names())}.")
    place = user_path(path)
    if not place.exists():
        raise UserError(f"no data file at '{path}'; check the path.")
    files = [place] if place.is_file() else _files(place)
    found = {file.name: _fitting(_keys(file)) for file in files}
    names = {name for name in found.values() if name is not None}
    if len(names) == 1:
        return names.pop()
    problem = f"files of several formats ({', '.join(sorted(names))})" if names else "no file of a known format"
    raise UserError(f"'{path}' holds {problem}; say which with --format NAME, of {', '.join(base.names())}.")


def _files(folder: Path) -> list[Path]:
    """The folder's data files, without those that hold sentences for another one."""
    files = (file for pattern in ("*.json", "*.jsonl", "*.csv") for file in folder.glob(pattern) if file.is_file())
    return sorted(file for file in files if "-sentence" not in file.name)


def _keys(file: Path) -> frozenset[str]:
    """The keys of the file's first record, or a table's columns. Raises UserError for a file that is malformed."""
    if file.suffix.casefold() == ".csv":
        header = read_text(file).partition("\n")[0]
        return frozenset(next(csv.reader([header.rstrip("\r")]), []))
    every = {key for _, layout in _layouts() for key in layout}
    records = read_records(file, every)
    return frozenset(records[0].data) if records else frozenset()


def _fitting(keys: Collection[str]) -> str | None:
    """The format of which a record has all keys; of several, the one with the most."""
    fitting = [(len(layout), name) for name, layout in _layouts() if layout <= set(keys)]
    return max(fitting)[1] if fitting else None


def _layouts() -> list[tuple[str, frozenset[str]]]:
    return [(name, layout) for name in base.names() if (info := base.info(name)) for layout in info.keys]
