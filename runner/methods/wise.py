"""WISE: side memories beside one MLP, and routing between them (Wang et al., arXiv 2405.14768)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from runner.errors import UserError
from runner.methods.base import Hparams
from runner.methods.contexts import check_templates, sample_templates
from runner.methods.hooks import by_row, hidden, with_hidden
from runner.methods.in_network import HookMethod, pairs_of
from runner.methods.layers import LAYER_HELP, LayerChoice, choose_layer
from runner.methods.moments import MomentHparams, all_texts
from runner.methods.projecting import project
from runner.methods.registry import register
from runner.methods.side_memory import Bank, Memory
from runner.methods.side_training import Example, activation_function, moved, train, train_each
from runner.methods.stacked import AT_ONCE, group_size, groups
from runner.methods.subject import EditError
from runner.types import Edit

DEPTH = 29 / 32  # of the published layer for Llama-3 (29 of 32)
ROWS = 32  # in one batch of several edits; with more of them nothing is gained any more
MOST_TEXTS = 10_000  # of a file that are drawn from


class WiseHparams(Hparams):
    """Hyperparameters of WISE; the values left open are those published for Llama-3.1-8B."""

    layer: LayerChoice = Field(None, description=LAYER_HELP)
    edit_lr: float | None = Field(None, gt=0, description="learning rate of SGD; None: the model's, else 0.9")
    n_iter: int | None = Field(None, ge=1, description="most steps per edit; None: the model's, else 30")
    mask_ratio: float = Field(0.2, gt=0, le=1, description="share of the weights that one memory may change")
    norm_constraint: float | None = Field(1.0, gt=0, description="most a weight may differ from the original one")
    alpha: float | None = Field(
        None, ge=0, description="activation that other text should stay below; None: the model's, else 5"
    )
    beta: float | None = Field(
        None, ge=0, description="activation that edited prompts should exceed; None: the model's, else 10"
    )
    gamma: float | None = Field(
        None, ge=0, description="distance there should be between the two; None: the model's, else 10"
    )
    act_ratio: float | None = Field(
        None, gt=0, description="share of an edit's activation that a prompt needs; None: the model's, else 0.88"
    )
    save_freq: int = Field(500, ge=1, description="edits that share one memory, a random subspace of the weights")
    merge_freq: int = Field(1000, ge=1, description="edits after which memories are merged; a multiple of save_freq")
    retrieve: bool = Field(True, description="keep memories apart and choose (WISE-Retrieve), else merge all into one")
    densities: float = Field(0.53, gt=0, le=1, description="share of each memory's changes that a merge keeps (Ties)")
    weights: float = Field(1.0, gt=0, description="sum of the weights of merged memories")
    context_lengths: tuple[tuple[int, int], ...] | None = Field(
        None,
        description="contexts sampled from the model: pairs of tokens in all, number of texts; "
        "None: the model's, else 5 of 5 tokens and 5 of 10",
    )
    context_templates: tuple[str, ...] | None = Field(
        None, description="contexts to use instead; '{}' is where the prompt goes, the first is '{}' alone"
    )
    mom2_texts: str | None = Field(
        None, description="UTF-8 file, one text a line, of other text; None: of its world (atlas models)"
    )
    mom2_seed: int = Field(0, description="seed of the atlas's texts")

    @model_validator(mode="after")
    def _whole_groups(self) -> WiseHparams:
        if self.merge_freq % self.save_freq:
            raise ValueError("merge_freq should be a multiple of save_freq")
        return self


@register
class Wise(HookMethod):
    """Copies of one MLP down-projection that learn the edits, and a router; no weight of the model changes.

    A side memory learns edits one after another in a random subspace of its weights. Its activation on a prompt is
    |f(W' a) - f(W a)|, the mean over tokens, where a is the projection's input and f the MLP's activation function;
    training makes it large on edited prompts and small on other text (equation 5). A prompt whose activation is nearly
    as large as that of the edits is answered with the memory, any other with the model as it was.
    """

    name = "WISE"
    family = "side memory"
    paper = "2405.14768"
    Hparams = WiseHparams
    published: ClassVar[Mapping[str, Any]] = {
        "edit_lr": 0.9, "n_iter": 30, "alpha": 5.0, "beta": 10.0, "gamma": 10.0, "act_ratio": 0.88,
        "context_lengths": ((5, 5), (10, 5)),
    }  # fmt: skip
    changes: ClassVar[str] = "which copy of one MLP down-projection a prompt is answered with"
    fidelity: ClassVar[str] = (
        "update as published; a prompt is routed once, by its own tokens, and no edit of a sequence is dropped"
    )
    sample_hparams: ClassVar[Mapping[str, Any]] = {
        "edit_lr": 1.0, "n_iter": 20, "alpha": 1.0, "beta": 4.0, "gamma": 2.0, "act_ratio": 0.6,
    }  # fmt: skip
    extra_memory: ClassVar[str] = "a copy of one MLP down-projection for every save_freq edits, until they are merged"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bank: Bank | None = None
        self._mask: Tensor | None = None
        self._templates: list[str] | None = None
        self._others: list[str] = []
        self._routes: dict[int, Memory | None] = {}

    @property
    def layer(self) -> int:
        """The layer whose down-projection has side memories."""
        return choose_layer(self.lm, self.hparams.layer, DEPTH, self.name)

    def resolved_hparams(self) -> dict[str, Any]:
        return {**super().resolved_hparams(), "layer": self.layer}

    def prepare(self) -> None:
        """Sample the contexts."""
        self.templates()

    def templates(self) -> list[str]:
        """Context templates, the bare prompt first."""
        if self._templates is None:
            given = self.hparams.context_templates
            lengths = self.hparams.context_lengths
            self._templates = check_templates(given) if given else sample_templates(self.lm, lengths, self.seed)
        return self._templates

    def edit(self, edits: Sequence[Edit]) -> None:
        """Learn edits one after another."""
        projection = self.lm.structure.mlp_out(self.layer)
        original = projection.weight.detach()
        if not original.is_floating_point():
            raise UserError(f"WISE needs weights in floating point, those of '{self.lm.name}' are {original.dtype}.")
        for edit in edits:
            known = None if self.edits or self.bank else self.ahead.get(edit)
            # Before the memory: an edit that can't be learnt leaves no trace.
            example = self.example(edit) if known is None else None
            if self.bank is None:
                self.bank = Bank(original, self.hparams)
            if self.bank.fresh or self._mask is None:
                self._mask = self._draw(original)
            if example is not None:
                start = self.bank.learning.weight
                known = train(self.lm, self.layer, example, start, original, self._mask, self.hparams)
            assert known is not None
            self.bank.learnt(*known)
            self.install(projection.module)
            super().edit([edit])

    def foresee(self, edits: Sequence[Edit]) -> dict[Edit, Any]:
        """What a memory becomes that learns each edit first, with the edit's activation; several learnt in one batch.

        An edit without a prompt or a target has none.
        """
        original = self.lm.structure.mlp_out(self.layer).weight.detach()
        if not original.is_floating_point():
            return {}
        examples: dict[Edit, Example] = {}
        # What is kept is bounded too.
        for edit in list(dict.fromkeys(edits))[: AT_ONCE // (original.numel() * original.element_size())]:
            with suppress(EditError):
                examples[edit] = self.example(edit)
        mask, found = self._draw(original), dict[Edit, Any]()
        rows = len(self.templates()) + 1
        lengths = [rows * max(len(pair.ids) for pair in example.pairs) for example in examples.values()]
        for places in groups(lengths, min(group_size(original.numel()), ROWS // rows)):
            group = [list(examples)[place] for place in places]
            starts, masks = (one.expand(len(group), *one.shape) for one in (original, mask))
            chosen = [examples[edit] for edit in group]
            learnt = train_each(self.lm, self.layer, chosen, starts, original, masks, self.hparams)
            found.update(zip(group, learnt, strict=True))
        return found

    def _draw(self, weight: Tensor) -> Tensor:
        """The subspace of the next memory: 1 where a weight may change."""
        generator = np.random.RandomState(self.seed + len(self.edits))
        drawn = generator.random_sample(weight.numel()) < self.hparams.mask_ratio
        return torch.from_numpy(drawn).to(weight.device).view_as(weight)

    def example(self, edit: Edit) -> Example:
        """The edit in every context, and a piece of other text no longer than the longest of them."""
        pairs = pairs_of(self.lm, self.protocol, edit, self.templates())
        other = self.other_texts()
        choice = np.random.RandomState(self.seed + len(self.edits)).randint(len(other))
        loose = self.lm.encode([other[choice]])[0][: max(len(pair.ids) for pair in pairs)]
        return Example(pairs, loose)

    def other_texts(self) -> list[str]:
        """Text that memories should leave alone: the first of a file, or for an atlas model texts of its world."""
        if not self._others:
            h = self.hparams
            if h.mom2_texts is None and not (self.lm.path and (Path(self.lm.path) / "recipe.json").is_file()):
                raise UserError(
                    f"the model '{self.lm.name}' needs other text for WISE to leave alone: "
                    "set mom2_texts to a file, one text a line."
                )
            texts = all_texts(self.lm, MomentHparams(mom2_texts=h.mom2_texts, mom2_seed=h.mom2_seed))
            self._others = list(texts[:MOST_TEXTS])
        if not self._others:
            raise UserError(f"mom2_texts: {self.hparams.mom2_texts} holds no text; give one text a line.")
        return self._others

    @torch.no_grad()
    def step_in(self, module: nn.Module, entering: Tensor, output: Any) -> Any:
        rows = self.lm.rows
        if rows.inputs is None or self.bank is None:
            return None
        n = len(rows.inputs)
        inputs, states = by_row(entering, n), by_row(hidden(output), n)
        if rows.starts is not None and rows.ends is not None:
            columns = torch.arange(states.shape[1], device=states.device)
            prompt = (columns >= rows.starts[:, None]) & (columns <= rows.ends[:, None])
            self._route(module, rows.inputs, inputs, prompt)
        answering: dict[int, tuple[Memory, list[int]]] = {}
        for place, i in enumerate(rows.inputs):
            memory = self._routes[i]
            if memory is not None:
                answering.setdefault(id(memory), (memory, []))[1].append(place)
        if not answering:
            return None
        states = states.clone()
        for memory, places in answering.values():
            at = torch.tensor(places, device=states.device)
            states[at] = project(module, inputs[at], memory.weight)
        return with_hidden(output, states)

    def _route(self, module: nn.Module, ids: Sequence[int], inputs: Tensor, prompt: Tensor) -> None:
        """Choose each row's memory by its activation over the prompt's tokens. prompt: [rows, tokens]."""
        assert self.bank is not None
        act, original = activation_function(self.lm), self.bank.original
        found = []
        for memory in self.bank.memories:
            distances = moved(module, act, inputs, memory.weight, original)[1]
            found.append(((distances * prompt).sum(1) / prompt.sum(1)).tolist())
        for row, i in enumerate(ids):
            choice = self.bank.choose([activations[row] for activations in found])
            self._routes[i] = choice.memory
            self.decisions[i] = {
                "fired": choice.memory is not None,
                "memory": choice.nearest.label,
                "edits": choice.nearest.edits,
                "activation": choice.activation,
                "threshold": choice.threshold,
            }

    def storage_bytes(self) -> int:
        """All side memories."""
        return 0 if self.bank is None else self.bank.storage_bytes()

    def undo(self) -> None:
        """Take the hook away and drop all memories."""
        self.bank = self._mask = None
        self._routes.clear()
        super().undo()
