"""Reading hidden states while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from runner.methods.subject import Row
from runner.models.lm import LanguageModel
from runner.models.sharding import check_one_device


class _Enough(Exception):
    """Raised inside a forward pass once everything asked for has been seen."""


def hidden(output: Any) -> Tensor:
    """The hidden states in what a module returned (a tensor, or a tuple that starts with it)."""
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state


def by_row(states: Tensor, rows: int) -> Tensor:
    """States as [rows, tokens, width]: some families (OPT) run their MLPs on [rows x tokens, width]."""
    return states.reshape(rows, -1, states.shape[-1])


def with_hidden(output: Any, states: Tensor) -> Any:
    """What a module returned, with its hidden states exchanged and their shape kept."""
    states = states.reshape(hidden(output).shape)
    return (states, *output[1:]) if isinstance(output, tuple) else states


@contextmanager
def hooked(module: nn.Module, hook: Any, *, on_input: bool = False) -> Iterator[None]:
    """A forward hook (or pre-hook) that is gone when the context ends."""
    handle = module.register_forward_pre_hook(hook) if on_input else module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def instead(forwards: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Within the context modules run other functions in place of their own."""
    chosen = list(forwards)
    own = [vars(module).get("forward") for module, _ in chosen]
    for module, forward in chosen:
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for (module, _), forward_before in zip(chosen, own, strict=True):
            del vars(module)["forward"]  # the class's own method shows again
            if forward_before is not None:
                vars(module)["forward"] = forward_before


@contextmanager
def input_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """A list that receives the module's input at every pass."""
    seen: list[Tensor] = []
    with hooked(module, lambda _, args: seen.append(args[0].detach()), on_input=True):
        yield seen


@contextmanager
def output_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """A list that receives the module's output at every pass."""
    seen: list[Tensor] = []
    with hooked(module, lambda _, args, output: seen.append(hidden(output).detach())):
        yield seen


@torch.no_grad()
def run_through(lm: LanguageModel, rows: Sequence[Sequence[int]], last_block: int) -> Tensor:
    """One pass over rows of token ids that ends after block `last_block`; hooks read what they need.

    Rows are padded on the right (in a causal model what follows a token does not change it). Returns the mask, [rows,
    tokens], 1 for a token.
    """

    def stop(*_: Any) -> None:
        raise _Enough

    check_one_device(lm.model)
    width, pad = max(map(len, rows)), int(lm.tokenizer.pad_token_id)
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=lm.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=lm.device)
    with hooked(lm.structure.blocks[last_block], stop):
        try:
            lm.model(input_ids=ids, attention_mask=mask, use_cache=False)
        except _Enough:
            pass
    return mask


def at_subject(
    lm: LanguageModel,
    rows: Sequence[Row],
    last_block: int,
    inputs_of: Sequence[nn.Module] = (),
    outputs_of: Sequence[nn.Module] = (),
    batch_size: int = 64,
) -> list[Tensor]:
    """States at each row's last subject token: one [rows, width] per module, inputs first, then outputs.

    No module may lie beyond block `last_block`.
    """
    parts: list[list[Tensor]] = [[] for _ in (*inputs_of, *outputs_of)]
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        with ExitStack() as stack:
            seen = [stack.enter_context(input_of(module)) for module in inputs_of]
            seen += [stack.enter_context(output_of(module)) for module in outputs_of]
            # Tokens after the subject cannot change its own states, so they are not run.
            run_through(lm, [row.ids[: row.at + 1] for row in batch], last_block)
        index = torch.arange(len(batch), device=lm.device)
        column = torch.tensor([row.at for row in batch], device=lm.device)
        for part, states in zip(parts, seen, strict=True):
            part.append(by_row(states[0], len(batch))[index, column])
    return [torch.cat(part) for part in parts]
