"""Teacher forcing: what the model would say at each of a target's positions, given the target's own beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.models.batch import Prefilled, forward, passes
from runner.models.rows import Rows


@dataclass(frozen=True)
class Forced:
    """A target scored under its own prefix.

    text: the most probable tokens at the target's positions, decoded. share: fraction of the target's tokens that are
    most probable (0 to 1). logprob: sum of the target tokens' log probabilities, in nats. tokens: the target's length.
    failed: the logits were not finite (share 0, log probability minus infinity, no text).
    """

    text: str
    share: float
    logprob: float
    tokens: int = 0
    truncated: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Scored:
    """One row's most probable ids at the target's positions, and the target's log probability."""

    ids: list[int]
    share: float
    logprob: float
    failed: bool


@torch.no_grad()
def score_targets(
    model: Any,
    rows: Sequence[Sequence[int]],
    target_lengths: Sequence[int],
    pad: int,
    device: Any,
    watch: Rows | None = None,
) -> list[Scored]:
    """Score the last `target_lengths[i]` tokens of each row (at least 1, and at least one token before them).

    watch: there when hooks read which rows run.
    """
    results: list[Scored | None] = [None] * len(rows)
    for where, batch in passes(model, rows, pad, [t + 1 for t in target_lengths], device, watch):
        logits = batch.logits[:, :-1]
        columns = logits.shape[1]  # the logits at column -t predict the row's token -t
        ends = [rows[i][-columns:] for i in where]
        gold = torch.tensor([[pad] * (columns - len(end)) + list(end) for end in ends], device=device)
        inside = torch.tensor(
            [[c >= columns - target_lengths[i] for c in range(columns)] for i in where], device=device
        )
        for i, scored in zip(where, _scored(logits, gold, inside), strict=True):
            results[i] = scored
    return [scored for scored in results if scored is not None]


@torch.no_grad()
def score_after(model: Any, batch: Prefilled, targets: Sequence[Sequence[int]], pad: int, device: Any) -> list[Scored]:
    """Score each target (one without tokens: nothing to score) as what follows a row that has been run already.

    Equal to `score_targets` up to rounding. The batch's cache, one of keys and values, is left as it was.
    """
    longest = max(map(len, targets))
    gold = torch.tensor([[*t, *[pad] * (longest - len(t))] for t in targets], dtype=torch.long, device=device)
    inside = torch.tensor([[c < len(t) for c in range(longest)] for t in targets], device=device)
    logits = batch.logits[:, -1:]
    if longest > 1:
        mask = torch.cat([batch.mask, inside[:, :-1].to(batch.mask.dtype)], 1)
        positions = batch.lengths[:, None] + torch.arange(longest - 1, device=device)
        more = forward(model, gold[:, :-1], mask, positions, batch.cache, longest - 1)
        logits = torch.cat([logits, more], 1)
        batch.cache.crop(1 - longest)
    return _scored(logits, gold, inside)


def _scored(logits: Tensor, gold: Tensor, inside: Tensor) -> list[Scored]:
    """Of logits [rows, columns, vocabulary] and the tokens that stand there, where `inside` says that one counts."""
    best, choice = logits.max(-1)
    logprob = torch.log_softmax(logits.float(), -1).gather(-1, gold[..., None]).squeeze(-1)
    failed = (inside & ~torch.isfinite(best)).any(1).tolist()
    right = ((choice == gold) & inside).sum(1).tolist()
    total = torch.where(inside, logprob, torch.zeros_like(logprob)).sum(1).tolist()
    picked = [ids[mask].tolist() for ids, mask in zip(choice.cpu(), inside.cpu(), strict=True)]
    return [
        Scored([], 0.0, float("-inf"), True)
        if failed[i]
        else Scored(ids, right[i] / max(1, len(ids)), float(total[i]), False)
        for i, ids in enumerate(picked)
    ]
