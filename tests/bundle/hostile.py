"""Malformed and malicious bundles, made of a valid one. Each is (name, bytes)."""

from __future__ import annotations

import copy
import gzip
import io
import json
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from runner.bundle import canonical
from runner.bundle.container import PARTS, compress
from tests.bundle.bundle_samples import OLD, TARGETS, packed, records

Hostile = tuple[str, bytes]
SCRIPTS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "<!--", "x\u202egnp.exe",
    "\x1b]0;title\x07", "&#60;script&#62;", "a\x00b", "<svg/onload=alert(1)>", "x\u200by",
)  # fmt: skip
PATHS = ("../../etc/passwd", "/etc/passwd", "..\\..\\x", "C:\\x", "a/../../b", "~/x", "//host/share", "name\n")


def broken_files(content: bytes) -> Iterator[Hostile]:
    """Files that are cut, flipped, wrapped, or something else altogether."""
    rng = random.Random(7)
    for share in range(20):
        yield f"cut at {share}/20", content[: len(content) * share // 20]
    for number in range(60):
        at, bit = rng.randrange(len(content)), rng.randrange(8)
        yield f"bit {number}", content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]
    yield "one byte short", content[:-1]
    yield "something after it", content + b"x"
    yield "twice", content + content
    yield "compressed twice", compress(content)
    yield "not compressed", gzip.decompress(content)
    yield "with a file name", _named(gzip.decompress(content))
    yield "noise", rng.randbytes(5000)
    yield "a pickle", pickle.dumps({"answers": [1, 2, 3]})
    yield "a compressed pickle", compress(pickle.dumps({"answers": [1, 2, 3]}))
    yield "a database", b"SQLite format 3\x00" + bytes(4096)
    for name in PATHS[:3]:
        yield f"a zip with {name}", _zip(name, content)
        yield f"a tar with {name}", _tar(name, content)
    yield "zeros, 64 MB of them", compress(bytes(64 << 20))
    yield "one line without an end", compress(b'{"a":"' + b"x" * (8 << 20))
    lines = gzip.decompress(content).split(b"\n", 1)
    yield "no manifest", compress(lines[1])
    yield "a byte order mark", compress(b"\xef\xbb\xbf" + b"\n".join(lines))
    yield "UTF-16", compress(b"\n".join(lines).decode().encode("utf-16"))
    yield "carriage returns", compress(b"\n".join(lines).replace(b"\n", b"\r\n"))


def bombs(content: bytes) -> Iterator[Hostile]:
    """Small files that want to become large."""
    valid = records(content)

    def announce(**change: int) -> Callable[[Any], Any]:
        def changed(manifest: Any) -> Any:
            manifest["parts"][-1].update(change)
            return manifest

        return changed

    yield "announces a terabyte", packed(valid, announce(bytes=10**12))
    yield "announces a billion lines", packed(valid, announce(lines=10**9))
    yield "announces less than there is", packed(valid, announce(bytes=10))
    yield "a line of 40 MB", packed(valid | {"answers": [b'{"text":"' + b" " * (40 << 20) + b'"}']})
    yield "a wide record", packed(valid | {"method": [{f"k{i}": i for i in range(60_000)}]})
    yield "a deep answer", packed(valid | {"answers": [b"[" * 200_000]})
    yield "a deep value", packed(valid | {"method": [b'{"a":' * 30_000 + b"1" + b"}" * 30_000]})
    yield "a number of 300 000 digits", packed(valid | {"model": [b'{"hash":' + b"9" * 300_000 + b"}"]})
    many = copy.deepcopy(valid)
    many["cells"][1]["sequences"][0]["extra"] = {"collapse": {str(i): 1.0 for i in range(30_000)}}
    yield "too many signs", packed(many)
    brackets = copy.deepcopy(valid)
    for number, answer in enumerate(brackets["answers"][:24]):
        answer["consulted"] = {"=": "<" * 900_000 + str(number)}
    brackets["cells"][1]["claims"]["scores"]["free"]["average"] = 1.0
    yield "22 MB of angle brackets", packed(brackets)
    yield "two thousand cells", packed(valid | {"cells": [valid["cells"][1]] * 2000})
    yield "one answer 60 000 times", packed(valid | {"answers": [valid["answers"][70]] * 60_000})


