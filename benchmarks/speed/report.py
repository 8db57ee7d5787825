"""Ratios with their spread, whether the two sides agree, and the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

# How often faster ours should be, at least (issue 6 of the project's list).
GOALS = {"locate-then-edit": 10.0, "side memory": 5.0, "other": 2.0, "answers": 20.0, "job": 15.0}


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest of several rounds."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(min(values), median(values), max(values))

    def __str__(self) -> str:
        return f"{_short(self.middle)} ({_short(self.low)}–{_short(self.high)})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """How often faster ours is, round by round: the two sides of a round ran one right after the other."""
    return Spread.of([t / max(o, 1e-9) for t, o in zip(theirs, ours, strict=True)])


def goal(family: str) -> float:
    """The ratio that is wanted of a method's family."""
    return GOALS.get(family, GOALS["other"])


def per_edit(result: Mapping[str, Any], clock: str) -> float:
    """Mean seconds of an edit. The first, which also pays for what is made once, is left out where there are more."""
    edits = result["edits"][1:] or result["edits"]
    return float(sum(edit[clock] for edit in edits) / len(edits))


def once(result: Mapping[str, Any], clock: str) -> float:
    """Seconds of preparing, and of what the first edit took longer than the others."""
    return float(result["prepare"][clock] + max(0.0, result["edits"][0][clock] - per_edit(result, clock)))


def equal_share(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """Share of the answers that are the same."""
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / max(1, len(ours))


def relative_difference(ours: Any, theirs: Any) -> float:
    """|ours - theirs| / |theirs| of two tensors; infinite where they are of different sizes."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp(min=1e-300))


def edit_row(
    name: str, family: str, rounds: Sequence[Mapping[str, Any]], differences: Sequence[float]
) -> dict[str, Any]:
    """One method's row. rounds: {"ours": …, "theirs": …} as the workers return them."""
    row: dict[str, Any] = {"method": name, "goal": goal(family), "differences": list(differences)}
    for clock in ("processor", "wall"):
        sides = {side: [per_edit(r[side], clock) for r in rounds] for side in ("ours", "theirs")}
        row[clock] = {side: Spread.of(values) for side, values in sides.items()}
        row[clock]["ratio"] = ratio(sides["theirs"], sides["ours"])
    alone = [r["ours"]["apart"]["processor"] for r in rounds]
    theirs = [per_edit(r["theirs"], "processor") for r in rounds]
    row["apart"] = {"ours": Spread.of(alone), "ratio": ratio(theirs, alone)}
    row["once"] = {side: median(once(r[side], "processor") for r in rounds) for side in ("ours", "theirs")}
    row["said"] = {side: rounds[0][side]["said"] for side in ("ours", "theirs")}
    row["edits"] = len(rounds[0]["ours"]["edits"])
    return row


def other_row(what: str, wanted: float, rounds: Sequence[Mapping[str, Any]], count: str = "") -> dict[str, Any]:
    """A row of asking or of a whole job. count: the key of the number of things done, else the answers are counted."""
    row: dict[str, Any] = {"what": what, "goal": wanted}
    for clock in ("processor", "wall"):
        sides = {side: [r[side][clock] for r in rounds] for side in ("ours", "theirs")}
        row[clock] = {side: Spread.of(values) for side, values in sides.items()}
        row[clock]["ratio"] = ratio(sides["theirs"], sides["ours"])
    first = rounds[0]
    row["n"] = {side: first[side][count] if count else len(first[side]["answers"]) for side in ("ours", "theirs")}
    if not count:
        row["equal"] = equal_share(first["ours"]["answers"], first["theirs"]["answers"])
    return row


def edits_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Seconds per edit."""
    lines = [
        "| method | ours, s | EasyEdit, s | times faster | apart: ours, s | apart: times faster | goal | met: in a "
        "row, apart | wall: times faster | once: ours, EasyEdit, s | update differs by: first, last edit | said: ours, "
        "EasyEdit |",
        "|---|---:|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for r in rows:
        cpu = r["processor"]
        differ = ", ".join(f"{d:.0e}" for d in r["differences"]) or "another algorithm"
        apart, met = r["apart"], f"{_met(cpu, r['goal'])}, {_met(r['apart'], r['goal'])}"
        lines.append(
            f"| {r['method']} | {cpu['ours']} | {cpu['theirs']} | {cpu['ratio']} | {apart['ours']} | {apart['ratio']} "
            f"| {r['goal']:g} | {met} "
            f"| {r['wall']['ratio']} | {_short(r['once']['ours'])}, {_short(r['once']['theirs'])} | {differ} "
            f"| {r['said']['ours']}, {r['said']['theirs']} of {r['edits']} |"
        )
    return "\n".join(lines)


def others_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Asking and whole jobs."""
    lines = [
        "| what | n: ours, EasyEdit | ours, s | EasyEdit, s | times faster | goal | met | wall: times faster | "
        "same answers |",
        "|---|---:|---:|---:|---:|---:|---|---:|---:|",
    ]
    for r in rows:
        cpu = r["processor"]
        same = f"{100 * r['equal']:.1f} %" if "equal" in r else ""
        lines.append(
            f"| {r['what']} | {r['n']['ours']}, {r['n']['theirs']} | {cpu['ours']} | {cpu['theirs']} | {cpu['ratio']} "
            f"| {r['goal']:g} | {_met(cpu, r['goal'])} | {r['wall']['ratio']} | {same} |"
        )
    return "\n".join(lines)


def _met(cpu: Mapping[str, Spread], wanted: float) -> str:
    return "yes" if cpu["ratio"].middle >= wanted else "no"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
