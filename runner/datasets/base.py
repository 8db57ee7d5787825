"""What a loader returns, and the registry of loaders.

A loader is one function in its own module, `load(path, split, seed) -> Loaded`, decorated with `@register(name)`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.datasets.conflicts import choose, resolve_conflicts
from runner.errors import UserError, did_you_mean
from runner.types import Case, to_json

SUPERSEDED = "cases that a later case contradicts"
PASSED_OVER = "cases that contradict one chosen before"
NOT_SELECTED = "cases outside the selection"


@dataclass(frozen=True)
class Report:
    """The hygiene report of one reading.

    kept: number of cases. dropped: reason -> count, of cases or probes as the reason says. notes: what was found and
    left as it is, or mended, -> count. probe_kinds: probe kind -> number of probes in the kept cases.
    """

    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    probe_kinds: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as a plain dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class Loaded:
    """A data set as it was read.

    cases: in the order of the source, ids unique. report: the hygiene report. source: where it came from.
    hash: SHA-256 (hex) over the cases' canonical JSON, in order.
    """

    cases: list[Case]
    report: Report
    source: str
    hash: str

    def resolve_conflicts(self) -> Loaded:
        """Without the cases that a later one contradicts (rule: `runner.datasets.conflicts`), counted in the report."""
        kept, superseded = resolve_conflicts(self.cases)
        return self._with(kept, {SUPERSEDED: len(superseded)})

    def select(self, n: int | None, seed: int | None = None) -> Loaded:
        """At most `n` cases that can be edited in one sequence without contradicting each other.

        seed None takes the first ones, a number draws them; the order of the source is kept. None for `n`: all.
        """
        resolved = self.resolve_conflicts()
        chosen, passed_over = choose(resolved.cases, n, seed)
        left = len(resolved.cases) - len(chosen) - passed_over
        return resolved._with(chosen, {PASSED_OVER: passed_over, NOT_SELECTED: left})

    def _with(self, cases: list[Case], dropped: Mapping[str, int]) -> Loaded:
        counts = Counter(self.report.dropped) + Counter(dropped)
        report = replace(self.report, kept=len(cases), dropped=dict(counts), probe_kinds=count_kinds(cases))
        return Loaded(cases, report, self.source, hash_cases(cases))


def make_loaded(
    cases: Iterable[Case], source: str, dropped: Mapping[str, int] | None = None, notes: Mapping[str, int] | None = None
) -> Loaded:
    """A Loaded with its report and hash. Raises UserError where no case is left or two have the same id."""
    cases = list(cases)
    if not cases:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in _positive(dropped).items()) or "it is empty"
        raise UserError(f"no usable case in '{source}' ({reasons}); check that the file is the right one.")
    case_id, count = Counter(case.id for case in cases).most_common(1)[0]
    if count > 1:
        raise UserError(f"'{source}' gives the id '{case_id}' to {count} cases; ids must be unique.")
    report = Report(len(cases), _positive(dropped), _positive(notes), count_kinds(cases))
    return Loaded(cases, report, source, hash_cases(cases))


def _positive(counts: Mapping[str, int] | None) -> dict[str, int]:
    return {reason: count for reason, count in (counts or {}).items() if count}


def count_kinds(cases: Iterable[Case]) -> dict[str, int]:
    """Number of probes by kind, the kinds in alphabetical order."""
    counts = Counter(probe.kind for case in cases for probe in case.probes)
    return dict(sorted(counts.items()))


def hash_cases(cases: Iterable[Case]) -> str:
    """SHA-256 (hex) over the canonical JSON (sorted keys, no spaces, UTF-8) of the cases, one a line, in order."""
    digest = hashlib.sha256()
    for case in cases:
        line = json.dumps(to_json(case), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


Loader = Callable[[str | Path | None, str | None, int | None], Loaded]


@dataclass(frozen=True)
class Info:
    """What a data set is, as `ls datasets` says it.

    format: how its file is laid out. licence: of the data. source: where it is published, "generated" for none.
    probe_kinds: those its cases can have. path: "none" (it is generated), "optional" (the Hub has it) or "needed".
    keys: for each layout, the keys by which its records are recognised.
    """

    format: str
    licence: str
    source: str
    probe_kinds: tuple[str, ...]
    path: str
    keys: tuple[frozenset[str], ...] = ()


# name -> module: a loader's module is imported when it is first asked for.
_MODULES = {
    "atlas": "runner.datasets.atlas",
    "atlas-audit": "runner.datasets.atlas",
    "atlas-events": "runner.datasets.atlas",
    "atlas-new": "runner.datasets.atlas",
    "counterfact": "runner.datasets.counterfact",
    "elken": "runner.datasets.elken",
    "hallueditbench": "runner.datasets.hallueditbench",
    "jsonl": "runner.datasets.jsonl",
    "mquake": "runner.datasets.mquake",
    "qaedit": "runner.datasets.qaedit",
    "wiki-counterfact": "runner.datasets.wikidata",
    "wiki-recent": "runner.datasets.wikidata",
    "wikibio": "runner.datasets.wikibio",
    "zsre": "runner.datasets.zsre",
    "zsre-mend": "runner.datasets.zsre_mend",
}
_LOADERS: dict[str, Loader] = {}
_INFOS: dict[str, Info] = {}


def register(name: str, info: Info | None = None) -> Callable[[Loader], Loader]:
    """Register a loader under `name` (compared without case), with what it reads where that is known.

    Raises ValueError where another one has the name."""

    def decorate(loader: Loader) -> Loader:
        key = name.casefold()
        if _LOADERS.get(key, loader) is not loader:
            raise ValueError(f"the data set name '{name}' is taken")
        _LOADERS[key] = loader
        if info is not None:
            _INFOS[key] = info
        return loader

    return decorate


def info(name: str) -> Info | None:
    """What the data set called `name` is; None for a third party's that doesn't say. Raises UserError as `get` does."""
    get(name)
    return _INFOS.get(name.casefold())


def names() -> list[str]:
    """The names of all data sets, in alphabetical order. Imports no loader."""
    return sorted({*_MODULES, *_LOADERS})


def get(name: str) -> Loader:
    """The loader called `name`. Raises UserError, with the nearest name, where there is none."""
    key = name.casefold()
    if key not in _LOADERS and key in _MODULES:
        importlib.import_module(_MODULES[key])
    if key not in _LOADERS:
        known = names()
        raise UserError(f"unknown data set '{name}'; known: {', '.join(known)}.{did_you_mean(name, known)}")
    return _LOADERS[key]


def load(
    name: str,
    path: str | Path | None = None,
    *,
    split: str | None = None,
    seed: int | None = None,
    limit: int | None = None,
) -> Loaded:
    """Read a data set.

    name: see `names()`. path: the user's copy of a published file, None for the publisher's (or a generated set).
    split: which part, None for the usual test part. seed: of a generated data set, None for its own default.
    limit: keep the first so many cases that don't contradict each other, as `Loaded.select` does.

    Raises UserError for an unknown name, a file that is missing, cut off or of the wrong shape, or an unreachable hub.
    """
    loaded = get(name)(path, split, seed)
    return loaded if limit is None else loaded.select(limit)
