"""What a finding is, and how its numbers are said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from leaderboard import formatting
from leaderboard.findings.numbers import Estimate

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from leaderboard.findings.frames import Frames

ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class Question:
    """What doesn't depend on any number: one of the paper's questions.

    number: as in the list of findings. repeat: the commands that measure it. limits: what the small model can and
    can't show.
    """

    number: int
    title: str
    asks: str
    repeat: tuple[str, ...]
    limits: str

    @property
    def name(self) -> str:
        """What its figure and its table are called in addresses."""
        return f"finding-{self.number}"


@dataclass(frozen=True)
class Finding:
    """A question with its answer, made of the numbers at hand.

    answer: one sentence. table: the numbers behind it, shares as 0 to 1. figure, alt: the figure, and in words what it
    shows; both empty where nothing was measured. scope: what was measured. seeds: the headline number under each seed,
    and what it says; measured: False where the experiment has no cells yet.
    unit: of the headline number: "%" (a share), "points" (a difference of shares), else what follows it.
    """

    question: Question
    answer: str
    table: pd.DataFrame
    figure: go.Figure
    alt: str = ""
    scope: str = ""
    headline: str = ""
    seeds: Mapping[int, float] = field(default_factory=dict)
    unit: str = "%"
    measured: bool = True

    @property
    def by_seed(self) -> str:
        """The headline number under each seed, its spread, and whether that is enough."""
        return seeds_line(self.headline, self.seeds, self.unit) if self.measured else ""


def unanswered(question: Question, why: str = "") -> Finding:
    """Nothing to answer it with: how to get that."""
    import pandas as pd
    import plotly.graph_objects as go

    from leaderboard import figures

    figure = go.Figure()
    figures.lay_out(figure, 220)
    figures.say_empty(figure, "not run yet")
    reason = f" ({why})" if why else ""
    return Finding(question, f"Not run yet{reason}: {question.repeat[0]}", pd.DataFrame(), figure, measured=False)


def share(estimate: Estimate) -> str:
    """0.931 with its interval -> "93.1 % [91, 95]"; a narrow interval gets a decimal."""
    said = f"{formatting.percent(estimate.value)} %"
    if formatting.is_missing(estimate.low) or formatting.is_missing(estimate.high):
        return said
    digits = 1 if estimate.high - estimate.low < 0.02 else 0
    return f"{said} [{100 * estimate.low:.{digits}f}, {100 * estimate.high:.{digits}f}]"


def points(estimate: Estimate) -> str:
    """A difference of shares in percentage points: "−4.2 points [−6.0, −2.4]"."""
    said = f"{formatting.signed(estimate.value)} points"
    if formatting.is_missing(estimate.low) or formatting.is_missing(estimate.high):
        return said
    return f"{said} [{formatting.signed(estimate.low)}, {formatting.signed(estimate.high)}]"


def plain(estimate: Estimate, digits: int = 2) -> str:
    """A number that is no share: "0.81 [0.55, 0.93]"."""
    said = f"{estimate.value:.{digits}f}".replace("-", "−")
    if formatting.is_missing(estimate.low) or formatting.is_missing(estimate.high):
        return said
    low, high = (f"{bound:.{digits}f}".replace("-", "−") for bound in (estimate.low, estimate.high))
    return f"{said} [{low}, {high}]"


def names(listed: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(listed) < 2:
        return "".join(listed)
    return ", ".join(listed[:-1]) + " and " + listed[-1]


def seeds_line(what: str, values: Mapping[int, float], unit: str) -> str:
    """The headline under each seed with the spread; fewer than three seeds are said to be too few."""
    if not values:
        return ""
    shown = [_with_unit(values[seed], unit) for seed in sorted(values)]
    seeds = ", ".join(str(seed) for seed in sorted(values))
    if len(values) == 1:
        return f"{what}: {shown[0]} (seed {seeds} only; whether another seed says the same is not known)."
    spread = max(values.values()) - min(values.values())
    width = f"{100 * spread:.1f} points" if unit in ("%", "points") else _with_unit(spread, unit)
    few = "" if len(values) >= ENOUGH_SEEDS else "; fewer than three seeds, so the spread is a guess"
    return f"{what}: {', '.join(shown)} (seeds {seeds}; from smallest to largest {width}{few})."


def _with_unit(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.1f} %"
    if unit == "points":
        return f"{formatting.signed(value)} points"
    return f"{value:.2f}{' ' + unit if unit else ''}".replace("-", "−")


def scope_line(frames: Frames, cells: pd.DataFrame) -> str:
    """What was measured, of the cells of one comparison, and in what time."""

    def listed(column: str) -> str:
        return ", ".join(str(value) for value in sorted(cells[column].unique()))

    edited = cells[cells["method"] != "none"]
    methods = formatting.count(int(edited["label"].nunique()), "method")
    lengths = ", ".join(f"{n:,}" for n in sorted(edited["n_edits"].unique()))
    cases = " or ".join(f"{n:,}" for n in sorted(cells["n_cases"].unique()))
    spent = frames.sequences(cells["key"])[["edit_seconds", "answer_seconds"]].sum().sum()
    return (
        f"Measured: model {listed('model')}, data set {listed('dataset')}, protocol {listed('protocol')}, {cases} "
        f"cases, {lengths} in a row, seed {listed('seed')}, {methods}; {_minutes(spent)} of editing and answering."
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:,.0f} minutes"


def bounds(name: str, estimate: Estimate) -> dict[str, Any]:
    """An estimate as three columns of a table."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def read(row: Mapping[str, Any] | pd.Series, name: str = "") -> Estimate:
    """The estimate that a table's row holds: of a name as `bounds` writes it, else of value, low and high."""
    value, low, high = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    return Estimate(float(row[value]), float(row[low]), float(row[high]), int(row["cases"]))


def listed_by_label(rows: pd.DataFrame, series: Sequence[str]) -> str:
    """A figure in words: for each label its series' values in percent."""
    said = []
    for label, own in rows.groupby("label", sort=False):
        values = own.set_index("series")["value"]
        said.append(f"{label} {', '.join(f'{s} {formatting.percent(values[s])}' for s in series if s in values)}")
    return "; ".join(said)
