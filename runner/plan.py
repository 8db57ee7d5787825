"""From a grid to its cells: models found and hashed, data sets read, hyperparameters checked. Loads no model."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runner.cells import BASE_METHOD, CaseSet, Cell, MethodRef, ModelRef, Settings, canonical_hash, expand, limit_probes
from runner.errors import UserError, user_path
from runner.grid import DatasetEntry, Grid, MethodEntry, ProtocolEntry
from runner.gridfile import GridFile, Location
from runner.protocol import Protocol, get_protocol
from runner.types import Case

if TYPE_CHECKING:
    from runner.datasets.base import Loaded

T = TypeVar("T")
# Values of hyperparameters that name no file, even where a file or folder of that name lies about.
WORDS = ("", "auto", "bm25", "minilm", "contriever", "atlas", "atlas+superseded", "located")

MOST_FILES = 1000  # in a folder that a hyperparameter names: all of them are read


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    cells: in order of execution, base cells before those that refer to them. datasets: hash -> what was read, as run.
    notes: sentences a user should read first, such as edit counts that can't be reached.
    """

    grid: Grid
    cells: list[Cell]
    datasets: dict[str, Loaded]
    notes: list[str]

    def cases(self, cell: Cell) -> dict[str, Case]:
        """The cell's cases by id."""
        return {case.id: case for case in self.datasets[cell.dataset_hash].cases}


def make_plan(source: GridFile, grid: Grid, unseen: bool = False) -> Plan:
    """Resolve a grid. `source` is where it was read from; `grid` may hold what the command line replaced.
    unseen: models may be missing as long as their shape is known: a plan to be looked at, not to be run.

    Raises UserError, with the grid's line where the fault stands there, for an unknown method, hyperparameter,
    data set, protocol, model or device, and for data that can't be read.
    """

    def at(entry: Any, location: Location, resolve: Callable[[], T]) -> T:
        return _placed(source, grid, entry, location, resolve)

    methods = [at(m, ("methods", i), lambda m=m: resolve_method(m)) for i, m in enumerate(grid.methods)]  # type: ignore[misc]
    protocols = [
        at(p, ("protocols", i) if grid.protocols else ("protocol",), lambda p=p: _protocol(p))  # type: ignore[misc]
        for i, p in enumerate(grid.all_protocols)
    ]
    datasets = [
        at(d, ("datasets", i), lambda d=d: read_dataset(d, grid.cases, grid.probes))  # type: ignore[misc]
        for i, d in enumerate(grid.datasets)
    ]
    models = [at(m, ("models", i), lambda m=m: resolve_model(m, unseen)) for i, m in enumerate(grid.models)]  # type: ignore[misc]
    settings = [resolve_settings(grid, protocol) for protocol in protocols]
    sets = [
        CaseSet(entry.name, loaded.hash, tuple(loaded.cases))
        for entry, loaded in zip(grid.datasets, datasets, strict=True)
    ]
    base = resolve_method(MethodEntry(name=BASE_METHOD))
    cells: list[Cell] = []
    notes: dict[str, None] = {}
    for model in models:  # outermost: a model is loaded once
        placed = [place_method(method, model) for method in methods]
        for shared in settings:
            found, said = expand([model], placed, sets, grid.edits, grid.seeds, shared, base)
            cells += found
            notes |= dict.fromkeys(said)
    return Plan(grid, cells, {loaded.hash: loaded for loaded in datasets}, list(notes))


def _protocol(entry: ProtocolEntry) -> Protocol:
    return get_protocol(entry.name, entry.max_new_tokens)


def _placed(source: GridFile, grid: Grid, entry: Any, location: Location, resolve: Callable[[], T]) -> T:
    """`resolve()`, with the grid's file and line in front of a UserError when the entry stands in the file."""
    try:
        return resolve()
    except UserError as error:
        key = str(location[0])
        written = getattr(source.grid, key)
        if entry is written or (isinstance(written, list) and entry in written):
            if isinstance(written, list):
                location = (key, written.index(entry))
            raise UserError(f"{source.place(location)}: {error}") from error
        raise


def resolve_method(entry: MethodEntry) -> MethodRef:
    """A method with all its hyperparameters. Raises UserError for an unknown name, hyperparameter or value."""
    from runner.methods import registry

    method = registry.get(entry.name)
    hparams = method.validate(entry.hparams).model_dump(mode="json")
    hparams = _settled(hparams)
    try:
        canonical_hash(hparams)
    except UnicodeEncodeError as error:  # half a character, as YAML and JSON can write it
        raise UserError(f"method {method.name}: a hyperparameter holds what is no text ({error.object!a}).") from error
    files = _files(hparams)
    for part in getattr(method, "parts", (method,)):
        if part.__module__ not in registry.BUILT_IN.values():
            # Only the project's own methods raise their version whenever their numbers change.
            source = getattr(sys.modules.get(part.__module__), "__file__", None)
            if source is not None:
                files["source of the method"] = _content_hash(Path(source))
    return MethodRef(method.name, hparams, str(getattr(method, "version", "1")), files, entry.name)


