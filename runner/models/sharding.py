"""Models larger than one device: their blocks dealt out over the accelerators of this machine by accelerate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from runner.errors import UserError

SHARDED = "sharded"  # the name of a device that is all of them


def first_device() -> torch.device:
    """Where the inputs of a sharded model go. Raises UserError on a machine with fewer than two CUDA devices."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < 2:
        raise UserError(
            f"the device '{SHARDED}' spreads a model over several GPUs and this machine has {count or 'none'}; "
            "give auto, or a model that fits on one device."
        )
    return torch.device("cuda:0")


def spread(folder: Path, name: str, **options: Any) -> Any:
    """A model from a folder, whole blocks on each device, about as much on one as on another.

    options: of `from_pretrained`. Nothing is left on the processor or on disk, where an edit would be lost: raises
    UserError where the devices together are too small.
    """
    from transformers import AutoModelForCausalLM

    memory = {i: int(torch.cuda.mem_get_info(i)[0] * 0.9) for i in range(torch.cuda.device_count())}
    model = AutoModelForCausalLM.from_pretrained(str(folder), device_map="balanced", max_memory=memory, **options)
    check_resident(model, name)
    return model


def check_resident(model: Any, name: str) -> None:
    """Raise UserError where accelerate has left a part of the model on the processor or on disk."""
    away = sorted({str(place) for place in getattr(model, "hf_device_map", {}).values()} & {"cpu", "disk"})
    if away:
        raise UserError(
            f"model '{name}' does not fit on this machine's GPUs together: parts of it would be on "
            f"{' and '.join(away)}; take a smaller model or a shorter dtype (bfloat16)."
        )


def places(model: Any) -> list[str]:
    """The devices that hold a model's parameters, by name."""
    return sorted({str(parameter.device) for parameter in model.parameters()})


def check_one_device(model: Any) -> None:
    """Raise UserError for a model whose weights are spread over several devices: what a method reads off the model in
    one place would meet what it made in another."""
    found = places(model)
    if len(found) > 1:
        raise UserError(
            f"this model's weights are spread over several devices ({', '.join(found)}), and this method works with "
            "one; take LocFT-BF or retrain, or one that leaves the weights alone (ICE, IKE, SCR)."
        )