def bad_manifests(content: bytes) -> Iterator[Hostile]:
    """Right lines under a wrong manifest."""
    valid = records(content)

    def at(name: str, change: Callable[[Any], Any]) -> Hostile:
        return name, packed(valid, lambda manifest: change(manifest))

    for version in (0, 2, "1", 1.0, True, None):
        yield at(f"version {version!r}", lambda m, v=version: m | {"version": v})
    yield at("another format", lambda m: m | {"format": "palimpsest"})
    yield at("one more key", lambda m: m | {"script": "<script>"})
    yield at("no parts", lambda m: m | {"parts": []})
    yield at("parts are a word", lambda m: m | {"parts": "all"})
    yield at("a part is a word", lambda m: m | {"parts": ["answers"] * 7})
    yield at("other order", lambda m: m | {"parts": m["parts"][::-1]})
    yield at("a part twice", lambda m: m | {"parts": m["parts"] + m["parts"][-1:]})
    yield at("a list", lambda m: [m])
    yield at("not canonical", lambda m: json.dumps(m).encode())
    yield at("a key twice", lambda m: canonical.dump(m)[:-1] + b',"version":1}')
    yield at("NaN", lambda m: canonical.dump(m).replace(b'"version":1', b'"version":NaN'))
    for name in PATHS:
        yield at(f"a part named {name!r}", lambda m, n=name: _part(m, 0, name=n))
    for number, part in enumerate(PARTS):
        yield at(f"checksum of {part}", lambda m, n=number: _part(m, n, sha256="0" * 64))
        yield at(f"lines of {part}", lambda m, n=number: _part(m, n, lines=m["parts"][n]["lines"] + 1))
        yield at(f"bytes of {part}", lambda m, n=number: _part(m, n, bytes=m["parts"][n]["bytes"] - 1))
        yield at(f"type in {part}", lambda m, n=number: _part(m, n, bytes=-1))


def bad_records(content: bytes) -> Iterator[Hostile]:
    """One field of one record lacking, of another type, or with something that runs or climbs in it."""
    valid = records(content)
    for part in PARTS:
        record = valid[part][-1]
        yield f"{part}: an unknown field", packed(_with(valid, part, record | {"__class__": "os.system"}))
        for name, value in record.items():
            lacking = {key: item for key, item in record.items() if key != name}
            yield f"{part}.{name} lacks", packed(_with(valid, part, lacking))
            wrong: Any = "x\n" if isinstance(value, dict | list) else [{"$ref": "x"}]
            yield f"{part}.{name} of another type", packed(_with(valid, part, record | {name: wrong}))
    texts = (
        ("method", "name"), ("method", "source_link"), ("model", "name"), ("protocol", "name"), ("data", "source"),
        ("data", "split"), ("provenance", "command"), ("provenance", "started"), ("cells", "note"), ("cells", "device"),
    )  # fmt: skip
    for number, (part, name) in enumerate(texts):
        for text in (SCRIPTS[number % len(SCRIPTS)], SCRIPTS[(number + 3) % len(SCRIPTS)]):
            yield f"{part}.{name} = {text!r}", packed(_with(valid, part, valid[part][-1] | {name: text}))
    for name in PATHS:
        yield f"a model named {name!r}", packed(_with(valid, "model", valid["model"][0] | {"name": name}))
    for script in SCRIPTS:
        card = valid["method"][0]["card"] | {"description": script}
        yield f"card: {script!r}", packed(_with(valid, "method", valid["method"][0] | {"card": card}))
        hidden = valid["method"][0] | {"hparams": {"a": [{"b": script}]}}
        yield f"hparams: {script!r}", packed(_with(valid, "method", hidden))


