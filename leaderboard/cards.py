"""Cards of methods, models and data sets: what they are, as plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from leaderboard import formatting
from leaderboard.glossary import metric_label
from leaderboard.views import UNEDITED

METHOD, MODEL, DATA = "method", "model", "data"
KINDS = {METHOD: "Methods", MODEL: "Models", DATA: "Data sets"}
# Written by `python -m runner show --all --json`; a test tells when it is out of date.
SHIPPED = Path(__file__).with_name("method_cards.json")
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_ARXIV = re.compile(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}")


@dataclass(frozen=True)
class Table:
    """A table of text below a card. widths: of its columns, in percent."""

    title: str
    headers: Sequence[str]
    rows: list[list[str]]
    widths: Sequence[int]


@dataclass(frozen=True)
class Card:
    """lead: one paragraph. links: (text, address), addresses of arXiv and the Hub only. facts: (what, value)."""

    title: str
    lead: str
    facts: list[tuple[str, str]]
    links: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@lru_cache(maxsize=1)
def shipped() -> dict[str, dict[str, Any]]:
    """The method cards that come with the board, by the lower-case name."""
    found = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return {card["name"].lower(): card for card in found}


def names(kind: str, cells: pd.DataFrame) -> list[str]:
    """What has a card: what the database has cells of, and every method that comes with the project."""
    if kind != METHOD:
        return sorted(cells["model" if kind == MODEL else "dataset"].unique())
    here = {name.lower(): name for name in sorted(cells["method"].unique())}
    return [card["name"] for card in shipped().values()] + [n for low, n in here.items() if low not in shipped()]


def method(name: str, cells: pd.DataFrame, submitted: Mapping[str, Mapping[str, Any]] | None = None) -> Card:
    """A method's card. A hybrid's is made of those of its parts; one that isn't known says so.

    submitted: the cards that came in with submissions, by the method's name.
    """
    own = cells[cells["method"].str.lower() == name.lower()]
    sent = (submitted or {}).get(name)
    if name.lower() not in shipped() and sent is not None:
        said = [("card", "as its author sent it in"), *_said(sent, "")]
        links = [(f"arXiv {p['id']}", p["link"]) for p in sent["papers"] if _ARXIV.fullmatch(p["link"])]
        table = _hyperparameters(sent["hyperparameters"], own)
        return Card(name, _unwrapped(sent["description"]), said + _on_board(own), links, [table])
    known = [shipped()[part] for part in [name.lower()] if part in shipped()]
    if not known and "+" in name:
        known = [shipped()[part] for part in name.lower().split("+") if part in shipped()]
    if not known:
        lead = "No card comes with the board: a method of somebody else's, or newer than this copy of the board."
        return Card(name, lead, _on_board(own), tables=[_hyperparameters([], own)])
    facts = []
    for card in known:
        facts += _said(card, f" ({card['name']})" if len(known) > 1 else "")
    links = [(f"arXiv {p['id']}", p["link"]) for c in known for p in c["papers"] if _ARXIV.fullmatch(p["link"])]
    lead = "\n\n".join(_unwrapped(card["description"]) for card in known)
    title = name if len(known) > 1 else known[0]["name"]
    rows = [row for card in known for row in card["hyperparameters"]]
    return Card(title, lead, facts + _on_board(own), links, [_hyperparameters(rows, own)])


def _said(card: Mapping[str, Any], of: str) -> list[tuple[str, str]]:
    return [
        (f"family{of}", card["family"]),
        (f"changes{of}", card["changes"]),
        (f"fidelity{of}", card["fidelity"]),
        (f"extra memory per edit{of}", card["extra_memory"]),
    ]


def _unwrapped(text: str) -> str:
    """One line a paragraph, without the marks that only a docstring needs."""
    return "\n\n".join(" ".join(paragraph.replace("`", "").split()) for paragraph in text.split("\n\n"))


def _hyperparameters(rows: Sequence[Mapping[str, Any]], cells: pd.DataFrame) -> Table:
    used: dict[str, list[str]] = {}
    for hparams in cells["hparams"]:
        for key, value in hparams.items():
            text = json.dumps(value, ensure_ascii=False)
            if text not in used.setdefault(key, []):
                used[key].append(text)
    data = [
        [r["name"], json.dumps(r["default"]), " · ".join(used.pop(r["name"], [])) or "–", r["type"], r["meaning"]]
        for r in rows
    ]
    data += [[name, "–", " · ".join(values), "", ""] for name, values in used.items()]
    return Table(
        "Hyperparameters",
        ["hyperparameter", "default", "used on the board", "type", "meaning"],
        data,
        (16, 11, 15, 15, 43),
    )


def model(name: str, cells: pd.DataFrame) -> Card:
    """A model's card: what was measured with it and where its weights can be told by."""
    own = cells[cells["model"] == name]
    facts = [("weights (SHA-256, first digits)", _list(own["model_hash"].str[:16])), ("dtype", _list(own["dtype"])),
             ("device", _list(own["device"])), ("data sets", _list(own["dataset"])),
             *_counts(own)]  # fmt: skip
    links = [(name, f"https://huggingface.co/{name}")] if _HUB.fullmatch(name) else []
    lead = "A model that was edited and asked. The hash is over the bytes of its weights and of its configuration."
    return Card(name, lead, facts, links, [_cells(own, "dataset", "data set")])