def _settled(hparams: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters with the retriever "auto" came to, also where a hybrid's are nested by its parts' names."""
    from runner.methods.retrieval import resolve_retriever

    settled: dict[str, Any] = {
        key: _settled(value) if isinstance(value, dict) else value for key, value in hparams.items()
    }
    if isinstance(settled.get("retriever"), str):
        # What "auto" comes to depends on what is installed, so it must not be what a cell is known by.
        settled["retriever"] = resolve_retriever(settled["retriever"])
    return settled


def place_method(method: MethodRef, model: ModelRef) -> MethodRef:
    """The method with layers left to a causal trace replaced by those found in this model: a cell is known by them.

    Raises UserError for a model that has not been traced.
    """
    from dataclasses import replace

    from runner.methods.layers import LOCATED, read_located

    asked = [key for key in ("layer", "layers") if method.hparams.get(key) == LOCATED]
    if not asked:
        return method
    found = read_located(model.hash, model.spec)
    return replace(method, hparams={**method.hparams, **{key: found[key] for key in asked}})


def _files(hparams: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """SHA-256 of each file or folder a hyperparameter names: its content changes numbers, its path doesn't."""
    found: dict[str, str] = {}
    for key, value in hparams.items():
        if isinstance(value, dict):
            found |= _files(value, f"{prefix}{key}.")
        elif isinstance(value, str) and value not in WORDS and (path := _existing(value)) is not None:
            found[f"{prefix}{key}"] = _content_hash(path)
    return found


def _existing(text: str) -> Path | None:
    """The file or folder a text names; None for a text that names none, or couldn't."""
    try:
        path = user_path(text)
        return path if path.exists() else None
    except (OSError, ValueError):  # too long, or with characters no name holds
        return None


def _content_hash(path: Path) -> str:
    """SHA-256 of a file, or of all files in a folder with their names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(islice((part for part in path.rglob("*") if part.is_file()), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise UserError(
            f"{path} is a folder of more than {MOST_FILES} files; name the one that a hyperparameter means."
        )
    return canonical_hash({part.relative_to(path).as_posix(): _content_hash(part) for part in files})


def resolve_model(spec: str, unseen: bool = False) -> ModelRef:
    """A model's name and hash, from its files. Raises UserError when there is none or its folder is not whole.

    unseen: a Hub model is not fetched, and a folder may hold its config.json alone; such a model's hash is "unseen".
    """
    from runner.models.files import ALIASES, check_folder, has_weights, in_cache, is_hub_name, resolve
    from runner.models.hashing import hash_folder

    path = user_path(spec)
    if unseen and spec not in ALIASES:
        on_hub = is_hub_name(spec) and not path.exists()
        if not in_cache(spec) if on_hub else path.is_dir() and not has_weights(path):
            from runner.costs.shape import shape_of

            shape_of(spec)  # raises where nothing is known of it
            return ModelRef(spec, spec if on_hub else path.resolve().name, "unseen")
    folder = resolve(spec)
    check_folder(folder)
    is_path = spec not in ALIASES and user_path(spec).is_dir()
    name = user_path(spec).resolve().name if is_path else spec
    return ModelRef(spec, name, hash_folder(folder))


def read_dataset(entry: DatasetEntry, n_cases: int, probes: int | None) -> Loaded:
    """The first cases of a data set that don't contradict each other, with at most `probes` probes of a kind."""
    from dataclasses import replace

    from runner.datasets import base

    limit = min(n_cases, entry.cases or n_cases)
    loaded = base.load(entry.name, entry.path, split=entry.split, seed=entry.seed, limit=limit)
    if probes is None:
        return loaded
    cases = list(limit_probes(loaded.cases, probes))
    report = replace(loaded.report, probe_kinds=base.count_kinds(cases))
    return replace(loaded, cases=cases, hash=base.hash_cases(cases), report=report)


def resolve_settings(grid: Grid, protocol: Protocol) -> Settings:
    """Device and dtype as they will be, from "auto". Raises UserError for a device this machine lacks."""
    from runner.models.lm import BATCH_SIZE
    from runner.models.load import pick_device, pick_dtype
    from runner.models.sharding import SHARDED

    device = pick_device(grid.device)
    dtype = str(pick_dtype(grid.dtype, device)).removeprefix("torch.")
    return Settings(
        protocol, SHARDED if grid.device == SHARDED else str(device), dtype, f"by length, at most {BATCH_SIZE}"
    )
