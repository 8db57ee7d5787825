"""A quick check that a model is what it was: integer sums over the bits of every parameter, on its own device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

_CHUNK = 1 << 22  # values; a reduction in a wider type first copies what it reduces, up to eight times as large
_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Fingerprint = dict[str, int]


@torch.no_grad()
def fingerprint(model: nn.Module) -> Fingerprint:
    """Parameter or buffer name -> sum of its bits read as integers (mod 2^64), and the number of hooks under "hooks".

    One pass over the weights and no copy of them, so it can be taken after every sequence. Any change of one value
    shows, and so does what rounding leaves behind; a permutation of equal bits would not, which is what the
    conformance kit's full hash is for.
    """
    marks = {name: _bits(tensor) for name, tensor in _tensors(model)}
    marks["hooks"] = count_hooks(model)
    return marks


def count_hooks(model: nn.Module) -> int:
    """Forward hooks on all modules."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Names that were added, removed or changed."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def not_finite(model: nn.Module) -> list[str]:
    """Names of parameters that hold a NaN or an infinity."""
    return not_finite_among(model.named_parameters())


@torch.no_grad()
def not_finite_among(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of tensors that hold a NaN or an infinity."""
    # The sum of a tensor is finite only if every value is; a sum that overflows float32 has collapsed as well.
    return [
        name
        for name, tensor in named
        if tensor.is_floating_point() and not math.isfinite(float(_sum(tensor.detach().reshape(-1), torch.float32)))
    ]


def _tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _bits(tensor: Tensor) -> int:
    if tensor.numel() == 0:
        return 0
    raw = tensor.detach()
    if raw.dtype == torch.bool:
        return int(_sum(raw.reshape(-1), torch.int64))
    if raw.is_complex():
        raw = torch.view_as_real(raw)
    raw = raw.reshape(-1)
    if raw.numel() * raw.element_size() % 8 == 0 and raw.storage_offset() * raw.element_size() % 8 == 0:
        raw = raw.view(torch.int64)  # eight bytes at once need no wider type; the sum wraps around and loses nothing
    else:
        raw = raw.view(_INTEGER[raw.element_size()])
    return int(_sum(raw, torch.int64))


def _sum(flat: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum of a vector in `dtype`, taken piece by piece so that no wider copy of the whole is made."""
    total = torch.zeros((), dtype=dtype, device=flat.device)
    for piece in flat.split(_CHUNK):
        total += piece.sum(dtype=dtype)
    return total
