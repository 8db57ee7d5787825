"""Greedy decoding of a batch.

A loop of our own beside `transformers.generate`: rows that have ended leave the batch, a beginning that all rows share
is computed once, and a collapsed model ends a row instead of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from runner.models.batch import Prefilled, forward, prefill
from runner.models.cache import select_rows
from runner.models.rows import Rows

COMPACT = 0.75  # rows that ended are dropped from the batch once at most this share of it is still running


@dataclass(frozen=True)
class Generated:
    """What the model said after one text.

    text: the new text without special tokens (<think> tags are kept). tokens: number of new tokens, the end token not
    counted. finished: it ended by itself, before the budget was spent. truncated: the input was longer than the model's
    context and lost its beginning. failed: the logits were not finite (a collapsed model); the text is then empty.
    """

    text: str
    tokens: int
    finished: bool
    truncated: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Decoded:
    """One row's new token ids, without the end token."""

    ids: list[int]
    finished: bool
    failed: bool


@torch.no_grad()
def greedy(
    model: Any,
    rows: Sequence[Sequence[int]],
    max_new_tokens: int,
    ends: Sequence[int],
    pad: int,
    device: Any,
    last: Sequence[int] = (),
    watch: Rows | None = None,
    told: Callable[[int, list[int]], None] | None = None,
    started: Callable[[Prefilled], None] | None = None,
) -> list[Decoded]:
    """Continue every row by its most probable token until an end token or the budget.

    last: tokens after which a row has ended as well; unlike an end token they belong to the answer.
    watch: is told which rows run, when hooks read it.
    told: is called after every step with each running row's number and its new tokens so far.
    started: is called with the rows once they have been run, before the first new token, and leaves them as they are.

    Equal to decoding each row alone, up to the rounding of batched matrix products (which can turn an exact tie).
    A row whose best logit is not finite ends there with no tokens.
    """
    n = len(rows)
    batch = prefill(model, rows, pad, 1, device, watch)
    if started is not None:
        started(batch)
    cache, mask, lengths, logits = batch.cache, batch.mask, batch.lengths, batch.logits
    end_ids = torch.tensor(list(ends), dtype=torch.long, device=device)
    last_ids = torch.tensor(list(last), dtype=torch.long, device=device)
    tokens = torch.full((n, max_new_tokens), pad, dtype=torch.long, device=device)
    counts = torch.full((n,), max_new_tokens, dtype=torch.long, device=device)
    finished = torch.zeros(n, dtype=torch.bool, device=device)
    failed = torch.zeros(n, dtype=torch.bool, device=device)
    alive = torch.arange(n, device=device)  # which row of the whole batch each row of the running batch is
    running = torch.ones(n, dtype=torch.bool, device=device)  # over the running batch
    for step in range(max_new_tokens):
        best, choice = logits[:, -1].max(-1)
        bad = running & ~torch.isfinite(best)
        ended = running & ~bad & torch.isin(choice, end_ids)
        stopped = ended | bad
        finished[alive[ended]] = True
        failed[alive[bad]] = True
        counts[alive[stopped]] = step
        running = running & ~stopped
        tokens[alive[running], step] = choice[running]
        if told is not None:
            for row in alive[running].tolist():
                told(row, tokens[row, : step + 1].tolist())
        if last:
            closed = running & torch.isin(choice, last_ids)
            finished[alive[closed]] = True
            counts[alive[closed]] = step + 1
            running = running & ~closed
        left = int(running.sum())
        if left == 0 or step + 1 == max_new_tokens:
            break
        if left <= COMPACT * len(alive):
            keep = running.nonzero().squeeze(1)
            select_rows(cache, keep)
            if watch is not None:
                watch.keep(keep)
            alive, mask, lengths, choice = alive[keep], mask[keep], lengths[keep], choice[keep]
            running = torch.ones(left, dtype=torch.bool, device=device)
        if watch is not None:
            watch.go_on()
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], 1)
        logits = forward(model, choice[:, None], mask, lengths[:, None], cache, 1)
        lengths = lengths + 1
    out, size, end, bad_rows = tokens.tolist(), counts.tolist(), finished.tolist(), failed.tolist()
    return [Decoded([] if bad_rows[i] else out[i][: size[i]], end[i], bad_rows[i]) for i in range(n)]
