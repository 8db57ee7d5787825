"""What methods that train on edits share: edits as rows of tokens with the target marked, the loss, the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from runner.methods.subject import Row
from runner.methods.tail import Tail
from runner.models.batch import accepts
from runner.models.lm import LanguageModel, Pair
from runner.protocol import Protocol
from runner.types import Edit


def edit_pair(lm: LanguageModel, protocol: Protocol, edit: Edit, end_token: bool = False) -> Pair:
    """An edit's prompt in the protocol's format and its target as one row; end_token: the end token is learnt too."""
    ids, start = lm.encode_pairs([protocol.render(edit.prompt)], [edit.target])[0]
    end = lm.tokenizer.eos_token_id
    return Pair([*ids, int(end)] if end_token and end is not None else ids, start)


class Predicted(NamedTuple):
    """What a model predicts for targets: logits, the tokens that should come and where they count.

    logits: [rows, kept, vocabulary], float32. tokens, inside: [rows, kept]; inside is 1 at target tokens, else 0.
    """

    logits: Tensor
    tokens: Tensor
    inside: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Mean over rows of the mean of `values`, [rows, kept], over each row's target tokens."""
        return ((values * self.inside).sum(1) / self.inside.sum(1)).mean()


def predict(lm: LanguageModel, pairs: Sequence[Pair], run: Callable[..., Any] | None = None) -> Predicted:
    """The predictions for rows' targets, with their gradient. run: stands in for the model's forward pass.

    Rows are padded on the right: in a causal model what follows a token does not change it.
    """
    width, pad = max(len(pair.ids) for pair in pairs), int(lm.tokenizer.pad_token_id)
    rows = torch.tensor([[*p.ids, *[pad] * (width - len(p.ids))] for p in pairs], device=lm.device)
    kept = width - min(pair.start for pair in pairs)  # positions before the first target token are not decoded
    inputs: dict[str, Any] = {"input_ids": rows[:, :-1], "use_cache": False}
    if len(pairs) > 1:
        inputs["attention_mask"] = torch.tensor(
            [[1] * min(len(p.ids), width - 1) + [0] * (width - 1 - len(p.ids)) for p in pairs], device=lm.device
        )
    if accepts(lm.model, "logits_to_keep"):
        inputs["logits_to_keep"] = kept
    logits = (run or lm.model)(**inputs).logits[:, -kept:].float()
    first = width - kept
    inside = [[float(p.start <= first + c < len(p.ids)) for c in range(kept)] for p in pairs]
    return Predicted(logits, rows[:, first:], torch.tensor(inside, device=lm.device))


def target_loss(lm: LanguageModel, pairs: Sequence[Pair], run: Callable[..., Any] | None = None) -> Tensor:
    """Mean over rows of the mean cross-entropy, in nats, over each row's target tokens, with its gradient."""
    done = predict(lm, pairs, run)
    losses = nn.functional.cross_entropy(done.logits.flatten(0, 1), done.tokens.flatten(), reduction="none")
    return done.mean(losses.view_as(done.inside))


def repeated_loss(lm: LanguageModel, pairs: Sequence[Pair], constant: Sequence[nn.Module] = ()) -> Callable[[], Tensor]:
    """`target_loss` of the same rows, for asking again and again while something is trained.

    constant: modules whose outputs the training does not change; they are run for the first loss alone, and so is the
    embedding (see `Tail`).
    """
    tail = Tail(lm, [Row(pair.ids[:-1], 0, pair.ids[pair.start :]) for pair in pairs], constant)
    sizes = [len(pair.ids) - pair.start for pair in pairs]
    shares = torch.cat([torch.full((size,), 1 / (len(pairs) * size)) for size in sizes]).to(lm.device)

    def loss() -> Tensor:
        losses = nn.functional.cross_entropy(tail.logits().float(), tail.targets, reduction="none")
        return (shares * losses).sum()

    return loss


class Training:
    """Adam on some of a model's parameters, in float32 whatever their own type: small steps would be rounded away.

    A context: inside it, the parameters ask for gradients. decoupled: AdamW's weight decay.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], lr: float, weight_decay: float = 0.0, decoupled: bool = False
    ) -> None:
        self.parameters = list(parameters)
        # A float32 parameter is trained in place, another one through a copy.
        self.masters = [p.detach().float() for p in self.parameters]
        kind = torch.optim.AdamW if decoupled else torch.optim.Adam
        self.optimiser = kind(self.masters, lr=lr, weight_decay=weight_decay)

    def __enter__(self) -> Training:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def step(self, loss: Tensor) -> None:
        """One step down the loss's gradient."""
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for master, gradient in zip(self.masters, gradients, strict=True):
            master.grad = None if gradient is None else gradient.float()
        self.optimiser.step()
        self.store()

    @torch.no_grad()
    def store(self) -> None:
        """Write the trained values into the model."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter.dtype != master.dtype:
                parameter.copy_(master)
