"""Inputs near valid ones: bytes turned over, and JSON or YAML values exchanged for odd ones."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -0.0, 1e308, float("nan"), float("inf"), "", " ", "\x00",
    "\ud800", "all", "auto", "located", "../../etc/passwd", "/dev/null", ".", "~", "'; DROP TABLE cells; --", "%s%n",
    "{}", "{0.a}",
    "a" * 5000, "\u202e", "2026-02-30", [], {}, [[]], [None], {"": None}, {"name": None}, [["a", "b"]] * 50,
)  # fmt: skip
PIECES = (
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"&a [*a]", b"!!python/object:os.system ", b"<<: *a", b"{", b"[" * 60, b"\t",
    b"'", b"\"", b"\n", b"\r", b"---\n", b"null", b"-1", b"1e999", b"../", b",", b":", b"#",
)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """An input near `data`: as JSON with one to three values exchanged where it is JSON, else its bytes changed."""
    if rng.random() < 0.6:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, (dict, list)):
            for _ in range(rng.randint(1, 3)):
                value = _exchanged(value, rng)
            return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        what = rng.randrange(5)
        if what == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            changed[at:at] = rng.choice(PIECES)
        elif what == 2:
            del changed[at : at + rng.choice((1, 4, 64, len(changed)))]
        elif what == 3:
            end = min(len(changed), at + rng.randint(1, 80))
            changed[at:at] = changed[at:end]
        else:
            line = changed.find(b"\n", at)
            word = json.dumps(rng.choice(ODD)).encode()
            changed[at : line if line >= 0 else at] = word
    return bytes(changed)


def _exchanged(value: Any, rng: random.Random) -> Any:
    """The value with one node, anywhere in it, replaced, removed, doubled or renamed."""
    places = list(_places(value))
    if not places:
        return rng.choice(ODD)
    container, key = rng.choice(places)
    what = rng.randrange(5)
    if what == 0:
        del container[key]
    elif what == 1 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif what == 1:
        container[rng.choice(("", "name", "x" * 300, "__class__", str(key) + " "))] = container.pop(key)
    elif what == 2:
        other, place = rng.choice(places)
        if place in range(len(other)) if isinstance(other, list) else place in other:
            container[key] = copy.deepcopy(other[place])
    else:
        container[key] = copy.deepcopy(rng.choice(ODD))
    return value


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from _places(inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield value, i
            yield from _places(inner)