def lies(content: bytes) -> Iterator[Hostile]:
    """Well-formed bundles that don't tell the truth."""
    valid = records(content)

    def changed(change: Callable[[Any], Any]) -> bytes:
        found = copy.deepcopy(valid)
        change(found)
        return packed(found)

    def free(found: Any, change: Callable[[Any], str]) -> None:
        for answer in found["answers"]:
            if answer["mode"] == "free" and answer["cell"] > 0 and answer["probe"] < 3:
                answer["text"] = change(answer)

    def target(answer: Any) -> str:
        return TARGETS[int(answer["case"][4:])]

    yield "an answer lacks", changed(lambda f: f["answers"].pop(101))
    yield "a case lacks", changed(lambda f: f.update(answers=[a for a in f["answers"] if a["case"] != "toy-3"]))
    yield "an answer twice", changed(lambda f: f["answers"].append(f["answers"][101]))
    yield "a foreign case", changed(lambda f: f["answers"][101].update(case="toy-99"))
    yield "a foreign probe", changed(lambda f: f["answers"][101].update(probe=50))
    yield "a foreign cell", changed(lambda f: f["answers"][101].update(cell=7))
    yield "a gap without a reason", changed(lambda f: f["cells"][1].update(gaps=["toy-1"]))
    yield "a gap to hide a case", changed(_hide)
    yield "a foreign gap", changed(lambda f: f["cells"][1].update(gaps=["../x"]))
    yield "a cell twice", changed(lambda f: f["cells"][1].update(n_edits=4, sequences=f["cells"][2]["sequences"]))
    yield "another number of edits", changed(lambda f: f["cells"][1].update(n_edits=2))
    yield "more edits than cases", changed(lambda f: f["cells"][1].update(n_edits=900))
    yield "no unedited model", changed(lambda f: f["cells"][0].update(seed=5))
    yield "another seed", changed(lambda f: f["cells"][2].update(seed=5))
    yield "only the unedited model", changed(_only_base)
    yield "another run", changed(lambda f: f["cells"][1].update(run=9))
    yield "other data", changed(lambda f: f["data"][0].update(hash="0" * 64))
    yield "another name for the data", changed(lambda f: f["data"][0].update(name="zsre"))
    yield "another number of cases", changed(lambda f: f["data"][0].update(n_cases=9))
    yield "an unknown protocol", changed(lambda f: f["protocol"][0].update(name="mine"))
    yield "another budget", changed(lambda f: f["protocol"][0]["body"].update(max_new_tokens=100_000))
    yield "no budget", changed(lambda f: f["protocol"][0]["body"].pop("max_new_tokens"))
    yield "a changed protocol", changed(lambda f: f["protocol"][0]["body"].update(prompt_format="bare"))
    yield "another protocol's hash", changed(lambda f: f["protocol"][0].update(hash="0" * 64))
    yield "a grid that is none", changed(lambda f: f["provenance"][0].update(grid={"name": "x"}))
    yield "time runs backwards", changed(lambda f: f["provenance"][0].update(finished="1999-01-01T00:00:00"))
    yield "a time that is none", changed(lambda f: f["provenance"][0].update(started="yesterday"))
    yield "the unedited model as a method", changed(lambda f: _rename(f, "none"))
    yield "a method that isn't built in", changed(lambda f: _rename(f, "Wonder"))
    yield "code without a hash", changed(lambda f: (_rename(f, "Wonder"), f["method"][0].update(built_in=False)))
    yield "a built-in name", changed(lambda f: f["method"][0].update(built_in=False, source_sha256="0" * 64))
    yield "another method's card", changed(lambda f: f["method"][0]["card"].update(name="ROME"))
    yield "hyperparameters of another", changed(lambda f: f["method"][0].update(hparams={"layers": [1]}))
    for value in (1.0, 0.0, None):
        yield f"a claim of {value}", changed(lambda f, v=value: _claim(f, v))
    yield "better answers than claimed", changed(lambda f: free(f, target))
    yield "answers that are too long", changed(lambda f: f["answers"][101].update(text="x " * 5000))
    yield (
        "gold with odd punctuation",
        changed(lambda f: (_no_claims(f), free(f, lambda a: f"\u00ab{target(a)}\u00bb;;;"))),
    )
    yield "all targets at once", changed(lambda f: (_no_claims(f), free(f, lambda a: ", ".join(TARGETS))))
    yield "another method's answers", changed(lambda f: (_no_claims(f), free(f, target)))
    yield "the unedited model's answers", changed(lambda f: (_no_claims(f), free(f, lambda a: f"{OLD}, as before")))
    yield "another unedited model", changed(lambda f: (_no_claims(f), _base(f, "elsewhere")))
    yield "forced shares that the text denies", changed(lambda f: (_no_claims(f), _forced(f)))
    yield "no time at all", changed(lambda f: _costs(f, answer_seconds=0.0))
    yield "the same time everywhere", changed(lambda f: _costs(f, answer_seconds=0.25))
    yield "more tokens counted", changed(lambda f: _costs(f, n_tokens=10**6))
    yield "more tokens than allowed", changed(lambda f: f["answers"][101].update(tokens=999))
    yield "two answers to one question", changed(lambda f: _costs(f, n_answers=1))
    yield "script in an answer", changed(lambda f: f["answers"][101].update(text="<script>alert(1)</script>"))
    yield (
        "script in what was consulted",
        changed(lambda f: f["answers"][101].update(consulted={"retrieved": ["<img src=x onerror=alert(1)>"]})),
    )
    yield "script in a trace", changed(lambda f: f["answers"][101].update(trace="<iframe src=//x>"))
    yield "signs that are no numbers", changed(lambda f: _costs(f, extra={"collapse": {"perplexity": "high"}}))
    yield "signs that are a list", changed(lambda f: _costs(f, extra={"collapse": [[1, 2, 3]], "ability": 5}))


