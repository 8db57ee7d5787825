"""Which inputs a running pass holds: what a hook must know to treat the rows of a batch differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Rows:
    """The pass that `LanguageModel.generate` or `force` is running, for hooks inside the model.

    inputs: index, in the list that was given, of each row's input; None outside of such a pass.
    owners: of each input, which of several edited models answers it; None where there is only one.
    starts, ends: [rows], the columns of each row's first token and of its text's last one (before the target, when
    forced); None in a pass over one new token per row.
    watched: whether hooks read this. All rows are then run whole: a shared beginning may differ from row to row.
    routed: whether some of them decide by a row's text how it goes on, in the pass that reads the text.
    begun: such passes so far.
    """

    def __init__(self) -> None:
        self.inputs: list[int] | None = None
        self.owners: Sequence[int] | None = None
        self.starts: Tensor | None = None
        self.ends: Tensor | None = None
        self.begun = 0
        self._watchers = 0
        self._routers = 0

    @property
    def watched(self) -> bool:
        """Whether hooks read this."""
        return self._watchers > 0

    @property
    def routed(self) -> bool:
        """Whether some hooks decide by a row's text."""
        return self._routers > 0

    def watch(self, routes: bool = True) -> None:
        """Count code that reads this, until it calls `leave`. routes: it decides by a row's text."""
        self._watchers += 1
        self._routers += routes

    def leave(self, routes: bool = True) -> None:
        """The opposite of `watch`."""
        self._watchers -= 1
        self._routers -= routes

    def owner(self, index: int) -> int:
        """Which model answers an input; 0 where there is only one."""
        return 0 if self.owners is None else self.owners[index]

    def begin(self, inputs: Sequence[int], lengths: Sequence[int], targets: Sequence[int], device: Any) -> None:
        """A first pass over left-padded rows. lengths: tokens of each; targets: how many of them are its target's."""
        width = max(lengths)
        self.begun += 1
        self.inputs = list(inputs)
        self.starts = torch.tensor([width - length for length in lengths], device=device)
        self.ends = torch.tensor([width - 1 - target for target in targets], device=device)

    @contextmanager
    def only(self, places: Sequence[int]) -> Iterator[None]:
        """A part of the first pass: these rows of it, aligned to the longest of them."""
        whole = self.inputs, self.starts, self.ends
        if self.inputs is not None and self.starts is not None and self.ends is not None:
            at = torch.tensor(list(places), device=self.starts.device)
            starts, ends = self.starts[at], self.ends[at]
            self.inputs = [self.inputs[i] for i in places]
            self.starts, self.ends = starts - starts.min(), ends - starts.min()
        try:
            yield
        finally:
            self.inputs, self.starts, self.ends = whole

    @contextmanager
    def holding(self, inputs: Sequence[int]) -> Iterator[None]:
        """Passes outside of generating and forcing whose rows belong to these inputs; without owners nobody asks."""
        if self.owners is None:
            yield
            return
        self.begun += 1
        self.inputs = list(inputs)
        try:
            yield
        finally:
            self.end()

    def keep(self, kept: Tensor) -> None:
        """Some rows have left the batch; `kept` are the places of those that are still there."""
        if self.inputs is not None:
            self.inputs = [self.inputs[i] for i in kept.tolist()]

    def go_on(self) -> None:
        """A pass over one new token of each row."""
        self.starts = self.ends = None

    def end(self) -> None:
        """No pass is running."""
        self.inputs = self.starts = self.ends = None
