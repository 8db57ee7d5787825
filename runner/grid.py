"""Grid files: which models × methods × data sets × edit counts × seeds to run, under one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, field_validator, model_validator

from runner.errors import UserError, did_you_mean

Count = Annotated[StrictInt, Field(ge=1)]
Seed = Annotated[StrictInt, Field(ge=0)]


class _Entry(BaseModel):
    """A part of a grid that may be written as a bare name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class MethodEntry(_Entry):
    """A method, with the hyperparameters that differ from its defaults."""

    hparams: dict[str, Any] = Field(default_factory=dict)


class DatasetEntry(_Entry):
    """A data set: its loader's name, and for a published one the user's copy."""

    path: str | None = None
    split: str | None = None
    seed: Seed | None = None  # of a generated data set
    cases: Count | None = None  # the first so many, where that is fewer than the grid's


class ProtocolEntry(_Entry):
    """A protocol, with another token budget for one answer when given."""

    name: str = "wild"
    max_new_tokens: Count | None = None


class Grid(BaseModel):
    """A validated grid. `edits` are edits per sequence: "all" means every case in one sequence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    models: list[str] = Field(min_length=1)
    methods: list[MethodEntry] = Field(min_length=1)
    datasets: list[DatasetEntry] = Field(min_length=1)
    edits: list[Count | Literal["all"]] = Field(min_length=1)
    cases: Count  # cases per data set: the first ones, fewer where the data set has fewer
    seeds: list[Seed] = Field(default=[0], min_length=1)
    protocol: ProtocolEntry = ProtocolEntry()
    protocols: list[ProtocolEntry] = []  # several instead of one: the whole grid under each
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    probes: Count | None = None  # at most so many probes of each kind per case
    cell_seconds: float | None = Field(default=None, gt=0)  # a cell that takes longer in one run fails
    together: bool = True  # short sequences may share work; else all their times are their own

    @field_validator("models", "edits", "seeds", "protocols")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        return list(dict.fromkeys(values))

    @model_validator(mode="after")
    def _one_way(self) -> Grid:
        if self.protocols and self.protocol != ProtocolEntry():
            raise ValueError("name one 'protocol' or several 'protocols', not both")
        return self

    @property
    def all_protocols(self) -> list[ProtocolEntry]:
        """The protocols to run under, in order."""
        return self.protocols or [self.protocol]


def override(
    grid: Grid,
    *,
    models: Sequence[str] = (),
    methods: Sequence[str] = (),
    edits: Sequence[int | str] = (),
    seeds: Sequence[int] = (),
    data: str | None = None,
    limit: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    protocols: Sequence[str] = (),
    hparams: Mapping[str, Any] | None = None,
    cell_seconds: float | None = None,
    together: bool | None = None,
) -> Grid:
    """The grid with what the command line replaces.

    A method given by name keeps the hyperparameters the grid has for it, and so does a protocol its budget. `data`
    becomes the path of every data set that can be read from a file. `hparams` are set on each method that has them.
    Raises UserError for a value that can't be.
    """
    change: dict[str, Any] = {}
    if models:
        change["models"] = list(models)
    if methods:
        known = {entry.name.lower(): entry for entry in grid.methods}
        change["methods"] = [known.get(name.lower(), MethodEntry(name=name)) for name in methods]
    if edits:
        change["edits"] = list(edits)
    if seeds:
        change["seeds"] = list(seeds)
    if data is not None:
        change["datasets"] = _with_path(grid.datasets, data)
    if limit is not None:
        change["cases"] = limit
    if device is not None:
        change["device"] = device
    if dtype is not None:
        change["dtype"] = dtype
    if cell_seconds is not None:
        change["cell_seconds"] = cell_seconds
    if together is not None:
        change["together"] = together
    if protocols:
        budgets = {entry.name: entry for entry in grid.all_protocols}
        change["protocols"] = [budgets.get(name, ProtocolEntry(name=name)) for name in protocols]
        change["protocol"] = ProtocolEntry().model_dump()
    if hparams:
        change["methods"] = _with_hparams(change.get("methods", grid.methods), hparams)
    try:
        return Grid.model_validate({**grid.model_dump(), **{k: _plain(v) for k, v in change.items()}})
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"][0]
        raise UserError(f"the command line's value for '{key}' is wrong: {problem_message(first)}.") from error


def _with_path(datasets: Sequence[DatasetEntry], data: str) -> list[DatasetEntry]:
    readable = [entry for entry in datasets if not entry.name.startswith("atlas")]
    if not readable:
        raise UserError("--data is for data sets read from a file; this grid has none (its data sets are generated).")
    return [entry.model_copy(update={"path": data}) if entry in readable else entry for entry in datasets]


def _with_hparams(methods: Sequence[MethodEntry], hparams: Mapping[str, Any]) -> list[MethodEntry]:
    from runner.methods import registry

    classes = [registry.get(entry.name) for entry in methods]
    # A hybrid's hyperparameters are nested by its parts' names; each part that has one gets it.
    parts = [getattr(method, "parts", None) for method in classes]
    fields = [
        {name for part in of or (method,) for name in part.Hparams.model_fields}
        for method, of in zip(classes, parts, strict=True)
    ]
    known = sorted(set().union(*fields))
    for name in hparams:
        if name not in known:
            raise UserError(f"--set: no method of this grid has '{name}'.{did_you_mean(name, known)}")
    changed = []
    for entry, method, of in zip(methods, classes, parts, strict=True):
        own = {key.lower(): value for key, value in entry.hparams.items()} if of else {}
        nested = {part.name: {**(own.get(part.name.lower()) or {}), **_having(part, hparams)} for part in of or ()}
        changed.append(entry.model_copy(update={"hparams": nested or entry.hparams | _having(method, hparams)}))
    return changed


def _having(method: Any, hparams: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in hparams.items() if name in method.Hparams.model_fields}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [v.model_dump() if isinstance(v, BaseModel) else v for v in value]
    return value


def problem_message(problem: Any) -> str:
    """What is wrong with one value, from one entry of a ValidationError, as the end of a sentence."""
    if tuple(problem["loc"])[:1] == ("edits",) and len(problem["loc"]) > 1:
        return 'it should be a whole number of at least 1, or "all"'
    if problem["type"] == "model_type":
        return "it should be a name, or a mapping with the key 'name'"
    text = str(problem["msg"])
    return text[0].lower() + text[1:]