def dataset(name: str, cells: pd.DataFrame, stored: Sequence[Mapping[str, Any]], first: Mapping[str, Any]) -> Card:
    """A data set's card with the loader's hygiene report.

    stored: `db.reader.Reader.datasets`. first: the body of the first case, empty where there is none.
    """
    own = cells[cells["dataset"] == name]
    versions = [row for row in stored if row["name"] == name]
    facts = [("read from", _list(pd.Series([row["source"] for row in versions], dtype=str))),
             ("cases (SHA-256, first digits)", _list(pd.Series([row["hash"][:16] for row in versions], dtype=str))),
             ("models", _list(own["model"])), *_counts(own)]  # fmt: skip
    rows = [line for row in versions for line in _report(row["report"] or {})]
    lead = "A set of cases: each holds the edits that belong together and the questions that test them."
    tables = [
        Table("What the loader found", ["what", "kind", "number"], rows, (26, 49, 25)),
        Table("The first case", ["kind", "question or edit", "right answers"], _case(first), (30, 44, 26)),
    ]
    return Card(name, lead, facts, tables=tables)


def _report(report: Mapping[str, Any]) -> list[list[str]]:
    lines = [["kept", "cases", f"{report['kept']:,}"]] if "kept" in report else []
    for part, what in (("dropped", "dropped"), ("notes", "noted"), ("probe_kinds", "questions")):
        named = sorted((report.get(part) or {}).items())
        lines += [[what, metric_label(str(k)) if part == "probe_kinds" else str(k), f"{n:,}"] for k, n in named]
    return lines


def _case(body: Mapping[str, Any]) -> list[list[str]]:
    edits = [["edit", str(e.get("statement") or e.get("prompt", "")), str(e.get("target", ""))]
             for e in body.get("edits", [])]  # fmt: skip
    probes = [
        [
            metric_label(str(p.get("kind", ""))),
            str(p.get("prompt", "")),
            " · ".join(str(a[0]) for a in p.get("answers", []) if a),
        ]
        for p in body.get("probes", [])
    ]
    return edits + probes


def _on_board(own: pd.DataFrame) -> list[tuple[str, str]]:
    if own.empty:
        return [("on this board", "not run yet")]
    return [("models", _list(own["model"])), ("data sets", _list(own["dataset"])), *_counts(own)]


def _counts(own: pd.DataFrame) -> list[tuple[str, str]]:
    states = own["state"].value_counts().sort_index()
    lengths = sorted({int(n) for n in own["n_edits"] if n})
    return [
        ("cases in a row", ", ".join(f"{n:,}" for n in lengths) or "–"),
        ("cells", ", ".join(f"{n:,} {state}" for state, n in states.items()) or "none"),
    ]


def _cells(own: pd.DataFrame, column: str, title: str) -> Table:
    rows = [
        [r[column], "unedited model" if r["method"] == UNEDITED else r["label"], f"{r['n_edits']:,}", r["state"],
         formatting.count(int(r["n_cases"]), "case"), r["protocol"], r["key"]]
        for r in own.sort_values([column, "method", "n_edits"]).head(200).to_dict("records")
    ]  # fmt: skip
    return Table("Cells (choose one for its run)", [title, "method", "in a row", "state", "cases", "protocol", "cell"],
                 [[str(value) for value in row] for row in rows], (18, 18, 9, 9, 12, 12, 22))  # fmt: skip


def _list(values: pd.Series) -> str:
    found = sorted({str(value) for value in values})
    return ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "") or "–"
