"""Learning several edits in one batch, each with weights of its own.

Edits that begin from weights of their own (the first edits of several sequences, or the tenth) don't depend on each
other. Their rows pass the model as one batch, in which each row meets its own edit's copy of what is trained; all else
is shared. A step then costs about as many tensor operations as a step of one edit. Each edit has its own loss, its own
Adam and its own end, and comes out as it would alone, up to the rounding of batched matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from runner.methods.hooks import by_row, hooked, with_hidden
from runner.methods.projecting import project_each
from runner.methods.subject import Row
from runner.methods.tail import Tail, before_mlp_out
from runner.models.lm import LanguageModel

AT_ONCE = 2**30  # bytes of float32 values, gradients and Adam's moments of all edits in a batch
TOKENS = 2048  # with padding, in a batch of several edits: what a pass keeps for its gradients grows with them
COMPACT = 0.5  # edits that are done leave a batch once at most this share of it is still learning


Limits = tuple[Tensor, Tensor] | None


class Lesson(NamedTuple):
    """What one edit is learnt from.

    row: what the model reads. tokens, places: the tokens to be learnt, and for each which of the row's predictions
    (`Tail`: one for each of the row's targets) should be it. The loss is the mean of their cross-entropies, in nats.
    """

    row: Row
    tokens: Sequence[int]
    places: Sequence[int]


class Learnt(NamedTuple):
    """values: what was trained, in the type it had. steps: steps of the optimiser that were made."""

    values: list[Tensor]
    steps: int


def spoken(ids: Sequence[int], start: int) -> Lesson:
    """Each of the tokens from `start` on, given those before it."""
    targets = list(ids[start:])
    return Lesson(Row(list(ids[:-1]), 0, targets), targets, range(len(targets)))


def group_size(values: int) -> int:
    """How many edits of so many trained values fit into one batch; the same on every machine, so that a run repeats
    every rounding. Below 2 there is nothing to gain."""
    return AT_ONCE // (16 * max(1, values))


def groups(lengths: Sequence[int], size: int) -> list[range]:
    """Edits of so many tokens each in groups of neighbours: at most `size` edits and TOKENS tokens with padding, the
    same on every machine. None where no two edits may be learnt at once."""
    found: list[range] = []
    first = 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or i - first == size or (i + 1 - first) * max(lengths[first : i + 1]) > TOKENS:
            found.append(range(first, i))
            first = i
    return found if size > 1 else []


class Stack:
    """The same tensors once for each edit, trained by Adam in float32; each edit's steps are those of its own Adam.

    leaves: what a forward pass reads, [edits, ...] for each tensor, in the type of the `starts`, asking for gradients.
    """

    def __init__(self, starts: Sequence[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        """starts: [edits, ...] for each tensor, all of one type; copied."""
        self._dtype = starts[0].dtype
        self._shapes = [start.shape[1:] for start in starts]
        self._lr, self._weight_decay = lr, weight_decay
        self.leaves: list[Tensor] = []
        with torch.no_grad():
            flat = torch.cat([start.detach().flatten(1).float() for start in starts], 1)
        self._hold(flat)
        self._optimiser = self._adam()

    def _hold(self, flat: Tensor) -> None:
        # One row for each edit: its optimiser's operations stay within the processor's cache.
        self._masters = list(flat.unbind())
        self._read = flat if flat.dtype == self._dtype else flat.to(self._dtype)
        sizes = [shape.numel() for shape in self._shapes]
        pieces = zip(self._read.split(sizes, 1), self._shapes, strict=True)
        self.leaves = [piece.unflatten(1, shape).detach().requires_grad_(True) for piece, shape in pieces]

    def _adam(self) -> torch.optim.Adam:
        # Fused: what many edits' values need is few passes through memory.
        return torch.optim.Adam(self._masters, lr=self._lr, weight_decay=self._weight_decay, fused=True)

    @torch.no_grad()
    def step(self, loss: Tensor, running: Sequence[int], limits: Iterable[tuple[int, Limits]] = ()) -> None:
        """One step down the loss's gradient for the edits in these places; the others stay as they are.

        limits: for places, between which the values there have to stay; for a stack of one tensor.
        """
        gradients = torch.autograd.grad(loss, self.leaves)
        whole = gradients[0] if len(gradients) == 1 else torch.cat([g.flatten(1) for g in gradients], 1)
        for place, (master, gradient) in enumerate(zip(self._masters, whole, strict=True)):
            master.grad = gradient.reshape(-1).float() if place in running else None
        self._optimiser.step()
        for place, bounds in limits:
            if bounds is not None:
                self._masters[place].view(self._shapes[0]).clamp_(*bounds)
        if self._dtype != torch.float32:
            for place in running:
                self._read[place].copy_(self._masters[place])

    def keep(self, places: Sequence[int]) -> None:
        """Forget the edits in all other places."""
        before, optimiser = self._masters, self._optimiser
        self._hold(torch.stack([before[place] for place in places]))
        self._optimiser = self._adam()
        for master, place in zip(self._masters, places, strict=True):
            if before[place] in optimiser.state:
                self._optimiser.state[master] = optimiser.state[before[place]]

    def values(self, place: int) -> list[Tensor]:
        """A copy of one edit's tensors."""
        return [leaf[place].detach().clone() for leaf in self.leaves]


class _Batch:
    """The rows of some lessons as one tail."""

    def __init__(self, lm: LanguageModel, lessons: Sequence[Lesson], constant: Sequence[nn.Module]) -> None:
        self.tail = Tail(lm, [lesson.row for lesson in lessons], constant)
        self.n = len(lessons)
        entries, first = [], 0
        for owner, lesson in enumerate(lessons):
            entries += [
                (owner, first + place, token) for place, token in zip(lesson.places, lesson.tokens, strict=True)
            ]
            first += max(1, len(lesson.row.targets))
        self.owner, self.places, self.tokens = torch.tensor(entries, device=lm.device).T
        sizes = torch.tensor([float(len(lesson.tokens)) for lesson in lessons], device=lm.device)
        self.shares = 1 / sizes[self.owner]

    def losses(self) -> Tensor:
        """Of each lesson, [lessons]."""
        logp = self.tail.logits().float().log_softmax(-1)[self.places, self.tokens]
        return logp.new_zeros(self.n).index_add(0, self.owner, -self.shares * logp)


def learn(
    lm: LanguageModel,
    lessons: Sequence[Lesson],
    stack: Stack,
    within: Callable[[Sequence[int]], AbstractContextManager[None]],
    constant: Sequence[nn.Module],
    steps: int,
    min_loss: float,
    limits: Callable[[int], Limits] | None = None,
) -> list[Learnt]:
    """Learn each lesson with its own part of the stack, until its loss is below `min_loss`, not a number, or `steps`
    steps were made. The stack is used up.

    within: a context for one pass, in which the rows of these lessons meet their parts of `stack.leaves`, in this
    order. constant: modules whose outputs no part changes (see `Tail`). limits: see `Stack.step`; here of the
    lesson with this number.
    """
    found: dict[int, Learnt] = {}
    members: list[int] = []
    batch: _Batch | None = None
    for step in range(steps):
        running = [i for i in range(len(lessons)) if i not in found]
        if batch is None or len(running) <= COMPACT * len(members):
            if batch is not None:
                stack.keep([members.index(i) for i in running])
            members, batch = running, _Batch(lm, [lessons[i] for i in running], constant)
        with within(members), torch.enable_grad():
            losses = batch.losses()
        for place, (i, loss) in enumerate(zip(members, losses.tolist(), strict=True)):
            if i not in found and not loss >= min_loss:
                found[i] = Learnt(stack.values(place), step)
        going = [place for place, i in enumerate(members) if i not in found]
        if not going:
            break
        # One after the other: the bounds of all at once would be as large as the stack.
        bounds = ((place, limits(members[place])) for place in going) if limits else ()
        stack.step(losses.sum(), going, bounds)
    for place, i in enumerate(members):
        if i not in found:
            found[i] = Learnt(stack.values(place), steps)
    return [found[i] for i in range(len(lessons))]


def fine_tune(
    lm: LanguageModel,
    layer: int,
    lessons: Sequence[Lesson],
    starts: Tensor,
    lr: float,
    weight_decay: float,
    steps: int,
    min_loss: float,
    limits: Callable[[Tensor], Limits],
) -> list[Learnt]:
    """Train a layer's down-projection on each lesson from a weight of its own, all in one batch.

    starts: [lessons, ...], each as the model stores its own; not changed. limits: the least and the largest that a
    weight may become, in float32, given where it began. The model is not changed. Returns one weight each.
    """
    module = lm.structure.mlp_out(layer).module
    stack = Stack([starts], lr, weight_decay)
    one_start = starts.stride(0) == 0
    common = limits(starts[0].float()) if one_start else None

    def own(called: nn.Module, args: Any, output: Any) -> Any:
        weights = stack.leaves[0]
        return with_hidden(output, project_each(called, by_row(args[0], len(weights)), weights))

    return learn(
        lm,
        lessons,
        stack,
        lambda members: hooked(module, own),
        before_mlp_out(lm, layer),
        steps,
        min_loss,
        lambda i: common if one_start else limits(starts[i].float()),
    )
