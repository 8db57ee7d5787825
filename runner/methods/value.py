"""The value: the hidden state at the subject's last token that makes the model say the new answer.

ROME (arXiv 2202.05262, equation 4) looks for it at the MLP's output, MEMIT (arXiv 2210.07229, equation 16) at the
output of the whole block; the optimisation is the same and is written here once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from runner.methods.base import Hparams
from runner.methods.hooks import by_row, hidden, hooked, input_of, with_hidden
from runner.methods.subject import Fact, Row, essence, tokenise
from runner.methods.tail import Tail, before_mlp_out
from runner.models.lm import LanguageModel

CLAMP, V_LR, V_STEPS = 4.0, 0.5, 25  # as published
SOLVED = 5e-2  # the optimisation ends once the loss is below this, as in the reference implementations
ROWS = 80  # contexts of facts whose values are looked for in one batch: a few gigabytes of activations at 7B
COMPACT = 0.5  # facts that are done leave a batch once at most this share of it is still running


class ValueHparams(Hparams):
    """Hyperparameters of the value optimisation."""

    v_lr: float | None = Field(
        None, gt=0, description="learning rate of Adam on the value; None: the model's config, else as published"
    )
    v_num_grad_steps: int | None = Field(
        None, ge=1, description="loss evaluations, one more than steps; None: the model's config, else as published"
    )
    v_loss_layer: int | None = Field(None, description="layer whose output is decoded for the loss; None: the last")
    v_weight_decay: float = Field(1e-3, ge=0, description="weight of |delta| / |initial value|^2")
    clamp_norm_factor: float | None = Field(
        None, gt=0, description="|delta| is at most this many times |initial value|; None: the model's config, else 4"
    )
    kl_factor: float = Field(0.0625, ge=0, description="weight of the divergence on '{subject} is a'")


@dataclass(frozen=True)
class Value:
    """The outcome of one optimisation, in float32.

    keys: [contexts, mlp width], the input of the layer's down-projection at the subject's last token in each context,
    the bare prompt first. initial: [hidden], the state at the bare prompt before. delta: [hidden], what the
    optimisation adds to it. loss: the last loss. steps: loss evaluations made.
    """

    keys: Tensor
    initial: Tensor
    delta: Tensor
    loss: float
    steps: int

    @property
    def target(self) -> Tensor:
        """v* (ROME) or z (MEMIT): the state that was looked for."""
        return self.initial + self.delta


class Course:
    """How much the likelihood counts in the loss, and when the optimisation has done enough: always fully, once the
    loss is small. A method with another schedule brings its own, anew for every optimisation."""

    factor = 1.0

    def enough(self, loss: float, divergence: float, said: Callable[[], bool]) -> bool:
        """Whether to end before this step. divergence: as weighted in the loss; said: is the target what the model
        says, token by token, in every context?"""
        return loss < SOLVED


class _Shift:
    """A vector for each fact, added, at the subject's last token of the fact's rows, to what a module returns."""

    def __init__(self, lm: LanguageModel, n_facts: int) -> None:
        self.delta = torch.zeros(n_facts, lm.structure.hidden_size, device=lm.device, requires_grad=True)
        self.initial: Tensor | None = None
        self.batch: _Batch | None = None

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self.batch is None:  # the tokens before the subject's last are being run
            return None
        tail, n_rows = self.batch.tail, len(self.batch.owner)
        state = by_row(hidden(output), n_rows)
        if self.initial is None:
            self.initial = self.batch.of_bare_prompts(tail.at_subject(state)).detach().float().clone()
        before, at, after = state.tensor_split((tail.at, tail.at + 1), 1)
        moved = at + self.delta[self.batch.owner][:, None].to(state.dtype)
        return with_hidden(output, torch.cat([before, moved, after], 1))

    @property
    def before(self) -> Tensor:
        """The states at the bare prompts without the vectors, [facts, hidden]; known after the first pass."""
        assert self.initial is not None
        return self.initial

    @property
    def size(self) -> Tensor:
        """|delta| / |state|^2 of each fact, also where the state is zero (there `clamp` keeps the vector zero)."""
        squared: Tensor = self.before.norm(dim=-1) ** 2
        return self.delta.norm(dim=-1) / squared.clamp(min=torch.finfo(squared.dtype).tiny)

    @torch.no_grad()
    def clamp(self, factor: float) -> None:
        """Keep each vector within a ball of `factor` times the state's length."""
        limit, norm = factor * self.before.norm(dim=-1), self.delta.norm(dim=-1)
        self.delta.mul_(torch.where(norm > limit, limit / norm, 1.0)[:, None])


