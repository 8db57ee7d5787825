"""Left-padded batches: how rows of token ids enter a model, with a shared beginning computed once.

Rows are right-aligned (left padding), so the last column is every row's last token. Where rows begin alike (the same
facts stated before many questions, or "Q: Who is the") each different beginning is run once and its keys and values are
copied, which makes a long context nearly as cheap as a short one. What is left of rows of unequal lengths is run in
several passes of rows of about equal length.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from runner.models.rows import Rows

T = TypeVar("T")
SHARED_PREFIX = 32  # tokens; of so many that all rows share few rows are enough to be worth a pass
COPIES = 16  # tokens whose keys and values are copied in the time that one takes to run; measured on a small model
# By whether on the CPU: the tokens that one more pass costs as much as, and the most tokens of a pass. A pass of more
# than that gains nothing on the CPU and leaves its caches.
PASS_TOKENS = {True: (64, 1024), False: (4096, 1 << 40)}


@dataclass
class Prefilled:
    """A batch whose tokens have been run.

    logits: [rows, kept, vocabulary], the last `kept` positions. cache: keys and values of all positions.
    mask: [rows, positions], 1 for a token, 0 for padding. lengths: [rows], tokens without padding.
    """

    logits: Tensor
    cache: Any
    mask: Tensor
    lengths: Tensor


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def accepts(model: Any, argument: str) -> bool:
    """Whether the model's forward takes an argument of this name."""
    return argument in _parameters(type(model).forward)


def is_state_space(model: Any) -> bool:
    """Whether the model keeps a state instead of keys and values (Mamba): its cache has another name."""
    return accepts(model, "cache_params") and not accepts(model, "past_key_values")


def forward(model: Any, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any, keep: int) -> Tensor:
    """One pass over new tokens. `mask` covers cached and new positions. Returns the last `keep` logits."""
    inputs: dict[str, Any] = {"input_ids": ids, "use_cache": cache is not None}
    if is_state_space(model):  # it asks only which of the new tokens are padding
        inputs |= {"attention_mask": mask[:, -ids.shape[1] :], "cache_params": cache}
    else:
        inputs |= {"attention_mask": mask, "past_key_values": cache}
    if accepts(model, "position_ids"):
        inputs["position_ids"] = positions
    if accepts(model, "logits_to_keep"):
        inputs["logits_to_keep"] = keep
    logits: Tensor = model(**inputs).logits
    return logits[:, -keep:]


def keeps_states(model: Any) -> bool:
    """Whether layers carry a state from token to token (state spaces, linear attention) rather than keys and values.

    Such a state is changed in place and cannot be handed out again.
    """
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or []
    return is_state_space(model) or any("attention" not in kind or "linear" in kind for kind in kinds)


