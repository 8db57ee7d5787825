"""Running again and again only the part of a batch that a change at the subject's last token can reach.

While a value is optimised the same rows pass the model a few dozen times, and each time only one hidden vector per row
differs. In a causal model nothing before that token depends on it, and nothing below the changed layer does either. So
the tokens before it are run once and leave their keys and values, and the modules below are run once and their outputs
are handed out again. From the second pass on the blocks from there up are called one after the other with what the
model gave them in the first, without the masks, rotations and lower blocks that the model would make again; where the
first pass shows that a family does something else between its blocks and its logits, the whole model is run each time.
The result is that of a whole pass. (A state space leaves no keys and values: its rows are run whole.)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from runner.methods.hooks import hidden, hooked, instead
from runner.methods.subject import Row
from runner.models.batch import forward, keeps_states
from runner.models.lm import LanguageModel
from runner.models.sharding import check_one_device
from runner.models.structure import MIXERS

WORTH = 32  # tokens that a module must be spared before picking out the others is worth it


class _Call(NamedTuple):
    """A block as the model called it."""

    block: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Tail:
    """The tokens of each row from its subject's last token on; that token is column `at` of what is run: 0, or the
    same for all rows where the tokens before it have to be run again.

    Predictions are computed only where they are asked for: at the columns that should predict a token of the row's
    target, and at column 0 of a row without one. rows, columns, targets: one entry per such place, row by row (target
    -100 for a row without one). places: the same as one number each, counted over all rows' columns.
    """

    def __init__(
        self, lm: LanguageModel, rows: Sequence[Row], constant: Sequence[nn.Module], plain: bool = False
    ) -> None:
        """constant: modules that run at most once per pass and whose outputs no change will reach; what enters the
        first block is never changed either.

        plain: run the whole model each time.
        """
        from transformers import DynamicCache

        check_one_device(lm.model)
        self.lm = lm
        self.constant = constant
        self._plain = plain
        self._outputs: list[tuple[nn.Module, Any]] = []
        self._calls: list[_Call] | None = None  # none yet; empty: the whole model has to be run
        self._first_cache: Any = None  # what stands for the cache in these calls
        pad, device = int(lm.tokenizer.pad_token_id), lm.device
        n_before = max(row.at for row in rows)
        width = max(len(row.ids) - row.at for row in rows)

        def table(cells: list[list[int]]) -> Tensor:
            return torch.tensor(cells, dtype=torch.long, device=device)

        before = [row.ids[: row.at] for row in rows]
        after = [row.ids[row.at :] for row in rows]
        head = table([[pad] * (n_before - len(b)) + b for b in before])
        ids = table([a + [pad] * (width - len(a)) for a in after])
        self.mask = table(
            [
                [0] * (n_before - len(b)) + [1] * (len(b) + len(a)) + [0] * (width - len(a))
                for b, a in zip(before, after, strict=True)
            ]
        )
        self.positions = (self.mask.cumsum(1) - 1).clamp(min=0)
        asked = [(r, column, target) for r, row in enumerate(rows) for column, target in _asked(row)]
        self.rows, self.columns, self.targets = table([list(entry) for entry in asked]).T
        whole = keeps_states(lm.model)
        self.at = n_before if whole else 0
        self.ids = torch.cat([head, ids], 1) if whole else ids
        self.places = self.rows * self.ids.shape[1] + self.at + self.columns
        self._cache = DynamicCache(config=lm.model.config) if n_before and not whole else None
        if self._cache is not None:
            with torch.no_grad():
                forward(lm.model, head, self.mask[:, :n_before], self.positions[:, :n_before], self._cache, 1)

    def pick(self, states: Tensor) -> Tensor:
        """The states [rows, columns, width] at the places asked for, [places, width]."""
        return states[self.rows, self.at + self.columns]

    def at_subject(self, states: Tensor) -> Tensor:
        """The states [rows, columns, width] at each row's subject's last token, [rows, width]."""
        return states[:, self.at]

    def logits(self) -> Tensor:
        """Logits at the places asked for, [places, vocabulary]. Hooks on the changed layer and above take effect."""
        handing_out = hand_out(self._outputs) if self._outputs else self._remember()
        with handing_out:
            if self._calls:
                return self._through_blocks(self._calls)
            return self._through_model()

    def _through_blocks(self, calls: Sequence[_Call]) -> Tensor:
        structure, cache = self.lm.structure, self._copy_of_cache()

        def fresh(value: Any) -> Any:
            return cache if cache is not None and value is self._first_cache else value

        state = calls[0].args[0]
        for block, args, kwargs in calls:
            options = {key: fresh(value) for key, value in kwargs.items()}
            with self._where_asked() if block is structure.blocks[-1] else nullcontext():
                state = hidden(block(state, *map(fresh, args[1:]), **options))
        logits: Tensor = structure.head(structure.final_norm(self.pick(state)[None]))[0]
        return logits

    @contextmanager
    def _where_asked(self) -> Iterator[None]:
        """Within the context the last block's MLP runs only at the places asked for; elsewhere it returns zeros, which
        nothing reads: an MLP takes each token by itself. One with hooks or constant parts inside runs whole, and so it
        does where picking the places out would cost more than it saves."""
        mlp = _last_mlp(self.lm) if self.ids.numel() - len(self.places) >= WORTH else None
        inside = list(mlp.modules()) if mlp is not None else []
        hooks = any(m._forward_hooks or m._forward_pre_hooks or m.training for m in inside)
        if mlp is None or hooks or not set(inside).isdisjoint(self.constant):
            yield
            return
        whole = mlp.forward

        def at_places(states: Tensor) -> Tensor:
            flat = states.flatten(0, 1)
            found = whole(flat.index_select(0, self.places)[None])[0]
            return torch.zeros_like(flat).index_copy(0, self.places, found).view_as(states)

        with instead([(mlp, at_places)]):
            yield

    def _through_model(self) -> Tensor:
        """A pass of the whole model; the first one finds out whether its blocks alone will do from now on."""

        def choose(head: nn.Module, args: Any) -> Any:
            return (self.pick(args[0])[None], *args[1:])

        calls: list[_Call] = []
        states: list[Tensor] = []

        def called(block: nn.Module, args: Any, kwargs: Any) -> None:
            calls.append(_Call(block, args, kwargs))

        structure, cache = self.lm.structure, self._copy_of_cache()
        # From the last constant block on: it is not run again, but what is hooked to it is.
        blocks = structure.blocks[max(0, sum(b in self.constant for b in structure.blocks) - 1) :]
        with ExitStack() as stack:
            stack.enter_context(hooked(structure.head, choose, on_input=True))
            if self._calls is None:
                for block in blocks:
                    handle = block.register_forward_pre_hook(called, with_kwargs=True)
                    stack.callback(handle.remove)
                    watch = hooked(block, lambda module, args, output: states.append(hidden(output)))
                    stack.enter_context(watch)
            positions = self.positions[:, -self.ids.shape[1] :]
            logits = forward(self.lm.model, self.ids, self.mask, positions, cache, keep=0)[0]
        if self._calls is None:
            self._calls, self._first_cache = calls if self._chained(blocks, calls, states, logits) else [], cache
        return logits

    @torch.no_grad()
    def _chained(
        self, blocks: Sequence[nn.Module], calls: Sequence[_Call], states: Sequence[Tensor], logits: Tensor
    ) -> bool:
        """Whether the model is its blocks, each on the last one's output, then the final norm and the head."""
        if self._plain or [call.block for call in calls] != list(blocks) or not all(call.args for call in calls):
            return False
        if any(call.args[0] is not state for call, state in zip(calls[1:], states, strict=False)):
            return False
        again = self.lm.structure.head(self.pick(self.lm.structure.final_norm(states[-1]))[None])[0]
        return again.dtype == logits.dtype and torch.equal(again, logits)

    def _copy_of_cache(self) -> Any:
        """What a pass may append to; it shares the cache's tensors."""
        if self._cache is None:
            return None
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        return cache

    @contextmanager
    def _remember(self) -> Iterator[None]:
        """Keep what the constant modules return, before any hook that changes it."""
        handles = [
            module.register_forward_hook(lambda m, args, output: self._outputs.append((m, output)), prepend=True)
            for module in self.constant
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _last_mlp(lm: LanguageModel) -> nn.Module | None:
    """The module that is the last block's MLP and nothing else; None in a family without one."""
    if not lm.structure.mlp_outs:
        return None
    place = lm.structure.mlp_outs[-1].module_name.rpartition(".")[0]
    block = lm.structure.block_names[-1]
    kind = place.removeprefix(f"{block}.")
    if not place.startswith(f"{block}.") or "." in kind or kind in MIXERS:
        return None
    return lm.model.get_submodule(place)


def _asked(row: Row) -> list[tuple[int, int]]:
    """Columns of the row's tail that are asked for a prediction, with the token expected there."""
    first = len(row.ids) - row.at - len(row.targets)
    return [(first + i, target) for i, target in enumerate(row.targets)] or [(0, -100)]


def hand_out(outputs: Sequence[tuple[nn.Module, Any]]) -> AbstractContextManager[None]:
    """Within the context each module returns its output without computing it."""
    return instead((module, lambda *args, _output=output, **kwargs: _output) for module, output in outputs)


def before_mlp_out(lm: LanguageModel, layer: int) -> list[nn.Module]:
    """Everything costly that a change of this layer's MLP output does not reach: the blocks below, the layer's
    attention and its own linear maps, of which the down-projection is the last."""
    return [*before_mlp_weight(lm, layer), *_maps(lm.structure.mlp_out(layer).module)]


def before_mlp_weight(lm: LanguageModel, layer: int) -> list[nn.Module]:
    """The same for a change of the down-projection's weight: without the module that holds it."""
    block = lm.structure.blocks[layer]
    holder = lm.model.get_submodule(lm.structure.mlp_weight(layer).rpartition(".")[0])
    attention = [
        child for name, child in block.named_children() if name in MIXERS and holder not in set(child.modules())
    ]
    return [*lm.structure.blocks[:layer], *attention, *(m for m in _maps(block) if m is not holder)]


def _maps(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if getattr(getattr(m, "weight", None), "ndim", 0) == 2]