class _Batch:
    """The rows of some facts, n contexts and then the essence for each, as one tail.

    members: which facts. owner: [rows], the fact of each row. spoken, essences: the places of the targets' tokens and,
    one per fact, of the essence. slot, weights: for each spoken place its fact, as an index of `members`, and how much
    it counts: every context the same, and within it every token of the target.
    """

    def __init__(
        self, lm: LanguageModel, rows: Sequence[Sequence[Row]], members: list[int], constant: Sequence[nn.Module]
    ) -> None:
        self.members, self.n = members, len(rows[0]) - 1
        batch = [row for i in members for row in rows[i]]
        self.tail = Tail(lm, batch, constant)
        self.owner = torch.tensor([i for i in members for _ in rows[i]], device=lm.device)
        self.spoken = (self.tail.targets >= 0).nonzero().squeeze(1)
        self.essences = (self.tail.targets < 0).nonzero().squeeze(1)
        self.targets = self.tail.targets[self.spoken, None]
        at_row = self.tail.rows[self.spoken]
        self.slot = at_row // (self.n + 1)
        lengths = torch.tensor([len(row.targets) for row in batch], device=lm.device)
        self.weights = 1 / (self.n * lengths[at_row].float())

    def of_bare_prompts(self, states: Tensor) -> Tensor:
        """Of states [rows, width] those of each fact's first row."""
        return states[:: self.n + 1]

    def sums(self, values: Tensor) -> Tensor:
        """Weighted sums over each fact's spoken places, [members]."""
        return values.new_zeros(len(self.members)).index_add(0, self.slot, self.weights * values)


def optimise_value(
    lm: LanguageModel,
    fact: Fact,
    templates: Sequence[str],
    layer: int,
    site: nn.Module,
    h: ValueHparams,
    beside: nn.Module | None = None,
    course: Callable[[], Course] = Course,
) -> Value:
    """Find the state at `site` (the down-projection of block `layer`, or that block itself) that yields the target.

    The loss is the mean negative log likelihood per target token over all contexts, plus the divergence of the
    prediction at the subject in "{subject} is a", plus weight decay. Weights are not changed. Deterministic.
    beside: another module of the same block whose output is optimised together with the site's.
    """
    return optimise_values(lm, [fact], templates, layer, site, h, beside, course)[0]