def can_share_prefix(model: Any) -> bool:
    """Whether padding may stand between a shared prefix and the rest: positions are explicit, no sliding window."""
    config = model.config.get_text_config()
    layers = getattr(config, "layer_types", None) or []
    windowed = any(kind != "full_attention" for kind in layers) or bool(getattr(config, "sliding_window", None))
    return accepts(model, "position_ids") and not windowed


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens all rows share, leaving every row at least one token of its own."""
    low, high = min(map(list, rows)), max(map(list, rows))
    n = min(len(low), len(high))
    shared = next((i for i in range(n) if low[i] != high[i]), n)
    return max(0, min(shared, min(map(len, rows)) - 1))


def prefill(
    model: Any, rows: Sequence[Sequence[int]], pad: int, keep: int = 1, device: Any = "cpu", watch: Rows | None = None
) -> Prefilled:
    """Run a batch of token rows and return the logits of the last `keep` positions with the cache.

    keep: a position before a row's first token holds no meaning and must not be read by the caller.
    watch: is told which rows run, when hooks read it. Otherwise a beginning that all rows share may be run for one.
    """
    from runner.models.cache import joined

    places, parts = zip(*passes(model, rows, pad, [keep] * len(rows), device, watch, joins=True), strict=True)
    if len(parts) == 1:
        return cast(Prefilled, parts[0])
    # Each row stays at the right end, where its own pass had it.
    n, width = len(rows), max(part.mask.shape[1] for part in parts)
    kept = max(part.logits.shape[1] for part in parts)
    logits = parts[0].logits.new_zeros(n, kept, parts[0].logits.shape[2])
    mask = parts[0].mask.new_zeros(n, width)
    for where, part in zip(places, parts, strict=True):
        logits[where, kept - part.logits.shape[1] :] = part.logits
        mask[where, width - part.mask.shape[1] :] = part.mask
    return Prefilled(logits, joined([part.cache for part in parts], places), mask, mask.sum(1))


def passes(
    model: Any,
    rows: Sequence[Sequence[int]],
    pad: int,
    keep: Sequence[int],
    device: Any,
    watch: Rows | None = None,
    joins: bool = False,
) -> Iterator[tuple[list[int], Prefilled]]:
    """Run a batch in one or more passes over rows of about equal length: which rows (ascending), and what came of them.

    keep: of each row; a pass keeps what its rows need at most. joins: all become one batch again, so that there is one
    pass where that can't be or costs more than it saves. The rest as for `prefill`.
    """
    from runner.models.cache import can_crop, new_cache, spread

    past = new_cache(model)
    limit = min(len(row) - kept for row, kept in zip(rows, keep, strict=True))
    shared, group = 0, [0] * len(rows)
    plain = can_share_prefix(model) and can_crop(past)
    if watch is None and plain:
        shared, group = beginnings(rows, limit, device)
    if shared:
        firsts = {g: row[:shared] for g, row in zip(group, rows, strict=True)}
        first = torch.tensor([list(firsts[g]) for g in range(len(firsts))], device=device)
        where_at = torch.arange(shared, device=device).expand_as(first)
        forward(model, first, torch.ones_like(first), where_at, past, 1)
    lengths = [len(row) - shared for row in rows]
    cuts = pieces(lengths, device) if plain or not joins else [list(range(len(rows)))]
    if joins and shared:  # what is shared was copied to every row already, and joining copies it once more
        padding = len(rows) * max(lengths) - sum(len(where) * max(lengths[i] for i in where) for where in cuts)
        if len(rows) * (shared + max(lengths)) > COPIES * padding:
            cuts = [list(range(len(rows)))]
    for where in cuts:
        width = max(lengths[i] for i in where)
        own = [(width - lengths[i], rows[i][shared:]) for i in where]
        ids = torch.tensor([[pad] * padding + list(row) for padding, row in own], device=device)
        tail = torch.tensor([[0] * padding + [1] * len(row) for padding, row in own], device=device)
        mask = torch.cat([tail.new_ones(len(where), shared), tail], 1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
        cache = new_cache(model) if not shared else spread(past, [group[i] for i in where])
        with nullcontext() if watch is None else watch.only(where):
            logits = forward(model, ids, mask, positions, cache, min(width, max(keep[i] for i in where)))
        yield where, Prefilled(logits, cache, mask, mask.sum(1))


def beginnings(rows: Sequence[Sequence[int]], limit: int, device: Any) -> tuple[int, list[int]]:
    """How many leading tokens (at most `limit`; 0: none) are run once for the rows that have them in common.

    Also of each row, which of the different beginnings of that length it has.
    """
    n = len(rows)
    common = min(common_prefix(rows), max(0, limit)) if n > 1 else 0
    saved, length, group = common * (n - 1), common, [0] * n
    other = group
    for column in range(common, limit):
        names: dict[tuple[int, int], int] = {}
        other = [names.setdefault((g, row[column]), len(names)) for g, row in zip(other, rows, strict=True)]
        alike = n - len(names)
        if (column + 1) * alike > saved:
            saved, length, group = (column + 1) * alike, column + 1, other
        if limit * alike <= saved:  # longer ones are shared by fewer
            break
    if common >= SHARED_PREFIX or saved > PASS_TOKENS[torch.device(device).type == "cpu"][0]:
        return length, group
    return 0, [0] * n


def pieces(lengths: Sequence[int], device: Any) -> list[list[int]]:
    """Rows of these lengths cut into passes (places, ascending), longest first, at least cost of padding and passes.

    A pass costs as much as so many tokens more (`PASS_TOKENS`): measured on a small model on a CPU; on a GPU a pass is
    bound by its number of operations, so that only large batches are cut.
    """
    a_pass, most = PASS_TOKENS[torch.device(device).type == "cpu"]
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    # Of the rows up to each end, sorted: what they cost at least, and where their last pass begins.
    ends = [n for n in range(1, len(order)) if lengths[order[n - 1]] < lengths[order[n]]] + [len(order)]
    best: dict[int, tuple[int, int]] = {0: (0, 0)}
    for end in ends:
        width = lengths[order[end - 1]]
        best[end] = min((cost + a_pass + (end - start) * width, start) for start, (cost, _) in best.items())
    found, end = [], len(order)
    while end:
        start = best[end][1]
        parts = -(-(end - start) * lengths[order[end - 1]] // most)
        size = -(-(end - start) // parts)
        found += [sorted(order[at : min(at + size, end)]) for at in range(start, end, size)]
        end = start
    return found


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices cut into batches of about equal length, longest first (so that too little memory shows at once)."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the accelerator or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def run_batches(
    lengths: Sequence[int], batch_size: int, work: Callable[[list[int]], Sequence[T]]
) -> tuple[list[T], int]:
    """Apply `work` to batches of indices, halving a batch that does not fit in memory.

    Returns the results in input order and the batch size that fitted in the end. A single row that does not fit
    raises the original error.
    """
    results: dict[int, T] = {}
    waiting = list(by_length(lengths, batch_size))[::-1]
    while waiting:
        batch = waiting.pop()
        if len(batch) > batch_size:
            waiting += [batch[i : i + batch_size] for i in range(0, len(batch), batch_size)][::-1]
            continue
        try:
            done = work(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(batch) == 1:
                raise
            batch_size = (len(batch) + 1) // 2
            waiting.append(batch)
            # The traceback keeps the failed batch's tensors alive; it must be gone before memory can be returned.
            del error
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        results.update(zip(batch, done, strict=True))
    return [results[i] for i in range(len(lengths))], batch_size