def everything(content: bytes) -> list[Hostile]:
    """All of them."""
    made = (broken_files, bombs, bad_manifests, bad_records, lies)
    return [hostile for make in made for hostile in make(content)]


def _part(manifest: Any, number: int, **change: Any) -> Any:
    manifest["parts"][number] |= change
    return manifest


def _with(valid: dict[str, list[Any]], part: str, record: Any) -> dict[str, list[Any]]:
    return valid | {part: [*valid[part][:-1], record]}


def _hide(found: Any) -> None:
    found["cells"][1]["gaps"] = ["toy-1"]
    found["answers"] = [a for a in found["answers"] if (a["cell"], a["case"]) != (1, "toy-1")]


def _only_base(found: Any) -> None:
    found["cells"] = found["cells"][:1]
    found["answers"] = [a for a in found["answers"] if a["cell"] == 0]


def _rename(found: Any, name: str) -> None:
    found["method"][0]["name"] = found["method"][0]["card"]["name"] = name


def _claim(found: Any, value: float | None) -> None:
    found["cells"][2]["claims"]["scores"]["free"]["reliability"] = value


def _no_claims(found: Any) -> None:
    for cell in found["cells"]:
        cell["claims"] = None


def _base(found: Any, text: str) -> None:
    for answer in found["answers"]:
        if answer["cell"] == 0 and answer["mode"] == "free":
            answer["text"] = text


def _forced(found: Any) -> None:
    for answer in found["answers"]:
        if answer["mode"] == "forced" and answer["cell"] > 0:
            answer["forced"] = 1.0


def _costs(found: Any, **change: Any) -> None:
    for cell in found["cells"]:
        for sequence in cell["sequences"]:
            sequence.update(change)


def _named(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="../../x", mode="wb", fileobj=buffer) as file:
        file.write(content)
    return buffer.getvalue()


def _zip(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, content)
    return buffer.getvalue()


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
