"""How a side memory of WISE learns one edit, or several memories one each (arXiv 2405.14768, equations 4 to 7)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runner.methods.hooks import by_row, hooked, with_hidden
from runner.methods.projecting import project, project_each
from runner.methods.stacked import COMPACT
from runner.methods.subject import Row
from runner.methods.tail import Tail, before_mlp_out
from runner.models.lm import LanguageModel, Pair

WEIGHT_DECAY = 1e-5  # of SGD, as in the published code; it acts outside the subspace too
SETTLED, SOLVED = 1e-4, 2e-2  # training ends once the loss moves less than this and is below that
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """What one edit is learnt from: prompt and target in several contexts, and the tokens of some other text."""

    pairs: Sequence[Pair]
    other: list[int]


def activation_function(lm: LanguageModel) -> Callable[[Tensor], Tensor]:
    """The function the model's MLPs use."""
    from transformers.activations import ACT2FN

    config = lm.model.config.get_text_config()
    names = ("hidden_act", "hidden_activation", "activation_function")
    name = next((getattr(config, n) for n in names if isinstance(getattr(config, n, None), str)), "silu")
    function: Callable[[Tensor], Tensor] = ACT2FN[name]
    return function


def moved(
    module: nn.Module, act: Callable[[Tensor], Tensor], inputs: Tensor, weight: Tensor, original: Tensor
) -> tuple[Tensor, Tensor]:
    """What the projection returns with `weight`, and per token |f(W' a) - f(W a)|, [rows, tokens], in float32."""
    # Both are computed in the same way: where the weights are equal the distance is exactly nothing.
    usual, other = project(module, inputs, original), project(module, inputs, weight)
    return other, (act(other) - act(usual)).float().norm(dim=-1)


