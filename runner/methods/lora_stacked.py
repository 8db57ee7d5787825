"""Training LoRA adapters for several edits in one batch, each edit with adapters and dropout of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from runner.methods.hooks import by_row, hidden, hooked, with_hidden
from runner.methods.stacked import Learnt, Lesson, Stack, learn
from runner.models.lm import LanguageModel


class Settings(NamedTuple):
    """scale: of what adapters add. dropout: on their input. The others are Adam's, and when training ends."""

    scale: float
    dropout: float
    lr: float
    weight_decay: float
    steps: int
    min_loss: float


def called_once(lm: LanguageModel, modules: Sequence[nn.Module], ids: Sequence[int]) -> list[int] | None:
    """The order in which a pass calls the modules, as indices; None when it doesn't call each of them once."""
    order: list[int] = []
    with ExitStack() as stack, torch.no_grad():
        for number, module in enumerate(modules):
            stack.enter_context(hooked(module, lambda *_, number=number: order.append(number)))
        lm.model(input_ids=torch.tensor([list(ids)], device=lm.device), use_cache=False)
    return order if sorted(order) == list(range(len(modules))) else None


class _Masks:
    """The dropout masks that each edit's training would draw by itself: in every pass one for each module, in the
    order in which the modules are called."""

    def __init__(self, lm: LanguageModel, seeds: Sequence[int], lengths: Sequence[int], rate: float) -> None:
        self._device, self._rate = lm.device, rate
        self._cuda = [lm.device] if lm.device.type == "cuda" else []
        # Edits with one seed and as many tokens draw the very same numbers.
        self._kinds = list(zip(seeds, lengths, strict=True))
        self._states: dict[tuple[int, int], Tensor] = {}

    def draw(self, members: Sequence[int], widths: Sequence[int]) -> list[Tensor]:
        """The next masks for these edits' rows: for each width [edits, tokens, width]; 0 at padding."""
        kinds = [self._kinds[i] for i in members]
        longest = max(length for _, length in kinds)
        masks = [torch.zeros(len(members), longest, width, device=self._device) for width in widths]
        with torch.random.fork_rng(devices=self._cuda):
            for kind in dict.fromkeys(kinds):
                self._go_on(kind)
                places = [place for place, other in enumerate(kinds) if other == kind]
                for mask, width in zip(masks, widths, strict=True):
                    ones = torch.ones(1, kind[1], width, device=self._device)
                    drawn = nn.functional.dropout(ones, self._rate)[0]
                    for place in places:
                        mask[place, : kind[1]] = drawn
                self._states[kind] = torch.cuda.get_rng_state(self._device) if self._cuda else torch.get_rng_state()
        return masks

    def _go_on(self, kind: tuple[int, int]) -> None:
        if kind not in self._states:
            torch.manual_seed(kind[0])
        elif self._cuda:
            torch.cuda.set_rng_state(self._states[kind], self._device)
        else:
            torch.set_rng_state(self._states[kind])


def train_adapters(
    lm: LanguageModel,
    modules: Sequence[nn.Module],
    order: Sequence[int],
    lessons: Sequence[Lesson],
    starts: Sequence[tuple[Tensor, Tensor]],
    seeds: Sequence[int],
    settings: Settings,
) -> list[Learnt]:
    """Train adapters beside modules of the unedited model on each lesson, all in one batch.

    order: in which a pass calls the modules (`called_once`). starts: of each module where A, [lessons, rank, in], and
    B, [lessons, out, rank], begin, in float32. seeds: of each lesson's dropout. The model is not changed. Returns the
    A and B of all modules in turn.
    """
    stack = Stack([matrix for pair in starts for matrix in pair], settings.lr, settings.weight_decay)
    masks = _Masks(lm, seeds, [len(lesson.row.ids) for lesson in lessons], settings.dropout)
    widths = [starts[number][0].shape[-1] for number in order]

    def add(number: int, mask: Tensor | None, module: nn.Module, args: Any, output: Any) -> Any:
        a, b = stack.leaves[2 * number : 2 * number + 2]
        states, usual = by_row(args[0], len(a)).float(), by_row(hidden(output), len(a))
        entering = states if mask is None else states * mask
        # In this order the gradient of A, the wider of both, comes out as A is stored.
        added = torch.bmm(torch.bmm(a, entering.mT).mT, b.mT) * settings.scale
        return with_hidden(output, (usual + added).to(usual.dtype))

    @contextmanager
    def beside(members: Sequence[int]) -> Iterator[None]:
        drawn = masks.draw(members, widths) if settings.dropout else [None] * len(order)
        with ExitStack() as hooks:
            for number, mask in zip(order, drawn, strict=True):
                hooks.enter_context(hooked(modules[number], partial(add, number, mask)))
            yield

    return learn(lm, lessons, stack, beside, [], settings.steps, settings.min_loss)
