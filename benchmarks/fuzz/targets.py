"""What is fuzzed: each target reads one input, and may raise only the errors that a user is shown as one sentence."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import UserError


@dataclass(frozen=True)
class Target:
    """seeds: valid inputs to start from. read: takes one input; whatever it raises is a fault."""

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes], None]


def grid() -> Target:
    """Grid files (YAML), up to their methods' hyperparameters."""
    from runner import gridfile
    from runner.plan import resolve_method

    def read(data: bytes) -> None:
        with suppress(UserError, UnicodeDecodeError):
            found = gridfile.parse(data.decode("utf-8"), "fuzz.yaml")
            for entry in found.grid.methods:
                # A name that is a path or a module is code of the user's own, which is run, not read.
                if not (":" in entry.name or entry.name.endswith(".py")):
                    resolve_method(entry)

    import yaml

    texts = [path.read_bytes() for path in sorted(gridfile.GRIDS.glob("*.yaml"))]
    return Target("grid", texts + [json.dumps(yaml.safe_load(text)).encode() for text in texts], read)


def bundle() -> Target:
    """Submission bundles, checked as the desk checks them: the packed bytes, and changed records packed anew."""
    samples: Any = importlib.import_module("tests.bundle.bundle_samples")
    from db.store import Store
    from runner.bundle.export import Choice, export
    from runner.bundle.findings import Unreadable
    from runner.bundle.known import Known
    from runner.bundle.verify import verify

    folder = Path(tempfile.mkdtemp(prefix="palimpsest-fuzz-"))
    store = Store.open(f"sqlite:///{samples.make_db(folder / 'sent.db')}", readonly=True)
    content, known = export(store, Choice())[0], Known((store,))

    def read(data: bytes) -> None:
        packed = data
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            parts = json.loads(data)
            packed = samples.packed({name: [_line(record) for record in parts[name]] for name in samples.PARTS})
        file = folder / "input.bundle"
        file.write_bytes(packed)
        with suppress(Unreadable):
            verify(file, known)

    return Target("bundle", [json.dumps(samples.records(content)).encode(), content], read)


def _line(record: Any) -> bytes:
    """A record as a careless sender writes it."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def data() -> Target:
    """Files of every data set's format; the first line names the format."""
    samples: Any = importlib.import_module("tests.datasets.format_samples")
    from runner.datasets import base

    folder = Path(tempfile.mkdtemp(prefix="palimpsest-fuzz-"))

    def read(given: bytes) -> None:
        name, _, body = given.partition(b"\n")
        chosen = name.decode("ascii", "ignore")
        chosen = chosen if chosen in samples.RECORDS else sorted(samples.RECORDS)[len(given) % len(samples.RECORDS)]
        file = folder / Path(samples.write(folder, chosen)).name
        file.write_bytes(body)
        with suppress(UserError):
            base.load(chosen, file)

    seeds = [f"{name}\n{samples.text_of(name, record)}".encode() for name, record in samples.RECORDS.items()]
    return Target("data", seeds, read)


def hparams() -> Target:
    """Stored hyperparameters of every method, as JSON: {"method": name, "hparams": {...}}."""
    from runner.grid import MethodEntry
    from runner.methods import registry
    from runner.plan import resolve_method

    def read(given: bytes) -> None:
        try:
            entry = json.loads(given)
            name, values = entry["method"], dict(entry["hparams"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        if isinstance(name, str) and name in registry.BUILT_IN:
            with suppress(UserError):
                resolve_method(MethodEntry.model_construct(name=name, hparams=values))

    defaults = {name: registry.get(name).validate(None).model_dump(mode="json") for name in registry.BUILT_IN}
    return Target("hparams", [json.dumps({"method": k, "hparams": v}).encode() for k, v in defaults.items()], read)


def model() -> Target:
    """Model folders: config.json on the first line, then the beginning of a safetensors file, its length with it."""
    import torch
    from safetensors.torch import save

    from runner.costs.shape import known, shape_of
    from runner.models.files import check_folder
    from runner.models.load import check_code

    folder = Path(tempfile.mkdtemp(prefix="palimpsest-fuzz-"))

    def read(given: bytes) -> None:
        config, _, weights = given.partition(b"\n")
        (folder / "config.json").write_bytes(config)
        (folder / "model.safetensors").write_bytes(weights)
        with suppress(UserError):
            check_folder(folder)
        with suppress(UserError):
            check_code(folder, "fuzz")
        if len(config) < 2000 and _small(config):  # a configuration of any size is a model of that size, even on paper
            with suppress(UserError):
                shape_of(str(folder))

    weights = save({"a": torch.zeros(2, 3), "b": torch.zeros(4)})
    tiny = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 16,
            "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
    configs = [tiny, {"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}]
    configs += [dict(entry["config"]) for entry in list(known().values())[:1]]
    return Target("model", [json.dumps(config).encode() + b"\n" + weights for config in configs], read)


def _small(config: bytes) -> bool:
    try:
        values = json.loads(config).values()
    except (ValueError, AttributeError, RecursionError):
        return True
    return not any(isinstance(value, (int, float)) and not abs(value) <= 200_000 for value in values)


TARGETS: dict[str, Callable[[], Target]] = {
    "grid": grid, "bundle": bundle, "data": data, "hparams": hparams, "model": model,
}  # fmt: skip