def optimise_values(
    lm: LanguageModel,
    facts: Sequence[Fact],
    templates: Sequence[str],
    layer: int,
    site: nn.Module,
    h: ValueHparams,
    beside: nn.Module | None = None,
    course: Callable[[], Course] = Course,
) -> list[Value]:
    """As `optimise_value` for each fact by itself, several in one batch, all on the present weights, or where several
    edited models stand beside each other (`Variants.asked`), fact i on those of input i.

    Equal to one after the other up to the rounding of batched matrix products.
    """
    if beside is not None:
        constant = lm.structure.blocks[:layer]
    elif site is lm.structure.blocks[layer]:
        constant = lm.structure.blocks[: layer + 1]
    else:
        constant = before_mlp_out(lm, layer)
    sites = [site] if beside is None else [site, beside]
    size = max(1, ROWS // (len(templates) + 1))
    values: list[Value] = []
    for start in range(0, len(facts), size):
        values += _search(lm, facts[start : start + size], templates, layer, sites, constant, h, course, start)
    return values


def _search(
    lm: LanguageModel,
    facts: Sequence[Fact],
    templates: Sequence[str],
    layer: int,
    sites: Sequence[nn.Module],
    constant: Sequence[nn.Module],
    h: ValueHparams,
    course: Callable[[], Course],
    first: int,
) -> list[Value]:
    rows = [_rows(lm, fact, templates) for fact in facts]
    courses = [course() for _ in facts]
    shifts = [_Shift(lm, len(facts)) for _ in sites]
    deltas = [shift.delta for shift in shifts]
    optimiser = torch.optim.Adam(deltas, lr=V_LR if h.v_lr is None else h.v_lr)
    most = h.v_num_grad_steps or V_STEPS
    loss_layer = lm.structure.n_layers - 1 if h.v_loss_layer is None else max(h.v_loss_layer, layer)
    early = lm.structure.check_layer(loss_layer) < lm.structure.n_layers - 1
    found: dict[int, Value] = {}
    keys, before = torch.empty(0), torch.empty(0)  # of the first pass, all facts still unchanged
    batch: _Batch | None = None
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        for module, shift in zip(sites, shifts, strict=True):
            stack.enter_context(hooked(module, shift))
        depth: list[Tensor] = []
        if early:
            watch = hooked(lm.structure.blocks[loss_layer], lambda module, args, out: depth.append(hidden(out)))
            stack.enter_context(watch)
        for step in range(1, most + 1):
            running = [i for i in range(len(facts)) if i not in found]
            if batch is None or len(running) <= COMPACT * len(batch.members):
                for shift in shifts:
                    shift.batch = None
                with lm.rows.holding([first + i for i in running for _ in rows[i]]):
                    batch = _Batch(lm, rows, running, constant)
                for shift in shifts:
                    shift.batch = batch
                depth.clear()
            keyed = input_of(lm.structure.mlp_out(layer).module) if step == 1 else nullcontext(list[Tensor]())
            with keyed as seen, lm.rows.holding([first + i for i in batch.owner.tolist()]):
                logits = batch.tail.logits()
            essences = logits[batch.essences].float().log_softmax(-1)
            if step == 1:
                keys = batch.tail.at_subject(by_row(seen[0], len(batch.owner))).float()
                keys = keys.view(len(facts), len(templates) + 1, -1)[:, :-1]
                before = essences.detach()
            read = batch.tail.pick(depth.pop())[batch.spoken] if early else logits[batch.spoken]
            read = lm.structure.head(lm.structure.final_norm(read)) if early else read
            logp = read.float().log_softmax(-1)
            likelihood = batch.sums(logp.gather(1, batch.targets).squeeze(1))
            apart = functional.kl_div(before[batch.members], essences, log_target=True, reduction="none").sum(-1)
            decay = torch.stack([shift.size[batch.members] for shift in shifts]).sum(0)
            factors = torch.tensor([courses[i].factor for i in batch.members], device=lm.device)
            losses = h.kl_factor * apart - factors * likelihood + h.v_weight_decay * decay
            for place, (i, loss, far) in enumerate(
                zip(batch.members, losses.tolist(), (h.kl_factor * apart).tolist(), strict=True)
            ):
                said = partial(_said, logp.detach(), batch, place)
                if i not in found and (courses[i].enough(loss, far, said) or step == most):
                    delta = deltas[0][i].detach().clone()
                    found[i] = Value(keys[i], shifts[0].before[i], delta, loss, step)
            if len(found) == len(facts):
                break
            for delta, gradient in zip(deltas, torch.autograd.grad(losses.sum(), deltas), strict=True):
                delta.grad = gradient
            optimiser.step()
            for shift in shifts:
                shift.clamp(h.clamp_norm_factor or CLAMP)
    return [found[i] for i in range(len(facts))]


def _rows(lm: LanguageModel, fact: Fact, templates: Sequence[str]) -> list[Row]:
    """The fact in each context, then its essence up to the subject's last token, which can't see what follows it."""
    kept = tokenise(lm, essence(fact))
    return [*(tokenise(lm, fact.inside(t)) for t in templates), Row(kept.ids[: kept.at + 1], kept.at, [])]


def _said(logp: Tensor, batch: _Batch, place: int) -> bool:
    own = batch.slot == place
    return bool((logp[own].argmax(-1, keepdim=True) == batch.targets[own]).all())
