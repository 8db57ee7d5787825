"""Loading a causal language model and its tokenizer: safetensors only and no code from the model's folder, unless the
user has asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from runner.errors import UserError, did_you_mean
from runner.models.files import ALLOW, REMOTE_CODE, allowed, check_folder, check_memory, read_config
from runner.models.sharding import SHARDED, first_device, spread

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one, else the CPU; "sharded" the first of all CUDA devices.

    Raises UserError for one not here.
    """
    if device == SHARDED:
        return first_device()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = _devices()
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"unknown device '{device}'; give auto, {' or '.join(here)}.") from error
    # Names torch parses but has no hardware for, or was built without, would only fail when the model is moved.
    if chosen.type not in here or str(chosen) not in (*here, f"{chosen.type}:0"):
        raise UserError(f"device '{device}' is not on this machine; give auto, {' or '.join(here)}.")
    return chosen


def _devices() -> list[str]:
    """The names of the devices of this machine that a model can run on."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype of a name; "auto" is float32 on the CPU and bfloat16 on CUDA."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise UserError(
            f"unknown dtype '{dtype}'; known: auto, {', '.join(DTYPES)}.{did_you_mean(dtype, list(DTYPES))}"
        )
    return DTYPES[dtype]


def available_memory(device: torch.device) -> int:
    """Free bytes on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def load_model(folder: Path, name: str, device: torch.device, dtype: torch.dtype, sharded: bool = False) -> Any:
    """A causal language model in evaluation mode, without gradients, on its device, or spread over all CUDA devices.

    Raises UserError when it can't be had.
    """
    weights = check_folder(folder)
    check_code(folder, name)
    quantised = bool(read_config(folder).get("quantization_config"))
    where = "this machine" if device.type == "cpu" else f"device {device}"
    if not quantised and not sharded:  # a quantised model's values take what its own format says
        check_memory(name, weights, dtype.itemsize, available_memory(device), where)
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    shows_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    options: dict[str, Any] = {
        "dtype": dtype,
        "use_safetensors": not weights.pickled,
        "trust_remote_code": allowed(REMOTE_CODE),
        "local_files_only": True,
    }
    try:
        if sharded:
            return prepare_model(spread(folder, name, **options))
        if quantised:  # such weights are made where they stay: some formats can't be moved
            options["device_map"] = {"": str(device)}
        model: Any = AutoModelForCausalLM.from_pretrained(str(folder), **options)
        model = model if quantised else model.to(device)
    except UserError:
        raise
    except (ValueError, OSError, RuntimeError, KeyError, ImportError, TypeError, AttributeError) as error:
        raise UserError(f"model '{name}' in {folder} cannot be loaded: {_first_line(error)}") from error
    finally:
        if shows_bars:
            logging.enable_progress_bar()
    return prepare_model(model)


def check_code(folder: Path, name: str) -> None:
    """Raise UserError for a model that only code in its own folder can run, unless the user has allowed that."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = read_config(folder)
    if not config.get("auto_map") or config.get("model_type") in CONFIG_MAPPING or allowed(REMOTE_CODE):
        return
    raise UserError(
        f"model '{name}' in {folder} needs the code in its own folder (auto_map in config.json), which is not run; "
        f"set {ALLOW}={REMOTE_CODE} if you trust whoever made it."
    )


def prepare_model(model: Any) -> Any:
    """Evaluation mode and no gradients: the state every method finds and leaves a model in."""
    model.eval()
    model.requires_grad_(False)
    return model


def load_tokenizer(folder: Path, name: str) -> Any:
    """The folder's tokenizer, padding on the left. Raises UserError when there is none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=allowed(REMOTE_CODE), local_files_only=True
        )
    except Exception as error:  # the tokenizers library raises bare Exception for a broken file
        raise UserError(
            f"the tokenizer of model '{name}' in {folder} cannot be loaded: {_first_line(error)}"
        ) from error
    return prepare_tokenizer(tokenizer)


def prepare_tokenizer(tokenizer: Any) -> Any:
    """Left padding, with the end token standing in where no padding token is named (padding is always masked)."""
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is not None:
            tokenizer.pad_token = tokenizer.eos_token
        else:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".") + "."
