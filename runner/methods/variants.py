"""Several edited models answering in one batch: each row is run with the weights of the model that it belongs to.

Editing methods mostly change one or a few projections. All else is the same in every edited model, so a batch may hold
rows of many: where a changed projection comes, each model's rows go through its own weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from runner.methods.hooks import instead
from runner.methods.projecting import project
from runner.models.batch import keeps_states
from runner.models.lm import LanguageModel
from runner.models.sharding import places

Change = Mapping[str, Tensor]  # full name of a parameter -> its changed value


class NotTogether(RuntimeError):
    """These models can't answer in one batch."""


class Variants:
    """Models that differ from an unedited one in some projections' weights."""

    def __init__(self, lm: LanguageModel, changes: Sequence[Change]) -> None:
        """changes: of each model. Raises NotTogether for a change that isn't one of a projection's weight."""
        self.lm = lm
        self._weights: dict[nn.Module, list[Tensor | None]] = {}
        if keeps_states(lm.model) or len(places(lm.model)) > 1:
            raise NotTogether("the model keeps states or is spread over devices.")
        for which, change in enumerate(changes):
            for name, value in change.items():
                module = _projection(lm.model, name)
                self._weights.setdefault(module, [None] * len(changes))[which] = value

    @contextmanager
    def asked(self, owners: Sequence[int]) -> Iterator[None]:
        """Within the context input i of `generate` and `force` is answered by model owners[i].

        Raises NotTogether at the end where the model did not call a changed projection, and inside where it called one
        with something else than the rows of the batch.
        """
        rows, called = self.lm.rows, set[nn.Module]()
        before = rows.begun
        rows.owners = list(owners)
        rows.watch(routes=False)
        with ExitStack() as stack:
            stack.callback(self._leave)
            forwards = ((module, self._forward(module, weights, called)) for module, weights in self._weights.items())
            stack.enter_context(instead(forwards))
            yield
        if rows.begun > before and len(called) < len(self._weights):
            raise NotTogether("the model does not call its projections.")

    def _leave(self) -> None:
        self.lm.rows.leave(routes=False)
        self.lm.rows.owners = None

    def _forward(
        self, module: nn.Module, weights: Sequence[Tensor | None], called: set[nn.Module]
    ) -> Callable[[Tensor], Tensor]:
        rows, usual = self.lm.rows, module.forward
        original: Any = module.weight

        def weight_of(owner: int) -> Tensor:
            weight = weights[owner]
            return original if weight is None else weight

        def forward(inputs: Tensor) -> Tensor:
            if rows.inputs is None:
                return usual(inputs)
            called.add(module)
            if inputs.ndim != 3 or len(inputs) != len(rows.inputs):
                raise NotTogether("a projection is not called with the rows of the batch.")
            order, sizes = _groups([rows.owner(i) for i in rows.inputs])
            if len(sizes) == 1:
                return project(module, inputs, weight_of(*sizes))
            at = torch.tensor(order, device=inputs.device)
            back = torch.empty_like(at)
            back[at] = torch.arange(len(at), device=at.device)
            pieces = zip(sizes, inputs[at].split(list(sizes.values())), strict=True)
            return torch.cat([project(module, piece, weight_of(owner)) for owner, piece in pieces])[back]

        return forward


def _groups(owners: Sequence[int]) -> tuple[list[int], dict[int, int]]:
    """The places of rows, those of one owner side by side, and how many each has, in that order."""
    order = sorted(range(len(owners)), key=owners.__getitem__)
    sizes: dict[int, int] = {}
    for place in order:
        sizes[owners[place]] = sizes.get(owners[place], 0) + 1
    return order, sizes


def _projection(model: nn.Module, name: str) -> nn.Module:
    """The linear map whose weight this is."""
    holder, _, kind = name.rpartition(".")
    module = model.get_submodule(holder)
    if kind != "weight" or type(module) not in (nn.Linear, Conv1D):
        raise NotTogether(f"{name} is not the weight of a projection.")
    weight = model.get_parameter(name)
    if sum(parameter is weight for _, parameter in model.named_parameters(remove_duplicate=False)) > 1:
        raise NotTogether(f"{name} is used in several places.")
    return module
