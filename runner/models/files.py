"""A model's folder: where a name leads, whether its files are whole, and how much memory they need."""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import UserError, user_path

# Short names for folders that come with the project, relative to the package `runner`.
ALIASES = {"atlas": "atlas/model"}

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]

# What a user may ask for, with commas between: PALIMPSEST_ALLOW=pickle,remote-code
ALLOW = "PALIMPSEST_ALLOW"
PICKLE = "pickle"  # weights in pickled files, which can run code when they are loaded
REMOTE_CODE = "remote-code"  # Python files in a model's folder
VALUE_SIZES = {"float32": 4, "float64": 8}  # bytes per value; of all other types 2


def allowed(what: str) -> bool:
    """Whether the user has asked for something that is refused otherwise (PICKLE or REMOTE_CODE)."""
    asked = [part.strip() for part in os.environ.get(ALLOW, "").split(",")]
    return what in asked


@dataclass(frozen=True)
class Weights:
    """What the headers of a folder's safetensors files say: number of values, and bytes on disk.

    pickled: there are only pickled weights, allowed by the user; the number of values is then a guess by their size.
    """

    n_values: int
    n_bytes: int
    pickled: bool = False


def resolve(spec: str) -> Path:
    """The folder a model name leads to: an alias, a folder on this machine, or a copy from the Hugging Face Hub.

    Raises UserError for a folder that does not exist and for a Hub name that can't be had.
    """
    if spec in ALIASES:
        folder = Path(__file__).resolve().parent.parent / ALIASES[spec]
        if not folder.is_dir():
            raise UserError(f"the model '{spec}' should lie in {folder} but is not there; check out the project whole.")
        return folder
    path = user_path(spec)
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{spec} is a file; name the folder that holds the model's config.json.")
    if is_hub_name(spec):
        return _from_hub(spec)
    raise UserError(f"no model at {spec}: give a folder with config.json and *.safetensors, or one of {list(ALIASES)}.")


def is_hub_name(spec: str) -> bool:
    """Whether a name can be a Hub id, owner/model, and is no path."""
    parts = spec.split("/")
    return len(parts) == 2 and all(parts) and parts[0] not in (".", "..", "~") and not Path(parts[0]).exists()


def in_cache(name: str) -> bool:
    """Whether the local Hub cache holds a model's configuration and weights."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True))
    except Exception:  # the hub client has several kinds of "not there"
        return False
    return (folder / "config.json").exists() and has_weights(folder)


def has_weights(folder: Path) -> bool:
    """Whether a folder holds any weights, readable or not."""
    return any(file for pattern in ("*.safetensors", *PICKLED) for file in folder.glob(pattern))


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = HUB_FILES + ["*.bin"] * allowed(PICKLE) + ["*.py"] * allowed(REMOTE_CODE)
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except Exception:  # not in the cache, or the cache holds an incomplete copy
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise UserError(
            f"no folder '{name}' here, and the Hugging Face Hub did not give a model of that name "
            f"({type(error).__name__}); check the spelling or the connection, or give a folder."
        ) from error


def check_folder(folder: Path) -> Weights:
    """Check that a model folder is whole and safe. Raises UserError (one sentence) when it is not."""
    config = read_config(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted({file for pattern in PICKLED for file in folder.glob(pattern)})
        if pickled and allowed(PICKLE):
            n_bytes = sum(file.stat().st_size for file in pickled)
            size = VALUE_SIZES.get(str(config.get("dtype") or config.get("torch_dtype") or "float32"), 2)
            return Weights(n_bytes // size, n_bytes, True)
        if pickled:
            raise UserError(
                f"{folder} holds only pickled weights, which can run code when they are loaded; save the model with "
                f"safetensors first, or set {ALLOW}={PICKLE} if you trust whoever made it."
            )
        raise UserError(f"{folder} holds no *.safetensors weights; copy the model again.")
    missing = _missing_shards(folder)
    if missing:
        raise UserError(f"{folder} lacks {missing[0]}, which its index names; copy the model again.")
    parts = [_read_header(file) for file in files]
    return Weights(sum(p.n_values for p in parts), sum(p.n_bytes for p in parts))


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a model folder's config.json. Raises UserError when it is missing or no JSON object."""
    config = folder / "config.json"
    if not config.exists():
        raise UserError(f"{folder} holds no config.json, so it is not a model folder in Hugging Face format.")
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{config} cannot be read as JSON ({error}); copy the model again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{config} is not a JSON object; copy the model again.")
    return content


def _missing_shards(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return []
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, OSError) as error:
        raise UserError(f"{index} is not a safetensors index; copy the model again.") from error
    return sorted(name for name in names if not (folder / name).exists())


def _read_header(file: Path) -> Weights:
    """Count a safetensors file's values, and check that the file is as long as its header says."""
    size = file.stat().st_size
    broken = f"{file} is damaged or cut off ({size} bytes)"
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise UserError(f"{broken}; copy the model again.")
        try:
            entries = json.loads(stream.read(length))
            tensors = [entry for name, entry in entries.items() if name != "__metadata__"]
            end = max((entry["data_offsets"][1] for entry in tensors), default=0)
            n_values = sum(math.prod(entry["shape"]) for entry in tensors)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UserError(f"{broken}; copy the model again.") from error
    if 8 + length + end != size:
        raise UserError(f"{broken}, its header says {8 + length + end}; copy the model again.")
    return Weights(n_values, size)


def check_memory(name: str, weights: Weights, bytes_per_value: int, available: int, where: str) -> None:
    """Raise UserError when the weights alone would not fit in the available bytes."""
    needed = weights.n_values * bytes_per_value
    if needed > available:
        raise UserError(
            f"model '{name}' needs {needed / 2**30:.1f} GiB for its weights but {where} has "
            f"{available / 2**30:.1f} GiB free; take a smaller model, a shorter dtype (bfloat16), or another device."
        )
