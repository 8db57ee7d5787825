"""Texts in a file, read one by one: plain lines, or one field of a data set in JSON lines or CSV; gzip is undone."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO

from runner.errors import UserError, user_path

FIELD = "text"


class TextFile:
    """The texts of a file, in order, without empty ones. A file of any size: it is never held in memory.

    `.jsonl` and `.csv` files give the named field of each record, other files their lines; each may end in `.gz`.
    """

    def __init__(self, path: str | Path, field: str = FIELD) -> None:
        self.path = user_path(path)
        self.field = field
        names = [suffix.lower() for suffix in self.path.suffixes]
        self.packed = names[-1:] == [".gz"]
        self.kind = (names[:-1] if self.packed else names)[-1:]

    @property
    def digest(self) -> str:
        """A hash of the file's contents and of the field that is read."""
        try:
            state = self.path.stat()
            return f"{_hash(self.path, state.st_mtime_ns, state.st_size)}\0{self.field if self._records else ''}"
        except OSError as error:
            raise self._unreadable(error) from error

    def __iter__(self) -> Iterator[str]:
        """Raises UserError for a file that cannot be read as UTF-8 text, or a record without the field."""
        try:
            with self._open() as file:
                for text in self._texts(file):
                    if text.strip():
                        yield text
        except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
            raise self._unreadable(error) from error

    @property
    def _records(self) -> bool:
        return self.kind in ([".jsonl"], [".csv"])

    def _open(self) -> IO[str]:
        if self.packed:
            return gzip.open(self.path, "rt", encoding="utf-8", newline="")
        return self.path.open(encoding="utf-8", newline="")

    def _texts(self, file: IO[str]) -> Iterator[str]:
        if self.kind == [".jsonl"]:
            for line in file:
                if line.strip():
                    yield self._of(json.loads(line))
        elif self.kind == [".csv"]:
            for record in csv.DictReader(file):
                yield self._of(record)
        else:
            for line in file:
                yield line.rstrip("\r\n")

    def _of(self, record: object) -> str:
        if isinstance(record, dict) and isinstance(record.get(self.field), str):
            return str(record[self.field])
        known = ", ".join(sorted(map(str, record))) if isinstance(record, dict) else "none"
        raise UserError(
            f"mom2_texts: a record of {self.path} has no text in the field '{self.field}' (fields: {known}); "
            "name another in mom2_field."
        )

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(f"mom2_texts: cannot read {self.path} as UTF-8 text ({error}); give one text a line.")


@lru_cache(maxsize=8)
def _hash(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
