"""The file: gzip around a manifest and the parts it lists, all of them lines of canonical JSON.

There are no names of files in it, hence no paths, and nothing is ever unpacked to disk. The reader asks for the size
first and then streams: no more is inflated than the limits allow, whatever the manifest says.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from runner.bundle import canonical
from runner.bundle.findings import Unreadable

FORMAT, VERSION = "palimpsest-bundle", 1
PARTS = ("method", "model", "protocol", "data", "provenance", "cells", "answers")  # in this order
_CHUNK = 1 << 16
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"  # gzip without name, time, comment or anything else


@dataclass(frozen=True)
class Limits:
    """What a reader is ready to take: bytes of the file, bytes inside it, bytes of one line, lines of answers; and the
    seconds of processor time for a whole check."""

    file_bytes: int = 32 << 20
    content_bytes: int = 192 << 20
    line_bytes: int = 1 << 20
    manifest_bytes: int = 1 << 13
    small_part_bytes: int = 16 << 20
    answers: int = 1_000_000
    seconds: float = float("inf")


class Clock:
    """Processor time of this thread since it was made."""

    def __init__(self, limits: Limits | None) -> None:
        self._most = (limits or Limits()).seconds
        self._start = time.thread_time()

    def check(self) -> None:
        """Raises Unreadable when the time is used up. Called between steps that are short."""
        if time.thread_time() - self._start > self._most:
            raise Unreadable(f"checking it takes more than the {self._most:g} s of processor time that it has here.")


def write(parts: Mapping[str, Iterable[Any]]) -> bytes:
    """A bundle of the parts' records. The same records give the same bytes."""
    bodies = {name: b"".join(canonical.dump(record) + b"\n" for record in parts[name]) for name in PARTS}
    listed = [
        {
            "name": name,
            "bytes": len(body),
            "lines": body.count(b"\n"),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        for name, body in bodies.items()
    ]
    manifest = canonical.dump({"format": FORMAT, "version": VERSION, "parts": listed}) + b"\n"
    return compress(manifest + b"".join(bodies.values()))


def compress(content: bytes) -> bytes:
    """gzip without a name and a time of day."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()


@dataclass(frozen=True)
class PartEntry:
    """What the manifest says of one part."""

    name: str
    size: int
    lines: int
    sha256: str


class BundleReader:
    """An open bundle: first its manifest, then each part once and in order. Every fault raises Unreadable."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._clock = Clock(limits)
        self._inflate = zlib.decompressobj(wbits=31)
        self._buffer = bytearray()
        self._inflated = 0
        self._ended = False
        header = file.read(len(_HEADER))
        if header != _HEADER:
            raise Unreadable("this is no Palimpsest bundle: it doesn't begin as one.")
        self._inflate.decompress(header)
        line = self._line(limits.manifest_bytes, "the manifest")
        self.content_hash = hashlib.sha256(line).hexdigest()
        self.entries = _manifest(line, limits)
        self._next = 0

    @classmethod
    def open(cls, path: str | Path, limits: Limits | None = None) -> BundleReader:
        """Open a file after a look at its kind and size. Raises Unreadable."""
        limits = limits or Limits()
        # Without blocking: a named pipe would keep the reader waiting for ever.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            file = os.fdopen(os.open(path, flags), "rb")
        except OSError as problem:
            raise Unreadable(f"{path} can't be opened: {problem.strerror}.") from problem
        try:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(f"{path} is no ordinary file.")
            if status.st_size > limits.file_bytes:
                raise Unreadable(f"{path} has {status.st_size} bytes; a bundle has at most {limits.file_bytes}.")
            return cls(file, limits)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> BundleReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def part(self, name: str) -> Iterator[Any]:
        """The records of the next part, which must be `name`; its checksum is looked at after the last one."""
        for number, raw in enumerate(self.lines(name), 1):
            try:
                yield canonical.load(raw)
            except ValueError as problem:
                reason = str(problem)[:100]
                raise Unreadable(f"part '{name}', line {number}, can't be read: {reason}.") from problem

    def lines(self, name: str) -> Iterator[bytes]:
        """As `part`, the lines as they are."""
        entry = self.entries[self._next]
        if entry.name != name:
            raise RuntimeError(f"the next part is {entry.name}, not {name}")
        self._next += 1
        digest, size = hashlib.sha256(), 0
        for number in range(1, entry.lines + 1):
            self._clock.check()
            left = entry.size - size
            raw = self._line(min(self._limits.line_bytes, left), f"part '{name}', line {number}")
            digest.update(raw)
            digest.update(b"\n")
            size += len(raw) + 1
            yield raw
        if size != entry.size or digest.hexdigest() != entry.sha256:
            raise Unreadable(f"part '{name}' is not what the manifest says: its size or checksum differs.")
        if self._next == len(PARTS):
            self._end()

    def _line(self, most: int, where: str) -> bytes:
        """The next line without its end."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched, most + 1)) < 0:
            searched = len(self._buffer)
            if searched > most:
                raise Unreadable(f"{where} is longer than {most} bytes.")
            if not self._more():
                raise Unreadable(f"the file ends within {where}.")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _more(self) -> bool:
        """Inflate one more chunk; False at the end."""
        while not self._ended:
            raw = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
            if not raw:
                raise Unreadable("the file is cut off or no gzip file.")
            try:
                found = self._inflate.decompress(raw, _CHUNK)
            except zlib.error as problem:
                raise Unreadable("the file is damaged or no gzip file.") from problem
            self._ended = self._inflate.eof
            self._inflated += len(found)
            if self._inflated > self._limits.content_bytes:
                raise Unreadable(f"the bundle holds more than {self._limits.content_bytes} bytes.")
            if found:
                self._buffer += found
                return True
        return False

    def _end(self) -> None:
        if self._buffer or self._more():
            raise Unreadable("there is something after the last part.")
        if self._inflate.unused_data or self._file.read(1):
            raise Unreadable("there is something after the end of the gzip data.")


def _manifest(line: bytes, limits: Limits) -> list[PartEntry]:
    try:
        found = canonical.load(line)
    except ValueError as problem:
        raise Unreadable(f"the manifest can't be read: {problem}.") from problem
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise Unreadable("this is no Palimpsest bundle: its first line is no manifest of one.")
    if found.get("version") != VERSION or type(found["version"]) is not int:
        raise Unreadable(f"the bundle has another version of the format; this program reads version {VERSION}.")
    parts = found.get("parts")
    if set(found) != {"format", "version", "parts"} or not isinstance(parts, list):
        raise Unreadable("the manifest should hold format, version and parts.")
    entries = [_entry(part, limits) for part in parts[: len(PARTS) + 1]]
    if [entry.name for entry in entries] != list(PARTS):
        raise Unreadable(f"the manifest should list the parts {', '.join(PARTS)}, in this order.")
    if sum(entry.size for entry in entries) > limits.content_bytes:
        raise Unreadable(f"the manifest announces more than {limits.content_bytes} bytes.")
    return entries


def _entry(part: Any, limits: Limits) -> PartEntry:
    if not isinstance(part, dict) or set(part) != {"name", "bytes", "lines", "sha256"}:
        raise Unreadable("each part of the manifest should have name, bytes, lines and sha256.")
    name, size, lines, digest = part["name"], part["bytes"], part["lines"], part["sha256"]
    counts = all(type(count) is int and count >= 0 for count in (size, lines))
    if not (isinstance(name, str) and isinstance(digest, str) and counts):
        raise Unreadable("a part of the manifest has a value of the wrong kind.")
    most_bytes = limits.content_bytes if name == "answers" else limits.small_part_bytes
    most_lines = limits.answers if name == "answers" else 1000
    if size > most_bytes or lines > most_lines:
        raise Unreadable(f"the manifest announces a part of {size} bytes and {lines} lines; that is too much.")
    return PartEntry(name, size, lines, digest)