class _Batch:
    """The rows of some examples as one tail: of each its n pairs, then the other text."""

    def __init__(
        self, lm: LanguageModel, layer: int, examples: Sequence[Example], weights: Tensor, original: Tensor
    ) -> None:
        """weights: [examples, ...], float32; trained in place."""
        self.weights = weights.requires_grad_(True)
        self._original, self._act = original, activation_function(lm)
        self._module = lm.structure.mlp_out(layer).module
        self._each = len(examples[0].pairs) + 1
        # As published, the mean over a row's target counts one place more, which adds nothing to the sum.
        rows = [[Row(pair.ids, 0, [*pair.ids[pair.start :], IGNORED]) for pair in one.pairs] for one in examples]
        others = [Row(one.other, 0, []) for one in examples]
        every = [row for own, other in zip(rows, others, strict=True) for row in (*own, other)]
        self._tail = Tail(lm, every, before_mlp_out(lm, layer))
        n = self._each - 1
        shares = [[1 / (n * len(row.targets))] * len(row.targets) for own in rows for row in own]
        for place in range(len(examples)):
            shares.insert((place + 1) * self._each - 1, [0.0])
        self._shares = torch.tensor([share for row in shares for share in row], device=lm.device)
        self._places = [
            sum(map(len, shares[first : first + self._each])) for first in range(0, len(shares), self._each)
        ]
        self._tokens = self._tail.mask.float()
        self._lengths = self._tokens.sum(1)
        self._known: tuple[Tensor, Tensor] | None = None  # what enters the projection and f(W a): always the same
        self._distances = torch.empty(0)

    def _use_memories(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self._known is None:
            inputs = by_row(args[0], len(self._tokens))
            # Computed in the same way as with the memories: where the weights are equal the distance is nothing.
            originals = torch.stack([self._original] * len(self.weights))
            with torch.no_grad():
                self._known = inputs.detach(), self._act(project_each(module, inputs, originals))
        inputs, usual = self._known
        other = project_each(module, inputs, self.weights)
        distances = (self._act(other) - usual).float().norm(dim=-1)
        self._distances = (distances * self._tokens).sum(1) / self._lengths
        return with_hidden(output, other)

    def losses(self, h: Any) -> tuple[Tensor, Tensor]:
        """Of each example its loss and the mean activation of its rows, [examples]."""
        with hooked(self._module, self._use_memories):
            logits = self._tail.logits().float()
        logp = nn.functional.cross_entropy(logits, self._tail.targets, reduction="none", ignore_index=IGNORED)
        said = torch.stack([own.sum() for own in (self._shares * logp).split(self._places)])
        distances = self._distances.view(-1, self._each)
        inside, outside = distances[:, :-1], distances[:, -1]
        return said + margins(inside, outside, h), inside.mean(1).detach()


def train(
    lm: LanguageModel, layer: int, example: Example, start: Tensor, original: Tensor, mask: Tensor, h: Any
) -> tuple[Tensor, float]:
    """Teach a memory one edit; returns its weight and the mean activation of the edit's rows.

    start: the memory's weight so far. mask: 1 where it may change. h: hyperparameters of WISE. Deterministic.
    The loss is the target's cross-entropy, plus the margins between activations on the edit and on other text.
    """
    return train_each(lm, layer, [example], start[None], original, mask[None], h)[0]


def train_each(
    lm: LanguageModel,
    layer: int,
    examples: Sequence[Example],
    starts: Tensor,
    original: Tensor,
    masks: Tensor,
    h: Any,
) -> list[tuple[Tensor, float]]:
    """As `train` for each example with a memory of its own, in one batch; equal to one after the other up to the
    rounding of batched matrix products.

    examples: all with equally many contexts. starts, masks: [examples, ...]; not changed.
    """
    weights = starts.detach().float().clone()
    bounds = None
    if h.norm_constraint is not None:
        bounds = (original - h.norm_constraint).float(), (original + h.norm_constraint).float()
    product = torch.empty_like(weights[0])
    before, now = [0.0] * len(examples), [1e9] * len(examples)
    found: dict[int, tuple[Tensor, float]] = {}
    members = list(range(len(examples)))
    batch = _Batch(lm, layer, examples, weights, original)
    for step in range(1, h.n_iter + 1):
        running = [i for i in members if i not in found]
        if len(running) <= COMPACT * len(members):
            kept = batch.weights.detach()[[members.index(i) for i in running]]
            members, batch = running, _Batch(lm, layer, [examples[i] for i in running], kept, original)
        with torch.enable_grad():
            losses, activations = batch.losses(h)
        reached, values = activations.tolist(), losses.tolist()
        going: list[tuple[int, int]] = []
        for place, i in enumerate(members):
            if i in found:
                continue
            done = abs(now[i] - before[i]) <= SETTLED and now[i] <= SOLVED
            if done or not math.isfinite(values[place]):
                found[i] = (
                    batch.weights[place].detach().to(original.dtype, copy=True),
                    reached[place] * (done or step == h.n_iter),
                )
            else:
                going.append((place, i))
        if not going:
            break
        (gradients,) = torch.autograd.grad(losses.sum(), batch.weights)
        with torch.no_grad():
            for place, i in going:
                weight, gradient = batch.weights[place], gradients[place]
                torch.mul(weight, WEIGHT_DECAY, out=product)
                weight -= gradient.mul_(masks[i]).add_(product).mul_(h.edit_lr)
                if bounds is not None:
                    weight.clamp_(*bounds)
                before[i], now[i] = now[i], values[place]
                if step == h.n_iter:
                    found[i] = weight.to(original.dtype, copy=True), reached[place]
    return [found[i] for i in range(len(examples))]


def margins(inside: Tensor, outside: Tensor, h: Any) -> Tensor:
    """What the activations lack (equation 5): inside of the edits' rows, [..., rows], outside of the other
    text, [...]."""
    apart = outside[..., None] - inside + h.gamma
    return _lacking(apart) + _lacking(outside[..., None] - h.alpha) + _lacking(h.beta - inside)


def _lacking(values: Tensor) -> Tensor:
    """The mean of those above 0, over the last dimension; 0 without any."""
    above = values > 0
    return torch.where(above, values, 0.0).sum(-1) / above.sum(-1).clamp(min=1)
