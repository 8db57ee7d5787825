"""A key-value cache that leaves room for the tokens to come, so that a decoding step does not copy all earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from runner.models.batch import accepts, is_state_space

FIRST_ROOM, ROOM = 8, 32  # tokens of space added at first (most answers are short), and whenever it runs out


class RoomyLayer(DynamicLayer):
    """One layer's keys and values, [rows, heads, tokens, size]: views of the filled part of larger buffers."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new keys and values; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        if start == 0 or self.keys is None or self.values is None:
            self.keys, self.values = key_states, value_states
            return self.keys, self.values
        end = start + key_states.shape[-2]
        if self._buffers is None or not self._fits(end):
            whole = end + (FIRST_ROOM if self._buffers is None else ROOM)
            self._buffers = (_with_room(self.keys, whole), _with_room(self.values, whole))
        keys, values = self._buffers
        keys[..., start:end, :] = key_states
        values[..., start:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values

    def spread(self, rows: Sequence[int]) -> RoomyLayer:
        """A layer of rows that begin with what these rows of this one hold, each of which may come several times."""
        other = RoomyLayer()
        if self.keys is not None and self.values is not None:
            other.lazy_initialization(self.keys, self.values)
            if len(self.keys) == 1:  # nothing is copied yet
                other.keys, other.values = (t.expand(len(rows), -1, -1, -1) for t in (self.keys, self.values))
            else:
                at = torch.tensor(list(rows), device=self.keys.device)
                other.keys, other.values = self.keys[at], self.values[at]
        return other

    def take(self, layers: Sequence[RoomyLayer], places: Sequence[Sequence[int]]) -> None:
        """Fill this empty layer with the rows of others, aligned at their last tokens; the others are emptied.

        places: of each of the others, where its rows go. Padding in front of a row is zero.
        """
        filled = [(layer.keys, layer.values) for layer in layers]
        firsts, seconds = [k for k, _ in filled if k is not None], [v for _, v in filled if v is not None]
        if not firsts:
            return
        self.lazy_initialization(firsts[0], seconds[0])
        self._buffers = (_aligned(firsts, places), _aligned(seconds, places))
        end = max(keys.shape[-2] for keys in firsts)
        self.keys, self.values = (buffer[..., :end, :] for buffer in self._buffers)
        for layer in layers:
            layer.reset()

    def _fits(self, end: int) -> bool:
        """Whether the keys still live in the buffer (rows may have been dropped since) and it is long enough."""
        assert self._buffers is not None and self.keys is not None
        return self.keys.data_ptr() == self._buffers[0].data_ptr() and end <= self._buffers[0].shape[-2]


def _with_room(filled: Tensor, whole: int) -> Tensor:
    rows, heads, tokens, size = filled.shape
    buffer = filled.new_empty(rows, heads, whole, size)
    buffer[..., :tokens, :] = filled
    return buffer


def _aligned(parts: Sequence[Tensor], places: Sequence[Sequence[int]]) -> Tensor:
    """Rows of several [rows, heads, tokens, size] in one buffer with room; zeros in front of the shorter ones."""
    end = max(part.shape[-2] for part in parts)
    _, heads, _, size = parts[0].shape
    buffer = parts[0].new_empty(sum(map(len, places)), heads, end + FIRST_ROOM, size)
    for part, where in zip(parts, places, strict=True):
        start = end - part.shape[-2]
        at: Any = slice(where[0], where[-1] + 1) if where[-1] - where[0] == len(where) - 1 else list(where)
        buffer[at, :, :start] = 0
        buffer[at, :, start:end] = part
    return buffer


def bytes_per_token(model: Any) -> int:
    """Bytes that one token of one row takes: keys and values over all layers, or one layer's scan of a state space."""
    config = model.config.get_text_config()
    if is_state_space(model):
        # The states of all tokens are spread out, in float32, one layer at a time.
        width = int(getattr(config, "expand", 2) * config.hidden_size)
        return 3 * 4 * width * int(getattr(config, "state_size", 16))
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * model.dtype.itemsize)


def logit_bytes(model: Any) -> int:
    """Bytes that the logits of one position take: as the model gives them, in float32, and as log probabilities."""
    return int(model.config.get_text_config().vocab_size * (model.dtype.itemsize + 8))


def rows_that_fit(model: Any, tokens: int, available: int, kept: int = 1) -> int:
    """How many rows of `tokens` tokens a third of the available bytes holds; at least 1.

    A third, since growing a cache holds the old and the new buffer for a moment, and activations need room too.
    kept: positions of a row whose logits are asked for. With a vocabulary of 150 000 they outweigh the cache, and a
    model that can't leave the others out computes them for every token.
    """
    positions = kept if accepts(model, "logits_to_keep") else max(kept, tokens)
    row = bytes_per_token(model) * max(1, tokens) + logit_bytes(model) * positions
    return max(1, available // (3 * row))


def select_rows(cache: DynamicCache, rows: Any) -> None:
    """Keep only these rows of a cache (a vector of indices), in this order."""
    if any(cache.is_linear):
        cache.reorder_cache(rows)
        return
    layers: list[Any] = list(cache.layers)
    for layer in layers:  # each where its block is
        keys = getattr(layer, "keys", None)
        layer.batch_select_indices(rows if keys is None else rows.to(keys.device))


def new_cache(model: Any) -> DynamicCache:
    """An empty cache for a model; layers with a sliding window or a state of another kind keep their own class."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def spread(cache: DynamicCache, rows: Sequence[int]) -> DynamicCache:
    """A cache of rows that begin with what these rows of a cache of keys and values hold; that one stays as it is."""
    other = DynamicCache()
    other.layers = [cast(RoomyLayer, layer).spread(rows) for layer in cache.layers]
    return other


def joined(caches: Sequence[DynamicCache], places: Sequence[Sequence[int]]) -> DynamicCache:
    """The rows of several caches of keys and values as one, in the places given of each, right-aligned.

    The others are emptied layer by layer, so that only one layer is held twice.
    """
    whole = DynamicCache()
    whole.layers = [RoomyLayer() for _ in caches[0].layers]
    for layer, parts in zip(whole.layers, zip(*(cache.layers for cache in caches), strict=True), strict=True):
        cast(RoomyLayer, layer).take(cast("tuple[RoomyLayer, ...]", parts), places)
    return whole


def can_crop(cache: DynamicCache) -> bool:
    """Whether the last tokens can be taken off a cache as if they had never been run."""
    return all(type(layer) is RoomyLayer for layer in cache.layers)
